"""The comparison with other products: the cluster's configuration and agents, what its log says, and how results are judged."""

from __future__ import annotations

import io
import json
import os
import platform
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from lab import linux
from lab.faultdisk import ROOT
from lab.hypervisor import Vcenter
from lab.ledger import Acknowledged
from lab.peers import __main__ as bench
from lab.peers import cib, disk_agent, documented, faults, fence_agent, measure, report, vsphere
from lab.peers.measure import Result, Surroundings
from lab.peers.pacemaker import COROSYNC, Logs
from tests.lab.vsphere import DISK, PASSWORD, USER

FACTS = cib.Facts(
    path="[ds1] a & b.vmdk", device="/dev/disk/by-id/wwn-0x1", fstype="ext4", mountpoint="/srv/pgdata",
    vms=("one-vm", "two-vm"), login={"ip": "127.0.0.1", "ipport": 443, "login": "u", "passwd": "p"},
    program="/usr/bin/python3", options="-m x --node $(uname -n)", directory="/",
)  # fmt: skip
NODES = ("one", "two")


# -- the cluster's configuration


def test_the_file_system_is_monitored_at_level_20_with_the_agents_defaults() -> None:
    tree = ElementTree.fromstring(cib.xml(cib.settings(FACTS, NODES), NODES))
    monitor = tree.find(f".//primitive[@id='{cib.MOUNT}']/operations/op[@name='monitor']")
    assert monitor is not None
    assert (monitor.get("interval"), monitor.get("timeout")) == ("20s", "40s")
    level = monitor.find(".//nvpair[@name='OCF_CHECK_LEVEL']")
    assert level is not None
    assert level.get("value") == "20"


def test_the_disk_comes_before_its_file_system_and_that_before_the_service() -> None:
    tree = ElementTree.fromstring(cib.xml(cib.settings(FACTS, NODES), NODES))
    members = [one.get("id") for one in tree.findall(f".//group[@id='{cib.GROUP}']/primitive")]
    assert members == [cib.DISK, cib.MOUNT, cib.SERVICE]


def test_no_node_fences_itself_and_each_can_be_fenced() -> None:
    tree = ElementTree.fromstring(cib.xml(cib.settings(FACTS, NODES), NODES))
    devices = {one.get("id") for one in tree.findall(".//primitive[@class='stonith']")}
    barred = {
        (one.get("rsc"), one.get("node")) for one in tree.findall(".//rsc_location[@score='-INFINITY']")
    }
    assert devices == {"fence-one", "fence-two"}
    assert barred == {("fence-one", "one"), ("fence-two", "two")}


def test_values_of_people_are_quoted() -> None:
    tree = ElementTree.fromstring(cib.xml(cib.settings(FACTS, NODES), NODES))
    path = tree.find(f".//primitive[@id='{cib.DISK}']//nvpair[@name='path']")
    assert path is not None
    assert path.get("value") == "[ds1] a & b.vmdk"


def test_what_an_administrator_writes_is_counted() -> None:
    small = cib.Settings(
        {"a": 1},
        {},
        (cib.Primitive("x", "ocf:p:t", {"k": 1, "l": 2}, (cib.Operation("start", "5s"),)),),
        ("x",),
    )
    # one property, the primitive with two values and one operation, one member
    assert cib.written(small) == 1 + (1 + 2 + 1) + 1
    assert "two_node: 1" in COROSYNC


# -- its agents, at the lab's vCenter


