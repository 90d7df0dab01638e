"""
The moments of what a guest's kernel says, by the clock that its prober counts with.

The log has a clock of its own: how far it is from the boot clock is measured with a line that we write ourselves.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from vmdk_failover.guest.places import boot_clock

_TRIES, _NARROW_S = 5, 0.0005
_MARK = "bench: what time is it"


@dataclass(frozen=True)
class Mark:
    """
    A line of known origin: boot clock before and after it was written, and the log's own time (all seconds).

    What the log's clock has to be set forward by lies between ``before - logged`` and ``after - logged``.
    """

    before: float
    after: float
    logged: float

    @property
    def ahead(self) -> float:
        """Seconds to add to a time of the log."""
        return (self.before + self.after) / 2 - self.logged

    @property
    def doubt(self) -> float:
        """Seconds by which that may be wrong."""
        return (self.after - self.before) / 2


def parse(record: str) -> tuple[float, str]:
    """Time of the log (seconds) and text of one record of /dev/kmsg (``priority,number,microseconds,…;text``)."""
    head, _, text = record.partition(";")
    return int(head.split(",")[2]) / 1e6, text.partition("\n")[0]


def moment(lines: Sequence[tuple[float, str]], words: str, since: float) -> float | None:
    """When the kernel first said something with ``words`` in it, not before ``since``; None if it did not."""
    return next((at for at, text in lines if words in text and at >= since), None)


class KernelLines:
    """The kernel's log from now on."""

    def __init__(self) -> None:
        self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(self._fd, 0, os.SEEK_END)
        self.mark = Mark(0.0, 0.0, 0.0)

    def set_clock(self) -> None:
        """Measure how far the log's clock is from the boot clock; what was said before is read over."""
        marks = []
        for _ in range(_TRIES):
            self._records()
            before = boot_clock()
            _write(_MARK)
            after = boot_clock()
            marks += [Mark(before, after, at) for at, text in self._records() if text == _MARK]
            if marks and marks[-1].doubt <= _NARROW_S:
                break
        self.mark = min(marks, key=lambda one: one.doubt)

    def read(self) -> list[tuple[float, str]]:
        """What was said since: boot clock (seconds) and text."""
        return [(at + self.mark.ahead, text) for at, text in self._records()]

    def _records(self) -> list[tuple[float, str]]:
        found = []
        while True:
            try:
                found.append(parse(os.read(self._fd, 8192).decode(errors="replace")))
            except BlockingIOError:
                return found
            except BrokenPipeError:  # the log has run over us
                continue


def _write(text: str) -> None:
    """Each time by a descriptor of its own, for the kernel counts how much one writes."""
    fd = os.open("/dev/kmsg", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, f"<6>{text}".encode())
    finally:
        os.close(fd)
