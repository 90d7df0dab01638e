"""What is read and judged without any disk: the kernel's tables, its log, counters, signs."""

from __future__ import annotations

import errno
import random
import struct

import pytest

from vmdk_failover.guest import error_trace, kernel_log, mounts, superblock
from vmdk_failover.guest.counters import Count, Stall, parse
from vmdk_failover.guest.verdict import ORDER, Verdict
from vmdk_failover.guest.watch import Throttle
from vmdk_failover.model import Condition

TABLE = """\
20 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
21 20 0:5 / /proc rw - proc proc rw
30 20 8:16 / /srv/a\\040b rw,noatime shared:1 - ext4 /dev/sdb rw,errors=remount-ro,emergency_ro
31 30 0:40 / /srv/a\\040b/in rw - tmpfs x rw
32 20 8:16 /sub /mnt/bind ro - ext4 /dev/sdb rw
33 30 8:32 / /srv/a\\040b rw - xfs /dev/sdc rw
34 20 8:48 / /srv rw - xfs /dev/sdd rw
not a line
"""


def test_mountinfo() -> None:
    lines = mounts.parse(TABLE)
    assert len(lines) == 7
    one = lines[2]
    assert (one.mountpoint, one.number, one.source, one.root) == ("/srv/a b", "8:16", "/dev/sdb", "/")
    assert mounts.GIVEN_UP & one.options == {"emergency_ro"}


def test_an_overmount_hides_what_is_below() -> None:
    lines = mounts.parse(TABLE)
    assert mounts.visible(lines, "/srv/a b") is None  # /srv itself was mounted over
    above = mounts.visible(lines[:-1], "/srv/a b")
    assert above is not None
    assert above.source == "/dev/sdc"
    found = mounts.covering(lines, "/srv/a b")
    assert found is not None
    assert found.source == "/dev/sdd"


def test_what_is_inside_is_unmounted_first() -> None:
    lines = mounts.parse(TABLE)
    order = [line.mount_id for line in mounts.below(lines, [line for line in lines if line.number == "8:16"])]
    assert set(order) == {30, 31, 32, 33}
    assert order.index(31) < order.index(30)
    assert order.index(33) < order.index(30)


@pytest.mark.parametrize(
    ("text", "name", "about"),
    [
        (
            "I/O error, dev loop1, sector 8 op 0x1:(WRITE) flags 0x8800 phys_seg 1 prio class 2",
            "loop1",
            "write",
        ),
        ("I/O error, dev sdb, sector 8 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 2", "sdb", "read"),
        ("critical space allocation error, dev loop10, sector 1 op 0x1:(WRITE) flags 0x0", "loop10", "write"),
        ("device offline error, dev sdc, sector 2048 op 0x1:(WRITE) flags 0x0", "sdc", "write"),
        ("I/O error, dev dm-3, sector 1 op 0x1:(FLUSH) flags 0x0", "dm-3", "write"),
        ("Buffer I/O error on dev sdb1, logical block 7, lost async page write", "sdb1", "write"),
        ("Buffer I/O error on dev sdb1, logical block 7, async page read", "sdb1", "read"),
        (
            "EXT4-fs error (device loop1): ext4_journal_check_start:84: Detected aborted journal",
            "loop1",
            "fs",
        ),
        ("EXT4-fs (loop1): Remounting filesystem read-only", "loop1", "fs"),
        ("Aborting journal on device loop1-8.", "loop1", "fs"),
        ("JBD2: I/O error when updating journal superblock for dm-0-8.", "dm-0", "fs"),
        ("XFS (sdb): Filesystem has been shut down due to log error (0x2).", "sdb", "fs"),
        ("XFS (sdb): log I/O error -5", "sdb", "fs"),
        ("BTRFS info (device sdb state E): forced readonly", "sdb", "fs"),
    ],
)
def test_the_kernel_complains(text: str, name: str, about: str) -> None:
    found = kernel_log.complaint(f"3,1234,5678,-;{text}\n SUBSYSTEM=block\n")
    assert found == kernel_log.Complaint(name, about, text)


@pytest.mark.parametrize(
    "text",
    [
        "I/O error, dev sdb, sector 8 op 0x3:(DISCARD) flags 0x800",
        "EXT4-fs (loop1): mounted filesystem with ordered data mode",
        "XFS (sdb): Ending clean mount",
        "sd 2:0:1:0: [sdb] Attached SCSI disk",
        "",
    ],
)
def test_the_kernel_says_nothing_bad(text: str) -> None:
    assert kernel_log.complaint(f"6,1,2,-;{text}\n") is None


def test_uevents() -> None:
    message = b"remove@/devices/virtual/block/loop1\0ACTION=remove\0SUBSYSTEM=block\0DEVNAME=loop1\0"
    assert kernel_log.uevent(message) == ("remove", "loop1")
    assert kernel_log.uevent(b"add@/devices/x\0SUBSYSTEM=net\0") is None
    assert kernel_log.uevent(b"") is None