@pytest.fixture
def options(vcenter: Vcenter, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    here = {"ip": vcenter.host, "ipport": str(vcenter.port), "login": USER, "passwd": PASSWORD}
    monkeypatch.setattr(disk_agent, "_is_there", lambda _: True)  # there is no guest here
    return {
        **here,
        "own_address": "127.0.0.1",
        "path": DISK,
        "bus": "1",
        "unit": "0",
        "vms": "db1 db2",
        "vm": "db2",
    }


def test_a_disk_that_a_running_vm_lists_is_not_attached(vcenter: Vcenter, options: dict[str, str]) -> None:
    with pytest.raises(vsphere.Refused, match="db1 runs and lists"):
        disk_agent.start(options)
    assert vcenter.disk_paths("db1") == [DISK]
    assert vcenter.disk_paths("db2") == []


def test_the_disk_of_a_vm_that_is_off_moves_and_comes_off_again(
    vcenter: Vcenter, options: dict[str, str]
) -> None:
    vcenter.guest_power("db1", "poweredOff")
    assert disk_agent.start(options) == disk_agent.OK
    assert disk_agent.start(options) == disk_agent.OK  # once more does nothing
    assert (vcenter.disk_paths("db1"), vcenter.disk_paths("db2")) == ([], [DISK])
    assert disk_agent.stop(options) == disk_agent.OK
    assert disk_agent.stop(options) == disk_agent.OK
    assert vcenter.disk_paths("db2") == []


def test_the_fence_reads_back_that_the_vm_is_off(vcenter: Vcenter, options: dict[str, str]) -> None:
    vcenter.call("/vm", {"name": "node1-vm", "power": "poweredOn"})
    asked = {**options, "port": "node1"}
    assert fence_agent.act("status", asked) == 0
    assert fence_agent.act("off", asked) == 0
    assert vcenter.vm("node1-vm")["power"] == "poweredOff"
    assert fence_agent.act("status", asked) == 2
    vcenter.net("503")
    with pytest.raises(Exception, match="is down or is not a VIM server"):
        fence_agent.act("off", asked)


def test_a_node_whose_address_is_gone_reaches_no_vcenter(options: dict[str, str]) -> None:
    with (
        pytest.raises(vsphere.Refused, match="no way from"),
        vsphere.login({**options, "own_address": "10.99.99.99"}),
    ):
        pytest.fail("it was reached")


def test_agents_answer_what_the_executor_expects(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for agent, argv in ((disk_agent, "meta-data"), (fence_agent, ["-o", "metadata"])):
        assert agent.main(argv) == 0
        assert ElementTree.fromstring(capsys.readouterr().out.partition("?>")[2]).tag == "resource-agent"
    monkeypatch.setattr(disk_agent, "local", lambda node: {"own_address": "127.0.0.1", "vm": node})
    monkeypatch.setenv("OCF_RESKEY_device", "/dev/nothing-is-here")
    assert disk_agent.main("monitor") == disk_agent.NOT_RUNNING
    assert disk_agent.main("promote") == disk_agent.UNIMPLEMENTED
    monkeypatch.setattr("sys.stdin", io.StringIO("action=off\nport=nobody\n"))
    monkeypatch.setattr(fence_agent, "local", lambda node: {})
    assert fence_agent.main([]) == 1


# -- what is read from its log

SEEN = (
    "notice: Node labdb1 state is now lost | nodeid=1 previous=member source=crm_update_peer_proc",
    "notice: Result of monitor operation for ledger on labdb1: error | CIB update 61, graph action unconfirmed",
    "error: Result of monitor operation for fs on labdb1: Timed Out after 40s (Resource agent did not complete)",
)
NOT_SEEN = (
    "notice: Result of monitor operation for fs on labdb1: ok | CIB update 57",
    "info: Result of monitor operation for ledger on labdb1: Cancelled | graph action confirmed",
    "notice: Result of probe operation for fs on labdb2: not running | CIB update 22",
)


@pytest.mark.parametrize("line", SEEN)
def test_a_line_that_tells_of_a_fault_counts_as_detection(line: str) -> None:
    assert measure._SEEN.search(line)


@pytest.mark.parametrize("line", NOT_SEEN)
def test_other_lines_do_not(line: str) -> None:
    assert not measure._SEEN.search(line)


def test_a_log_is_read_line_by_line_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with Logs({"one": path}) as logs, open(path, "w", encoding="ascii") as file:
        file.write("first\nsec")
        file.flush()
        assert linux.wait_until(lambda: len(logs.lines) == 1, 20.0)
        file.write("ond\n")
        file.flush()
        assert linux.wait_until(lambda: len(logs.lines) == 2, 20.0)
        assert [one.text for one in logs.lines] == ["first", "second"]
        assert logs.first(lambda text: "sec" in text, logs.lines[0].monotonic) == logs.lines[1]
        assert logs.first(lambda text: "sec" in text, logs.lines[1].monotonic + 1) is None


# -- how results are judged


def test_the_service_is_back_with_the_first_record_after_the_longest_pause() -> None:
    told = [Acknowledged(n, moment, "a") for n, moment in enumerate((1.0, 9.9, 10.1, 17.1, 17.2, 17.3))]
    back, gap = measure._back(told, 10.0)
    assert (back, gap) == (pytest.approx(7.1), pytest.approx(7.0))
    assert measure._back(told[:2], 10.0) == (None, 0.0)


def _result(product: str, back: float | None, **more: Any) -> Result:
    return Result(product, "hang", 1.0, 2.0, back, 0.0, more.get("lost", 0), more.get("doubles", 0))


def test_who_was_back_first_is_marked_and_a_run_without_an_end_has_no_median() -> None:
    found = report.rows([_result("a", 5.0), _result("a", 7.0), _result("b", 3.0), _result("b", None)])
    assert [(one["product"], one["back_s"], one["n"]) for one in found] == [("a", 6.0, 2), ("b", None, 2)]
    sooner = report.rows([_result("a", 5.0), _result("b", 3.0)])
    assert {one["sooner"] for one in sooner} == {"b"}
    table = report.table([_result("a", 5.0), _result("b", 3.0, lost=1)])
    assert [line.count(" <") for line in table.splitlines()] == [0, 0, 1]
    assert "LOST 1" in table


# -- when and where it was measured


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the bench writes, with runs that take no time: each finds the machine busier than the one before."""
    out = tmp_path / "peers.json"
    loads = iter([number / 4 for number in range(1, 100)])
    monkeypatch.setattr(bench, "OUT", out)
    monkeypatch.setattr(os, "getloadavg", lambda: (next(loads), 77.0, 77.0))

    def theirs(fault: faults.Fault, phase: float, say: object) -> Result:
        around = replace(measure.struck_now(measure.load()), end=measure.load())
        return Result("Pacemaker", fault.name, 1.0, 2.0, 3.0, 0.0, 0, 0, surroundings=around)

    monkeypatch.setattr(measure, "ours", lambda fault, policy, product, say: theirs(fault, 0.0, say))
    monkeypatch.setattr(measure, "theirs", theirs)
    return out


def test_a_result_tells_when_it_was_struck_and_how_busy_the_machine_was(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = next(one for one in faults.FAULTS if one.name == "umount")
    bench.run(2, 1, [fault], 0.0)
    told = json.loads(written.read_text(encoding="utf-8"))
    machine = told["machine"]
    assert machine["kernel"] == platform.release()
    assert machine["processors"] == len(os.sched_getaffinity(0))
    assert machine["load_at_start"] == 0.25
    around = [one["surroundings"] for one in told["runs"]]
    assert [(one["before"], one["struck"], one["end"]) for one in around[:2]] == [
        (0.5, 0.75, 1.0),
        (1.25, 1.5, 1.75),
    ]
    now = datetime.now(timezone.utc)
    for moment in (machine["date"], *(one["struck_at"] for one in around)):
        assert timedelta(seconds=-60) < now - datetime.fromisoformat(moment) < timedelta(seconds=60)
    (row,) = told["rows"]
    assert (row["load_least"], row["load_most"]) == (0.5, 2.75)
    printed = capsys.readouterr().out
    assert "0.5-2.8" in printed
    assert f"Linux {platform.release()}, {machine['processors']} processors" in printed


def test_the_surroundings_are_those_of_the_run_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The load at the end is read when the service is back, not before it is waited for."""
    read: list[str] = []
    monkeypatch.setattr(measure, "_wait_served", lambda *_: read.append("waited") or True)
    monkeypatch.setattr(measure, "load", lambda: read.append("load") or 9.0)
    monkeypatch.setattr(measure.trial, "acknowledged", lambda _: [])
    monkeypatch.setattr(measure.trial, "read_back", lambda *_: ([], []))

    class Observer:
        findings = type("", (), {"double_holders": [], "double_mounts": []})

        def blind(self, since: float) -> str:
            return ""

    class Lab:
        disks = {measure.DISK: None}  # noqa: RUF012 – one look at it
        observer = Observer()

    found: Any = measure._judged(Lab(), "a", faults.FAULTS[0], 1.0, Surroundings("then", 1.0, 2.0))
    assert read == ["waited", "load"]
    assert found.surroundings == Surroundings("then", 1.0, 2.0, 9.0)


# -- what is only documented


def test_what_is_only_documented_says_something_of_everything_and_names_its_source() -> None:
    members = {one.name for one in fields(documented.Row)}
    assert members == {"product", "source", *documented.COLUMNS}
    for row in documented.ROWS:
        assert row.source
        assert len(set(row.source)) == len(row.source)
        assert all(url.startswith("https://") for url in row.source)
        assert row.product in documented.table()
        assert all(
            getattr(row, name).strip() and "|" not in getattr(row, name) for name in documented.COLUMNS
        )


@pytest.mark.parametrize("row", documented.ROWS, ids=lambda row: row.product)
def test_the_page_has_each_sentence_and_each_source(row: documented.Row) -> None:
    page = (ROOT / "docs" / "peers.md").read_text(encoding="utf-8")
    assert all(f" {getattr(row, name)} |" in page for name in documented.COLUMNS)
    assert all(f"<{url}>" in page for url in row.source)


def test_the_page_quotes_the_rows_and_nothing_else() -> None:
    script = ROOT / "scripts" / "peers_doc.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_fault_has_a_name_of_its_own_and_a_node_that_serves_in_the_end() -> None:
    names = [one.name for one in faults.FAULTS]
    assert len(set(names)) == len(names)
    assert {"I/O error", "hang", "power-off", "umount", "switchover", "network cut"} <= set(names)


def test_processor_time_of_a_process_grows_with_its_work() -> None:
    from lab.scale_parts import _cpu

    before = _cpu(os.getpid())
    assert linux.wait_until(lambda: sum(range(20000)) < 0 or _cpu(os.getpid()) > before, 30.0, 0.0)
    assert _cpu(0) == 0.0
