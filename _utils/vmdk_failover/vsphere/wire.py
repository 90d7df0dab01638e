"""
TLS and time on the wire to vCenter.

pyVmomi's own connections are not used: they skip every check on loopback names, look at a pin only after a
failed verification, and have no deadline while negotiating. A connection of this module refuses a certificate
before anything is sent through it, and a whole call, not each of its packets, has a deadline.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.client
import io
import ipaddress
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from vmdk_failover.errors import CertificateRefused, ConfigError

#: What a broken connection raises. ``ssl.SSLError`` and ``TimeoutError`` are ``OSError``.
TRANSPORT = (OSError, http.client.HTTPException)

Address = tuple[Any, ...]


class NotSent(ConnectionError):
    """No connection could be made, so nothing was sent through it."""


class Wire:
    """
    Makes connections to one vCenter and counts the requests on them.

    :param host: name or address, as the certificate must show it.
    :param port: TCP port.
    :param ca_file: PEM file of the CAs to trust; ``""``: the system's, or none if ``sha256`` is given.
    :param sha256: fingerprint that the server's certificate must have, colons allowed; ``""``: any that
        verifies.
    :param connect_timeout: seconds for resolving, connecting and the TLS handshake.
    :param call_timeout: seconds for a request and its whole answer, unless :meth:`within` says otherwise.
    """

    def __init__(
        self, host: str, port: int, ca_file: str, sha256: str, connect_timeout: float, call_timeout: float
    ) -> None:
        self.host, self.port = host, port
        self.connect_timeout, self.call_timeout = connect_timeout, call_timeout
        self.pin = sha256.replace(":", "").strip().lower()
        self.context = _context(ca_file, self.pin)
        self.calls = 0
        self.tally: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._addresses: list[Address] = []
        self._limit = threading.local()

    @property
    def where(self) -> str:
        """``host:port``, for sentences."""
        return f"{self.host}:{self.port}"

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Give the calls that this thread makes inside the block ``seconds`` in all."""
        outer = getattr(self._limit, "until", None)
        self._limit.until = time.monotonic() + seconds
        try:
            yield
        finally:
            self._limit.until = outer

    def until(self) -> float:
        """Monotonic time at which this thread's current call must be over."""
        until: float | None = getattr(self._limit, "until", None)
        return time.monotonic() + self.call_timeout if until is None else until

    def count(self) -> None:
        """Count a request."""
        with self._lock:
            self.calls += 1

    def came_to(self, method: str, result: str) -> None:
        """Count how a call of ``method`` ended: ``ok``, ``silent``, or the name of vCenter's fault."""
        with self._lock:
            self.tally[method, result] += 1

    def take_tally(self) -> Counter[tuple[str, str]]:
        """How calls ended since this was asked last, by method and result."""
        with self._lock:
            taken, self.tally = self.tally, Counter()
        return taken

    def connection(self, *_args: Any, **_kwargs: Any) -> http.client.HTTPSConnection:
        """A new connection, not yet opened; the arguments that pyVmomi would pass are known here better."""
        return _Connection(self)

    def get(self, path: str, limit: int = 1_000_000) -> bytes:
        """Fetch a small document by GET; any status but 200 raises ``HTTPException``."""
        connection = self.connection()
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            if answer.status != 200:
                raise http.client.HTTPException(f"{answer.status} {answer.reason}")
            return answer.read(limit)

    def open(self, seconds: float) -> ssl.SSLSocket:
        """
        Connect, shake hands, check the certificate.

        :raises CertificateRefused: it is not the one that the configuration asks for.
        :raises NotSent: no connection within ``seconds``.
        """
        until = time.monotonic() + seconds
        try:
            plain = _dial(self._resolve(until), until)
        except OSError as err:
            raise NotSent(f"no connection to {self.where}: {err}") from err
        try:
            plain.settimeout(max(0.01, until - time.monotonic()))
            secure = self.context.wrap_socket(plain, server_hostname=self.host)
        except ssl.SSLCertVerificationError as err:
            plain.close()
            raise CertificateRefused(_untrusted(self.where, err)) from err
        except OSError as err:
            plain.close()
            raise NotSent(f"no TLS with {self.where}: {err}") from err
        self._check_pin(secure)
        return secure

    def _check_pin(self, secure: ssl.SSLSocket) -> None:
        shown = hashlib.sha256(secure.getpeercert(binary_form=True) or b"").hexdigest()
        if self.pin and shown != self.pin:
            secure.close()
            raise CertificateRefused(
                f"vCenter {self.where} shows a certificate with SHA-256 {shown}, not {self.pin} as set; "
                "if it was renewed, correct sha256, otherwise somebody is in between"
            )

    def _resolve(self, until: float) -> list[Address]:
        """Addresses of the host. A resolver that fails or hangs must not blind us: the last answer serves."""
        try:
            ipaddress.ip_address(self.host)
            return socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except ValueError:
            pass
        limit = (until - time.monotonic()) / (2 if self._addresses else 1)
        fresh = _in_time(lambda: socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM), limit)
        if isinstance(fresh, OSError) and not self._addresses:
            raise fresh
        if not isinstance(fresh, OSError):
            self._addresses = fresh
        return self._addresses


