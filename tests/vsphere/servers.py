"""Certificates, and servers that behave badly."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lab.hypervisor import Tls


class Authority:
    """A certificate authority of the test's own; ``file`` is its certificate."""

    def __init__(self, place: Path, name: str = "test CA") -> None:
        self._place, self._key = place, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(self._name, self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        self.certificate = builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())
        self.file = place / f"{name.replace(' ', '-')}.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, host: str, days: int = 2) -> Tls:
        """A certificate for a name or address; negative ``days``: one that has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vcenter")])
        builder = _builder(subject, self._name, key.public_key(), days)
        try:
            name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            name = x509.DNSName(host)
        builder = builder.add_extension(x509.SubjectAlternativeName([name]), critical=False)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        signed = builder.add_extension(identifier, critical=False).sign(self._key, hashes.SHA256())
        return _saved(self._place / f"{host}-{signed.serial_number}", signed, key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int = 2
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    begin = now - datetime.timedelta(days=1 if days > 0 else 30)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(begin).not_valid_after(now + datetime.timedelta(days=days))


def _saved(stem: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Tls:
    cert_file, key_file = stem.with_suffix(".crt"), stem.with_suffix(".key")
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return Tls(cert_file, key_file)


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port whose connections are made by the kernel and then never served."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(16)
        yield sock.getsockname()[1]


@contextlib.contextmanager
def tls_server(tls: Tls, serve: Callable[[ssl.SSLSocket], None], address: str = "127.0.0.1") -> Iterator[int]:
    """A TLS server that gives each connection to ``serve``, one at a time."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.cert, tls.key)
    stop = threading.Event()
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as sock:
        sock.bind((address, 0))
        sock.listen(16)
        sock.settimeout(0.05)
        thread = threading.Thread(target=_accept, args=(sock, context, serve, stop))
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            stop.set()
            thread.join(20)


def _accept(
    sock: socket.socket,
    context: ssl.SSLContext,
    serve: Callable[[ssl.SSLSocket], None],
    stop: threading.Event,
) -> None:
    while not stop.is_set():
        with contextlib.suppress(OSError):  # clients that give up are what these servers are for
            plain, _address = sock.accept()
            plain.settimeout(10)
            with context.wrap_socket(plain, server_side=True) as secure:
                serve(secure)


def garbage(secure: ssl.SSLSocket) -> None:
    """Answer whatever is asked with a page that is no vCenter's."""
    secure.recv(65536)
    secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n<html>hi</html>")


def half_vcenter(status: bytes, body: bytes) -> Callable[[ssl.SSLSocket], None]:
    """Offer API versions as a vCenter does, and answer every call with this."""
    offer = b"<n><namespace><name>urn:vim25</name><version>8.0.3.0</version></namespace></n>"

    def serve(secure: ssl.SSLSocket) -> None:
        asked = secure.recv(65536)
        line, text = (b"200 OK", offer) if asked.startswith(b"GET") else (status, body)
        while b"</soapenv:Envelope>" not in asked and not asked.startswith(b"GET"):
            asked += secure.recv(65536)
        secure.sendall(
            b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (line, len(text), text)
        )

    return serve


def not_found(secure: ssl.SSLSocket) -> None:
    """Answer whatever is asked with 404."""
    secure.recv(65536)
    secure.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


def stall(secure: ssl.SSLSocket) -> None:
    """Begin an answer late and never end it."""
    secure.recv(65536)
    time.sleep(1)
    secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n<xml")
    time.sleep(3)


def trickle(secure: ssl.SSLSocket) -> None:
    """Answer one byte at a time, each soon enough for a timeout per packet, for longer than a test waits."""
    secure.recv(65536)
    secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    end = time.monotonic() + 8
    while time.monotonic() < end:
        secure.sendall(b" ")
        time.sleep(0.1)
