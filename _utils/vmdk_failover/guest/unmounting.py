"""
Unmounting a resource's file systems, with everything that stands in the way: submounts, bind mounts, users.

umount2(2) is called directly: umount(8) looks at the path first and may hang on it. A lazy unmount is never done: it hides
the mount, leaves its users writing, proves nothing, and takes away the name by which a clean unmount could be tried again.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
from collections.abc import Callable, Sequence

from vmdk_failover.guest import children, mounts, users
from vmdk_failover.guest.children import Child
from vmdk_failover.guest.devices import Holding
from vmdk_failover.guest.mounts import Line
from vmdk_failover.guest.pidfd import Handle
from vmdk_failover.guest.places import Places
from vmdk_failover.guest.steps import Course, GiveUp
from vmdk_failover.guest.users import User

Watch = Callable[[int], str]
_NOFOLLOW = 8
_NEW_NAMESPACE = 0x00020000
_LIST_S, _BUSY_S, _LAST_S = 5.0, 1.0, 0.1
TERM_S, KILL_S = 1.0, 2.0


def _libc(name: str, *arguments: object) -> int:
    """Call a function of libc. Returns its errno, 0 if it went well."""
    failed = getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments)
    return ctypes.get_errno() if failed else 0


def _unmount_all(paths: Sequence[str]) -> list[tuple[str, int]]:
    """In a child: unmount in order. Returns those that are left, with errno."""
    results = ((path, _libc("umount2", os.fsencode(path), _NOFOLLOW)) for path in paths)
    return [(path, error) for path, error in results if error not in (0, errno.EINVAL, errno.ENOENT)]


def _unmount_in(pid: int, paths: Sequence[str]) -> list[tuple[str, int]]:
    """In a child: the same inside the mount namespace of another process; nothing is left if that has ended."""
    try:
        fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return []
    error = _libc("setns", fd, _NEW_NAMESPACE)
    return [(path, error) for path in paths] if error else _unmount_all(paths)


class Reach:
    """
    Whether a mount keeps the resource's file systems in use: it is one of them, or an overlay with a layer on them.

    Layers are known by the paths under which the file systems are mounted here, or should be.
    """

    def __init__(self, holding: Holding, lines: Sequence[Line]) -> None:
        self._holding = holding
        here = {line.mountpoint for line in lines if holding.is_ours(line)}
        free = (mount.mountpoint for mount in holding.resource.mounts)
        self._tops = here | {point for point in free if mounts.visible(lines, point) is None}

    def __call__(self, line: Line) -> bool:
        return self._holding.is_ours(line) or self.is_on_top(line)

    def is_on_top(self, line: Line) -> bool:
        """Whether it is an overlay, which has to go first."""
        tops = tuple(f"{top}/" for top in self._tops)
        return line.fstype == "overlay" and any(f"{layer}/".startswith(tops) for layer in _layers(line))


def _layers(line: Line) -> list[str]:
    pairs = (option.partition("=") for option in line.of_fs)
    kept = (value for key, _, value in pairs if key.rstrip("+") in ("lowerdir", "upperdir", "workdir"))
    return [layer for value in kept for layer in mounts.unescape(value).split(":")]


def targets(reach: Reach, lines: Sequence[Line]) -> tuple[Line, ...]:
    """What has to be unmounted, in order: overlays, the resource's mounts wherever they are, all that is mounted inside."""
    first = mounts.below(lines, [line for line in lines if reach.is_on_top(line)])
    rest = mounts.below(lines, [line for line in lines if reach(line)])
    return (*first, *(line for line in rest if line not in first))


