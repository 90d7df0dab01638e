"""
Whether addresses answer: an ICMP echo and, beside it, a TCP connection that is accepted or reset. Any answer means that a
machine lives there; no answer within the time means silence only if the question could be sent at all.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import select
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

#: Any port does: an open one accepts, a closed one resets.
PORT = 22
#: The way to the address is there, and nobody is at its end.
_SENT_IN_VAIN = frozenset({errno.EHOSTUNREACH, errno.EHOSTDOWN})
_LIVES = frozenset({0, errno.ECONNREFUSED, errno.ECONNRESET})
_UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EAGAIN})


def answers(addresses: Mapping[str, str], within: float = 1.0) -> dict[str, bool | None]:
    """
    Ask all addresses at once.

    :param addresses: by minion id; ``""`` if there is none.
    :param within: seconds.
    :return: by minion id: it answers, it does not, or ``None`` if that could not be tried.
    """
    found: dict[str, bool | None] = dict.fromkeys(addresses)
    usable = {m: ip for m, a in addresses.items() if (ip := usable_address(a))}
    with contextlib.ExitStack() as stack:
        round_ = _Round(usable)
        round_.open(stack)
        round_.run(time.monotonic() + within)
    for minion in usable:
        found[minion] = True if minion in round_.alive else False if minion in round_.sent else None
    return found


def usable_address(text: str) -> str:
    """The address if it can be another machine's, else ``""``."""
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return ""
    return "" if ip.is_loopback or ip.is_unspecified or ip.is_multicast else str(ip)


@dataclass
class _Round:
    """One round of questions. ``sent``: minions whose echo request has left; ``alive``: those that answered."""

    addresses: Mapping[str, str]
    sent: set[str] = field(default_factory=set)
    alive: set[str] = field(default_factory=set)
    raw: dict[int, socket.socket] = field(default_factory=dict)
    tcp: dict[socket.socket, str] = field(default_factory=dict)
    token: bytes = field(default_factory=lambda: os.urandom(16))

    def open(self, stack: contextlib.ExitStack) -> None:
        for minion, address in self.addresses.items():
            kind = _family(address)
            if kind not in self.raw:
                with contextlib.suppress(OSError):  # not allowed, or no such protocol: TCP alone
                    self.raw[kind] = stack.enter_context(_raw(kind))
            with contextlib.suppress(OSError):
                self._connect(stack, minion, address)

    def _connect(self, stack: contextlib.ExitStack, minion: str, address: str) -> None:
        line = stack.enter_context(socket.socket(_family(address), socket.SOCK_STREAM))
        line.setblocking(False)
        result = line.connect_ex((address, PORT))
        if result in _LIVES:
            self.alive.add(minion)
        elif result in _UNDER_WAY:
            self.tcp[line] = minion

    def run(self, deadline: float) -> None:
        """Ask, ask once more at half time, and listen until all have answered or the time is over."""
        half = (time.monotonic() + deadline) / 2
        self._ask()
        asked_again = False
        while self.alive < set(self.addresses) and (left := deadline - time.monotonic()) > 0:
            if not asked_again and time.monotonic() >= half:
                asked_again = True
                self._ask()
            until = left if asked_again else min(left, max(0.0, half - time.monotonic()))
            readable, writable, _ = select.select([*self.raw.values()], [*self.tcp], [], until)
            for sock in readable:
                self.alive.update(self._heard(sock))
            for line in writable:
                minion = self.tcp.pop(line)
                if line.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in _LIVES:
                    self.alive.add(minion)

    def _ask(self) -> None:
        for number, (minion, address) in enumerate(self.addresses.items()):
            sock = self.raw.get(_family(address))
            if sock is None or minion in self.alive:
                continue
            try:
                sock.sendto(_request(sock.family, number, self.token), (address, 0))
                self.sent.add(minion)
            except OSError as err:
                if err.errno in _SENT_IN_VAIN:
                    self.sent.add(minion)

    def _heard(self, sock: socket.socket) -> Iterator[str]:
        """Minions whose answers have arrived; whatever else arrives is not ours."""
        named = list(self.addresses.items())
        with contextlib.suppress(BlockingIOError):
            while True:
                packet, (source, *_) = sock.recvfrom(2048)
                number = _answer(sock.family, packet, self.token, sock.type == socket.SOCK_DGRAM)
                if number is not None and number < len(named) and named[number][1] == source:
                    yield named[number][0]


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def possible() -> bool:
    """Whether this process may send echoes; without them, silence is never found."""
    for kind in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError), _raw(kind):
            return True
    return False


def _raw(kind: int) -> socket.socket:
    """A socket for echoes: root's, or one that the kernel gives those whose group is in ``net.ipv4.ping_group_range``."""
    protocol = socket.IPPROTO_ICMPV6 if kind == socket.AF_INET6 else socket.IPPROTO_ICMP
    try:
        sock = socket.socket(kind, socket.SOCK_RAW, protocol)
    except PermissionError:
        sock = socket.socket(kind, socket.SOCK_DGRAM, protocol)
    sock.setblocking(False)
    return sock


def _request(kind: int, number: int, token: bytes) -> bytes:
    """An echo request; the kernel makes the checksum of version 6."""
    word = 128 if kind == socket.AF_INET6 else 8
    head = struct.pack("!BBHHH", word, 0, 0, os.getpid() & 0xFFFF, number)
    if kind == socket.AF_INET6:
        return head + token
    return struct.pack("!BBHHH", word, 0, _checksum(head + token), os.getpid() & 0xFFFF, number) + token


def _answer(kind: int, packet: bytes, token: bytes, bare: bool = False) -> int | None:
    """The number of the request that a packet, ``bare`` or in one of IP, answers; ``None`` if it answers none of ours."""
    bare = bare or kind == socket.AF_INET6
    body = packet if bare else packet[(packet[0] & 0x0F) * 4 :] if packet else b""
    if len(body) < 8 + len(token) or body[8 : 8 + len(token)] != token:
        return None
    word, _, _, _, number = struct.unpack("!BBHHH", body[:8])
    return int(number) if word == (129 if kind == socket.AF_INET6 else 0) else None


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return int(~(total + (total >> 16)) & 0xFFFF)
