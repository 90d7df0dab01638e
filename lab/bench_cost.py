"""What the prober and the beacon's part cost with 1, 16 and 64 disks that are all right: CPU and memory."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lab import linux
from lab.disk import make_disk
from lab.faultdisk import ROOT

sys.path.append(str(ROOT / "_utils"))

from vmdk_failover import model
from vmdk_failover.guest import watch
from vmdk_failover.guest.places import Places

COUNTS = (1, 16, 64)
GOALS = {1: 1.0, 16: 3.0, 64: 8.0}
RSS_MB = 25
_SETTLE_S = 12.0


def _plug(stack: ExitStack, run_dir: Path, number: int) -> model.Resource:
    """A healthy disk, mounted: a plain loop device."""
    disk = make_disk(run_dir, f"[ds1] c/disk{number}.vmdk", "ext4", size_mb=16)
    argv = ["losetup", "-f", "--show", str(disk.backing)]
    device = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    stack.callback(subprocess.run, ["losetup", "-d", device], check=True)
    where = run_dir / f"srv{number}"
    where.mkdir()
    linux.mount(device, str(where), "ext4")
    stack.callback(linux.umount, str(where))
    ident = disk.uuid.replace("-", "")
    (run_dir / f"by-id/wwn-0x{ident}").symlink_to(f"../../{Path(device).name}")
    return model.Resource(
        name=f"r{number}",
        nodes=(model.Node("a", str(uuid.uuid4())), model.Node("b", str(uuid.uuid4()))),
        disks=(model.Disk(disk.path, ident, 1, 0),),
        mounts=(model.Mount(str(where), disk.fs_uuid, "ext4"),),
    )


def _family(pid: int) -> list[int]:
    """The prober and its workers."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def _cpu_ms(pids: list[int]) -> dict[int, float]:
    """CPU of the prober and of those workers that still live."""
    there = [pid for pid in pids if pid == pids[0] or Path(f"/proc/{pid}").exists()]
    return {pid: int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6 for pid in there}


def _memory_mb(pid: int, what: str) -> float:
    rows = dict(row.split(":", 1) for row in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(rows[what].split()[0]) / 1024


def measure(run_dir: Path, count: int, seconds: float) -> dict[str, Any]:
    """Watch `count` disks for some seconds, reading once a second as the beacon does."""
    (run_dir / "by-id").mkdir(parents=True)
    with ExitStack() as stack:
        resources = {r.name: r for r in (_plug(stack, run_dir, n) for n in range(count))}
        reader = watch.Watch(run_dir / "state", places=Places(by_id=run_dir / "by-id"))
        stack.callback(reader.close)
        end = time.monotonic() + _SETTLE_S
        while time.monotonic() < end:
            reader.poll(resources)
            time.sleep(0.2)
        (process,) = reader._processes
        stack.callback(process.wait, 5)
        stack.callback(process.kill)
        return {"disks": count, **_watch(reader, resources, process.pid, seconds)}


def _watch(
    reader: watch.Watch, resources: dict[str, model.Resource], pid: int, seconds: float
) -> dict[str, Any]:
    pids, began = _family(pid), time.monotonic()
    before, calls, polled = _cpu_ms(pids), [], time.process_time()
    told = []
    while time.monotonic() - began < seconds:
        start = time.perf_counter()
        told += [one["condition"] for one in reader.poll(resources)]
        calls.append((time.perf_counter() - start) * 1000)
        time.sleep(1.0)
    took = time.monotonic() - began
    spent = sum(ms - before[pid] for pid, ms in _cpu_ms(pids).items())
    beacon = (time.process_time() - polled) * 1000
    return {
        "prober_ms_per_s": round(spent / took, 2),
        "beacon_ms_per_s": round(beacon / took, 2),
        "longest_beacon_call_ms": round(max(calls), 2),
        "rss_mb": round(_memory_mb(pid, "VmRSS"), 1),
        "private_mb": round(_memory_mb(pid, "RssAnon"), 1),
        "processes": len(_family(pid)),
        "descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "false_conditions": told,
        "goal_ms_per_s": GOALS.get(len(resources)),
        "goal_rss_mb": RSS_MB,
    }


def row(one: dict[str, Any]) -> str:
    """One line for people."""
    return (
        f"{one['disks']:3} disks: prober {one['prober_ms_per_s']} ms/s, beacon {one['beacon_ms_per_s']} ms/s"
        f" (goal together {one['goal_ms_per_s']}), RSS {one['rss_mb']} MB (private {one['private_mb']}, goal"
        f" {one['goal_rss_mb']}), longest beacon call {one['longest_beacon_call_ms']} ms, {one['descriptors']} descriptors"
    )
