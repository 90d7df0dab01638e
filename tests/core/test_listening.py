"""The master's ear: what counts as heard, what counts as silence, and what it says of it."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.core.build import resource, says
from vmdk_failover import signing
from vmdk_failover.daemon.listening import EACH, FOR, GAP, RESTART_GRACE, TICK, WARN, Ear, Reports, Seen
from vmdk_failover.errors import BadSignature
from vmdk_failover.presence import heard, lookout
from vmdk_failover.store import sightings

SECRET = b"s" * 32
BOOT = heard.master_boot()
TIMEOUT = 15.0


def key(minion: str) -> str:
    return signing.node_key(SECRET, minion)


def beat(minion: str = "db1", seq: int = 1, signer: str = "", **more: Any) -> dict[str, Any]:
    """A heartbeat of ``minion``, signed with the key of ``signer``."""
    body = {
        "minion": minion,
        "boot_id": "boot-1",
        "seq": seq,
        "uptime": float(seq),
        "address": "10.0.0.1",
        "version": "1",
    }
    return signing.sign_heartbeat(key(signer or minion), {**body, **more})


class Site:
    """An ear with a clock that stands still, and all that it says."""

    def __init__(self, directory: Path) -> None:
        self.now, self.directory = 1000.0, directory
        self.hints: list[tuple[float, str, str]] = []
        self.booted: list[tuple[str, str]] = []
        self.warnings: list[str] = []
        self.start()

    def start(self) -> None:
        """The listener's process begins (anew)."""
        self.ear = Ear(
            self.directory,
            key,
            self.hint,
            self.warnings.append,
            lambda: self.now,
            booted=lambda name, minion: self.booted.append((name, minion)),
        )
        self.ear.watch({"pgdata": resource(2, node_timeout=TIMEOUT)})

    def hint(self, name: str, minion: str) -> None:
        self.hints.append((self.now, name, minion))

    def listen(self, seconds: float, *minions: str, step: float = TICK) -> None:
        """Let time pass; these nodes send a heartbeat at each step."""
        end = self.now + seconds
        while self.now < end:
            self.now += step
            for minion in minions:
                self.ear.hear(beat(minion, int(self.now * 1000)))
            self.ear.tick()

    def silent(self, minion: str = "db1") -> float | None:
        """As a look in another process reads it."""
        return heard.read(self.directory).silent(minion, self.now, BOOT)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "state")


def test_silence_is_the_time_since_the_last_signed_heartbeat(site: Site) -> None:
    site.listen(10, "db1", "db2")
    assert site.silent() == pytest.approx(0, abs=1)
    site.listen(20, "db2")
    assert site.silent("db1") == pytest.approx(20, abs=1)
    assert site.silent("db2") == pytest.approx(0, abs=1)
    assert heard.read(site.directory).address("db1") == "10.0.0.1"


def test_a_node_that_was_never_heard_gets_grace_after_a_start(site: Site) -> None:
    site.listen(20)
    assert site.silent() == pytest.approx(20 - RESTART_GRACE, abs=1)


def test_a_restart_begins_anew_and_keeps_addresses(site: Site) -> None:
    site.listen(10, "db1")
    site.listen(20)
    site.start()
    site.listen(1)
    assert site.silent() == pytest.approx(1 - RESTART_GRACE, abs=1)
    assert heard.read(site.directory).address("db1") == "10.0.0.1"


def test_a_gap_in_its_own_ticks_begins_all_windows_anew(site: Site) -> None:
    site.listen(60, "db1")
    site.listen(10)
    site.now += GAP + 20
    site.ear.tick()
    site.listen(1)
    assert site.silent() == pytest.approx(1, abs=0.5)


def test_a_gap_does_not_shorten_the_grace_of_a_start(site: Site) -> None:
    site.now += GAP + 1
    site.ear.tick()
    site.listen(1)
    assert site.silent() == pytest.approx(GAP + 2 - RESTART_GRACE, abs=0.5)


def test_a_file_that_nobody_writes_says_nothing(site: Site) -> None:
    site.listen(10, "db1")
    site.now += heard.STALE + 1
    assert site.silent() is None
    assert heard.read(site.directory).silent("db1", site.now, "another boot") is None
    (site.directory / heard.NAME).write_text('{"nodes": {"db1": 7}')
    assert heard.read(site.directory) == heard.NOTHING


