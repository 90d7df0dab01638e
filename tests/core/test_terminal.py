"""What people read at a terminal: the first line says whether all is well, the rest what to do."""

from __future__ import annotations

import re
from typing import Any

import pytest

from vmdk_failover.views import terminal

READY: dict[str, Any] = {"ready": True, "why_not": []}
MOVED = {"kind": "failover", "source": "db2", "target": "db1", "took": 1.42, "ended": 1.7e9, "ok": True}
GOOD: dict[str, Any] = {
    "state": "active",
    "reason": "active on db1",
    "rule": 600,
    "protected": True,
    "not_protected_because": [],
    "active": "db1",
    "since": 1.7e9,
    "hold": None,
    "pause": None,
    "nodes": {"db1": READY, "db2": READY},
    "last_move": MOVED,
}
HELD = {
    **GOOD,
    "state": "held",
    "reason": "the host is gone: 'salt-run vmdk.confirm_off db1'",
    "rule": 545,
    "protected": False,
    "not_protected_because": ["the host is gone: 'salt-run vmdk.confirm_off db1'"],
    "hold": {"rule": 545, "reason": "the host is gone", "since": 1.7e9},
    "active": "",
    "since": None,
    "nodes": {"db1": READY, "db2": {"ready": False, "why_not": ["the mount point is not empty"]}},
}
WHEN = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


def status(
    faults: list[str] | None = None, width: int = 100, more: dict[str, Any] | None = None, **resources: Any
) -> list[str]:
    answer = {"at": 1.7e9, "engine": True, "resources": resources, "faults": faults or [], **(more or {})}
    served = answer["engine"] or "watches_only" in answer
    answer["all_well"] = served and not faults and all(one["protected"] for one in resources.values())
    found = terminal.lines(answer, width)
    assert found is not None
    return found


def test_all_is_well_in_the_first_line() -> None:
    lines = status(pgdata=GOOD)
    assert lines[0] == "All is well: 1 resource, protected."
    assert re.fullmatch(rf"pgdata: active on db1 since {WHEN}", lines[1])
    assert lines[2] == "  backup db2 ready"
    assert re.fullmatch(rf"  last move: failover db2 -> db1 in 1.4 s at {WHEN}", lines[3])


def test_many_good_ones_take_a_line_each() -> None:
    lines = status(**{f"r{n}": GOOD for n in range(100)})
    assert lines[0] == "All is well: 100 resources, all protected."
    assert len(lines) == 103 and lines[2].startswith("RESOURCE  ACTIVE  SINCE")
    assert len({line.index("db2 ready") for line in lines[3:]}) == 1


def named(domain: str, **changes: Any) -> dict[str, Any]:
    """A resource on three nodes of a domain, one of which is not ready."""
    nodes = {f"db{n}{domain}": READY for n in (1, 2)} | {f"db3{domain}": HELD["nodes"]["db2"]}
    move = {**MOVED, "source": f"db2{domain}", "target": f"db1{domain}"}
    return {**GOOD, "active": f"db1{domain}", "nodes": nodes, "last_move": move, **changes}


LONG = "-of-the-second-cluster-in-the-old-hall"
SHORT = r"\d\d-\d\d \d\d:\d\d"


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("domain", ["", ".prod.example.com", LONG])
def test_a_table_fits_the_terminal(width: int, domain: str) -> None:
    lines = status(width=width, pgdata=named(domain), web=named(domain))
    assert max(map(len, lines)) <= width, lines
    rows = [line for line in lines if line.startswith(("pgdata", "web"))]
    assert len(rows) == 2
    for row in rows:
        assert re.search(rf"^\w+ +db1\S* +{SHORT}  ", row), row
    if domain == LONG:
        assert rows[0].endswith("1 of 2 ready")
    else:
        move = "failover db2 -> db1 in 1.4 s" if width == 100 else "failover in 1.4 s"
        assert rows[0].endswith(f"db2 ready; db3 NOT READY  {move}")
    assert (lines[-1] == f"Nodes are shown without {domain}") is domain.startswith(".")


