"""A lab vCenter per test module, its world made anew for each test."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.hypervisor import Vcenter, built
from tests.vsphere.world import DISK, PASSWORD, SECOND, USER, inventory, resource
from vmdk_failover.model import Resource
from vmdk_failover.vsphere.hypervisor import VCenter
from vmdk_failover.vsphere.session import Session
from vmdk_failover.vsphere.settings import Settings


@pytest.fixture(scope="session")
def program() -> Path:
    """The lab vCenter's program, built if its sources changed."""
    return built()


@pytest.fixture
def vcenter(program: Path) -> Iterator[Vcenter]:
    """A running lab vCenter with two nodes; the first lists both disks."""
    with Vcenter(inventory(), binary=program) as running:
        yield running


@pytest.fixture
def settings(vcenter: Vcenter) -> Settings:
    """How to reach it: pinned to the certificate that it made up."""
    return settings_for(vcenter)


@pytest.fixture
def new_session(settings: Settings) -> Iterator[Callable[..., Session]]:
    """Makes sessions, with other settings if asked, and closes them."""
    made: list[Session] = []

    def make(**other: Any) -> Session:
        made.append(Session(replace(settings, **other)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def session(new_session: Callable[..., Session]) -> Session:
    """A session, not yet logged in."""
    return new_session()


@pytest.fixture
def hypervisor(session: Session) -> VCenter:
    """The adapter under test."""
    return VCenter(session)


@pytest.fixture
def pgdata() -> Resource:
    """A resource with one disk on nodes db1 and db2."""
    return resource(DISK)


@pytest.fixture
def pair() -> Resource:
    """A resource with two disks on nodes db1 and db2."""
    return resource(DISK, SECOND)


def settings_for(running: Vcenter, **other: Any) -> Settings:
    """Settings for a running lab vCenter, pinned to its certificate."""
    plain = {
        "host": running.host,
        "user": USER,
        "password": PASSWORD,
        "port": running.port,
        "sha256": pin_of(running),
    }
    return Settings(**{**plain, **other})


def pin_of(running: Vcenter) -> str:
    """SHA-256 fingerprint of the certificate that it shows."""
    pem = ssl.get_server_certificate((running.host, running.port), timeout=10)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
