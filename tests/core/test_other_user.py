"""A master that does not run as root, as those from Salt's packages: it says what belongs to somebody else, and the command."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vmdk_failover import app
from vmdk_failover.commands import examine, protect
from vmdk_failover.errors import FailoverError
from vmdk_failover.presence import echo
from vmdk_failover.store.keys import Keys

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

#: nobody: owns nothing.
UID = 65534
QUICKSTART = Path(__file__).parents[2] / "docs" / "quickstart.md"


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of root's that everybody may look into; tmp_path lies in one that nobody may."""
    with tempfile.TemporaryDirectory() as made:
        os.chmod(made, 0o755)
        yield Path(made)


@pytest.fixture(autouse=True)
def imported(tmp_path: Path) -> None:
    """Nobody may not read this Python's files: what is imported late is imported now."""
    Keys(tmp_path / "state").current("db1")
    findings(here(tmp_path))


def as_nobody(work: Callable[[], str]) -> str:
    """What ``work`` says when another user does it, or what it is refused with."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(UID)
        os.setuid(UID)
        try:
            said = work()
        except FailoverError as err:
            said = f"{err.code}: {err.reason}"
        except BaseException as err:
            said = repr(err)
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def opts(place: Path) -> dict[str, object]:
    section = {"state_dir": str(place / "state"), "resources_dir": str(place / "vmdk.d")}
    return {"vmdk": section}


def here(place: Path) -> app.App:
    return app.App(opts(place), client=None)


def findings(master: app.App) -> str:
    found = examine.doctor(master)["findings"]
    return "\n".join(f"{one['severity']} {one['code']}: {one['what']} {one['do']}" for one in found)


def test_a_secret_that_cannot_be_made_is_told_with_the_command(place: Path) -> None:
    said = as_nobody(lambda: Keys(place / "state").current("db1"))
    assert said == (
        f"journal: {place}/state/secret, from which the keys of all nodes come, cannot be made: Permission denied; "
        f"as root say 'install -d -o nobody -m 0700 {place}/state', for this master runs as nobody"
    )


def test_a_secret_of_somebody_elses_is_told_with_the_command(place: Path) -> None:
    Keys(place / "state").secret()
    said = as_nobody(lambda: Keys(place / "state").current("db1"))
    assert said.startswith(f"journal: {place}/state/secret, ") and "cannot be read: Permission denied" in said
    assert f"'chown -R nobody: {place}/state'" in said
    assert as_nobody(lambda: str(Keys(place / "state").changing)).startswith("journal: ")


def test_a_trouble_that_is_not_the_owners_is_told_without_it(place: Path) -> None:
    (place / "state").write_text("a file")
    with pytest.raises(FailoverError) as raised:
        Keys(place / "state").current("db1")
    assert raised.value.reason.endswith("Not a directory")


def test_a_resource_that_cannot_be_written_is_told_with_the_command(place: Path) -> None:
    def write() -> str:
        protect.write(here(place), "pgdata", "nodes: []\n")
        return "written"

    assert as_nobody(write) == (
        f"refused: {place}/vmdk.d/pgdata.yaml cannot be written: Permission denied; nothing was changed; "
        f"as root say 'install -d -o nobody -m 0700 {place}/vmdk.d', for this master runs as nobody"
    )
    (place / "vmdk.d").mkdir()
    assert f"'chown -R nobody: {place}/vmdk.d'" in as_nobody(write)


def test_the_doctor_tells_both_before_anything_is_made(place: Path) -> None:
    said = as_nobody(lambda: findings(here(place)))
    assert f"error state_dir: {place}/state cannot be written by nobody" in said
    assert f"warning resources_dir: {place}/vmdk.d cannot be written by nobody" in said
    assert said.count("Run 'install -d -o nobody -m 0700 ") == 2


def test_the_doctor_tells_that_no_echo_can_be_sent(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for possible in (True, False):
        monkeypatch.setattr(echo, "possible", lambda possible=possible: possible)
        assert ("error echo: root, as whom this master runs" in findings(here(place))) is not possible


def printed(folder: Path) -> Iterator[list[str]]:
    """The commands of the quick start that give the master what it needs; for nobody, and below a folder."""
    for line in re.findall(r"^# (install .*)$", QUICKSTART.read_text(encoding="utf-8"), re.M):
        words = line.replace("-o salt", f"-o {UID}").replace("-g salt", f"-g {UID}").split()
        yield [f"{folder}{word}" if word.startswith(("/etc/", "/var/")) else word for word in words]


def test_what_the_quick_start_makes_is_enough(place: Path) -> None:
    for folder in ("etc/salt/master.d", "var/lib/salt"):
        (place / folder).mkdir(parents=True)
    for command in printed(place):
        subprocess.run(command, check=True, timeout=10)
    conf = place / "etc/salt/master.d/vmdk.conf"
    conf.write_text("vmdk: {}\n")
    mine = {"state_dir": f"{place}/var/lib/salt/vmdk", "resources_dir": f"{place}/etc/salt/vmdk.d"}

    def work() -> str:
        master = app.App({"vmdk": mine}, client=None)
        protect.write(master, "pgdata", "nodes: []\n")
        return Keys(Path(mine["state_dir"])).current("db1") + conf.read_text() + findings(master)

    said = as_nobody(work)
    assert "vmdk: {}" in said and "_dir: " not in said and "Error" not in said, said
    for one in (*mine.values(), conf):
        assert os.stat(one).st_mode & 0o077 == 0
