"""A node's own shutdown: what it says, for what it waits and how long, and the unit that has it said."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from lab import linux
from lab.cell import Cell, CellSpec
from tests.core.build import active, resource, says
from tests.doubles.clock import FakeClock
from vmdk_failover import signing
from vmdk_failover.guest import doctor_services, goodbye
from vmdk_failover.model import NodeFacts, Resource

KEY = "ab" * 32
STAYS = resource()
GOES = replace(resource(), name="app", on_shutdown="switchover")
HERE = active("db1", device=True, epoch=4)
GONE = says("db1", device=False, epoch=5)


class Node:
    """What it says of its resources as time passes."""

    def __init__(self, look: Callable[[Resource, float], NodeFacts], heard: bool = True) -> None:
        self.clock, self.words, self.heard, self._look = FakeClock(), [], heard, look
        self.words: list[float]
        self.began = self.clock.monotonic()

    @property
    def passed(self) -> float:
        return self.clock.monotonic() - self.began

    def say(self) -> bool:
        self.words.append(self.passed)
        return self.heard

    def leave(self, *resources: Resource, wait: float = 90.0) -> dict[str, object]:
        bye = goodbye.Goodbye(
            resources, lambda r: self._look(r, self.passed), self.say, self.clock.monotonic, self.clock.sleep
        )
        return dict(bye.leave(wait))


def test_it_says_so_once_and_does_not_wait_for_what_stays() -> None:
    node = Node(lambda r, now: HERE)
    assert node.leave(STAYS) == {"announced": True, "left": [], "stayed": ["pgdata"]}
    assert (node.words, node.passed) == ([0.0], 0.0)


def test_it_waits_until_the_disk_has_left() -> None:
    node = Node(lambda r, now: GONE if r is GOES and now >= 3.0 else HERE)
    assert node.leave(STAYS, GOES) == {"announced": True, "left": ["app"], "stayed": ["pgdata"]}
    assert 3.0 <= node.passed < 4.0


def test_unmounted_is_not_enough() -> None:
    """The master has yet to take the disk out of the VM."""
    node = Node(lambda r, now: replace(GONE, device=now < 6.0) if now >= 3.0 else HERE)
    assert node.leave(GOES)["left"] == ["app"] and node.passed >= 6.0


def test_what_nobody_moves_is_not_waited_for() -> None:
    node = Node(lambda r, now: HERE)
    assert node.leave(GOES)["stayed"] == ["app"]
    assert goodbye.PATIENCE <= node.passed < goodbye.PATIENCE + 1


def test_what_is_being_moved_gets_all_the_time_and_no_more() -> None:
    node = Node(lambda r, now: replace(HERE, epoch=5) if now > 1 else HERE)
    assert node.leave(GOES, wait=60.0)["stayed"] == ["app"]
    assert 60.0 <= node.passed < 61.0


def test_the_word_is_said_again_and_its_loss_is_told() -> None:
    node = Node(lambda r, now: HERE, heard=False)
    assert node.leave(GOES)["announced"] is False
    assert node.words[:3] == pytest.approx([0.0, goodbye.AGAIN, 2 * goodbye.AGAIN])


def test_the_word_is_signed_for_this_purpose_alone() -> None:
    word = goodbye.word("db1", KEY)
    assert signing.check_heartbeat(lambda minion: KEY, word, signing.LEAVING)["minion"] == "db1"
    with pytest.raises(signing.BadSignature):
        signing.check_heartbeat(lambda minion: KEY, word)


def test_the_unit_is_ordered_after_what_is_to_run_until_then() -> None:
    names = [
        "postgresql@15-main",
        "nfs.socket",
        "app.d",
        "postgresql@15-main",
        "two words",
        "a\nExecStop=b",
        "",
    ]
    text = goodbye.unit("/bin/true", "/etc/salt", 90.0, names)
    (after,) = (
        line.removeprefix("After=").split() for line in text.splitlines() if line.startswith("After=")
    )
    assert after == [*goodbye.NEEDED, "postgresql@15-main.service", "nfs.socket", "app.d.service"]
    assert text.count("ExecStop=") == 1


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    text = goodbye.unit("/bin/true", "/etc/salt", 90.0, ["postgresql@15-main"])
    assert "TimeoutStopSec=120" in text and "vmdk.leaving wait=90" in text
    path = tmp_path / "vmdk-shutdown.service"
    path.write_text(text, encoding="utf-8")
    analyze = shutil.which("systemd-analyze")
    assert analyze, SYSTEMD_IS_MISSING
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    said = [line for line in done.stderr.splitlines() if path.name in line]
    assert said == []


# -- by a real systemd: a manager of a user's services is the same program, with the same order of stops


CELL = "/run/lab"
#: Ours, and the targets of systemd itself; nothing that somebody has enabled on this machine.
UNIT_PATH = f"SYSTEMD_UNIT_PATH={CELL}/units:/usr/lib/systemd/user"
SYSTEMD_IS_MISSING = "systemd is missing; scripts/system-packages.sh installs it"
UNITS = {
    # what a boot starts; in a user's manager default.target stands where multi-user.target does
    "default.target": "[Unit]\nWants=vmdk-shutdown.service ledger@1.service\n",
    "ledger@.service": f"""[Service]
