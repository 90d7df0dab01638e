"""Commands of the pages that put files into a file root, typed as they are printed; Salt then takes them from there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.packaging import pages
from tests.packaging.source import ROOT, copy_tree

sys.path.insert(0, str(ROOT / "scripts"))
import bootstrap_block

#: Where the pages put them.
FILES = "/srv/salt"


def printed(page: str, beginning: str) -> str:
    """The one line of a page that begins so."""
    blocks = pages.fences((pages.DOCS / page).read_text(encoding="utf-8"), "console")
    (line,) = [one[2:] for body in blocks for one in body.splitlines() if one.startswith(f"# {beginning}")]
    return line


class House:
    """A machine's Salt without daemons, whose file root and everything else lies in one folder."""

    def __init__(self, place: Path) -> None:
        self.place, self.files = place, place / "srv" / "salt"
        for folder in (self.files, place / "var/cache/salt/master/proc", place / "var/run/salt/master"):
            folder.mkdir(parents=True)
        plain = {
            "root_dir": str(place),
            "file_client": "local",
            "file_roots": {"base": [str(self.files)]},
            "id": "salt",
            "user": "root",
            "log_level": "quiet",
        }
        for daemon in ("master", "minion"):
            own = {"extension_modules": str(place / "extmods" / daemon)}
            (place / daemon).write_text(yaml.safe_dump({**plain, **own}))

    def type(self, line: str, at: Path) -> None:
        """A line of the shell in a folder, with the file root in place of the page's."""
        done = subprocess.run(
            ["sh", "-ec", line.replace(FILES, str(self.files))], cwd=at, capture_output=True
        )
        assert done.returncode == 0, (line, done.stderr)

    def salt(self, program: str, *arguments: str) -> Any:
        """What a command of Salt's answers, as data."""
        path = Path(sys.executable).with_name(program)
        words = [sys.executable, "-W", "ignore", str(path), "-c", str(self.place), "--out=json", *arguments]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        said = json.loads(done.stdout)
        return said["local"] if program == "salt-call" else said


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "house")


def test_what_the_quick_start_copies_is_all_that_a_sync_needs(house: House, tmp_path: Path) -> None:
    line = printed("quickstart.md", "cp -r _beacons")
    house.type(line, at=copy_tree(tmp_path / "clone"))
    on_master = house.salt("salt-run", "saltutil.sync_all")
    on_node = house.salt("salt-call", "--local", "saltutil.sync_all")
    for kind in ("runners", "engines", "pillar", "modules", "states", "output"):
        assert f"{kind}.vmdk" in on_master[kind], (kind, on_master)
    for kind in ("beacons", "engines", "modules", "states", "output"):
        assert f"{kind}.vmdk" in on_node[kind], (kind, on_node)
    assert house.salt("salt-call", "--local", "vmdk.version") == bootstrap_block.version()
    for served in ("reactor/vmdk.sls", "orch/patch.sls", "orch/reboot.sls"):
        assert (house.files / served).is_file()


def test_what_the_example_of_a_mail_copies_is_a_runner_after_the_sync(house: House, tmp_path: Path) -> None:
    clone = shutil.copytree(pages.DOCS / "examples" / "notify", tmp_path / "notify")
    for folder in ("_runners", "reactor"):  # they are there since the quick start
        (house.files / folder).mkdir()
    house.type(printed("notification.md", "cp notify.py"), at=clone)
    sync = printed("notification.md", "salt-run saltutil.sync_runners")
    assert house.salt(*sync.split()) == ["runners.notify"]
    assert house.salt("salt-run", "notify.test") is False  # it is told to nobody yet
    assert (house.files / "reactor" / "notify.sls").is_file()