FORGED = {
    "another node's key": beat(signer="db2"),
    "no signature": {k: v for k, v in beat().items() if k != "signature"},
    "changed": {**beat(), "address": "10.0.0.66"},
    "no node": beat("stranger"),
    "more in it": signing.sign_heartbeat(key("db1"), {**beat(), "more": 1}),
    "huge": beat(address="x" * 100000),
    "wrong types": beat(seq="1"),  # type: ignore[arg-type]
    "a truth value": beat(seq=True),
    "signature of a wrong type": {**beat(), "signature": "ü"},
    "a list": [1],
    "nothing": None,
    "a word": "vmdk",
    "an empty mapping": {},
}


@pytest.mark.parametrize("what", FORGED)
def test_what_cannot_be_verified_is_neither_health_nor_silence(site: Site, what: str) -> None:
    site.listen(10, "db1")
    before = site.ear.known.nodes["db1"]
    site.now += 1
    site.ear.hear(FORGED[what])
    assert site.ear.known.nodes["db1"] == before
    assert len(site.warnings) == 1 and "1 heartbeats were ignored" in site.warnings[0]


def test_an_answer_is_no_heartbeat(site: Site) -> None:
    body = {k: v for k, v in beat().items() if k != "signature"}
    with pytest.raises(BadSignature):
        signing.check_heartbeat(
            key, {**body, "signature": signing.sign_answer(key("db1"), body, "")["signature"]}
        )


def test_a_heartbeat_that_is_played_again_is_old(site: Site) -> None:
    first = beat(seq=100)
    second = beat(seq=1, boot_id="boot-2")
    for one in (first, second):
        site.ear.hear(one)
    at = site.ear.known.at("db1")
    site.now += 5
    for again in (first, second, beat(seq=200)):
        site.ear.hear(again)
        assert site.ear.known.at("db1") == at
    site.listen(1)
    site.start()
    site.ear.hear(second)
    assert site.ear.known.at("db1") is None, "not after a restart either"
    site.ear.hear(beat(seq=2, boot_id="boot-2"))
    assert site.ear.known.at("db1") == site.now


def in_boot(boot_id: str, uptime: float) -> dict[str, Any]:
    """A heartbeat of a node in this boot, for so many seconds."""
    return beat(seq=int(uptime * 1000), boot_id=boot_id, uptime=uptime)


@pytest.mark.parametrize(("meanwhile", "back"), [(("boot-2", 20.0), 541.0), (("boot-1", 500_000.0), 900.0)])
def test_a_node_that_only_looks_played_again_is_heard_as_soon_as_it_has_answered(
    site: Site, meanwhile: tuple[str, float], back: float
) -> None:
    """A clone spoke under its id for a moment; its VM was reverted to a snapshot with its memory."""
    site.ear.hear(in_boot("boot-1", 540.0))
    site.ear.hear(in_boot(*meanwhile))
    site.listen(1)
    at = site.ear.known.at("db1")
    site.now += 1
    site.ear.hear(in_boot("boot-1", back))
    assert site.ear.known.at("db1") == at, "anybody can play it again"
    lookout.answered(site.directory, says("db1", boot_id="boot-1", uptime=back), lambda: site.now)
    site.ear.hear(in_boot("boot-1", back - 10))
    assert site.ear.known.at("db1") == at, "that is of some time ago"
    site.now += 20
    site.ear.hear(in_boot("boot-1", back + 20))
    assert site.ear.known.at("db1") == site.now
    site.now += 1
    site.ear.hear(in_boot("boot-1", back + 21))
    assert site.ear.known.at("db1") == site.now
    (site.directory / "present" / "db1.json").unlink()
    site.now += 1
    site.ear.hear(in_boot("boot-1", back + 22))
    assert site.ear.known.at("db1") == site.now, "from then on as ever"


def test_an_answer_of_a_node_that_is_heard_leaves_no_note(site: Site) -> None:
    site.ear.hear(in_boot("boot-1", 540.0))
    site.listen(1)
    for boot_id, uptime in (("boot-1", 538.0), ("boot-1", 600.0), ("boot-2", 3.0)):
        lookout.answered(site.directory, says("db1", boot_id=boot_id, uptime=uptime))
    lookout.answered(site.directory, says("db9"))
    assert not (site.directory / "present").exists()