def test_failed_requests() -> None:
    description = (
        "field:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
        "field:dev_t dev;\toffset:8;\tsize:4;\tsigned:0;\nfield:sector_t sector;\toffset:16;\tsize:8;\tsigned:0;\n"
        "field:int error;\toffset:28;\tsize:4;\tsigned:1;\nfield:char rwbs[10];\toffset:34;\tsize:10;\tsigned:0;\n"
    )
    where = error_trace.fields(description)
    raw = bytearray(48)
    for kind, about in (
        (b"WS", "write"),
        (b"FF", "write"),
        (b"RA", "read"),
        (b"R", "read"),
        (b"FWS", "write"),
    ):
        struct.pack_into("=i", raw, 8, (8 << 20) | 17)
        struct.pack_into("=i", raw, 28, -5)
        raw[34:44] = kind.ljust(10, b"\0")
        assert error_trace.failure(bytes(raw), where) == error_trace.Failure("8:17", about, "EIO")
    raw[34:36] = b"D\0"
    assert error_trace.failure(bytes(raw), where) is None
    for kind in (b"NS", b"WZS"):  # zeroes that the disk cannot write by itself are written one by one then
        raw[34:44] = kind.ljust(10, b"\0")
        for code, harm in ((errno.EIO, True), (errno.EOPNOTSUPP, False), (errno.EREMOTEIO, False)):
            struct.pack_into("=i", raw, 28, -code)
            assert (error_trace.failure(bytes(raw), where) is not None) is harm
    with pytest.raises(ValueError, match="not understood"):
        error_trace.fields("field:int error;\toffset:28;\tsize:4;\tsigned:1;")


def _counts(reads: tuple[int, int], writes: tuple[int, int]) -> dict[str, Count]:
    return {"read": Count(*reads), "write": Count(*writes)}


def test_counters_are_kept_apart() -> None:
    stat = "10 0 80 5 20 0 160 9 3 40 14 2 0 0 0 7 1"
    assert parse(stat, "1 2") == _counts((10, 1), (20 + 2 + 7, 2))
    with pytest.raises(ValueError, match="fields"):
        parse("1 2 3", "0 0")


def test_reads_that_go_on_do_not_hide_writes_that_hang() -> None:
    stall = Stall()
    for tick in range(11):
        stall.feed(100 + tick * 0.2, _counts((tick, 1), (5, 3)))
    assert stall.seconds("read") == 0
    assert stall.seconds("write") == pytest.approx(2.0)
    assert stall.worst()[0] == "write"
    stall.feed(102.2, _counts((12, 0), (6, 2)))
    assert stall.seconds("write") == 0


def test_nothing_in_flight_is_no_hang() -> None:
    stall = Stall()
    for tick in range(20):
        stall.feed(100 + tick * 0.2, _counts((5, 0), (5, 0)))
    assert stall.worst()[1] == 0


def test_a_pause_of_our_own_starts_the_window_anew() -> None:
    stall = Stall()
    for now in (100.0, 100.2, 100.4, 130.0, 130.2):
        stall.feed(now, _counts((5, 0), (5, 1)))
    assert stall.seconds("write") == pytest.approx(0.2)


def test_the_worst_sign_is_told_whatever_the_order() -> None:
    for seed in range(50):
        verdict = Verdict(holds=True)
        conditions = random.Random(seed).sample(ORDER, 3)
        for source, condition in enumerate(conditions):
            verdict.put(str(source), condition, condition.value, float(source))
        assert verdict.current(9).condition == min(conditions, key=ORDER.index).value


def test_a_sign_stays_until_its_own_source_takes_it_back() -> None:
    verdict = Verdict(holds=True)
    verdict.put("write", Condition.IO_ERROR, "first", 1.0)
    verdict.put("write", Condition.IO_ERROR, "second", 2.0)
    verdict.put("read", Condition.IO_ERROR, "third", 3.0)
    verdict.clear("read")
    assert (verdict.current(9).evidence, verdict.current(9).since) == ("first", 1.0)
    verdict.clear("write")
    assert verdict.current(10).condition == "ok"
    assert verdict.current(11).since == 10
    verdict.holds = False
    assert verdict.current(12).condition == "standby"


def test_repeats_become_rare() -> None:
    throttle = Throttle()
    bad = {"resource": "r", "condition": "hung"}
    told = [second for second in range(200) if throttle.is_due(bad, float(second))]
    assert told == [*range(10), 69, 129, 189]
    assert throttle.is_due({**bad, "condition": "io_error"}, 200.0)
    assert throttle.is_due({**bad, "condition": "ok"}, 200.1)
    assert not throttle.is_due({**bad, "condition": "ok"}, 300.0)
    assert not throttle.is_due({**bad, "condition": "standby"}, 300.1)
    assert not throttle.is_due({**bad, "condition": "ok"}, 300.2)


def test_superblocks() -> None:
    ext, xfs, btrfs = bytearray(4096), bytearray(4096), bytearray(4096)
    ident = bytes(range(16))
    ext[1024 + 0x38 : 1024 + 0x3A], ext[1024 + 0x68 : 1024 + 0x78] = b"\x53\xef", ident
    xfs[:4], xfs[32:48] = b"XFSB", ident
    btrfs[0x40:0x48], btrfs[0x20:0x30] = b"_BHRfS_M", ident
    word = "00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert superblock.identify(0, bytes(ext)) == ("ext", word)
    assert superblock.identify(0, bytes(xfs)) == ("xfs", word)
    assert superblock.identify(65536, bytes(btrfs)) == ("btrfs", word)
    assert superblock.identify(0, bytes(btrfs)) is None
    assert superblock.identify(0, b"") is None
    assert superblock.same_kind("ext", "ext4")
    assert not superblock.same_kind("xfs", "ext4")


def test_a_disk_that_was_away_meanwhile_is_told_to_be_well_again_and_once() -> None:
    throttle = Throttle()
    words = ["ok", "standby", "ok", "io_error", "standby", "ok", "standby", "ok"]
    due = [throttle.is_due({"resource": "r", "condition": word}, float(n)) for n, word in enumerate(words)]
    assert [word for word, now in zip(words, due, strict=True) if now] == ["io_error", "ok"]
    assert due.index(True) == 3 and due[5]
