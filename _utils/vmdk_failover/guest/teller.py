"""
The node's engine: tells the master at once what the prober says, also while the minion's main loop is busy.

Everything goes over one request channel that is kept. What could not be told is told again: the master may be away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from vmdk_failover.guest import complaint, heartbeat
from vmdk_failover.guest.duty import Substitute
from vmdk_failover.guest.heartbeat import Pulse
from vmdk_failover.guest.watch import Watch


class Line(Protocol):
    """A connection to the master. Each method raises whatever its transport raises, within some seconds."""

    def send(self, tag: str, data: Mapping[str, Any]) -> None:
        """Put an event on the master's bus."""

    def pillar(self) -> Mapping[str, Any]:
        """This node's pillar as the master makes it now."""

    def close(self) -> None:
        """Hang up."""


@dataclass
class Teller:
    """
    The engine.

    :param opts: the minion's options.
    :param connect: opens a line; raises as a line does.
    :param is_enrolled: whether the minion has met its master. A line that opens before makes a second key, and the minion is
        locked out for good.
    :param complaints: what this node says of disks that it cannot use.
    :param warn: told a sentence when the master cannot be reached, once until it can.
    """

    opts: dict[str, Any]
    watch: Watch
    pulse: Pulse
    substitute: Substitute
    connect: Callable[[], Line]
    is_enrolled: Callable[[], bool]
    warn: Callable[[str], None]
    complaints: complaint.Complaints
    _line: Line | None = None
    _silent: bool = False
    _left: list[dict[str, Any]] = field(default_factory=list)

    def turn(self) -> None:
        """Wait for the prober's next word, at most until the next heartbeat, and tell what there is to tell."""
        self._left = self.watch.wait(self.pulse.left(), self.substitute.resources())
        if self.is_enrolled():
            try:
                self._tell()
                self._silent = False
            except Exception as err:  # Salt's channel raises its own, tornado's and zmq's errors
                self._hang_up(err)
        for report in self._left:
            self.watch.untold(report)

    def _tell(self) -> None:
        beat, asks = self.pulse.due(self.opts), self.substitute.wants_pillar()
        renamed = self.pulse.renamed()
        failing = self.complaints.due(str(self.opts["id"]), self.pulse.key)
        if not (self._left or beat or asks or renamed or failing):
            return
        line = self._line = self._line or self.connect()
        while self._left:
            report = self._left[0]
            line.send(f"vmdk/{report['resource']}/{report['condition']}", report)
            del self._left[0]
        if beat:
            line.send(f"{heartbeat.TAG}{self.opts['id']}", beat)
            self.pulse.sent()
        if renamed:
            line.send(f"{heartbeat.RENAMED_TAG}{renamed['minion']}", renamed)
        for word in failing:
            line.send(f"{complaint.TAG}{word['minion']}", word)
        if asks:
            self.substitute.take(line.pillar())

    def _hang_up(self, err: Exception) -> None:
        if self._left or not self._silent:
            self.warn(f"vmdk: the master could not be told ({type(err).__name__}: {err}); it is tried again")
        self._silent = True
        line, self._line = self._line, None
        if line is not None:
            line.close()
