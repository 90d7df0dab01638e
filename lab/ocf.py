"""Calls the monitor of an OCF resource agent as a cluster's executor does: environment, timeout, signals, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lab.cell import LabError

ROOT = Path("/usr/lib/ocf")
FILE_SYSTEM = ROOT / "resource.d/heartbeat/Filesystem"
PACKAGES = "resource-agents and psmisc"
#: The agent's own defaults, in seconds; a monitor begins so long after the end of the one before.
INTERVAL_S, TIMEOUT_S = 20.0, 40.0
LEVELS = (0, 10, 20)
_TERM_S = 0.5
_WRONG_CALL = {2: "arguments", 3: "unimplemented", 4: "permission", 5: "not installed", 6: "configured"}


@dataclass(frozen=True)
class Answer:
    """One monitor. code: its exit code; None when it was killed at the timeout. seconds: how long it took."""

    code: int | None
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether a cluster would call the resource failed."""
        return self.code != 0


@dataclass
class Monitor:
    """The monitor of one file system at one level. stuck: killed processes that have not gone; the disk holds them."""

    name: str
    device: str
    mountpoint: str
    fstype: str
    level: int
    agent: Path = FILE_SYSTEM
    timeout: float = TIMEOUT_S
    stuck: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        """What the executor gives to the agent."""
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "OCF_ROOT": str(ROOT),
            "OCF_RA_VERSION_MAJOR": "1",
            "OCF_RA_VERSION_MINOR": "1",
            "OCF_RESOURCE_TYPE": self.agent.name,
            "OCF_RESOURCE_PROVIDER": "heartbeat",
            "OCF_RESOURCE_INSTANCE": f"{self.name}-{self.level}",
            "OCF_CHECK_LEVEL": str(self.level),
            "OCF_RESKEY_device": self.device,
            "OCF_RESKEY_directory": self.mountpoint,
            "OCF_RESKEY_fstype": self.fstype,
            "OCF_RESKEY_CRM_meta_timeout": str(round(self.timeout * 1000)),
            "OCF_RESKEY_CRM_meta_interval": str(round(INTERVAL_S * 1000)),
        }

    def once(self) -> Answer:
        """Run it once. Raises LabError when the agent cannot be called like this."""
        began = time.monotonic()
        try:
            process = self._start()
        except OSError as problem:
            raise LabError(f"{self.agent} cannot be started: {problem}; install {PACKAGES}") from problem
        try:
            code: int | None = process.wait(self.timeout)
        except subprocess.TimeoutExpired:
            code = None
        took = time.monotonic() - began
        if code is None:
            self._kill(process)
        elif code in _WRONG_CALL:
            raise LabError(f"{self.agent} answers {code} ({_WRONG_CALL[code]}); install {PACKAGES}")
        return Answer(code, took)

    def _start(self) -> subprocess.Popen[bytes]:
        nowhere = subprocess.DEVNULL
        return subprocess.Popen(
            [str(self.agent), "monitor"],
            env=self.environment(),
            cwd="/",
            stdin=nowhere,
            stdout=nowhere,
            stderr=nowhere,
            start_new_session=True,
        )

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        """End it and its children, and never wait for one that is stuck in the kernel."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_TERM_S)
        if process.poll() is None:
            self.stuck.append(process)

    def bury(self, seconds: float = 10.0) -> None:
        """Wait for the killed ones; call it when the disk has let go of them."""
        for process in self.stuck:
            process.wait(seconds)
        self.stuck.clear()


def detect(
    once: Callable[[], Answer],
    struck: float,
    phase: float,
    give_up: float,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> float | None:
    """Run a recurring monitor until it fails. Returns the seconds from the fault to the failure.

    struck: when the fault came. phase: seconds from then to the next monitor, 0 to INTERVAL_S. give_up: seconds after
    the fault from which none is begun and no failure counts; then the answer is None.
    """
    begin = struck + phase
    while begin - struck < give_up:
        sleep(max(0.0, begin - clock()))
        answer = once()
        if answer.failed:
            took = clock() - struck if answer.code is not None else begin - struck + answer.seconds
            return took if took <= give_up else None
        begin = clock() + INTERVAL_S
    return None
