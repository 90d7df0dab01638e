"""The warm process that starts disk servers: a fork instead of a cold interpreter, so that an attach takes milliseconds.

It also keeps the loop devices open, so that the kernel clears them when it ends. It ends when the lab does, however
the lab ends. Run by lab.faultdisk as `python -m lab.diskhost CHANNEL ALIVE DIRECTORY`: two descriptors, and the lab's
directory, which tells whose process this is. Requests and answers are JSON datagrams on CHANNEL.
"""

from __future__ import annotations

import array
import fcntl
import json
import os
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lab import loop
from lab.diskserver import DiskServer, serve
from lab.linux import die_with_parent, fuse_file_mount

_START_LIMIT = 5.0


@dataclass(frozen=True)
class Running:
    """A disk that is attached: the process of its server and its loop device."""

    pid: int
    loop: loop.Loop


class Refused(Exception):
    """A disk cannot be attached. code: locked or failed; the text is a sentence."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def _send_mount(channel: socket.socket, mount_fd: int) -> None:
    channel.sendmsg([b"{}"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [mount_fd]))])


def _open_backing(path: str) -> int:
    backing = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(backing, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refused(
            "locked", f"{os.path.basename(path)} is in use by another running node; power that off first"
        ) from None
    return backing


def _run_server(request: dict[str, Any], channel: socket.socket, alive_fd: int) -> None:
    backing = _open_backing(request["backing"])
    fuse = os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    mounted = fuse_file_mount(fuse, f"{loop.MARK}{request['mark']}")
    control = socket.socket(socket.AF_UNIX)
    with suppress(FileNotFoundError):
        os.unlink(request["control"])
    control.bind(request["control"])
    control.listen(8)
    _send_mount(channel, mounted)
    os.close(mounted)
    channel.close()
    with suppress(OSError):  # the connection was ended from outside
        serve(DiskServer(fuse, backing, float(request["hang_limit"])), fuse, control, alive_fd)


def _server_child(request: dict[str, Any], channel: socket.socket, keep: set[int]) -> None:
    """The life of a server, in a forked child. Never returns."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in keep | {channel.fileno()}:
            with suppress(OSError):
                os.close(int(name))
    try:
        _run_server(request, channel, min(keep))
    except Refused as refusal:
        channel.send(json.dumps({"code": refusal.code, "error": str(refusal)}).encode())
    except OSError as problem:
        channel.send(json.dumps({"code": "failed", "error": str(problem)}).encode())
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


class DiskHost:
    """The disks that are attached now, by name. alive_fd: reads end of file when the lab has ended."""

    def __init__(self, alive_fd: int) -> None:
        self._alive = alive_fd
        self._disks: dict[str, Running] = {}

    def attach(self, request: dict[str, Any]) -> dict[str, Any]:
        """Start the server and the loop device of one disk. Raises Refused."""
        if request["name"] in self._disks:
            raise Refused("locked", f"disk {request['name']} is attached already")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            pid = os.fork()
            if pid == 0:
                _server_child(request, theirs, {self._alive})
            theirs.close()
            try:
                disk = Running(pid, self._loop_on(ours, request["mark"]))
            except (OSError, Refused):
                _kill(pid)
                raise
        self._disks[request["name"]] = disk
        return {"pid": pid, "loop": disk.loop.name, "configuration": loop.configuration(disk.loop.name)}

    def _loop_on(self, channel: socket.socket, mark: str) -> loop.Loop:
        channel.settimeout(_START_LIMIT)
        answer, fds, _, _ = socket.recv_fds(channel, 4096, 1)
        if not fds:
            words = json.loads(answer or b'{"error": "the server of the disk ended at once"}')
            raise Refused(words.get("code", "failed"), words["error"])
        try:
            file = os.open(f"/proc/self/fd/{fds[0]}", os.O_RDWR | os.O_CLOEXEC)
            try:
                return loop.create(file, mark)
            finally:
                os.close(file)
        finally:
            os.close(fds[0])

    def drop(self, request: dict[str, Any]) -> dict[str, Any]:
        """End the server of a disk and let go of its loop device. Nothing of it is written afterwards."""
        disk = self._disks.pop(request["name"], None)
        if disk is not None:
            _kill(disk.pid)
            loop.release(disk.loop)
        return {}

    def drop_all(self) -> None:
        """End every server first, then let go of the loop devices: closing them might wait for a disk that hangs."""
        for disk in self._disks.values():
            _kill(disk.pid)
        for name in list(self._disks):
            self._disks[name] = Running(0, self._disks[name].loop)
            self.drop({"name": name})

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one request; errors become part of the answer."""
        try:
            return self.attach(request) if request["op"] == "attach" else self.drop(request)
        except Refused as refusal:
            return {"code": refusal.code, "error": str(refusal)}
        except OSError as problem:
            return {"code": "failed", "error": f"disk {request.get('name')} cannot be attached: {problem}"}


def _kill(pid: int) -> None:
    if pid:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def main(channel_fd: int, alive_fd: int) -> None:
    """Answer requests until the lab ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the lab's business
    channel = socket.socket(fileno=channel_fd)
    host = DiskHost(alive_fd)
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    poll.register(alive_fd, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        request = channel.recv(65536) if channel.fileno() in ready else b""
        if alive_fd in ready or not request:
            host.drop_all()
            return
        wanted = json.loads(request)
        channel.send(json.dumps({**host.answer(wanted), "number": wanted["number"]}).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
