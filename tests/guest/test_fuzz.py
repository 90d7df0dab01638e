"""Whatever the kernel may show: nothing that the prober reads makes it stumble, and no disk is taken for another."""

from __future__ import annotations

import contextlib
import json
import re
import struct
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as some

from vmdk_failover.errors import CannotObserve
from vmdk_failover.guest import (
    channel,
    counters,
    error_trace,
    fs_errors,
    kernel_log,
    known,
    latest,
    mounts,
    superblock,
)

many = settings(deadline=None, max_examples=300)

#: What may be in a path: everything but NUL, bytes that are no UTF-8 too (they come as surrogates).
PATHS = some.text(
    some.characters(blacklist_characters="\0", blacklist_categories=["Cs"])
    | some.sampled_from(" \t\n\\#\x0b\x0c\x1c\x85\u2028\udcff"),
    max_size=30,
).map(lambda text: "/" + text)
NUMBERS = some.integers(0, 1 << 63)
DISKS = some.one_of(
    some.from_regex(r"sd[a-z]{1,3}([1-9]\d?)?", fullmatch=True),
    some.from_regex(r"(loop|dm-|md|zram)\d{1,3}", fullmatch=True),
    some.from_regex(r"(nvme\dn\d|mmcblk\d|cciss!c\dd\d)(p\d{1,2})?", fullmatch=True),
)


def _escape(path: str) -> str:
    """As the kernel does it in mountinfo."""
    return re.sub(r"[ \t\n\\#]", lambda found: f"\\{ord(found[0]):03o}", path)


@many
@given(some.text())
def test_any_text_as_mountinfo(text: str) -> None:
    mounts.parse(text)
    mounts.parse(f"1 2 3:4 / {text} - a b c\n{text} 1 2 - x y z\n")


@many
@given(some.lists(some.tuples(PATHS, PATHS, some.sampled_from(["ext4", "xfs", "fuse.x"])), max_size=5))
def test_odd_names_come_back_from_mountinfo(rows: list[tuple[str, str, str]]) -> None:
    text = "".join(
        f"{number + 40} 20 8:{number} / {_escape(where)} rw shared:1 master:2 - {fstype} {_escape(source)} rw,a=b\n"
        for number, (where, source, fstype) in enumerate(rows)
    )
    found = mounts.parse(text)
    assert [(line.mountpoint, line.source, line.fstype) for line in found] == rows
    assert [line.number for line in found] == [f"8:{number}" for number in range(len(rows))]
    for line in found:
        mounts.covering(found, line.mountpoint)
        mounts.below(found, [line])


@many
@given(some.text(), some.text())
def test_any_text_as_the_kernels_log(head: str, text: str) -> None:
    kernel_log.complaint(text)
    kernel_log.complaint(f"{head};{text}")


COMPLAINTS = (
    ("I/O error, dev {}, sector 8 op 0x1:(WRITE) flags 0x800", "write"),
    ("critical medium error, dev {}, sector 99 op 0x0:(READ) flags 0x0", "read"),
    ("Buffer I/O error on dev {}, logical block 1, lost async page write", "write"),
    ("EXT4-fs error (device {}): ext4_find_entry:1: inode #2: comm {{}}: Detected aborted journal", "fs"),
    ("EXT4-fs ({}): Remounting filesystem read-only", "fs"),
    ("XFS ({}): Filesystem has been shut down due to log error (0x2).", "fs"),
    ("BTRFS: error (device {} state A) in btrfs_commit:1: errno=-5 IO failure", "fs"),
    ("Aborting journal on device {}-8.", "fs"),
)


@many
@given(DISKS, some.sampled_from(COMPLAINTS))
def test_the_log_names_exactly_the_disk_that_is_meant(disk: str, complaint: tuple[str, str]) -> None:
    text, about = complaint
    found = kernel_log.complaint(f"3,1,2,-;{text.format(disk)}\n SUBSYSTEM=block\n")
    assert found is not None
    assert (found.name, found.about) == (disk, about)


