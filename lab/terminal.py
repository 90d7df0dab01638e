"""An operator's terminal on the lab's master that stays open: runner functions without the second that `salt-run` needs.

Run by Terminal inside the master's cell as `python -m lab.terminal DIRECTORY`, with a socket for its standard output: a line
with a function and its arguments comes, a line with the answer or the error goes.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab.cell import LabError
from lab.saltlab import Master

_LIMIT = 60.0


class Terminal:
    """Calls runner functions of a master; opens anew when the master was killed. Use `close` at the end."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self._line: socket.socket | None = None

    def run(self, function: str, *arguments: Any) -> Any:
        """The answer of a runner function, as data. Raises LabError when it fails or is cut off."""
        request = json.dumps([function, *arguments]).encode() + b"\n"
        try:
            return self._answer(self._opened(), request)
        except OSError as problem:
            self.close()
            raise LabError(f"{function} was cut off: {problem}") from problem

    def _opened(self) -> socket.socket:
        if self._line is None:
            self._line, theirs = socket.socketpair()
            with theirs:
                argv = [sys.executable, "-m", "lab.terminal", str(self._master.root)]
                self._master.cell.start(argv, theirs.fileno())
            self._line.settimeout(_LIMIT)
        return self._line

    def _answer(self, line: socket.socket, request: bytes) -> Any:
        line.sendall(request)
        text = b""
        while not text.endswith(b"\n"):
            piece = line.recv(1 << 16)
            if not piece:
                raise ConnectionResetError("the terminal has ended")
            text += piece
        said = json.loads(text)
        if "error" in said:
            raise LabError(str(said["error"]))
        return said["answer"]

    def close(self) -> None:
        """End it."""
        if self._line is not None:
            self._line.close()
            self._line = None


def _said(runner: Any, words: list[Any]) -> dict[str, Any]:
    try:
        return {"answer": runner.cmd(words[0], words[1:], print_event=False)}
    except Exception as problem:
        return {"error": f"{words[0]}: {problem}"}


def main() -> None:
    """Answer until nobody listens any more."""
    import salt.config
    import salt.runner

    with socket.socket(fileno=os.dup(1)) as line, suppress(BrokenPipeError):
        os.dup2(2, 1)  # what functions print is not for the other end
        runner = salt.runner.RunnerClient(salt.config.master_config(str(Path(sys.argv[1]) / "master")))
        with line.makefile("r", encoding="utf-8") as requests:
            for request in requests:
                line.sendall(json.dumps(_said(runner, json.loads(request)), default=str).encode() + b"\n")


if __name__ == "__main__":
    main()