def test_another_boot_is_a_hint_for_each_resource_of_the_node(site: Site) -> None:
    """A reboot from within the guest: vCenter shows nothing of it, and the node has its disk and does not mount it."""
    site.ear.watch({name: replace(resource(2), name=name) for name in ("mail", "pgdata", "wal")})
    site.ear.hear(beat(seq=100))
    assert site.booted == [], "the first word is none of another boot"
    site.ear.hear(beat(seq=1, boot_id="boot-2"))
    assert sorted(site.booted) == [("mail", "db1"), ("pgdata", "db1"), ("wal", "db1")]
    site.booted.clear()
    for old in (beat(seq=2, boot_id="boot-2"), beat(seq=101), beat(seq=1, boot_id="boot-2")):
        site.ear.hear(old)
    assert site.booted == [], "the same boot, and replays"
    site.ear.hear(beat(seq=1, boot_id="boot-3", signer="db2"))
    assert site.booted == [], "anybody can say that"
    site.start()
    site.ear.hear(beat(seq=1, boot_id="boot-3"))
    assert site.booted == [], "what was not written down before the restart is not known"


def test_a_boot_while_nobody_listened_is_a_hint_too(site: Site) -> None:
    site.listen(2, "db1")
    site.start()
    site.ear.hear(beat(seq=1, boot_id="boot-2"))
    assert site.booted == [("pgdata", "db1")]


def test_a_flood_of_forged_heartbeats_is_one_warning_a_minute(site: Site) -> None:
    for _ in range(round(WARN * 10)):
        for _ in range(3):
            site.ear.hear(FORGED["another node's key"])
        site.ear.hear(beat("db1", int(site.now * 1000)))
        site.now += 0.1
        site.ear.tick()
    assert len(site.warnings) <= 2
    assert site.silent("db1") == pytest.approx(0, abs=1)


def test_a_forged_heartbeat_costs_little(site: Site) -> None:
    began = time.monotonic()
    for _ in range(2000):
        site.ear.hear(FORGED["another node's key"])
    assert time.monotonic() - began < 2.0


def test_the_file_is_written_twice_a_second_at_most(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[float] = []
    monkeypatch.setattr(heard, "write", lambda directory, known: writes.append(site.now))
    site.listen(60, "db1", "db2", step=0.01)
    assert 50 <= len(writes) <= 120


def test_a_directory_that_cannot_be_written_ends_nothing(site: Site) -> None:
    site.ear.directory = Path("/proc/nowhere")
    site.listen(3, "db1")
    assert site.ear.known.at("db1") is not None


def test_silence_is_told_ahead_and_again_and_again_for_a_while(site: Site) -> None:
    site.listen(10, "db1", "db2")
    assert site.hints == []
    fell_silent = site.now
    site.listen(200, "db2")
    assert {(name, minion) for _, name, minion in site.hints} == {("pgdata", "db1")}
    times = [at - fell_silent for at, _, _ in site.hints]
    assert times[0] == pytest.approx(TIMEOUT / 2, abs=1)
    assert all(EACH <= later - sooner <= EACH + 1 for sooner, later in itertools.pairwise(times))
    assert times[-1] <= TIMEOUT + FOR
    site.hints.clear()
    site.listen(1, "db1", "db2")
    site.listen(10, "db2")
    assert site.hints, "it is told again when it falls silent again"


def test_it_listens_to_nodes_of_the_configuration_only(site: Site) -> None:
    site.ear.hear(beat("db3"))
    assert "db3" not in site.ear.known.nodes
    site.ear.watch({"pgdata": resource(3)})
    site.ear.hear(beat("db3"))
    assert "db3" in site.ear.known.nodes


# -- reports --------------------------------------------------------------------------------------------------


class Desk:
    """Reports with a clock that stands still, and the hints that come of them."""

    def __init__(self) -> None:
        self.now, self.hints = 100.0, []
        self.reports = Reports(lambda name, node: self.hints.append((name, node)), lambda: self.now)
        self.reports.watch({"pgdata": resource(2)})


@pytest.mark.parametrize(
    ("tag", "data", "hints"),
    [
        ("salt/beacon/db1/vmdk/pgdata/io_error", {}, [("pgdata", "db1")]),
        ("vmdk/pgdata/io_error", {"id": "db2", "data": {}}, [("pgdata", "db2")]),
        (
            "vmdk/pgdata/silent",
            {"resource": "pgdata"},
            [],
        ),  # the engine's own: it has asked for the look itself
        ("salt/beacon/db9/vmdk/pgdata/io_error", {}, []),
        ("vmdk/pgdata/io_error", {"id": "db9"}, []),
        ("vmdk/pgdata/io_error", {"id": ["db1"]}, []),
        ("vmdk/mail/io_error", {"id": "db1"}, []),
        ("vmdk/pgdata\n/io_error", {"id": "db1"}, []),
        ("vmdk/pgdata/io_error/x", {"id": "db1"}, []),
        ("vmdk-move/pgdata/done", {"id": "db1"}, []),
        ("x/salt/beacon/db1/vmdk/pgdata/io_error", {}, []),
        ("salt/beacon/db1/vmdk/pgdata/io_error", None, []),
        ("", {}, []),
    ],
)
def test_a_node_speaks_of_its_own_resources_only(tag: str, data: Any, hints: list[Any]) -> None:
    desk = Desk()
    desk.reports.take(tag, data)
    assert desk.hints == hints


def test_a_flood_of_reports_is_passed_on_in_drops(tmp_path: Path) -> None:
    desk = Desk()
    for _ in range(10_000):
        desk.reports.take("vmdk/pgdata/io_error", {"id": "db2"})
        desk.now += 0.0001
    assert 1 <= len(desk.hints) <= 3
    desk.reports.take("vmdk/pgdata/io_error", {"id": "db1"})
    assert desk.hints[-1] == ("pgdata", "db1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"uptime": float("nan")},
        {"uptime": float("inf")},
        {"uptime": -1.0},
        {"seq": -1},
        {"seq": 10**30},
        {"seq": True},
        {"version": "x" * 300},
    ],
)
def test_numbers_that_cannot_be_are_no_heartbeat(tmp_path: Path, wrong: dict[str, Any]) -> None:
    site = Site(tmp_path)
    try:
        signed = beat(**wrong)
    except ValueError:  # it cannot even be signed
        signed = {**beat(), **wrong}
    site.ear.hear(signed)
    site.ear.hear({**beat(), "signature": "\ud800"})
    assert "db1" not in site.ear.known.nodes and len(site.warnings) == 1


