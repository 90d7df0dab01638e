"""The parts of a master that hear many nodes: heartbeats by the product's own ear, and by way of Salt's event bus."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab.faultdisk import ROOT

sys.path.append(str(ROOT / "_utils"))

from vmdk_failover import configured, signing
from vmdk_failover.daemon import listening
from vmdk_failover.presence import heard
from vmdk_failover.store.keys import Keys

_TIMES = 5
_READY_S = 60.0


def options(place: Path, count: int) -> dict[str, Any]:
    """A master's options with so many resources of two nodes each."""
    resources = {
        f"r{n}": {
            "nodes": [f"a{n}", f"b{n}"],
            "vm_uuids": {minion: str(uuid.uuid4()) for minion in (f"a{n}", f"b{n}")},
            "disks": [{"path": f"[ds1] s/d{n}.vmdk", "uuid": f"6000c29{uuid.uuid4().hex[7:]}", "bus": 1, "unit": 0}],
            "mounts": [{"mountpoint": "/srv/data", "fs_uuid": str(uuid.UUID(int=n)), "fstype": "ext4"}],
        }
        for n in range(1, count + 1)
    }  # fmt: skip
    vcenter = {"host": "vc.example.com", "user": "u", "password": "p", "sha256": "aa" * 32}
    return {
        "root_dir": str(place),
        "vmdk": {"vcenter": vcenter, "resources": resources, "resources_dir": f"{place}/none"},
    }


def _beat(keys: Keys, minion: str, number: int) -> dict[str, Any]:
    body = {
        "minion": minion,
        "boot_id": str(uuid.UUID(int=7)),
        "seq": number,
        "uptime": float(number),
        "address": "10.0.0.1",
        "version": "0.1.0",
    }
    return signing.sign_heartbeat(keys.current(minion), body)


def _nodes(count: int) -> list[str]:
    return [f"{side}{n}" for n in range(1, count + 1) for side in "ab"]


def _ear(place: Path, keys: Keys) -> listening.Ear:
    def silent(_name: str, _node: str) -> None:
        """Nobody is told here."""

    return listening.Ear(place, keys.current, silent, print, old_key=keys.old, spoke=keys.spoke)


def _ms(act: Callable[[], object], times: int = _TIMES) -> float:
    """Processor time of one call."""
    began = time.process_time()
    for _ in range(times):
        act()
    return round((time.process_time() - began) / times * 1000, 2)


def engine_input(count: int) -> dict[str, Any]:
    """What the ear costs with two nodes for each of so many resources, one heartbeat a second each. All are ms of CPU."""
    with tempfile.TemporaryDirectory(prefix="vmdk-scale-") as name:
        opts = options(Path(name), count)
        cold = _ms(lambda: configured.settings(opts), 1)
        found = configured.settings(opts)
        state = configured.state_dir(opts)
        keys = Keys(state)
        ear = _ear(state, keys)
        ear.watch(found.resources)
        rows = [[_beat(keys, minion, number) for minion in _nodes(count)] for number in range(1, _TIMES + 1)]
        began = time.process_time()
        for row in rows:
            for beat in row:
                ear.hear(beat)
        hear = (time.process_time() - began) / len(rows) * 1000
        write = _ms(lambda: ear._write(time.monotonic()))
        silence = _ms(lambda: ear._tell_silence(time.monotonic()))
        return {
            "nodes": 2 * count,
            "configuration_read_ms": cold,
            "heard_ms_per_s": round(hear, 1),
            "written_ms_per_s": round(write / listening.WRITE, 1),
            "silence_ms_per_s": round(silence / listening.TICK, 1),
            "heard_file_read_ms": _ms(lambda: heard.read(state)),
        }


# -- by way of Salt's bus