def test_ids_are_told_in_full_where_there_is_room_or_they_would_be_the_same() -> None:
    row = status(width=250, pgdata=named(".prod.example.com"), web=named(".prod.example.com"))[3]
    assert (
        "db2.prod.example.com ready; db3.prod.example.com NOT READY  failover db2.prod.example.com -> " in row
    )
    same = {**GOOD, "active": "db.prod", "nodes": {"db.prod": READY, "db.test": READY}}
    assert all("Nodes are shown without" not in line for line in status(width=40, a=same, b=same))


@pytest.mark.parametrize("width", [80, 100])
def test_sentences_are_folded_and_their_words_stay_whole(width: int) -> None:
    words = "the VM of db2 has a snapshot that holds the disk, or its snapshots cannot be read, so nothing can be detached"
    held = {**HELD, "reason": words, "not_protected_because": [words]}
    lines = status(["vmdk.claims: must be a directory that is there on all of the masters, and this one is not there"],
                   width=width, alpha=GOOD, zeta=held)  # fmt: skip
    assert max(map(len, lines)) <= width
    assert " ".join(line.strip() for line in lines).count(words) == 1
    assert lines[1].startswith("  configuration: ") and lines[2].startswith("    ")


def test_what_is_planned_stands_below_its_row() -> None:
    planned = {"at": 1.7e9, "target": "db2", "by": "ann"}
    lines = status(width=80, alpha={**GOOD, "planned": planned}, beta=GOOD)
    assert re.fullmatch(rf"  switchover to db2 planned at {WHEN}", lines[4]) and lines[5].startswith("beta")


def test_a_moment_of_long_ago_is_told_by_its_day() -> None:
    lines = status(alpha={**GOOD, "since": 1.6e9}, beta=GOOD)
    assert re.search(r"alpha +db1 +2020-09-1\d  ", lines[3]) and re.search(rf"beta +db1 +{SHORT}  ", lines[4])


def test_a_bad_one_comes_first_with_why_and_what_to_do() -> None:
    lines = status(alpha=GOOD, zeta=HELD)
    assert lines[0] == "NOT WELL: 1 of 2 resources not protected (zeta)."
    assert lines[2] == "zeta: HELD"
    assert re.fullmatch(rf"  held since {WHEN} by rule 545", lines[3])
    assert lines[4] == "  the host is gone: 'salt-run vmdk.confirm_off db1'"
    assert (
        "  node db2 NOT READY: the mount point is not empty" in lines
    )  # nobody knows whose backup it would be
    assert lines.index("zeta: HELD") < next(n for n, line in enumerate(lines) if line.startswith("alpha"))


def test_where_nobody_is_known_to_be_in_charge_it_is_told_who_has_it_mounted() -> None:
    """Without vCenter: whether the service is up is what is asked first at night."""
    dark = ["its VM is not readable in vCenter"]
    nodes = {
        "db1": {"ready": False, "mounted": "mounted", "why_not": dark},
        "db2": {"ready": False, "mounted": "unmounted", "why_not": dark},
    }
    assert status(pgdata={**HELD, "nodes": nodes})[5:8] == [
        "  db1 has it mounted, by its own word",
        "  node db1 NOT READY: its VM is not readable in vCenter",
        "  node db2 NOT READY: its VM is not readable in vCenter",
    ]


def test_while_it_moves_nothing_is_said_of_backups_that_were_not_asked() -> None:
    silent = {"ready": False, "mounted": "unknown", "why_not": ["its minion gave no signed answer"]}
    moving = {**GOOD, "state": "moving", "protected": False, "reason": "a repair is under way", "active": ""}
    told = status(pgdata={**moving, "nodes": {"db1": silent, "db2": READY}, "not_protected_because": []})
    assert not [line for line in told if "READY" in line or "ready" in line]


def test_a_repair_is_told_of_one_node() -> None:
    move = {**MOVED, "kind": "repair", "source": "db1"}
    assert status(pgdata={**GOOD, "last_move": move})[3].startswith("  last move: repair on db1 in ")


@pytest.mark.parametrize(
    ("decision", "words"), [("refuse", "Would be REFUSED: "), ("hold", "Is HELD, nothing would be done: ")]
)
def test_a_plan_that_comes_to_nothing_says_so(decision: str, words: str) -> None:
    plan = {"decision": decision, "rule": 550, "reason": "db2 is off", "steps": [], "end": ""}
    assert terminal.lines(plan) == [f"{words}db2 is off (rule 550)"]


