"""The lab's vCenter (lab/vcenter, a Go program): build, start and stop it. Linux; root is not needed."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from lab.hypervisor_control import Control, Json, VcenterError

__all__ = ["BINARY", "Control", "Tls", "Vcenter", "VcenterError", "built"]

ROOT = Path(__file__).resolve().parent.parent
BINARY = ROOT / "build" / "bin" / "lab-vcenter"
SOURCE = ROOT / "lab" / "vcenter"

_BUILD_LIMIT = 900.0  # seconds; a cold build of the simulator takes 100 s on two cores
_START_LIMIT = 60.0
_STOP_LIMIT = 20.0


@dataclass(frozen=True)
class Tls:
    """Certificate and key of the vCenter, as PEM files."""

    cert: Path
    key: Path


def built() -> Path:
    """The program, made anew if its sources changed.

    Returns its path. Raises VcenterError with the compiler's words.
    """
    script = ROOT / "scripts" / "go.sh"
    command, place = [str(script), "--build"], ROOT
    if not script.exists():
        command, place = ["go", "build", "-o", str(BINARY), "."], SOURCE
    environment = {"GOFLAGS": "-p=2", **os.environ}
    try:
        run = subprocess.run(command, cwd=place, env=environment, capture_output=True, timeout=_BUILD_LIMIT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VcenterError(f"{command[0]} did not build the lab vCenter: {error}; run it by hand") from error
    if run.returncode:
        words = run.stderr.decode(errors="replace").strip()[-2000:]
        raise VcenterError(f"the lab vCenter does not build: {words}")
    return BINARY


class Vcenter(Control):
    """A running lab vCenter. Use it as a context manager, or call `stop`.

    It ends with this process too, and removes its files: it reads a pipe whose other end only this process holds.
    """

    def __init__(
        self,
        inventory: Mapping[str, Any],
        *,
        tls: Tls | None = None,
        hook: str | None = None,
        filler: int = 0,
        listen: str = "127.0.0.1:0",
        control: str = "127.0.0.1:0",
        log: Path | None = None,
        binary: Path | None = None,
    ) -> None:
        """Start it and wait until it listens.

        inventory: hosts, datastores, VMs and disks as in lab/vcenter/README.md. tls: without it the program
        makes a certificate that nobody trusts. hook: URL that is asked before each change. filler: number of
        further VMs. listen, control: addresses; port 0 takes a free one. log: file that its messages are
        appended to; without it they are readable by `log_text` until `stop`. binary: without it, `built()`.
        Raises VcenterError.
        """
        program = binary if binary is not None else built()
        self._place = Path(tempfile.mkdtemp(prefix="lab-vcenter-"))
        self._log = log if log is not None else self._place / "log"
        file = self._place / "inventory.json"
        file.write_text(json.dumps(inventory), encoding="utf-8")
        command = [str(program), "-with-stdin", "-scratch", str(self._place), "-inventory", str(file)]
        command += ["-listen", listen, "-control", control, "-filler", str(filler)]
        command += [] if hook is None else ["-hook", hook]
        command += [] if tls is None else ["-tlscert", str(tls.cert), "-tlskey", str(tls.key)]
        try:
            self._process = self._spawn(command)
            self._announced = self._first_line_or_end()
        except (VcenterError, OSError):
            shutil.rmtree(self._place, ignore_errors=True)
            raise
        super().__init__(str(self._announced["control"]))

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "TMPDIR": str(self._place)},  # so that nothing stays behind after a kill
            )

    def _first_line_or_end(self) -> Json:
        try:
            return self._first_line(time.monotonic() + _START_LIMIT)
        except VcenterError:
            self._end_process()
            raise

    def _first_line(self, deadline: float) -> Json:
        out, line = self._process.stdout, b""
        if out is None:
            raise VcenterError("the lab vCenter was started without a pipe for its first line")
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([out], [], [], max(0.0, deadline - time.monotonic()))
            got = os.read(out.fileno(), 4096) if ready else b""
            if not got:
                why = "ended" if ready else "said nothing in time"
                raise VcenterError(f"the lab vCenter {why} while starting: {self.log_text()[-500:].strip()}")
            line += got
        return cast(Json, json.loads(line))

    @property
    def sdk(self) -> str:
        """URL of the SOAP interface."""
        return str(self._announced["sdk"])

    @property
    def host(self) -> str:
        """Address of the SOAP interface."""
        return self._address().rsplit(":", 1)[0]

    @property
    def port(self) -> int:
        """Port of the SOAP interface."""
        return int(self._address().rsplit(":", 1)[1])

    def _address(self) -> str:
        return self.sdk.split("//")[1].split("/")[0]

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def log_text(self) -> str:
        """What it has written to its log so far: one line per task."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def __enter__(self) -> Vcenter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End it and remove its files. Calling it again does nothing."""
        self._end_process()
        shutil.rmtree(self._place, ignore_errors=True)

    def _end_process(self) -> None:
        process = self._process
        if process.stdin is not None and not process.stdin.closed:
            process.stdin.close()
        try:
            process.wait(_STOP_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_LIMIT)
        if process.stdout is not None:
            process.stdout.close()