def bus(nodes: int, seconds: float) -> dict[str, Any]:
    """So many heartbeats a second over the event bus of a master, heard by the ear in a process of its own."""
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory(prefix="vmdk-bus-") as name:
        place = Path(name)
        opts = _master(place, nodes // 2)
        started = [context.Process(target=act, args=(opts, *more), daemon=False) for act, more in (
            (_publish, ()), (_listen, (place,)),
        )]  # fmt: skip
        try:
            for process in started:
                process.start()
            _wait(place / "listening")
            pids = [process.pid or 0 for process in started]
            before, began = [_cpu(pid) for pid in pids], time.monotonic()
            late = _send(opts, nodes, seconds, place)
            took = time.monotonic() - began
            spent = [(_cpu(pid) - was) / took * 1000 for pid, was in zip(pids, before, strict=True)]
            heard_of = int((place / "heard").read_text())
            return {
                "nodes": nodes,
                "sent": nodes * int(seconds),
                "heard": heard_of,
                "sender_late_s": round(late, 2),
                "bus_ms_per_s": round(spent[0], 1),
                "ear_ms_per_s": round(spent[1], 1),
            }
        finally:
            for process in started:
                _end(process)


def _master(place: Path, count: int) -> dict[str, Any]:
    import salt.config

    opts = dict(salt.config.DEFAULT_MASTER_OPTS)
    (place / "sock").mkdir()
    (place / "pki").mkdir()
    where = {"sock_dir": "sock", "cachedir": "cache", "pki_dir": "pki"}
    opts |= {key: str(place / name) for key, name in where.items()} | {
        "__role": "master",
        "id": "master",
        "user": "root",
    }
    return opts | options(place, count)


def _publish(opts: dict[str, Any]) -> None:
    """The process of a master that passes events on."""
    import salt.channel.server

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    salt.channel.server.MasterPubServerChannel.factory(opts)._publish_daemon()


def _listen(opts: dict[str, Any], place: Path) -> None:
    """What the engine's listener does, until it is ended."""
    import salt.utils.event

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    state = configured.state_dir(opts)
    keys, count = Keys(state), 0
    ear = _ear(state, keys)
    ear.watch(configured.settings(opts).resources)
    noted = 0.0
    with salt.utils.event.get_master_event(opts, opts["sock_dir"], listen=True) as line:
        (place / "listening").touch()
        while True:
            event = line.get_event(wait=listening.TICK, tag="", full=True)
            if isinstance(event, dict) and event["tag"].startswith(listening.TAG):
                ear.hear(event["data"]["data"])
                count += 1
            ear.tick()
            if time.monotonic() - noted > 0.5:
                noted = time.monotonic()
                (place / "heard.new").write_text(str(count))
                os.rename(place / "heard.new", place / "heard")


def _send(opts: dict[str, Any], nodes: int, seconds: float, place: Path) -> float:
    """Fire them evenly. Returns how far behind it was in the end (seconds)."""
    import salt.utils.event

    keys = Keys(configured.state_dir(opts))
    names = _nodes(nodes // 2)
    rows = [[_beat(keys, minion, number) for minion in names] for number in range(1, int(seconds) + 1)]
    with salt.utils.event.get_master_event(opts, opts["sock_dir"], listen=False) as line:
        began, number = time.monotonic(), 0
        for row in rows:
            for minion, beat in zip(names, row, strict=True):
                line.fire_event(
                    {"id": minion, "data": beat, "cmd": "_minion_event"}, f"{listening.TAG}{minion}"
                )
                number += 1
                time.sleep(max(0.0, began + number / nodes - time.monotonic()))
        late = time.monotonic() - began - number / nodes
        end = time.monotonic() + _READY_S
        while time.monotonic() < end and int((place / "heard").read_text()) < number:
            time.sleep(0.1)
    return late


def _wait(path: Path) -> None:
    end = time.monotonic() + _READY_S
    while not path.exists():
        if time.monotonic() > end:
            raise SystemExit(f"bench_scale: {path.name} did not come within {_READY_S:.0f} s")
        time.sleep(0.05)


def _cpu(pid: int) -> float:
    """Seconds of processor time, all its children that have ended included."""
    with suppress(OSError, IndexError):
        words: Sequence[str] = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        )
        return sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _end(process: Any) -> None:
    if process.pid:
        process.kill()
        process.join(10)