def test_a_plan_says_whether_it_would_be_done_unasked() -> None:
    step = {"step": "mount", "node": "db1", "rule": 240, "reason": "it is not in service"}
    plan = {"decision": "switchover", "rule": 555, "reason": "an operator asked", "steps": [step], "end": "",
            "source": "db1", "target": "db2"}  # fmt: skip
    asked = "If you ask for a switchover now, it goes from db1 to db2 (rule 555):"
    well = "All is well: nothing would be done by itself."
    assert (terminal.lines({**plan, "on": "well"}) or [])[:2] == [well, asked]
    assert (terminal.lines({**plan, "on": "request"}) or [])[
        0
    ] == "Would do a switchover from db1 to db2 (rule 555):"
    under_way = {**plan, "on": "under way", "reason": "it is under way already: an operator asked"}
    assert (terminal.lines(under_way, 200) or [])[0] == (
        "A switchover from db1 to db2 is under way already: an operator asked (rule 555). What is left of it:"
    )
    mend = {**plan, "decision": "repair", "target": "db1", "on": "itself"}
    assert (terminal.lines(mend) or [])[
        0
    ] == "Would do a repair on db1 by itself: an operator asked (rule 555)"
    none = {**plan, "decision": "refuse", "reason": "no node can", "steps": [], "on": "well"}
    refused = "If you ask for a switchover now, it is REFUSED: no node can (rule 555)"
    assert terminal.lines(none) == [well, refused]


def test_steps_that_were_told_are_not_told_again_and_a_move_that_failed_was_not_refused() -> None:
    step = {"step": "release", "node": "db1", "outcome": "failed", "evidence": "busy", "took": 0.5}
    base = {
        "resource": "pgdata",
        "rule": 150,
        "reason": "busy",
        "active": "",
        "took": 1.5,
        "result": "refused",
    }
    first = ["pgdata: GIVEN UP, 1.5 s", "  busy (rule 150)"]
    told = terminal.lines({**base, "steps": [step], "told": True})
    assert told == first
    assert (terminal.lines({**base, "steps": [step]}) or [])[:3] == [
        *first,
        "  releasing the disk on db1 failed after 500 ms – busy",
    ]
    assert (terminal.lines({**base, "steps": []}) or [])[0] == "pgdata: REFUSED, 1.5 s"


def test_what_an_edit_changes_is_told_in_words() -> None:
    mount = {"mountpoint": "/srv/a", "fs_uuid": "1-2", "fstype": "xfs", "options": "defaults"}
    changes = {
        "mounts": {"old": [mount], "new": [{**mount, "options": "noatime"}, {"mountpoint": "/srv/b"}]},
        "disks": {"old": [{"path": "[ds1] a.vmdk", "uuid": "1"}], "new": []},
        "services": {"old": None, "new": ["a", "b"]},
        "timeouts": {"old": {"release": 30}, "new": {"release": 60, "mount": 90}},
        "states": {"old": None, "new": {"start": ["vip"]}},
        "write_probe": {"old": False, "new": True},
    }
    told = terminal.lines(
        {"resource": "a", "changes": changes, "written": False, "file": "f", "text": "", "findings": []}
    )
    assert (told or [])[1:7] == [
        "  mounts: /srv/a (defaults) -> /srv/a (noatime), /srv/b",
        "  disks: [ds1] a.vmdk -> none",
        "  services: its default -> a, b",
        "  timeouts: {release: 30} -> {release: 60, mount: 90}",
        "  states: its default -> {start: [vip]}",
        "  write_probe: false -> true",
    ]


def test_resuming_all_where_nothing_is_paused_says_so() -> None:
    assert terminal.lines({"resumed": []}) == ["Nothing is in maintenance; nothing was done."]


