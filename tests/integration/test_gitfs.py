"""The way in by gitfs, as docs/install.md prints it: a master that has nothing of the product but a repository's address."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from salt.exceptions import SaltClientError

from lab import product
from lab.cluster import Lab
from lab.faultdisk import ROOT
from lab.linux import wait_until
from lab.saltconf import FOLDERS
from lab.scenarios import DISK
from lab.wishes import Wishes
from tests.integration import installing
from vmdk_failover import __version__

sys.path.insert(0, str(ROOT / "scripts"))
import bootstrap_block

pytestmark = pytest.mark.timeout(600)

LIMIT = 240.0


def printed() -> dict[str, Any]:
    """The configuration of the page."""
    (block,) = (
        one for one in re.findall(r"```yaml\n(.*?)```", installing.PAGE, re.S) if "gitfs_remotes" in one
    )
    found: dict[str, Any] = yaml.safe_load(block)
    return found


def git(folder: Path, *arguments: str) -> str:
    quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "PATH": os.environ["PATH"]}
    who = ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main"]
    argv = ["git", *who, *arguments]
    done = subprocess.run(argv, cwd=folder, env=quiet, check=True, capture_output=True, timeout=60, text=True)
    return done.stdout.strip()


def make_repository(place: Path) -> tuple[str, str]:
    """A bare repository with what is served of this one. Returns its address, and what the page says to take of it."""
    work = place / "work"
    for name in FOLDERS:
        shutil.copytree(ROOT / name, work / name, ignore=shutil.ignore_patterns("__pycache__"))
    git(work, "init", "-q")
    git(work, "add", "-A")
    git(work, "commit", "-q", "-m", "all of it")
    assert "`git rev-parse HEAD`" in installing.PAGE
    revision = git(work, "rev-parse", "HEAD")
    git(place, "clone", "-q", "--bare", str(work), "saltext-vmdk.git")
    return f"file://{place}/saltext-vmdk.git", revision


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    options = printed()
    ((remote, settings),) = options["gitfs_remotes"][0].items()
    assert remote.startswith("https://") and settings == [{"base": "COMMIT"}]

    def master(lab: Lab) -> dict[str, Any]:
        remote, revision = make_repository(lab.run_dir / "git")
        remotes = [{remote: [{"base": revision}]}]
        own = {"file_roots": {"base": [str(lab.run_dir / "nothing")]}, "gitfs_remotes": remotes}
        return {**product.master_options(lab, {DISK: {}}), **options, **own}

    wishes = Wishes(synced=False, master_overrides=master, minion_overrides=product.minion_options)
    with Lab(wishes) as up:
        yield up


def test_what_the_page_prints_brings_all_of_it(lab: Lab) -> None:
    assert "vmdk.doctor" not in lab.master.run("doc.runner")
    for line in installing.blocks("gitfs_remotes")[0]:
        installing.typed(lab, line, lambda node: _sync(lab, node))
    assert "vmdk.doctor" in lab.master.run("doc.runner")
    for node in lab.nodes:
        assert wait_until(lambda node=node: _asked(lab, node, "vmdk.version") == __version__, LIMIT, 1.0)


def _sync(lab: Lab, node: str) -> None:
    assert wait_until(lambda: _asked(lab, node, "saltutil.sync_all") is not None, LIMIT, 1.0)


def _asked(lab: Lab, node: str, function: str) -> Any:
    """What a node answers; None when it, or the master, had no time for it."""
    try:
        return lab.master.local(node, function, seconds=60.0)
    except SaltClientError:
        return None


def test_the_reactor_finds_its_file_there(lab: Lab) -> None:
    """Three events, three looks; without a reactor there would be one in half a minute."""
    began = time.monotonic()
    for _ in range(3):
        sent = time.monotonic()
        lab.master.run("event.send", f"vmdk/{DISK}/silent", f"{{resource: {DISK}}}")
        assert lab.master.events.wait(f"vmdk-move/{DISK}/decided", 20.0, sent), lab.master.log_tail()
    assert time.monotonic() - began < 60.0
    assert "to render" not in (lab.master.root / "master.log").read_text(errors="replace")


def test_the_doctor_finds_nothing_wrong_with_it(lab: Lab) -> None:
    said = lab.master.run("vmdk.doctor", seconds=120)
    rows = said["findings"] if isinstance(said, dict) else said
    assert [one["what"] for one in rows if "reactor" in one["what"].lower()] == []


NEWER = "900.1"


def _commit_newer(lab: Lab) -> str:
    """Another version in the repository. Returns its hash."""
    work = lab.run_dir / "git" / "work"
    path = work / "_utils/vmdk_failover/__init__.py"
    path.write_text(path.read_text().replace(f'"{__version__}"', f'"{NEWER}"'))
    assert bootstrap_block.wrong(work, write=True) == []
    git(work, "commit", "-q", "-a", "-m", "newer")
    git(work, "push", "-q", "../saltext-vmdk.git", "main")
    return git(work, "rev-parse", "HEAD")


def test_a_new_commit_comes_to_the_nodes_and_then_to_the_master(lab: Lab) -> None:
    work, conf = lab.run_dir / "git" / "work", lab.master.root / "master"
    before = git(work, "rev-parse", "HEAD")
    after = _commit_newer(lab)
    assert conf.read_text().count(before) == 1
    conf.write_text(conf.read_text().replace(before, after))
    for line in installing.to_serve():
        installing.typed(lab, line, lambda node: _sync(lab, node))
    of_nodes, *of_master = installing.to_bring()
    installing.typed(lab, of_nodes, lambda node: _sync(lab, node))
    for node in lab.nodes:
        assert wait_until(lambda node=node: _asked(lab, node, "vmdk.version") == NEWER, LIMIT, 1.0)
    assert set(_versions(lab)) == set(lab.nodes)  # the master is still the older one, and says so
    for line in of_master:
        installing.typed(lab, line, lambda node: _sync(lab, node))
    assert wait_until(lambda: _versions(lab) == [], LIMIT, 1.0), _versions(lab)


def _versions(lab: Lab) -> list[str]:
    """The nodes whose version differs from the master's, by the doctor's word."""
    said = lab.master.run("vmdk.doctor", seconds=120)
    return [row["node"] for row in said["findings"] if row["code"] == "version"]
