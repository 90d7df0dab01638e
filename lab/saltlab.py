"""The Salt of the lab: a master in its own cell, the minions' files in the nodes, and ways to call both."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from lab import saltconf
from lab.cell import Cell, CellSpec, Command, Done, LabError, Program
from lab.events import Tap
from lab.linux import wait_until
from lab.node import Identity, Node

_MASTER_LIMIT = 120.0
_PROGRAMS = Path(sys.executable).parent


def program(name: str) -> str:
    """The path of one of Salt's programs, beside this Python. Raises LabError."""
    path = _PROGRAMS / name
    if not path.exists():
        raise LabError(f"{path} is missing; run `scripts/setup.sh` and use build/venv/bin/python")
    return str(path)


def prepare_minion(
    directory: Path, identity: Identity, overrides: Mapping[str, Any], synced: bool = True
) -> Command:
    """Write the files of a node's minion below the node's directory. Returns how it is started at boot."""
    root = directory / "salt"
    saltconf.place_files(root / "extmods", saltconf.ON_MINIONS if synced else ())
    saltconf.write_conf(root, "minion", saltconf.merged(saltconf.minion_conf(identity), overrides))
    argv = (sys.executable, program("salt-minion"), "-c", saltconf.MINION_ROOT, "-l", "quiet")
    return Command(argv, f"{saltconf.MINION_ROOT}/console.log")


class Master:
    """A running salt-master. run_dir: the lab's. Use it as a context manager; leave it and all of it is gone."""

    def __init__(self, run_dir: Path, overrides: Mapping[str, Any], synced: bool = True) -> None:
        self.root = run_dir / "m" / "salt"
        self._run_dir, self._overrides, self._synced = run_dir, overrides, synced
        self._lock = threading.Lock()

    def __enter__(self) -> Master:
        saltconf.place_files(self.root / "extmods", saltconf.ON_MASTER if self._synced else ())
        for name in ("pillar", "vmdk.d"):
            (self.root / name).mkdir(parents=True)
        conf = saltconf.master_conf(self.root, saltconf.make_file_root(self._run_dir / "files"))
        saltconf.write_conf(self.root, "master", saltconf.merged(conf, self._overrides))
        self._start()
        return self

    def _start(self) -> None:
        argv = (sys.executable, program("salt-master"), "-c", str(self.root), "-l", "quiet")
        boot = Command(argv, str(self.root / "console.log"))
        directory = self._run_dir / "m"
        self.cell = Cell(CellSpec("labmaster", directory, writable=(self._run_dir,), boot=(boot,)))
        self.cell.boot()
        self._stack = ExitStack()
        self.opts = self._load_opts()
        self.events = self._stack.enter_context(Tap(self.opts))

    def _load_opts(self) -> dict[str, Any]:
        import salt.config

        opts: dict[str, Any] = salt.config.client_config(str(self.root / "master"))
        return opts

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stack.close()
        self.cell.kill()
        self.cell.wait_end(10)

    def restart(self) -> None:
        """Kill the master as it stands (kill -9 of all of it) and start it anew. Its recorded events are kept apart."""
        self.__exit__(None)
        self._start()
        self.wait_up()

    def wait_up(self) -> None:
        """Wait until its event bus is there. Raises LabError."""
        if not self.events.wait_connected(_MASTER_LIMIT):
            raise LabError(f"the master did not start within {_MASTER_LIMIT:.0f} s: {self.log_tail()}")

    def log_tail(self) -> str:
        """The end of what it wrote."""
        files = [self.root / "console.log", self.root / "master.log"]
        return " | ".join(path.read_text(errors="replace")[-1500:] for path in files if path.exists())

    def wait_minions(self, names: Sequence[str], seconds: float, since: float = 0.0) -> None:
        """Wait until the minions `names` have signed in (after moment `since`). Raises LabError that names the missing."""
        missing = set(names)

        def all_there() -> bool:
            found = {one.tag.split("/")[2] for one in self.events.seen("salt/minion/*/start", since)}
            missing.difference_update(found)
            return not missing

        if not wait_until(all_there, seconds, 0.05):
            raise LabError(
                f"not connected to the master within {seconds:.0f} s: {sorted(missing)}; see their minion.log"
            )

    # -- calls

    def command(self, name: str, *arguments: str, seconds: float = 60.0) -> Done:
        """Run one of Salt's programs beside the master."""
        return self.cell.run([sys.executable, program(name), "-c", str(self.root), *arguments], seconds)

    def start(self, name: str, *arguments: str) -> Program:
        """Start one of Salt's programs beside the master and do not wait for it."""
        return self.cell.start([sys.executable, program(name), "-c", str(self.root), *arguments])

    def run(self, *arguments: str, seconds: float = 60.0) -> Any:
        """`salt-run`, its answer as data. Raises LabError when it fails or does not answer in time."""
        return _answer("salt-run", self.command("salt-run", "--out=json", *arguments, seconds=seconds))

    def local(self, target: str, function: str, *arguments: Any, seconds: float = 10.0, **named: Any) -> Any:
        """Call a function on one minion. Returns its answer; None when there was none in time."""
        import salt.client

        with self._lock, salt.client.LocalClient(mopts=self.opts) as client:
            found = client.cmd(target, function, arguments, timeout=seconds, kwarg=named, full_return=True)
        answer = found.get(target)
        if not isinstance(answer, Mapping) or answer.get("out") == "no_return":
            return None
        return answer.get("ret")

    def send(self, target: str, function: str, *arguments: Any) -> str:
        """Have one minion call a function and do not wait for it. Returns the number of the job."""
        import salt.client

        with self._lock, salt.client.LocalClient(mopts=self.opts) as client:
            return str(client.cmd_async(target, function, arguments))


def salt_call(node: Node, *arguments: str, seconds: float = 60.0) -> Any:
    """`salt-call` on a node, its answer as data. Raises LabError."""
    argv = [sys.executable, program("salt-call"), "-c", saltconf.MINION_ROOT, "--out=json", *arguments]
    answer = _answer("salt-call", node.run(argv, seconds))
    return answer["local"] if isinstance(answer, Mapping) and "local" in answer else answer


def _answer(name: str, done: Done) -> Any:
    start = min((at for at in map(done.out.find, '{["') if at >= 0), default=-1)
    text = done.out[start:] if start >= 0 else done.out.strip()
    try:
        return json.loads(text)
    except ValueError:
        raise LabError(
            f"{name} ended with {done.code} and no data: {(done.err or done.out).strip()[-1500:]}"
        ) from None
