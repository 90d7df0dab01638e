"""One disk of one node: a process that answers the kernel's FUSE requests from a backing file.

It speaks the raw /dev/fuse protocol, so each answer can be failed, delayed or withheld on its own. It never waits for
a disk itself (the backing file lies in memory), and it ends when the lab does; either way the kernel fails what is
left and every task that was stuck on the disk goes on.
"""

from __future__ import annotations

import errno
import heapq
import json
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from lab.diskfault import Faults, apply
from lab.linux import punch_hole

_HEADER = struct.Struct("=IIQQIIII")
_REPLY = struct.Struct("=IiQ")
_MAX_IO = 1 << 20
_ASYNC_READ, _BIG_WRITES, _ASYNC_DIO, _MAX_PAGES = 1 << 0, 1 << 5, 1 << 15, 1 << 22
_DIRECT_IO, _PARALLEL_WRITES = 1 << 0, 1 << 6
_GETATTR, _SETATTR, _OPEN, _READ, _WRITE, _STATFS, _RELEASE = 3, 4, 14, 15, 16, 17, 18
_FSYNC, _FLUSH, _INIT, _INTERRUPT, _DESTROY, _FORGET, _BATCH_FORGET, _FALLOCATE = (
    20,
    25,
    26,
    36,
    38,
    2,
    42,
    43,
)
_PUNCH, _ZERO = 0x02, 0x10
_GONE = (errno.ENOENT, errno.ENODEV, errno.ENOTCONN, errno.ECONNABORTED)
_NO_REPLY = (
    _FORGET,
    _BATCH_FORGET,
    _INTERRUPT,
)  # an interrupted request stays held: that is the point of a hang


@dataclass(frozen=True)
class Request:
    """One request for data. kind: read, write or flush. data: what to write. punch: zero the range instead."""

    unique: int
    kind: str
    offset: int = 0
    length: int = 0
    data: bytes = b""
    punch: bool = False