class Unmounting:
    """
    One attempt to get a resource's file systems unmounted in every mount namespace.

    :param look: looks for the resource's disks anew.
    :param watch: told a pid that may be stuck; a non-empty answer is the reason to give up at once.
    """

    def __init__(self, course: Course, look: Callable[[], Holding], watch: Watch, places: Places) -> None:
        self._course, self._look, self._watch, self._places = course, look, watch, places
        self.evicted: list[str] = []

    def run(self) -> None:
        """Unmount. Raises ``GiveUp`` when it cannot be done in time."""
        reach = Reach(self._look(), mounts.of_process(places=self._places))
        self._here(reach)
        while found := users.namespaces(reach, self._places):
            if self._course.left <= 0:
                raise GiveUp(
                    f"the mount namespace of pid {found[0].pid} still sees the file system", "in_use"
                )
            for namespace in found:
                self._there(reach, namespace)

    def _here(self, reach: Reach) -> None:
        while paths := [line.mountpoint for line in targets(reach, mounts.of_process(places=self._places))]:
            self._try(reach, paths, lambda paths=tuple(paths): _unmount_all(paths))  # type: ignore[misc]

    def _there(self, reach: Reach, namespace: users.Namespace) -> None:
        def paths() -> tuple[str, ...]:
            lines = mounts.of_process(namespace.pid, self._places)
            return tuple(line.mountpoint for line in targets(reach, lines))

        while wanted := paths():
            self._try(reach, wanted, lambda wanted=wanted: _unmount_in(namespace.pid, wanted))  # type: ignore[misc]

    def _try(self, reach: Reach, paths: Sequence[str], act: Callable[[], object]) -> None:
        left = self._in_child(act, f"unmounting {paths[0]}")
        busy = [path for path, error in left if error == errno.EBUSY]
        for path, error in left:
            if error != errno.EBUSY:
                raise GiveUp(f"{path} cannot be unmounted: {os.strerror(error)}")
        if busy:
            self._make_idle(reach, busy, act)

    def _in_child(self, act: Callable[[], object], doing: str) -> list[tuple[str, int]]:
        ended = children.call(act, self._course.left, self._watch_child)
        if ended.error:
            raise GiveUp(f"{doing} {ended.error}", "unmount_stuck" if ended.stuck else "step_failed")
        return [(str(path), int(error)) for path, error in ended.value]

    def _watch_child(self, child: Child) -> str:
        return self._watch(child.pid)

    def _make_idle(self, reach: Reach, busy: Sequence[str], act: Callable[[], object]) -> None:
        """End the users, first gently. Who has just left may leave the mount busy for a moment."""
        for number, patience in ((signal.SIGTERM, TERM_S), (signal.SIGKILL, KILL_S)):
            found = self._users(reach)
            if not found:
                break
            self._end(found, number, patience)
            if not self._in_child(act, f"unmounting {busy[0]}"):
                return
        if not self._course.until(lambda: not self._in_child(act, f"unmounting {busy[0]}"), _BUSY_S, 0.02):
            self._explain(reach, busy)

    def _users(self, reach: Reach) -> tuple[User, ...]:
        def listed() -> list[tuple[object, ...]]:
            found = users.users(reach, maps=True, places=self._places)
            return [(u.pid, u.started, u.command, u.what) for u in found]

        ended = children.call(listed, min(_LIST_S, self._course.left), self._watch_child)
        if ended.error:  # maps of a stuck process cannot be read; what can be, is
            return users.users(reach, places=self._places)
        return tuple(User(*one) for one in ended.value)

    def _end(self, found: Sequence[User], number: signal.Signals, patience: float) -> None:
        keep = _lineage()
        mine = [user for user in found if user.pid in keep]
        if mine:
            raise GiveUp(
                f"the file system is used by {mine[0]}, which this call itself runs in; start it from elsewhere"
            )
        alive = {process: user for user in found if (process := _signal(user, number)) is not None}
        self.evicted += [f"{number.name} to {user}" for user in alive.values()]
        try:
            self._wait_gone(alive, patience)
        finally:
            for process in alive:
                process.close()

    def _wait_gone(self, alive: dict[Handle, User], patience: float) -> None:
        waiting = dict(alive)

        def gone() -> bool:
            for process in select.select(list(waiting), [], [], 0)[0]:
                del waiting[process]
            for user in waiting.values():
                reason = self._watch(user.pid)
                if reason:
                    raise GiveUp(f"{user} does not end, and {reason}", "hung")
            return not waiting

        self._course.until(gone, patience)

    def _explain(self, reach: Reach, busy: Sequence[str]) -> None:
        """Still busy: go on while there is time and a process to end, else say who it is."""
        processes = [str(user) for user in self._users(reach)]
        if not processes or self._course.left <= _LAST_S:
            still = [*processes, *users.in_kernel(frozenset(busy), self._places)]
            who = ", ".join(still) or "somebody who is not in /proc"
            raise GiveUp(f"{busy[0]} is still in use by {who}", "in_use")


def _lineage() -> set[int]:
    """This process, its parents and process 1: never ended from here."""
    found, pid = {1}, os.getpid()
    while pid > 1 and pid not in found:
        found.add(pid)
        rows = dict(row.split(":", 1) for row in _status(pid))
        pid = int(rows.get("PPid", "1"))
    return found


def _status(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            return [row for row in file.read().splitlines() if ":" in row]
    except OSError:
        return []


def _signal(user: User, number: signal.Signals) -> Handle | None:
    """Signal exactly the process that was listed. Returns it, to wait for its end; ``None`` if it has ended."""
    try:
        process = Handle(user.pid)
    except ProcessLookupError:
        return None
    try:
        if users.started(user.pid) == user.started:
            process.send(number)
            return process
    except ProcessLookupError:
        pass
    process.close()
    return None
