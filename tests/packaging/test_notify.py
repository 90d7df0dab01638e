"""The example that tells people: whom it believes, and that one way which is shut does not shut the other."""

from __future__ import annotations

import importlib.util
import json
import logging
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import salt.config
import salt.loader
import salt.template

from tests.conftest import ROOT
from tests.integration import sinks
from vmdk_failover.commands.authentic import Announcements

PLACE = ROOT / "docs" / "examples" / "notify"
NOW = 1.7e9
ENTRY = {"what": "state", "resource": "pgdata", "state": "held", "active": "", "protected": False, "reason": "no: \"'\n🙂",
         "rule": 643, "nodes": {}, "before": {}, "at": NOW}  # fmt: skip


def example(options: Mapping[str, Any], genuine: Any = None) -> Any:
    """The runner as Salt's loader makes it. :param genuine: stands for ``vmdk.genuine``."""
    spec = importlib.util.spec_from_file_location("notify", PLACE / "notify.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    made.__opts__, made.__salt__ = {"notify": options}, {"vmdk.genuine": genuine}  # type: ignore[attr-defined]
    return made


@pytest.fixture(autouse=True)
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """What the runner logs, which Salt's own handlers would keep until the end of the process."""
    log = logging.getLogger("notify")
    monkeypatch.setattr(log, "propagate", False)
    monkeypatch.setattr(log, "handlers", [caplog.handler])
    return caplog


def by_mail(port: int) -> dict[str, Any]:
    to = {"server": "127.0.0.1", "port": port, "sender": "salt@example.com", "to": ["ops@example.com"]}
    return {"mail": {**to, "starttls": False}}


def shut() -> int:
    """A port at which nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as line:
        return int(line.getsockname()[1])


@pytest.mark.parametrize("broken", ["no server", "no sender"])
def test_a_mail_server_that_is_dead_keeps_no_post_back(broken: str, said: pytest.LogCaptureFixture) -> None:
    with sinks.web() as web:
        mail: dict[str, Any] = by_mail(shut()) if broken == "no server" else {"mail": {"server": "x"}}
        options = {**mail, "webhook": f"http://127.0.0.1:{web.port}/hook"}
        assert example(options).test() is False
    assert [json.loads(one)["text"] for one in web.kept] == [
        "[vmdk] notify: test – this is a test, nothing has happened"
    ]
    assert "no mail was sent" in said.text


def test_a_webhook_that_is_dead_keeps_no_mail_back_and_shows_no_url(
    said: pytest.LogCaptureFixture,
) -> None:
    for url in (f"http://127.0.0.1:{shut()}/s3cret", "s3cret"):
        with sinks.mail() as mail:
            assert example({**by_mail(mail.port), "webhook": url}).test() is False
        assert len(mail.kept) == 1
    assert said.text.count("no webhook was sent") == 2 and "s3cret" not in said.text


def rendered(event: Mapping[str, Any]) -> Any:
    """What the reactor hands to ``notify.change`` for an event; ``None`` if it does not call it."""
    opts = {**salt.config.DEFAULT_MINION_OPTS, "grains": {}, "id": "master"}
    renderers = salt.loader.render(opts, {}, states={})
    made = salt.template.compile_template(
        str(PLACE / "notify.sls"), renderers, "jinja|yaml", [], [], data=dict(event), tag="x"
    )
    if not made:
        return None
    ((how, words),) = made["vmdk_notify"].items()
    assert how == "runner.notify.change"
    return words[0]["args"][0]["event"]


def test_the_masters_own_word_goes_through_the_reactor_and_is_mailed(tmp_path: Path) -> None:
    own = Announcements(tmp_path, lambda: NOW)
    event = {**own.event({**ENTRY, "took": 0.00001})[0], "_stamp": "2026-11-23T09:00:00"}
    given = rendered(event)
    with sinks.mail() as mail:
        notify = example(by_mail(mail.port), lambda one: {"genuine": own.is_genuine(one)})
        assert notify.change(given) is True
        assert notify.change(given.replace("643", "644")) is False
    (sent,) = mail.kept
    assert "Subject: [vmdk] pgdata: HELD" in sent
    assert rendered({**event, "state": "moving"}) is None


def test_a_forged_one_is_not_mailed_and_a_master_that_cannot_tell_says_so(tmp_path: Path) -> None:
    forged = json.dumps({**ENTRY, "sentence": "all is well", "protected": True, "signature": "00" * 32})
    lost = {"ok": False, "error": "the secret has 0 bytes", "code": "journal", "retcode": 1}
    with sinks.mail() as mail:
        own = Announcements(tmp_path, lambda: NOW)
        assert (
            example(by_mail(mail.port), lambda one: {"genuine": own.is_genuine(one)}).change(forged) is False
        )
        assert mail.kept == []
        assert example(by_mail(mail.port), lambda one: lost).change(forged) is True
    (sent,) = mail.kept
    assert "the master: NOT KNOWN" in sent and "the secret has 0 bytes" in sent and "all is well" not in sent
