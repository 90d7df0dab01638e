"""Whom we talk to: nothing is sent to a vCenter whose certificate is not the configured one, loopback or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.hypervisor import Vcenter
from tests.vsphere.conftest import pin_of
from tests.vsphere.servers import Authority
from tests.vsphere.world import DISK, PASSWORD, USER, inventory, resource
from vmdk_failover.errors import CertificateRefused, ConfigError
from vmdk_failover.vsphere.hypervisor import VCenter
from vmdk_failover.vsphere.session import Session
from vmdk_failover.vsphere.settings import Settings


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def certified(program: Path, authority: Authority) -> Iterator[Vcenter]:
    """A lab vCenter with a certificate of the authority for its address."""
    with Vcenter(inventory(), binary=program, tls=authority.issue("127.0.0.1")) as running:
        yield running


def reach(running: Vcenter, **how: Any) -> str:
    """What vCenter says that it is; raises if it cannot be reached."""
    session = Session(Settings(running.host, USER, PASSWORD, running.port, **how))
    try:
        return str(session.read(lambda login: login.content.about.apiType, within=5))
    finally:
        session.close()


def test_its_own_ca_is_trusted(certified: Vcenter, authority: Authority) -> None:
    assert reach(certified, ca_file=str(authority.file)) == "VirtualCenter"


def test_an_unknown_ca_is_refused(certified: Vcenter, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other CA")
    with pytest.raises(CertificateRefused, match="ca_file") as refusal:
        reach(certified, ca_file=str(other.file))
    assert f"{certified.host}:{certified.port}" in refusal.value.reason
    assert certified.calls()["total"] == 0


def test_a_self_made_certificate_is_refused_on_loopback_too(vcenter: Vcenter) -> None:
    with pytest.raises(CertificateRefused):
        reach(vcenter)
    assert vcenter.calls()["total"] == 0


def test_a_certificate_for_another_name_is_refused(program: Path, authority: Authority) -> None:
    tls = authority.issue("vc.example.com")
    with (
        Vcenter(inventory(), binary=program, tls=tls) as running,
        pytest.raises(CertificateRefused, match=r"127\.0\.0\.1"),
    ):
        reach(running, ca_file=str(authority.file))


def test_an_expired_certificate_is_refused(program: Path, authority: Authority) -> None:
    tls = authority.issue("127.0.0.1", days=-1)
    with (
        Vcenter(inventory(), binary=program, tls=tls) as running,
        pytest.raises(CertificateRefused, match="expired"),
    ):
        reach(running, ca_file=str(authority.file))


@pytest.mark.parametrize(
    "spelling", [str.lower, str.upper, lambda pin: ":".join(pin[i : i + 2] for i in range(0, 64, 2))]
)
def test_the_right_pin_is_enough(vcenter: Vcenter, spelling: Callable[[str], str]) -> None:
    assert reach(vcenter, sha256=spelling(pin_of(vcenter))) == "VirtualCenter"


def test_a_wrong_pin_is_refused_and_both_are_named(vcenter: Vcenter) -> None:
    wrong = "ab" * 32
    with pytest.raises(CertificateRefused) as refusal:
        reach(vcenter, sha256=wrong)
    assert wrong in refusal.value.reason and pin_of(vcenter) in refusal.value.reason
    assert vcenter.calls()["total"] == 0


def test_a_wrong_pin_is_refused_though_the_ca_is_right(certified: Vcenter, authority: Authority) -> None:
    with pytest.raises(CertificateRefused):
        reach(certified, ca_file=str(authority.file), sha256="ab" * 32)


def test_an_unknown_ca_is_refused_though_the_pin_is_right(certified: Vcenter, tmp_path: Path) -> None:
    with pytest.raises(CertificateRefused):
        reach(certified, ca_file=str(Authority(tmp_path, "other CA").file), sha256=pin_of(certified))


def test_a_server_that_was_replaced_is_refused(program: Path) -> None:
    with Vcenter(inventory(), binary=program) as first:
        port = first.port
        settings = Settings(first.host, USER, PASSWORD, port, sha256=pin_of(first), read_deadline=5)
        session = Session(settings)
        assert VCenter(session).observe(resource(DISK)).readable
    with Vcenter(inventory(), binary=program, listen=f"127.0.0.1:{port}") as second:
        facts = VCenter(session).observe(resource(DISK))
        assert not facts.readable and "SHA-256" in facts.reason
        assert second.calls()["total"] == 0


def test_a_missing_ca_file_is_named(vcenter: Vcenter, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        reach(vcenter, ca_file=str(tmp_path / "nowhere.pem"))


@pytest.mark.parametrize("pin", ["ab", "zz" * 32, "ab" * 20])
def test_a_pin_that_is_none_is_refused_at_start(pin: str) -> None:
    with pytest.raises(ConfigError, match="SHA-256"):
        Settings("vc", USER, PASSWORD, sha256=pin)
