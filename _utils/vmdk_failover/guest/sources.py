"""What wakes the prober: one epoll over mountinfo, uevents, the kernel's log and failed requests."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vmdk_failover.guest import kernel_log
from vmdk_failover.guest.error_trace import ErrorTrace, Failure
from vmdk_failover.guest.fs_errors import SENDERS, FsErrors
from vmdk_failover.guest.kernel_log import Complaint
from vmdk_failover.guest.mounts import Line
from vmdk_failover.guest.places import boot_clock
from vmdk_failover.guest.vanishing import Vanishing

LIVE = "live"
_PAUSE_S = 0.05
_ONCE = select.EPOLLIN | select.EPOLLONESHOT
_NETLINK_UEVENT, _KERNEL_GROUP = 15, 1


class Sources:
    """
    The prober's ears. Each source has a function that is called when there is something to hear.

    :param log: told what cannot be listened to.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._epoll = select.epoll()
        self._acts: dict[int, Callable[[], None]] = {}
        self._mountinfo = self._kmsg = -1
        self._trace: ErrorTrace | None = None
        self._traced: frozenset[str] = frozenset()
        self._fs_errors: FsErrors | None = None
        self._vanishing: Vanishing | None = None
        self._marked: frozenset[int] = frozenset()
        self._deaf: dict[int, float] = {}
        #: What is listened to: ``live``, or why not.
        self.live: dict[str, str] = {}

    def listen(self, fd: int, act: Callable[[], None], events: int = select.EPOLLIN) -> None:
        """Call ``act`` whenever ``fd`` has something to say."""
        self._acts[fd] = act
        self._epoll.register(fd, events)

    def forget(self, fd: int) -> None:
        """Listen to ``fd`` no longer."""
        self._acts.pop(fd, None)
        self._epoll.unregister(fd)

    def wait(self, until: float) -> None:
        """Wait until a time of the boot clock, or for the first events; call who listens to them."""
        now = boot_clock()
        pause = min(until - now, *(again - now for again in self._deaf.values()), until - now)
        for fd, _ in self._epoll.poll(max(0.0, pause)):
            act = self._acts.get(fd)  # one that was called just now may have dropped the next
            if act is not None:
                act()
        self._hear_again(boot_clock())

    # -- mounts

    def open_mountinfo(self, path: Path, act: Callable[[], None]) -> None:
        """The kernel wakes us when anything is mounted or unmounted."""
        self._mountinfo = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.listen(self._mountinfo, act, select.EPOLLPRI)
        self.live["mountinfo"] = LIVE

    def table(self) -> bytes:
        """What is mounted now, as the kernel shows it."""
        os.lseek(self._mountinfo, 0, os.SEEK_SET)
        return b"".join(iter(lambda: os.read(self._mountinfo, 1 << 16), b""))

    # -- devices that come and go

    def open_uevents(self, hear: Callable[[frozenset[str] | None], None]) -> None:
        """``hear`` gets the names of block devices that have come, gone or changed; ``None`` if some were lost."""
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_UEVENT)
        netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        netlink.bind((0, _KERNEL_GROUP))
        netlink.setblocking(False)
        self.listen(netlink.fileno(), lambda: hear(_changed_blocks(netlink)))
        self.live["uevents"] = LIVE

    # -- the kernel's log

    def open_log(self, hear: Callable[[list[Complaint]], None]) -> None:
        """``hear`` gets what the kernel says of disks from now on."""
        try:
            self._kmsg = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._kmsg, 0, os.SEEK_END)
        except OSError as err:
            self.live["kmsg"] = f"off: {err.strerror}"
            return self._log(f"the kernel's log cannot be read, some errors are seen later: {err}")
        self.listen(self._kmsg, lambda: hear(list(self._complaints())))
        self.live["kmsg"] = LIVE

    def _complaints(self) -> Iterator[Complaint]:
        while True:
            try:
                found = kernel_log.complaint(os.read(self._kmsg, 8192).decode(errors="replace"))
            except BlockingIOError:
                return
            except BrokenPipeError:  # the log has run over us
                continue
            if found:
                yield found

    # -- what file systems and device nodes say

    def open_fs_errors(self, hear: Callable[[str, str], None]) -> None:
        """``hear`` gets mount point and error of what a file system reports as broken."""
        try:
            listener = self._fs_errors = FsErrors()
        except (OSError, AttributeError) as err:
            self.live["fanotify"] = f"off: {err}"
            return self._log(f"file systems cannot report errors, the kernel's log has to do: {err}")
        self.listen(listener.fd, lambda: _pass_on(listener, hear))
        self.live["fanotify"] = LIVE

    def open_vanishing(self, dev: Path, hear: Callable[[str], None]) -> None:
        """``hear`` gets the name of a deleted device node, ``""`` when a mounted file system has ended."""
        try:
            listener = self._vanishing = Vanishing(dev, hear)
        except (OSError, ImportError) as err:
            self.live["inotify"] = f"off: {err}"
            return self._log(
                f"the end of a file system is seen a little later, pyinotify cannot be used: {err}"
            )
        self.listen(listener.fd, listener.read)
        self.live["inotify"] = LIVE

    def follow(self, lines: Sequence[Line]) -> None:
        """Listen to what is newly mounted; a mark vanishes with its file system."""
        for line in lines:
            if line.mount_id in self._marked:
                continue
            if self._vanishing is not None:
                self._vanishing.add(line.mountpoint)
            if self._fs_errors is not None and line.fstype in SENDERS:
                try:
                    self._fs_errors.add(line.mountpoint)
                except OSError as err:
                    self.live["fanotify"] = f"off: {err}"
        self._marked = frozenset(line.mount_id for line in lines)

    # -- failed requests

    def trace(self, numbers: frozenset[str], hear: Callable[[list[Failure]], None]) -> None:
        """``hear`` gets each failed request of exactly these disks (``major:minor``)."""
        if numbers == self._traced:
            return
        self._traced = numbers
        if self._trace is not None:
            for fd in self._trace.filenos():
                self.forget(fd)
            self._trace.close()
        self._deaf.clear()
        self._trace = self._open_trace(numbers, hear) if numbers else None

    def _open_trace(
        self, numbers: frozenset[str], hear: Callable[[list[Failure]], None]
    ) -> ErrorTrace | None:
        try:
            trace = ErrorTrace(numbers)
        except (OSError, ValueError, KeyError) as err:
            self._log(f"failed requests are not traced, the kernel's log has to do: {err}")
            self.live["block_rq_error"] = f"off: {err}"
            return None
        self.live["block_rq_error"] = LIVE
        for fd in trace.filenos():
            self.listen(fd, lambda fd=fd: self._requests_failed(trace, fd, hear), _ONCE)  # type: ignore[misc]
        return trace

    def _requests_failed(self, trace: ErrorTrace, fd: int, hear: Callable[[list[Failure]], None]) -> None:
        """A disk may fail thousands of requests a second: the first is heard, the next after a pause."""
        self._deaf[fd] = boot_clock() + _PAUSE_S
        hear(trace.read(fd))

    def _hear_again(self, now: float) -> None:
        for fd in [fd for fd, until in self._deaf.items() if now >= until]:
            del self._deaf[fd]
            self._epoll.modify(fd, _ONCE)


def _changed_blocks(netlink: socket.socket) -> frozenset[str] | None:
    """Read all uevents that have come in. Returns the kernel names of block devices in them, ``None`` if some were lost."""
    found: set[str] = set()
    while True:
        try:
            event = kernel_log.uevent(netlink.recv(65536))
        except BlockingIOError:
            return frozenset(found)
        except OSError:
            return None
        if event:
            found.add(event[1])


def _pass_on(listener: FsErrors, hear: Callable[[str, str], None]) -> None:
    for mountpoint, error in listener.read():
        hear(mountpoint, error)
