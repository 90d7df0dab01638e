"""What of the master's configuration Salt leaves out without a word: a list in its main file, when master.d has one too."""

from __future__ import annotations

from pathlib import Path

import pytest
import salt.config

from vmdk_failover.commands import master_settings

OURS = "reactor:\n  - 'vmdk/*/*': [/srv/salt/reactor/vmdk.sls]\n"
THEIRS = "reactor:\n  - 'vmdk-state/*/*': [/srv/salt/reactor/notify.sls]\n"


def write(folder: Path, main: str, **files: str) -> dict[str, str]:
    """A master's configuration. main: what its main file says. files: of master.d, by name."""
    (folder / "master.d").mkdir()
    (folder / "master").write_text(main)
    for name, text in files.items():
        (folder / "master.d" / f"{name}.conf").write_text(text)
    return {"conf_file": str(folder / "master"), "default_include": "master.d/*.conf"}


def told(opts: dict[str, str]) -> list[str]:
    return [one.what for one in master_settings.findings(opts) if "is left out" in one.what]


def patterns(folder: Path) -> list[str]:
    """What Salt's reactor gets of it."""
    read = salt.config.master_config(str(folder / "master"))
    return [next(iter(one)) for one in read["reactor"]]


def test_a_list_that_salt_leaves_out_is_told(tmp_path: Path) -> None:
    (said,) = told(write(tmp_path, f"engines: []\n{THEIRS}", vmdk=OURS))
    assert said.startswith(
        f"reactor of {tmp_path}/master is left out, because {tmp_path}/master.d/vmdk.conf has one too"
    )
    assert patterns(tmp_path) == ["vmdk/*/*"]


def test_lists_that_salt_joins_are_not_told(tmp_path: Path) -> None:
    assert told(write(tmp_path, "# reactor: []\nuser: root\n", notify=THEIRS, vmdk=OURS)) == []
    assert patterns(tmp_path) == ["vmdk-state/*/*", "vmdk/*/*"]


@pytest.mark.parametrize("other", ["", "notify:\n  reactor: none\n", "\udcff"])
def test_what_has_no_list_or_cannot_be_read_is_not_told(tmp_path: Path, other: str) -> None:
    opts = write(tmp_path, THEIRS)
    (tmp_path / "master.d" / "other.conf").write_text(other, errors="surrogateescape")
    assert told(opts) == []


def test_without_a_file_there_is_nothing_to_tell() -> None:
    assert told({}) == []