ExecStart=/bin/sleep infinity
ExecStop=/bin/sh -c 'echo the service stops >> {CELL}/told'
""",
    # the unit itself is the product's, to the letter; of the machine it asks the manager that it runs under
    "vmdk-shutdown.service.d/asked.conf": f"[Service]\nEnvironment=PATH={CELL}/bin:/usr/bin:/bin\n",
}
PROGRAMS = {
    "systemctl": 'exec /usr/bin/systemctl --user "$@"',
    # announces for two seconds, unless the service stops meanwhile: then it need not go on
    "salt-call": f"""echo "told: $*" >> {CELL}/told
for _ in $(seq 20); do grep -q 'the service stops' {CELL}/told && break; sleep 0.1; done
echo "told: $(systemctl is-active ledger@1) until it has left" >> {CELL}/told""",
}
#: A user's manager wants to be where systemd is the init, and a control group of its own, which is all of the tree to it.
MANAGER = """set -e
mkdir -p /run/systemd/system {cell}/user {cell}/home
mount -t cgroup2 cgroup2 /mnt
echo $$ > /mnt{group}/cgroup.procs
umount /mnt
mount -t tmpfs tmpfs /sys/fs/cgroup   # the kernel does not mount a tree of groups on itself
exec unshare --cgroup sh -c 'mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec {systemd} --user --log-target=console'
"""


class Manager:
    """A systemd with the unit and a service of the resource, in a cell."""

    def __init__(self, cell: Cell, group: str) -> None:
        self.cell = cell
        self._told = cell.spec.directory / "told"
        systemd = next(filter(os.path.exists, ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")), "")
        assert systemd, SYSTEMD_IS_MISSING
        self._env = [f"XDG_RUNTIME_DIR={CELL}/user", f"HOME={CELL}/home", UNIT_PATH]
        self._log = os.open(cell.spec.directory / "log", os.O_WRONLY | os.O_CREAT)
        script = MANAGER.format(cell=CELL, group=group, systemd=systemd)
        self.program = cell.start(["env", *self._env, "sh", "-c", script], self._log, self._log)
        assert linux.wait_until(self._has_started, 30.0), self.log()

    def _has_started(self) -> bool:
        return (
            self.systemctl("is-system-running") in ("running", "degraded") and self.active() == ["active"] * 2
        )

    def active(self) -> list[str]:
        """The unit's state, and the service's."""
        return self.systemctl("is-active", "vmdk-shutdown", "ledger@1").split()

    def systemctl(self, *words: str) -> str:
        return self.cell.run(["env", *self._env, "systemctl", "--user", *words], 60.0).out.strip()

    def told(self) -> list[str]:
        return self._told.read_text(encoding="utf-8").splitlines() if self._told.exists() else []

    def log(self) -> str:
        return (self.cell.spec.directory / "log").read_text(encoding="utf-8")

    def close(self) -> None:
        os.close(self._log)


@pytest.fixture
def group(run_dir: Path) -> Iterator[str]:
    """A control group below our own, by its path; it is taken away with all that was made in it."""
    tree = run_dir / "cgroup"
    tree.mkdir()
    linux.mount("cgroup2", str(tree), "cgroup2")
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        ours = next(line.removeprefix("0::") for line in lines if line.startswith("0::"))
        path = f"{ours.rstrip('/')}/{run_dir.name}"
        (tree / path[1:]).mkdir()
        yield path
        for directory, _, _ in os.walk(tree / path[1:], topdown=False):
            assert linux.wait_until(lambda place=directory: _is_gone(place), 10.0), f"{directory} is left"
    finally:
        linux.umount(str(tree), linux.MNT_DETACH)


def _is_gone(directory: str) -> bool:
    """Take a group away; it is busy until the last of its processes is buried."""
    with suppress(OSError):
        os.rmdir(directory)
    return not os.path.exists(directory)


@pytest.fixture
def manager(run_dir: Path, group: str) -> Iterator[Manager]:
    directory = run_dir / "db1"
    unit = goodbye.unit(f"{CELL}/bin/salt-call", "/etc/salt", 5.0, ["ledger@1"])
    for name, text in {**UNITS, "vmdk-shutdown.service": unit}.items():
        path = directory / "units" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (directory / "bin").mkdir()
    for name, body in PROGRAMS.items():
        _program(directory / "bin" / name, body)
    cell = Cell(CellSpec("db1", directory, hidden=(run_dir,)))
    try:
        made = Manager(cell, group)
        yield made
        made.close()
    finally:
        cell.kill()
        assert cell.wait_end(10.0), cell.processes()


def test_a_shutdown_is_announced_before_the_services_stop(manager: Manager) -> None:
    manager.systemctl("exit")
    manager.program.wait(30.0)
    assert manager.told() == [
        "told: -c /etc/salt vmdk.leaving wait=5",
        "told: active until it has left",
        "the service stops",
    ], manager.log()


def test_a_stop_of_the_unit_alone_is_no_shutdown(manager: Manager) -> None:
    assert "ledger@1.service" in manager.systemctl("show", "--property=After", "vmdk-shutdown")
    manager.systemctl("stop", "vmdk-shutdown")
    assert manager.active() == ["inactive", "active"]
    assert manager.told() == []


@pytest.mark.parametrize(("state", "announced"), [("stopping", True), ("running", False)])
def test_only_a_shutdown_is_announced(tmp_path: Path, state: str, announced: bool) -> None:
    """The unit's command as systemd runs it: a shell, with what systemctl says of the machine."""
    called = tmp_path / "called"
    call = _program(tmp_path / "salt-call", f'echo "$@" > {called}')
    _program(tmp_path / "systemctl", f"echo {state}; exit 1")
    unit = goodbye.unit(str(call), "/etc/salt", 90.0)
    line = next(one for one in unit.splitlines() if one.startswith("ExecStop="))
    path = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(
        ["sh", "-c", line.removeprefix("ExecStop=")], env={"PATH": path}, timeout=60, check=False
    )
    assert done.returncode == 0
    assert called.exists() is announced
    if announced:
        assert called.read_text(encoding="utf-8") == "-c /etc/salt vmdk.leaving wait=90\n"