@many
@given(some.binary())
def test_any_bytes_as_uevent(message: bytes) -> None:
    kernel_log.uevent(message)
    kernel_log.uevent(message + b"\0SUBSYSTEM=block\0" + message)


@many
@given(some.sampled_from(["add", "remove", "change"]), DISKS, some.binary(max_size=20))
def test_a_uevent_names_exactly_the_disk_that_is_meant(action: str, disk: str, more: bytes) -> None:
    head = f"{action}@/devices/pci0000:00/host2/block/{disk}".encode()
    assert kernel_log.uevent(head + b"\0SUBSYSTEM=block\0" + more + b"\0") == (action, disk)


@many
@given(some.text(), some.text())
def test_any_text_as_counters(stat: str, inflight: str) -> None:
    with contextlib.suppress(ValueError):
        counters.parse(stat, inflight)


@many
@given(some.lists(NUMBERS, min_size=11, max_size=24), NUMBERS, NUMBERS)
def test_counters_of_any_size(fields: list[int], reads: int, writes: int) -> None:
    found = counters.parse(" ".join(map(str, fields)), f"  {reads}   {writes}\n")
    assert (found["read"].done, found["read"].flying, found["write"].flying) == (fields[0], reads, writes)
    assert found["write"].done >= fields[4]
    stall = counters.Stall()
    for now in (1.0, 1.2, 1.4):
        stall.feed(now, found)


WHERE = {"dev": (8, 4), "error": (28, 4), "rwbs": (34, 10)}


@many
@given(some.binary(max_size=60))
def test_any_bytes_as_a_failed_request(raw: bytes) -> None:
    error_trace.failure(raw, WHERE)


@many
@given(some.integers(0, 4095), some.integers(0, (1 << 20) - 1), some.integers(-4095, -1))
def test_a_failed_request_names_its_disk(major: int, minor: int, code: int) -> None:
    raw = bytearray(48)
    struct.pack_into("=I", raw, 8, major << 20 | minor)
    struct.pack_into("=i", raw, 28, code)
    raw[34:36] = b"WS"
    found = error_trace.failure(bytes(raw), WHERE)
    assert found is not None
    assert found.number == f"{major}:{minor}"


@many
@given(some.text())
def test_any_text_as_a_description(text: str) -> None:
    with contextlib.suppress(ValueError):
        error_trace.fields(text)


@many
@given(some.binary(max_size=200))
def test_any_bytes_from_fanotify(events: bytes) -> None:
    fs_errors.parse(events)
    fs_errors.parse(struct.pack("=IBBHQii", 24 + len(events), 3, 0, 24, 0x8000, -1, 0) + events)


@many
@given(some.sampled_from(superblock.BLOCKS), some.binary(max_size=100), some.integers(0, 4096))
def test_any_bytes_as_a_superblock(offset: int, data: bytes, at: int) -> None:
    for magic in (b"XFSB", b"\0" * 1080 + b"\x53\xef", b"\0" * 64 + b"_BHRfS_M"):
        block = (magic + data).ljust(4096, b"\0")[: 4096 - at]
        superblock.identify(offset, block)


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(max_size=5),
    lambda inner: (
        some.lists(inner, max_size=3)
        | some.dictionaries(
            some.sampled_from(["resources", "reports", "boot_id", "at", "r", "nodes", "x"]), inner
        )
    ),
)


@settings(deadline=None, max_examples=150)
@given(JSON)
def test_any_file_in_the_state_directory(value: object) -> None:
    with tempfile.TemporaryDirectory() as name:
        for file in (latest.FILE, channel.CONFIG):
            (Path(name) / file).write_text(json.dumps(value))
        assert latest.latest(Path(name), "r", "b") is None
        with contextlib.suppress(CannotObserve):
            known.resources({}, Path(name))