# -- what is kept and counted of it


def test_who_is_not_believed_is_counted(tmp_path: Path) -> None:
    site, refused = Site(tmp_path), []
    site.ear.reject = lambda: refused.append("beat")
    site.ear.hear(beat())
    site.ear.hear({**beat(seq=2), "signature": "00"})
    desk = Desk()
    desk.reports.reject = lambda: refused.append("report")
    desk.reports.take("salt/beacon/db9/vmdk/pgdata/io_error", {})
    desk.reports.take("vmdk/mail/io_error", {"id": "db1"})
    desk.reports.take("vmdk/pgdata/silent", {"resource": "pgdata"})  # the master's own
    desk.reports.take("vmdk/pgdata/io_error", {"id": "db1"})
    assert refused == ["beat", "report", "report"]


class Counted:
    """Keeps counts. :ivar found: seconds, by node."""

    def __init__(self) -> None:
        self.found: list[tuple[str, float]] = []

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        assert name == "report_latency"
        self.found.append((labels["node"], round(amount, 3)))


def reported(since: object, seq: int = 1, boot: str = "boot-1", condition: str = "hung") -> dict[str, Any]:
    return {"condition": condition, "evidence": "x", "since": since, "seq": seq, "boot_id": boot}


def test_how_long_a_report_was_on_its_way_is_told_by_the_fastest_heartbeats(tmp_path: Path) -> None:
    site, counts = Site(tmp_path), Counted()
    seen = Seen(sightings.Sightings(tmp_path), counts, site.ear)  # type: ignore[arg-type]
    for seq, late in enumerate((0.5, 0.01, 0.9), 1):  # the node's clock is 900 s behind the master's
        site.now = 1000.0 + seq + late
        site.ear.hear(beat(seq=seq, uptime=100.0 + seq))
    site.now = 1010.0 + 0.01 + 0.25
    for report in (reported(110.0), reported(110.0), reported("110"), reported(float("nan"), 2), reported(0, 3),
                   reported(110.0, 4, "another boot"), reported(110.0, 5, condition="ok"), reported(-1e9, 6),
                   reported(1.0, 7, condition="no such")):  # fmt: skip
        seen("pgdata", "db1", report)
    seen("pgdata", "db2", reported(110.0))  # never heard
    assert counts.found == [("db1", 0.25)]
    kept = sightings.read(tmp_path, "pgdata", 0.0, float("inf"))
    assert {(one["who"], one["what"]) for one in kept} == {("db1", "hung"), ("db1", "ok"), ("db2", "hung")}