def test_active_but_not_protected_is_loud() -> None:
    gaps = ["no other node can take it"]
    lines = status(pgdata={**GOOD, "protected": False, "not_protected_because": gaps})
    assert lines[0].startswith("NOT WELL") and lines[2].endswith(", NOT PROTECTED")
    assert lines[3] == "  no other node can take it"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"state": "isolated", "silent_for": 42.3, "address": False},
         " (isolated, no heartbeat for 42 s, nor does its address answer)"),
        ({"state": "silent", "silent_for": 42.3, "address": True},
         " (silent, no heartbeat for 42 s, its address answers)"),
        ({"state": "silent", "silent_for": 42.3, "address": None}, " (silent, no heartbeat for 42 s)"),
        ({"state": "suspect", "silent_for": 0.0, "address": None}, " (suspect)"),
        ({"state": "healthy", "silent_for": None, "address": None}, ""),
        ({"state": "off", "silent_for": None, "address": None}, ""),
        ({"state": "unknown", "silent_for": None, "address": None}, ""),
    ],
)  # fmt: skip
def test_a_backup_that_gives_no_answer_is_told_with_what_is_known_of_it(
    facts: dict[str, Any], words: str
) -> None:
    backup = {"ready": False, "why_not": ["its minion gave no signed answer"], **facts}
    lines = status(width=200, pgdata={**GOOD, "protected": False, "nodes": {"db1": READY, "db2": backup}})
    assert f"  backup db2 NOT READY{words}: its minion gave no signed answer" in lines


def test_faults_of_the_configuration_are_not_well() -> None:
    assert status(["vmdk.claims: must be a directory"], pgdata=GOOD)[:2] == [
        "NOT WELL: 1 resource protected, but the configuration has faults.",
        "  configuration: vmdk.claims: must be a directory",
    ]


def test_an_engine_that_does_not_answer_is_not_well() -> None:
    silent = [
        "  The engine vmdk of this master does not answer: nobody notices a node that dies or falls silent.",
        "  'salt-run vmdk.doctor' says how it is mended.",
    ]
    assert status(more={"engine": False}, pgdata=GOOD)[:3] == [
        "NOT WELL: 1 resource protected, but this master's engine does not answer.",
        *silent,
    ]
    both = status(["vmdk.claims: must be a directory"], more={"engine": False}, pgdata=HELD)
    assert both[0].startswith("NOT WELL: 1 of 1 resource not protected") and both[1:3] == silent
    other = status(more={"engine": False, "watches_only": "this master only watches"}, pgdata=GOOD)
    assert other[:2] == ["All is well: 1 resource, protected.", "  this master only watches"]
    assert max(map(len, status(more={"engine": False}, width=80, pgdata=GOOD))) <= 80


def test_nothing_protected_says_how_to_begin() -> None:
    assert "vmdk.protect" in status()[0]


def test_maintenance_tells_who_and_until_when() -> None:
    pause = {"by": "ann", "since": 1.7e9, "until": 1.7e9 + 7200}
    lines = status(pgdata={**GOOD, "state": "paused", "protected": False, "pause": pause})
    assert any(re.fullmatch(rf"  maintenance by ann since {WHEN}, until {WHEN}", line) for line in lines)


def test_one_that_cannot_be_looked_at() -> None:
    unknown = {"state": "unknown", "reason": "no journal", "active": "", "nodes": {}, "protected": False}
    assert status(pgdata={**unknown, "not_protected_because": ["no journal"]})[2:] == [
        "pgdata: NOT KNOWN",
        "  no journal",
    ]


def test_a_plan_and_a_report_and_a_refusal() -> None:
    step = {"step": "release", "node": "db1", "rule": 200, "reason": "it must stop"}
    way = {"source": "db1", "target": "db2"}
    plan = {
        "decision": "failover",
        "rule": 620,
        "reason": "db1 is off",
        "steps": [step],
        "end": "active on db2",
        **way,
    }
    assert terminal.lines(plan) == [
        "Would do a failover from db1 to db2 by itself: db1 is off (rule 620)",
        "  1. releasing the disk on db1 - it must stop",
        "  in the end: active on db2",
        "Nothing was done.",
    ]
    done = {"step": "release", "node": "db1", "outcome": "done", "evidence": "", "took": 0.5}
    base = {"resource": "pgdata", "rule": 70, "reason": "active on db2", "active": "db2", "took": 1.5}
    assert terminal.lines({**base, "result": "done", "steps": [done]}) == [
        "pgdata: Done, active on db2, 1.5 s",
        "  active on db2 (rule 70)",
        "  released on db1 in 500 ms",
    ]
    refused = terminal.lines({"ok": False, "error": "no such thing", "code": "config", "retcode": 1})
    assert refused == ["NOT DONE: no such thing (config)"]