def _program(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("names", "known", "told"), [(["app"], False, 1), (["app"], True, 0), ([], False, 0)], ids=str
)
def test_the_doctor_misses_the_unit_where_it_is_needed(names: list[str], known: bool, told: int) -> None:
    asked = {"service.available": lambda name: name == "vmdk-shutdown" and known}
    found = list(doctor_services.farewell(names, [], asked))
    assert len(found) == told
    assert all(one[0] == "warning" and "app" in one[1] and "vmdk.shutdown_unit" in one[2] for one in found)


def test_what_the_init_system_does_not_answer_is_not_spoken_of() -> None:
    assert list(doctor_services.farewell(["app"], ["ledger"], {})) == []


def test_the_doctor_tells_a_unit_that_is_older_than_a_service() -> None:
    """By what systemd itself shows of the unit, in the form that Salt gives it."""
    asked = {
        "service.available": lambda name: True,
        "service.show": lambda name: {"After": ["a.service", "basic.target"]},
    }
    assert list(doctor_services.farewell([], ["a", "a.service"], asked)) == []
    ((severity, what, do),) = doctor_services.farewell([], ["a", "b@1", "c"], asked)
    assert (
        severity == "warning" and "stop b@1.service, c.service before" in what and "vmdk.shutdown_unit" in do
    )
