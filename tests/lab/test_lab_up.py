"""`python -m lab up`: a lab that stays, and every command that it prints, typed as it is printed."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab.faultdisk import ROOT

pytestmark = pytest.mark.timeout(180)
LIMIT = 120.0


@dataclass
class Up:
    """A lab that stays. commands: what it prints, but for the words that tell what each is for."""

    directory: str
    commands: list[list[str]]

    def typed(self, word: str, *more: str) -> subprocess.CompletedProcess[str]:
        """Type the one command that has this word."""
        (command,) = (one for one in self.commands if word in one)
        return subprocess.run([*command, *more], capture_output=True, text=True, cwd=ROOT, timeout=LIMIT)


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    words = [sys.executable, "-m", "lab", "up"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        late = threading.Timer(LIMIT, process.terminate)
        late.start()
        try:
            assert process.stdout is not None
            head = process.stdout.readline()
            lines = [process.stdout.readline().strip() for _ in range(7)]
            late.cancel()
            found = re.match(r"The lab is up \((\S+)\)", head)
            assert found, head + "".join(lines)
            yield Up(found[1], [shlex.split(re.split(r" {2,}", line)[0]) for line in lines])
        finally:
            late.cancel()
            process.terminate()


def test_the_masters_commands_are_those_of_the_manual(up: Up) -> None:
    said = up.typed("salt-run")
    assert said.returncode == 0 and said.stdout.startswith("All is well: 1 resource, protected."), said
    minions = up.typed("test.ping", "--out=json", "--static")
    assert json.loads(minions.stdout) == {"labdb1": True, "labdb2": True}


def test_what_the_quick_start_does_can_be_done_with_it(up: Up) -> None:
    """It is protected as a person does it; so it can be taken out, and protected again."""
    (shell,) = (one for one in up.commands if one[-1] == up.directory)

    def salt_run(*words: str) -> str:
        done = subprocess.run(
            [*shell, "salt-run", *words], capture_output=True, text=True, cwd=ROOT, timeout=LIMIT
        )
        assert done.returncode == 0, done
        return done.stdout

    assert "not protected any more" in salt_run("vmdk.unprotect", "pgdata")
    again = salt_run("vmdk.protect", "pgdata", "node=labdb1", "mountpoint=/srv/pgdata", "backups=labdb2")
    assert again.startswith("pgdata: protected")


def test_it_is_the_masters_own_boot_and_not_the_machines(up: Up) -> None:
    """What is dated by the boot of the master is wrong when it is read under another one."""
    (shell,) = (one for one in up.commands if one[-1] == up.directory)
    where = ["cat", "/proc/sys/kernel/random/boot_id", "/etc/hostname"]
    asked = [*shell, *where], [*shell, "--node", "labdb2", *where]
    here, node, machine = (
        subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True).stdout.split()
        for words in (*asked, where)
    )
    assert (here[1], node[1]) == ("labmaster", "labdb2")
    assert len({here[0], node[0], machine[0]}) == 3


def test_a_nodes_commands_are_those_of_the_manual(up: Up) -> None:
    assert "pgdata: all is well." in up.typed("salt-call").stdout


def test_a_node_that_is_not_there_is_told_with_those_that_are(up: Up) -> None:
    (shell,) = (one for one in up.commands if one[-1] == up.directory)
    done = subprocess.run([*shell, "--node", "db7", "true"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and "there are labdb1, labdb2, labmaster" in done.stderr


def test_what_the_vcenter_shows_and_how_the_disk_is_broken(up: Up) -> None:
    assert "labdb1-vm" in up.typed("curl").stdout
    assert up.typed("lab.faultdisk").returncode == 0


def test_a_vm_is_powered_off_in_the_vcenter_and_on_again(up: Up) -> None:
    """As the quick start does it. Of the node that has no disk here: what follows of the other one is tried elsewhere."""
    (command,) = (one for one in up.commands if "lab.power" in one)
    assert command[-2:] == ["labdb1", "off"]
    for power in ("off", "on"):
        words = [*command[:-2], "labdb2", power]
        said = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=LIMIT)
        assert (said.returncode, said.stdout) == (0, f"labdb2-vm is {power}\n"), said
        vms = json.loads(up.typed("curl").stdout)["vms"]
        assert [one["power"] for one in vms if one["name"] == "labdb2-vm"] == [f"powered{power.capitalize()}"]


def test_a_lab_that_does_not_run_is_told() -> None:
    words = [sys.executable, "-m", "lab", "enter", "--lab", "/tmp/vmdk-lab-none", "true"]
    said = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=LIMIT)
    assert said.returncode == 2 and "the lab /tmp/vmdk-lab-none does not run; start one" in said.stderr