def test_a_history_has_its_moments() -> None:
    step = {"step": {"kind": "release", "node": "db1"}, "result": "done", "took": 0.5}
    entries = [
        {
            "at": 1.7e9,
            "began": {"kind": "failover", "target": "db2", "reason": "off", "rule": 620, "epoch": 3},
        },
        {"verdict": 200, "reason": "x", "step": step["step"]},
        {"outcome": step, "at": 1.7e9},
        {"finished": MOVED},
        {"hold": None},
        {"pause": None},
        {"cleared": 1.7e9},
        {"something": "new"},
    ]
    lines = terminal.lines({"pgdata": entries, "web": []})
    assert lines is not None
    assert lines[0] == "pgdata:"
    assert re.fullmatch(rf"  {WHEN}  failover to db2 began: off \(rule 620, epoch 3\)", lines[1])
    assert re.fullmatch(rf"  {WHEN}  released on db1 in 500 ms", lines[2])
    assert re.fullmatch(rf"  {WHEN}  failover db2 -> db1 in 1.4 s", lines[3])
    assert lines[4] == "  maintenance ended" and lines[-1] == "web: nothing has happened yet"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"hold": {"since": 1.7e9, "reason": "off", "rule": 545}}, r"HELD: off \(rule 545\)"),
        ({"cleared": 1.7e9}, "cleared by a person"),
        ({"adopted": {"at": 1.7e9, "epoch": 9}}, "adopted under epoch 9"),
    ],
)
@pytest.mark.parametrize("dated", [{}, {"at": 1.7e9}], ids=["by itself", "by the journal"])
def test_each_line_of_a_history_has_one_moment(
    entry: dict[str, Any], words: str, dated: dict[str, float]
) -> None:
    lines = terminal.lines({"pgdata": [{**entry, **dated}]}) or []
    assert len(lines) == 2 and re.fullmatch(rf"  {WHEN}  {words}", lines[1]), lines


def test_what_a_persons_word_changed() -> None:
    answer = {
        "resource": "pgdata",
        "epoch": 42,
        "active": "db1",
        "holders": ["db1"],
        "moved": [{"uuid": "6000", "from": "[ds1] a.vmdk", "to": "[ds2] a.vmdk"}],
        "ended": ["the move to db2 under epoch 41"],
        "not_heard": ["db2"],
        "missing": [],
        "adopted": False,
    }
    assert terminal.lines(answer) == [
        "pgdata: would be adopted under epoch 42; nothing was written",
        "  active on db1; the disk is listed by db1",
        "  the disk [ds1] a.vmdk is [ds2] a.vmdk now",
        "  ends the move to db2 under epoch 41",
        "  no answer came from db2, so what is known there does not count",
    ]
    nobody = {
        **answer,
        "adopted": True,
        "active": "",
        "holders": [],
        "moved": [],
        "ended": [],
        "missing": ["db3"],
    }
    assert (terminal.lines(nobody) or [])[:2] == [
        "pgdata: adopted under epoch 42",
        "  active nowhere; the disk is listed by no node",
    ]
    cleared = terminal.lines({"resource": "pgdata", "cleared": True, "taken_as_deleted": ["db3"]}) or []
    assert cleared[0].startswith("pgdata: failed tries") and "does not show db3" in cleared[1]
    keys = {"changed": False, "began_now": True, "waiting_for": ["db2"]}
    assert "waiting for db2" in (terminal.lines(keys) or [])[1]
    assert (terminal.lines({**keys, "changed": True, "waiting_for": []}) or [""])[0].startswith(
        "The keys are changed"
    )
    off = terminal.lines({"host": "esx1", "confirmed": ["db1"], "resources": ["pgdata"]}) or []
    assert off == [
        "esx1 counts as off, until vCenter shows it connected again.",
        "  so do db1; looked at anew: pgdata",
    ]


def doctor(*found: dict[str, Any], width: int = 100) -> list[str]:
    lines = terminal.lines({"ok": not found, "looked_at": "this master", "findings": list(found)}, width)
    assert lines is not None
    return lines


