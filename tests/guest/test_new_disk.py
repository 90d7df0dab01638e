"""The lines of docs/quickstart.md that put a file system on a new disk, typed as they are printed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import linux, loop
from tests.packaging import pages
from vmdk_failover.guest import survey

BYTES = 512 * 2**20  # mkfs.xfs makes none below 300 MB


def printed() -> list[list[str]]:
    """The block that begins with lsblk, as words."""
    blocks = pages.fences((pages.DOCS / "quickstart.md").read_text(encoding="utf-8"), "console")
    (block,) = [one for one in blocks if "lsblk" in one]
    return [shlex.split(line) for line in re.findall(r"^# (.*)$", block, re.M)]


@pytest.fixture
def new_disk(run_dir: Path) -> Iterator[str]:
    """A disk with nothing on it. It goes when nobody has it open."""
    with (run_dir / "disk").open("w+b") as file:
        file.truncate(BYTES)
        made = loop.create(file.fileno(), "new-disk", direct_io=False)
        try:
            yield made.path
        finally:
            os.close(made.fd)


def test_a_new_disk_is_found_formatted_and_mounted_as_printed(run_dir: Path, new_disk: str) -> None:
    place = str(run_dir / "srv/pgdata")
    names = {"/dev/sdb": new_disk, "/srv/pgdata": place}
    said = {}
    try:
        for words in printed():
            typed = [names.get(word, word) for word in words]
            done = subprocess.run(typed, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, (typed, done.stderr)
            said[words[0]] = done.stdout
        found = survey.survey(place)
    finally:
        if os.path.ismount(place):
            linux.umount(place, linux.MNT_DETACH)
    assert list(said) == ["lsblk", "mkfs.xfs", "mkdir", "mount"]
    rows = [line.split() for line in said["lsblk"].splitlines()]
    assert rows[0] == ["NAME", "SIZE", "HCTL"] and [os.path.basename(new_disk), "512M"] in rows
    assert (found.mounted, found.fstype, bool(found.fs_uuid)) == (True, "xfs", True)
