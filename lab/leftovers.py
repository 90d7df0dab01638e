"""Directories of running labs, and what labs that were killed have left: given back at the next start.

A lab's directory is empty but for one file for everybody outside its namespaces; who holds the lock on that file lives.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lab import linux, loop

PLACE = Path("/tmp")  # not TMPDIR: names of sockets must stay short
PREFIX = "vmdk-lab-"
CARD = "lab.json"
_END_LIMIT = 5.0


@contextmanager
def run_directory() -> Iterator[Path]:
    """A directory in memory for one lab, gone when the lab ends. Enter it inside the lab's namespaces."""
    path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=PLACE))
    with open(path / CARD, "w", encoding="utf-8") as card:
        fcntl.flock(card, fcntl.LOCK_EX)
        json.dump({"pid": os.getpid()}, card)
        card.flush()
        linux.mount("tmpfs", str(path), "tmpfs", linux.MS_NOSUID, "mode=755,size=4g")
        try:
            yield path
        finally:
            linux.umount(str(path), linux.MNT_DETACH)
            (path / CARD).unlink()
            path.rmdir()


def _alive(directory: Path) -> bool:
    """Whether the lab of a directory still runs."""
    try:
        with open(directory / CARD, encoding="utf-8") as card:
            fcntl.flock(card, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def running() -> dict[Path, int]:
    """The directories of running labs, with the process of each."""
    found = {}
    for directory in PLACE.glob(f"{PREFIX}*"):
        with suppress(OSError, ValueError, KeyError):
            if _alive(directory):
                found[directory] = int(json.loads((directory / CARD).read_text(encoding="utf-8"))["pid"])
    return found


def _words(pid: str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    except OSError:
        return []


def cells(owner: int) -> dict[str, int]:
    """The cells of a lab that runs, by their names, with process 1 of each. owner: the process of the lab."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError, ValueError, IndexError, KeyError):
            words = _words(pid)
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
            if "lab.cellinit" in words and int(fields[1]) == owner:
                name = json.loads(words[words.index("lab.cellinit") + 1])["hostname"]
                found[name] = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    return found


def _processes_of(directory: Path) -> list[int]:
    """Processes of the lab's own programs that were started for `directory`."""
    return [
        int(pid)
        for pid in os.listdir("/proc")
        if pid.isdigit() and (words := _words(pid)) and _is_ours(words) and str(directory) in " ".join(words)
    ]


def _is_ours(words: list[str]) -> bool:
    return words[0].endswith(("/lab-vcenter", "qemu-system-x86_64")) or any(
        word in ("lab.cellinit", "lab.diskhost") for word in words
    )


def _kill(directory: Path) -> int:
    """End what is left of a dead lab's processes; process 1 of a cell takes the rest of it along."""
    pids = _processes_of(directory)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    linux.wait_until(lambda: not _processes_of(directory), _END_LIMIT)
    return len(pids)


def _clear_loops(directory: Path) -> int:
    """Free the loop devices of a dead lab. Its disk servers are gone, so no device can hang."""
    mine = [number for number, mark in loop.ours() if mark.startswith(f"{directory.name}:")]
    for number in mine:
        with suppress(OSError):
            loop.clear(number)
    linux.wait_until(lambda: not any(loop.is_configured(f"loop{number}") for number in mine), _END_LIMIT)
    return len(mine)


def _remove(directory: Path) -> None:
    with suppress(OSError):
        linux.umount(str(directory), linux.MNT_DETACH)
    with suppress(FileNotFoundError):
        (directory / CARD).unlink()
    with suppress(OSError):  # somebody has put files there: not ours to delete
        directory.rmdir()


def give_back() -> list[str]:
    """Give back what dead labs have left. Returns a sentence for each lab."""
    sentences = []
    for directory in sorted(PLACE.glob(f"{PREFIX}*")):
        if not (directory / CARD).exists() or _alive(directory):
            continue
        killed, cleared = _kill(directory), _clear_loops(directory)
        _remove(directory)
        sentences.append(
            f"{directory}: a lab was killed here; ended {killed} processes, freed {cleared} loop devices"
        )
    return sentences