def test_a_doctor_counts_what_stands_in_the_way() -> None:
    bad = {"severity": "error", "what": "It is off.", "do": "Switch it on.", "resource": "", "node": "db1"}
    assert doctor(bad, {**bad, "severity": "hint", "resource": "pgdata"}) == [
        "1 thing stands in the way of a failover.",
        "Looked at: this master",
        "",
        "SEVERITY  ABOUT       WHAT IT IS, AND WHAT TO DO",
        "error     db1         It is off.",
        "  -> Switch it on.",
        "hint      pgdata db1  It is off.",
        "  -> Switch it on.",
    ]
    assert doctor() == ["Nothing stands in the way of a failover.", "Looked at: this master"]
    nothing = {**bad, "severity": "hint", "what": "Nothing is protected yet."}
    assert doctor(nothing)[0] == "Nothing is protected yet, and nothing stands in the way of that."


@pytest.mark.parametrize(
    ("node", "width", "column"),
    [
        ("", 80, 10),
        ("db1", 80, 22),
        ("db1", 100, 22),
        ("database-one.prod.example.com", 80, 10),
        ("database-one.prod.example.com", 100, 48),
    ],
)
def test_what_a_doctor_finds_is_a_table_that_fits(node: str, width: int, column: int) -> None:
    words = "The engine vmdk does not answer: nobody watches vCenter, nobody hears the heartbeats."
    do = "Run 'systemctl restart salt-master' and look for 'vmdk' in /var/log/salt/master."
    found = {"severity": "warning", "what": words, "do": do, "resource": node and "pgdata", "node": node}
    lines = doctor(found, width=width)
    assert max(map(len, lines)) <= width
    about = f"pgdata {node}" if node else ""
    assert lines[3].index("WHAT IT IS") == column and lines[4][:7] == "warning"
    below = next(number for number, line in enumerate(lines) if line.startswith("  -> "))
    assert all(line[:column].strip() in ("", "warning", f"warning   {about}") for line in lines[4:below])
    told = " ".join(line[column:].strip() for line in lines[4:below])
    assert told == f"{f'{about}: ' if about and column == 10 else ''}{words}"
    assert " ".join(line.strip() for line in lines[below:]) == f"-> {do}"


@pytest.mark.parametrize("width", [72, 80, 100])
def test_a_command_is_on_one_line_if_the_terminal_has_room_for_it(width: int) -> None:
    command = "'govc role.update -a ROLE VirtualMachine.Interact.PowerOff'"
    do = f"Add that to the role's privileges of the account's user: {command}, or in the vSphere client under Roles."
    about = {"resource": "pgdata", "node": "db1.example.com"}
    lines = doctor({"severity": "error", "what": "A privilege lacks.", "do": do, **about}, width=width)
    assert any(command in line for line in lines) and max(map(len, lines)) <= width
    assert " ".join(line.strip() for line in lines[5:]) == f"-> {do}"


def test_what_a_node_has_put_into_a_reason_does_nothing_to_a_terminal() -> None:
    evil, shown = "\x1b[2J\x1b]0;x\x07\x9b", r"\x1b[2J\x1b]0;x\x07\x9b"
    why = {"ready": False, "why_not": [evil]}
    held = {**HELD, "reason": evil, "not_protected_because": [evil], "nodes": {"db1": READY, "db2": why}}
    found = {"severity": "error", "what": evil, "do": evil, "resource": "", "node": evil}
    asked: list[list[str] | None] = [
        status([evil], pgdata=held),
        doctor(found),
        terminal.lines({"error": evil, "code": "refused"}),
        terminal.lines({"pgdata": [{"hold": {"reason": evil, "rule": 1, "since": 1.7e9}}]}),
    ]
    for lines in asked:
        assert lines and all(line.isprintable() for line in lines) and any(shown in line for line in lines)


