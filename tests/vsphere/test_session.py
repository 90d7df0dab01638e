"""Logins, deadlines, threads and forks."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.hypervisor import Vcenter
from tests.vsphere import servers
from tests.vsphere.world import PASSWORD, USER
from vmdk_failover.errors import CannotObserve, ConfigError, LoginRefused
from vmdk_failover.model import Resource
from vmdk_failover.vsphere.hypervisor import VCenter
from vmdk_failover.vsphere.session import Session
from vmdk_failover.vsphere.settings import Settings

Sessions = Callable[..., Session]


def logins(vcenter: Vcenter) -> int:
    """How many logins vCenter has seen."""
    return int(vcenter.calls()["methods"].get("Login", 0))


def zone(session: Session, within: float = 5) -> str:
    """Any read that needs a login."""
    return str(session.read(lambda login: login.content.sessionManager.currentSession.userName, within))


# passwords


def test_a_wrong_password_is_tried_once(vcenter: Vcenter, new_session: Sessions, pgdata: Resource) -> None:
    session = new_session(password="wrong")
    facts = [VCenter(session).observe(pgdata) for _ in range(3)]
    assert [f.readable for f in facts] == [False] * 3
    assert all(USER in f.reason and "wrong" not in f.reason for f in facts)
    assert logins(vcenter) == 1


def test_a_wrong_password_is_remembered_by_other_processes(
    vcenter: Vcenter, new_session: Sessions, tmp_path: Path
) -> None:
    memory = str(tmp_path / "refused")
    for _ in range(3):
        with pytest.raises(LoginRefused):
            zone(new_session(password="wrong", refusal_file=memory))
    assert logins(vcenter) == 1
    assert "wrong" not in Path(memory).read_text()
    assert Path(memory).stat().st_mode & 0o077 == 0


def test_a_corrected_password_works_at_once(vcenter: Vcenter, new_session: Sessions, tmp_path: Path) -> None:
    memory = tmp_path / "refused"
    with pytest.raises(LoginRefused):
        zone(new_session(password="wrong", refusal_file=str(memory)))
    assert zone(new_session(refusal_file=str(memory))) == USER
    assert not memory.exists()


def test_no_password_is_shown(session: Session, settings: Settings) -> None:
    shown = [repr(session), str(session), repr(settings), repr(session.read(lambda login: login))]
    assert not [text for text in shown if PASSWORD in text]


@pytest.mark.parametrize("lost", ["host", "user", "password"])
def test_settings_must_be_whole(lost: str) -> None:
    plain = {"host": "vc", "user": USER, "password": PASSWORD}
    with pytest.raises(ConfigError) as error:
        Settings.from_plain({**plain, lost: ""})
    assert lost in error.value.reason and PASSWORD not in error.value.reason
    del plain[lost]
    with pytest.raises(ConfigError):
        Settings.from_plain(plain)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ConfigError, match="ca_file"):
        Settings.from_plain({"host": "vc", "user": USER, "password": PASSWORD, "verify": False})


# sessions that end


def test_an_expired_login_is_made_anew(vcenter: Vcenter, session: Session, pgdata: Resource) -> None:
    hypervisor = VCenter(session)
    assert hypervisor.observe(pgdata).readable
    vcenter.expire_sessions()
    facts = hypervisor.observe(pgdata)
    assert facts.readable and facts.vm("db1").present is True
    assert logins(vcenter) == 2


def test_many_threads_make_one_new_login(vcenter: Vcenter, session: Session, pgdata: Resource) -> None:
    hypervisor = VCenter(session)
    hypervisor.observe(pgdata)
    vcenter.expire_sessions()
    seen: list[bool] = []
    threads = [
        threading.Thread(target=lambda: seen.append(hypervisor.observe(pgdata).readable)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert seen == [True] * 8
    assert logins(vcenter) == 2


def test_an_expired_login_stops_a_write_unsent(vcenter: Vcenter, session: Session, pgdata: Resource) -> None:
    hypervisor = VCenter(session)
    first = hypervisor.observe(pgdata).vm("db1")
    vcenter.expire_sessions()
    outcome = hypervisor.detach(pgdata, pgdata.node("db1"), first, pgdata.disks)
    assert (outcome.result.value, outcome.code) == ("failed", "step_failed")
    assert len(vcenter.disk_paths("db1-vm")) == 2
    assert hypervisor.observe(pgdata).readable


def test_closing_logs_out(vcenter: Vcenter, new_session: Sessions) -> None:
    session = new_session()
    zone(session)
    assert vcenter.calls()["methods"].get("Logout", 0) == 0
    session.close()
    session.close()
    assert vcenter.calls()["methods"]["Logout"] == 1


def test_a_child_process_has_a_login_of_its_own(vcenter: Vcenter, session: Session) -> None:
    zone(session)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, json.dumps(zone(session)).encode())
            session.close()
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    assert json.loads(os.read(reading, 1000)) == USER
    os.close(reading)
    assert logins(vcenter) == 2
    before = logins(vcenter)
    assert zone(session) == USER
    assert logins(vcenter) == before


# networks that fail


@pytest.mark.parametrize("mode", ["503", "drop", "dropreply"])
def test_a_read_is_repeated(vcenter: Vcenter, session: Session, pgdata: Resource, mode: str) -> None:
    hypervisor = VCenter(session)
    hypervisor.observe(pgdata)
    vcenter.net(mode, 2)
    assert hypervisor.observe(pgdata).readable


def test_a_read_that_hangs_is_repeated_on_a_fresh_connection(
    vcenter: Vcenter, new_session: Sessions, pgdata: Resource
) -> None:
    hypervisor = VCenter(new_session(read_deadline=8, call_timeout=1))
    hypervisor.observe(pgdata)
    vcenter.net("hang", 1)
    begin = time.monotonic()
    assert hypervisor.observe(pgdata).readable
    assert 0.9 < time.monotonic() - begin < 4


def test_reading_ends_at_its_deadline(vcenter: Vcenter, new_session: Sessions, pgdata: Resource) -> None:
    hypervisor = VCenter(new_session(read_deadline=2))
    hypervisor.observe(pgdata)
    vcenter.net("hang")
    begin = time.monotonic()
    facts = hypervisor.observe(pgdata)
    assert not facts.readable and "does not answer" in facts.reason
    assert time.monotonic() - begin < 3
    vcenter.net("")


def test_a_host_that_does_not_answer(new_session: Sessions, pgdata: Resource) -> None:
    with servers.black_hole() as port:
        hypervisor = VCenter(new_session(port=port, connect_timeout=0.5, read_deadline=1.5))
        begin = time.monotonic()
        facts = hypervisor.observe(pgdata)
        assert time.monotonic() - begin < 2.5
    assert not facts.readable and f"127.0.0.1:{port}" in facts.reason
    assert len(facts.reason.splitlines()) == 1


def test_a_port_that_refuses(new_session: Sessions, pgdata: Resource) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        facts = VCenter(new_session(port=port, read_deadline=1)).observe(pgdata)
    assert not facts.readable and "refused" in facts.reason


def test_a_name_that_does_not_exist(new_session: Sessions, pgdata: Resource) -> None:
    facts = VCenter(new_session(host="vc.invalid", read_deadline=3, connect_timeout=1)).observe(pgdata)
    assert not facts.readable and "vc.invalid" in facts.reason


def test_a_server_that_trickles(new_session: Sessions, tmp_path: Path) -> None:
    authority = servers.Authority(tmp_path)
    with servers.tls_server(authority.issue("127.0.0.1"), servers.trickle) as port:
        session = new_session(port=port, sha256="", ca_file=str(authority.file))
        begin = time.monotonic()
        with pytest.raises(CannotObserve):
            zone(session, within=1.5)
        assert time.monotonic() - begin < 2.5


def test_a_server_that_is_no_vcenter(new_session: Sessions, tmp_path: Path) -> None:
    authority = servers.Authority(tmp_path)
    with servers.tls_server(authority.issue("127.0.0.1"), servers.garbage) as port:
        session = new_session(port=port, sha256="", ca_file=str(authority.file))
        with pytest.raises(CannotObserve, match="no API version"):
            zone(session, within=1.5)


SOAP = b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>%s</e:Body></e:Envelope>'


@pytest.mark.parametrize("status", [b"200 OK", b"500 Error"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><p>down",
        b"<html><p>down for maintenance</p></html>",
        SOAP % b"",
        SOAP % b'<LoginResponse xmlns="urn:vim25"/>',
        SOAP % b'<RetrieveServiceContentResponse xmlns="urn:vim25"><returnval><x/></returnval>',
        SOAP % b"<e:Fault><faultstring>no</faultstring></e:Fault>",
    ],
    ids=["empty", "torn", "page", "bare", "other", "broken", "fault"],
)
def test_only_the_answer_to_the_question_counts(
    new_session: Sessions, pgdata: Resource, tmp_path: Path, status: bytes, body: bytes
) -> None:
    authority = servers.Authority(tmp_path)
    with servers.tls_server(authority.issue("127.0.0.1"), servers.half_vcenter(status, body)) as port:
        session = new_session(port=port, sha256="", ca_file=str(authority.file), read_deadline=0.3)
        facts = VCenter(session).observe(pgdata)
    assert (facts.readable, facts.vms) == (False, ()) and facts.reason


def test_an_unreadable_vcenter_is_readable_again(
    vcenter: Vcenter, new_session: Sessions, pgdata: Resource
) -> None:
    hypervisor = VCenter(new_session(read_deadline=1))
    vcenter.net("drop")
    assert not hypervisor.observe(pgdata).readable
    vcenter.net("")
    assert hypervisor.observe(pgdata).readable


def test_threads_share_a_session(vcenter: Vcenter, session: Session, pgdata: Resource) -> None:
    hypervisor = VCenter(session)
    seen: list[bool] = []

    def look() -> None:
        seen.extend(hypervisor.observe(pgdata).readable for _ in range(5))

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == [True] * 30
    assert logins(vcenter) == 1
