"""What wakes the prober: one epoll over mountinfo, uevents, the kernel's log and failed requests."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from vmdk_failover.guest import kernel_log
from vmdk_failover.guest.error_trace import ErrorTrace, Failure
from vmdk_failover.guest.fs_errors import SENDERS, FsErrors
from vmdk_failover.guest.kernel_log import Complaint
from vmdk_failover.guest.mounts import Line
from vmdk_failover.guest.places import boot_clock
from vmdk_failover.guest.vanishing import Vanishing
from vmdk_failover.model import Mount

LIVE = "live"
Said = TypeVar("Said")
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

    def note(self, source: str, missing: str) -> None:
        """Say that a source is live, or why it is not."""
        self.live[source] = f"off: {missing}" if missing else LIVE

    def listen(self, fd: int, act: Callable[[], None], events: int = select.EPOLLIN) -> None:
        """Call ``act`` whenever ``fd`` has something to say."""
        self._acts[fd] = act
        self._epoll.register(fd, events)

    def forget(self, fd: int) -> None:
        """Listen to ``fd`` no longer."""
        self._acts.pop(fd, None)
        self._epoll.unregister(fd)

    def listen_once(self, fd: int, act: Callable[[], None]) -> None:
        """Call ``act`` when ``fd`` has something to say, once for each time that :meth:`again` is called for it."""
        self._acts[fd] = act
        self._epoll.register(fd, select.EPOLLONESHOT)

    def again(self, fd: int, after: float = 0.0) -> None:
        """Listen to ``fd`` of :meth:`listen_once` from a time of the boot clock on."""
        if after:
            self._deaf[fd] = after
        else:
            self._epoll.modify(fd, _ONCE)

    def wait(self, until: float, woken: Callable[[], None] = lambda: None) -> None:
        """
        Wait until a time of the boot clock, or for the first events; call who listens to them.

        :param woken: called before them.
        """
        pause = min(until, *self._deaf.values(), until) - boot_clock()
        events = self._epoll.poll(max(0.0, pause))
        woken()
        for fd, _ in events:
            act = self._acts.get(fd)  # one that was called just now may have dropped the next
            if act is not None:
                act()
        if self._deaf:
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

    def open_uevents(self, hear: Callable[[frozenset[str] | None], None], leaves: Callable[[], None]) -> None:
        """
        ``hear`` gets the names of block devices that have come, gone or changed; ``None`` if some were lost.

        :param leaves: called before that if a SCSI device is being taken away, whose block device is still there perhaps.
        """
        try:
            netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_UEVENT)
            netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            netlink.bind((0, _KERNEL_GROUP))
        except OSError as err:
            self.note("uevents", str(err.strerror))
            return self._log(f"disks that come and go are seen a little later, there are no uevents: {err}")
        netlink.setblocking(False)
        self.listen(netlink.fileno(), lambda: hear(_changed_blocks(netlink, leaves)))
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
        self.listen(self._kmsg, lambda: _if_any(hear, list(self._complaints())))
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

    def open_vanishing(self, dev: Path, links: Path, hear: Callable[[str], None]) -> None:
        """``hear`` gets the name of a deleted device node, ``""`` when a file system has ended or a link to a disk changed."""
        try:
            listener = self._vanishing = Vanishing(dev, links, hear)
        except (OSError, ImportError) as err:
            self.live["inotify"] = f"off: {err}"
            return self._log(
                f"the end of a file system is seen a little later, pyinotify cannot be used: {err}"
            )
        self.listen(listener.fd, listener.read)
        self.live["inotify"] = LIVE

    def follow(self, mounted: Sequence[tuple[Mount, Line]]) -> None:
        """Listen to what is newly mounted; a mark vanishes with its file system."""
        if self._fs_errors is not None:
            new = {line.mountpoint for _, line in mounted if line.mount_id not in self._marked}
            self._fs_errors.keep({line.mountpoint for _, line in mounted} - new)
        for mount, line in mounted:
            if line.mount_id in self._marked:
                continue
            if self._vanishing is not None:
                self._vanishing.add(line.mountpoint)
            if self._fs_errors is not None and line.fstype in SENDERS:
                try:
                    self._fs_errors.add(line.mountpoint, mount.fs_uuid)
                    self.live["fanotify"] = LIVE
                except (OSError, ValueError) as err:
                    self.live["fanotify"] = f"off: {err}"
        self._marked = frozenset(line.mount_id for _, line in mounted)

    @property
    def is_blind(self) -> bool:
        """Something is not live: what it would tell has to be looked for often."""
        return any(word != LIVE for word in self.live.values())

    def catch_up(self) -> None:
        """Hear what has been said of failures so far: it is of what was mounted until now."""
        traced = self._trace.filenos() if self._trace is not None else ()
        marked = self._fs_errors.fd if self._fs_errors is not None else -1
        for fd in (*traced, self._kmsg, marked):
            if fd in self._acts:
                self._acts[fd]()

    # -- failed requests

    def trace(self, numbers: frozenset[str], hear: Callable[[list[Failure]], None]) -> None:
        """``hear`` gets each failed request of exactly these disks (``major:minor``)."""
        if numbers == self._traced:
            return
        self._traced = numbers
        if self._trace is not None:
            for fd in self._trace.filenos():
                self.forget(fd)
                self._deaf.pop(fd, None)
            self._trace.close()
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
        _if_any(hear, trace.read(fd))

    def _hear_again(self, now: float) -> None:
        for fd in [fd for fd, until in self._deaf.items() if now >= until]:
            del self._deaf[fd]
            self._epoll.modify(fd, _ONCE)


def _changed_blocks(netlink: socket.socket, leaves: Callable[[], None]) -> frozenset[str] | None:
    """Read all uevents that have come in. Returns the kernel names of block devices in them, ``None`` if some were lost."""
    found: set[str] = set()
    while True:
        try:
            message = netlink.recv(65536)
        except BlockingIOError:
            return frozenset(found)
        except OSError:
            return None
        if kernel_log.is_leaving(message):
            leaves()
        event = kernel_log.uevent(message)
        if event:
            found.add(event[1])


def _if_any(hear: Callable[[list[Said]], None], said: list[Said]) -> None:
    if said:
        hear(said)


def _pass_on(listener: FsErrors, hear: Callable[[str, str], None]) -> None:
    for mountpoint, error in listener.read():
        hear(mountpoint, error)