LONG_WORDS = " ".join(["something that has to be told in full, with what mends it"] * 4)
STEP = {"step": "release", "node": "db1", "rule": 200, "reason": LONG_WORDS}
FOLDED: dict[str, dict[str, Any]] = {
    "error": {"error": LONG_WORDS, "code": "refused"},
    "plan": {"decision": "switchover", "rule": 5, "reason": LONG_WORDS, "steps": [STEP], "end": LONG_WORDS},
    "nothing to do": {"decision": "hold", "rule": 5, "reason": LONG_WORDS, "steps": [], "end": ""},
    "move": {"resource": "a", "result": "held", "rule": 5, "reason": LONG_WORDS, "took": 1.0, "steps": []},
    "edit": {"resource": "a", "changes": {"states": {"old": LONG_WORDS, "new": None}}, "written": False,
             "file": "/etc/salt/vmdk.d/a.yaml", "text": "", "findings": [LONG_WORDS]},
    "history": {"a": [{"at": 1.7e9, "confirmed_off": {"words": LONG_WORDS}}]},
    "page": {"path": "/srv/a.html", "epoch": 7, "result": "done", "sentence": LONG_WORDS},
    "rules": {"policy": {510: LONG_WORDS}, "steps": {}},
    "adopt": {"resource": "a", "epoch": 7, "active": "", "holders": [], "moved": [], "adopted": True,
              "ended": [LONG_WORDS], "not_heard": [], "missing": []},
}  # fmt: skip


@pytest.mark.parametrize("width", [60, 100])
@pytest.mark.parametrize("name", FOLDED)
def test_every_answer_fits_the_terminal(name: str, width: int) -> None:
    lines = terminal.lines(FOLDED[name], width) or []
    assert max(map(len, lines)) <= width and LONG_WORDS in " ".join(" ".join(lines).split()), lines


def test_a_refusal_with_several_reasons_has_a_line_for_each() -> None:
    reasons = ["db2: one thing is so (it is). Mend it.", "db2: 'salt db2 test.ping' (2 s) says nothing."]
    words = " ".join(f"({number}) {one}" for number, one in enumerate(reasons, 1))
    refused = {"error": f"pgdata was not protected: {words}", "code": "refused"}
    assert terminal.lines(refused) == [
        "NOT DONE: pgdata was not protected (refused):",
        f"  (1) {reasons[0]}",
        f"  (2) {reasons[1]}",
    ]
    narrow = terminal.lines(refused, 48) or []
    assert [line[:5] for line in narrow if line.startswith("  (")] == ["  (1)", "  (2)"]
    assert len(narrow) == 4 and narrow[3].startswith("    ")


def test_the_text_of_a_file_is_shown_as_it_is() -> None:
    text = "pgdata:\n  disks: [" + "{path: '[ds1] shared/pgdata.vmdk', bus: 1}, " * 4 + "]"
    answer = {"resource": "pgdata", "nodes": ["db1"], "disks": ["[ds1] a.vmdk"], "written": False,
              "file": "/etc/salt/vmdk.d/pgdata.yaml", "text": text, "findings": []}  # fmt: skip
    assert [line[2:] for line in (terminal.lines(answer, 60) or [])[-2:]] == text.splitlines()


def test_an_option_that_was_not_given_had_its_default() -> None:
    changes = {"hang_timeout": {"old": None, "new": 20}, "services": {"old": ["a"], "new": None}}
    answer = {
        "resource": "pgdata",
        "changes": changes,
        "written": True,
        "file": "f",
        "text": "",
        "findings": [],
    }
    assert (terminal.lines(answer) or [])[1:3] == [
        "  hang_timeout: its default -> 20",
        "  services: a -> its default",
    ]


def test_a_page_and_the_rules_are_laid_out() -> None:
    page = {"path": "/srv/a.html", "epoch": 7, "result": "done", "sentence": "failover of a to db2: done"}
    assert terminal.lines(page) == ["failover of a to db2: done", "  written to /srv/a.html"]
    assert terminal.lines({"policy": {510: "paused: hold"}, "steps": {10: "paused: hold"}}) == [
        "Should it move? When no move is open:",
        "  510  paused: hold",
        "What next? While a move is open:",
        "   10  paused: hold",
    ]


@pytest.mark.parametrize("answer", [None, "text", 5, [], {}, {"a": 1}, {"a": [1]}, {"accepted": True}])
def test_what_is_not_known_is_left_alone(answer: Any) -> None:
    assert terminal.lines(answer) is None