class _Connection(http.client.HTTPSConnection):
    """A connection whose requests and answers obey the wire's deadlines."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire.host, wire.port, context=wire.context, timeout=wire.connect_timeout)
        self._wire = wire
        self._until = 0.0

    def connect(self) -> None:
        """Open the socket within the connect time, or what is left of the call's if that is less."""
        left = self._wire.until() - time.monotonic()
        self.sock = self._wire.open(min(self._wire.connect_timeout, left))

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request; its time starts to run here and includes the answer."""
        if self.sock is None:
            self.connect()
        self._until = self._wire.until()
        self._wire.count()
        self.sock.settimeout(max(0.01, self._until - time.monotonic()))
        # http.client makes its answers through this attribute
        self.response_class = functools.partial(_Answer, until=self._until)  # type: ignore[assignment]
        super().request(*args, **kwargs)


class _Answer(http.client.HTTPResponse):
    """An answer that must be complete at a given time; a server that trickles cannot stretch it."""

    def __init__(self, sock: socket.socket, *args: Any, until: float, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Bounded(self.fp.detach(), sock, until))


class _Bounded(io.RawIOBase):
    """Reads a socket until a deadline."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, until: float) -> None:
        self._raw, self._sock, self._until = raw, sock, until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer was not complete in time")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _context(ca_file: str, pin: str) -> ssl.SSLContext:
    """Always an explicit context. A pin alone replaces the CAs; with a CA file, both must hold."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if pin and not ca_file:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        if ca_file:
            context.load_verify_locations(cafile=ca_file)
        else:
            context.load_default_certs()
    except OSError as err:
        raise ConfigError(
            f"the CA file {ca_file} of vCenter cannot be used ({err}); correct ca_file"
        ) from err
    return context


def _dial(addresses: list[Address], until: float) -> socket.socket:
    """Connect to the first address that answers; the time left is shared among them."""
    last: OSError = OSError("the name has no address")
    for done, (family, kind, protocol, _name, target) in enumerate(addresses):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(max(0.01, (until - time.monotonic()) / (len(addresses) - done)))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(target)
            return sock
        except OSError as err:
            sock.close()
            last = err
    raise last


def _in_time(ask: Callable[[], list[Address]], seconds: float) -> list[Address] | OSError:
    """Run ``ask`` aside; return its answer or error, or a ``TimeoutError`` when ``seconds`` are over."""
    box: list[list[Address] | OSError] = []

    def run() -> None:
        try:
            box.append(ask())
        except OSError as err:
            box.append(err)

    aside = threading.Thread(target=run, name="vmdk-resolve", daemon=True)
    aside.start()
    aside.join(max(0.0, seconds))
    return box[0] if box else TimeoutError("the name was not resolved in time")


def _untrusted(where: str, err: ssl.SSLCertVerificationError) -> str:
    return (
        f"the certificate of vCenter {where} is not trusted ({err.verify_message}); "
        "set ca_file to its CA or sha256 to its fingerprint"
    )