class DiskServer:
    """Serves one FUSE connection. fuse_fd, backing_fd: open for reading and writing. hang_limit: seconds."""

    def __init__(self, fuse_fd: int, backing_fd: int, hang_limit: float) -> None:
        self._fuse, self._backing, self._hang_limit = fuse_fd, backing_fd, hang_limit
        self._size = os.fstat(backing_fd).st_size
        self._faults = Faults()
        self._held: list[tuple[float, Request]] = []
        self._later: list[tuple[float, int, Request]] = []
        self._counts = dict.fromkeys(("read", "write", "flush", "failed"), 0)
        self._gave_up = False
        self._buffer = bytearray(_MAX_IO + 4096)
        self._handlers: dict[int, Callable[[int, memoryview], None]] = {
            _INIT: self._init, _GETATTR: self._attributes, _SETATTR: self._attributes, _OPEN: self._open,
            _READ: self._read, _WRITE: self._write, _FSYNC: self._fsync, _FALLOCATE: self._fallocate,
            _STATFS: self._statfs, _RELEASE: self._done, _FLUSH: self._done, _DESTROY: self._done,
        }  # fmt: skip

    # -- the protocol

    def _reply(self, unique: int, error: int = 0, data: bytes = b"") -> None:
        try:
            os.writev(self._fuse, [_REPLY.pack(_REPLY.size + len(data), -error, unique), data])
        except OSError as problem:
            if problem.errno not in _GONE:  # gone: the request was aborted meanwhile
                raise

    def take_one(self) -> bool:
        """Answer one request. Returns False when there is none; raises OSError when the connection has ended."""
        try:
            got = os.readv(self._fuse, [self._buffer])
        except BlockingIOError:
            return False
        except OSError as problem:
            if problem.errno in (errno.ENOENT, errno.EINTR):
                return True
            raise
        _, opcode, unique, *_ = _HEADER.unpack_from(self._buffer)
        if opcode in self._handlers:
            self._handlers[opcode](unique, memoryview(self._buffer)[_HEADER.size : got])
        elif opcode not in _NO_REPLY:
            self._reply(unique, errno.ENOSYS)
        return True

    def _init(self, unique: int, _body: memoryview) -> None:
        flags = _ASYNC_READ | _BIG_WRITES | _ASYNC_DIO | _MAX_PAGES
        # 4096 requests in the background: the kernel's 12 would make a hung write stop the reads as well
        words = (7, 31, _MAX_IO, flags, 4096, 4096, _MAX_IO, 1, _MAX_IO >> 12, 0, 0)
        self._reply(unique, data=struct.pack("=IIIIHHIIHHI28x", *words))

    def _attributes(self, unique: int, _body: memoryview) -> None:
        file = (1, self._size, self._size >> 9, 0, 0, 0, 0, 0, 0, 0o100600, 1, 0, 0, 0, 4096, 0)
        self._reply(unique, data=struct.pack("=QII6Q10I", 3600, 0, 0, *file))

    def _open(self, unique: int, _body: memoryview) -> None:
        self._reply(unique, data=struct.pack("=QIi", 1, _DIRECT_IO | _PARALLEL_WRITES, 0))

    def _statfs(self, unique: int, _body: memoryview) -> None:
        self._reply(unique, data=struct.pack("=5Q4I24x", self._size >> 12, 0, 0, 1, 1, 4096, 255, 4096, 0))

    def _done(self, unique: int, _body: memoryview) -> None:
        self._reply(unique)

    def _read(self, unique: int, body: memoryview) -> None:
        _, offset, size = struct.unpack_from("=QQI", body)
        self._decide(Request(unique, "read", offset, max(0, min(size, self._size - offset))))

    def _write(self, unique: int, body: memoryview) -> None:
        _, offset, size = struct.unpack_from("=QQI", body)
        if offset + size > self._size:
            self._reply(unique, errno.ENOSPC)
        else:
            self._decide(Request(unique, "write", offset, size, bytes(body[40 : 40 + size])))

    def _fsync(self, unique: int, _body: memoryview) -> None:
        self._decide(Request(unique, "flush"))

    def _fallocate(self, unique: int, body: memoryview) -> None:
        _, offset, length, mode, _ = struct.unpack_from("=QQQII", body)
        if not mode & (_PUNCH | _ZERO):
            self._reply(unique, errno.EOPNOTSUPP)
        else:
            self._decide(Request(unique, "write", offset, length, punch=True))

    # -- the faults

    def _decide(self, request: Request) -> None:
        self._counts[request.kind] += 1
        action = self._faults.action(request.kind, request.offset, request.length)
        now = time.monotonic()
        if action.errno:
            self._faults = self._faults.spent(request.kind)
            self._fail(request, action.errno)
        elif action.hang:
            self._held.append((now, request))
        elif action.delay:
            heapq.heappush(self._later, (now + action.delay, request.unique, request))
        else:
            self._do(request)

    def _fail(self, request: Request, number: int) -> None:
        self._counts["failed"] += 1
        self._reply(request.unique, number)

    def _do(self, request: Request) -> None:
        try:
            if request.kind == "read":
                self._reply(request.unique, data=os.pread(self._backing, request.length, request.offset))
            elif request.punch:
                punch_hole(self._backing, request.offset, request.length)
                self._reply(request.unique)
            elif request.kind == "write":
                os.pwrite(self._backing, request.data, request.offset)
                self._reply(request.unique, data=struct.pack("=II", request.length, 0))
            else:
                self._reply(request.unique)
        except OSError as problem:  # no memory left for the backing file
            self._fail(request, problem.errno or errno.EIO)

    def _let_go(self) -> None:
        waiting = [request for _, request in self._held] + [request for _, _, request in sorted(self._later)]
        self._held, self._later = [], []
        for request in waiting:
            self._do(request)

    def _give_up_hang(self) -> None:
        """Fail what has hung for too long: nothing of the machine may stay stuck for ever behind a forgotten lab."""
        self._gave_up = True
        self._faults = self._faults.without_hang()
        waiting, self._held = self._held, []
        for _, request in waiting:
            self._fail(request, errno.EIO)

    def control(self, line: str) -> dict[str, object]:
        """Carry out one line of control words. Returns the state after it. Raises ValueError with a sentence."""
        words = line.split()
        faults = self._faults
        for word in words:
            faults = faults if word == "stats" else apply(faults, word)
        self._faults = faults
        if "ok" in words:
            self._let_go()
        waiting = len(self._held) + len(self._later)
        state = {"faults": self._faults.words(), "waiting": waiting, "gave_up": self._gave_up}
        return {**state, **self._counts, "monotonic": time.monotonic()}

    def pause(self) -> float:
        """Seconds until a timer of this disk is due; -1 when there is none."""
        due = [self._later[0][0]] if self._later else []
        due += [self._held[0][0] + self._hang_limit] if self._held else []
        return max(0.0, min(due) - time.monotonic()) if due else -1.0

    def on_time(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            self._do(heapq.heappop(self._later)[2])
        if self._held and self._held[0][0] + self._hang_limit <= now:
            self._give_up_hang()


def _answer(server: DiskServer, client: socket.socket) -> None:
    """Serve one control connection: one line, one answer. A client that is gone or mute harms nobody."""
    with client:
        client.settimeout(0.5)
        try:
            line = client.recv(4096).decode()
            try:
                answer = server.control(line)
            except ValueError as problem:
                answer = {"error": str(problem)}
            client.sendall((json.dumps(answer) + "\n").encode())
        except (OSError, UnicodeDecodeError):
            return


def serve(server: DiskServer, fuse_fd: int, control: socket.socket, alive_fd: int) -> None:
    """Answer requests until the connection ends or the lab does (end of file on `alive_fd`)."""
    poll = select.poll()
    poll.register(fuse_fd, select.POLLIN)
    poll.register(control, select.POLLIN)
    poll.register(alive_fd, select.POLLIN)
    while True:
        pause = server.pause()
        for fd, event in poll.poll(-1 if pause < 0 else pause * 1000 + 1):
            if fd == alive_fd or (fd == fuse_fd and event & select.POLLERR):
                return
            if fd == fuse_fd:
                while server.take_one():
                    pass
            else:
                _answer(server, control.accept()[0])
        server.on_time()
