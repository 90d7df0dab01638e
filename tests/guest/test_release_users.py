"""All sorts of users of a file system at a release: ended or taken away if that is possible, named if it is not."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lab import loop
from vmdk_failover.guest import mounts, steps, users
from vmdk_failover.guest.facts import node_facts
from vmdk_failover.guest.mounting import mount_all
from vmdk_failover.guest.places import Places
from vmdk_failover.guest.release import ReleaseReport, release

from .conftest import WRITER, Rig

_PAUSE = "print(flush=True); signal.pause()"


def _release(rig: Rig, deadline_s: float = 10.0, epoch: int = 7) -> ReleaseReport:
    return release(
        rig.resource,
        stop_services=lambda: None,
        deadline_s=deadline_s,
        state_dir=rig.state,
        epoch=epoch,
        places=rig.places,
    )


def test_a_loop_device_on_it_is_named(rig: Rig) -> None:
    rig.mount()
    file = rig.mountpoint / "image"
    file.write_bytes(bytes(1 << 20))
    with open(file, "r+b") as backing:
        held = loop.create(backing.fileno(), "inside", direct_io=False)
    try:
        done = _release(rig, 6.0)
        assert (done.clean, done.code) == (False, "in_use"), done
        assert f"{held.name} on {file}" in done.reason
    finally:
        loop.release(held)
    assert _release(rig).clean


def test_a_swap_file_on_it_is_named(rig: Rig, tmp_path: Path) -> None:
    """The kernel refuses swap on some disks, so its table is a picture, and an open file stands for what it holds."""
    file = rig.mountpoint / "swap file"
    (tmp_path / "swaps").write_text(
        f"Filename Type Size\n{str(file).replace(' ', chr(92) + '040')} file 1024 0 -2\n/dev/sda2 partition 9 0 -1\n"
    )
    found = users.in_kernel(frozenset({str(rig.mountpoint)}), Places(proc=tmp_path))
    assert found == (f"swap on {file}",)


def test_an_nfs_export_of_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "fs/nfsd").mkdir(parents=True)
    rows = ("# Version 1.1", "/srv/data\t*(rw,sync)", "/srv/data/a\\040b\t*(ro)", "/srv/database\t*(rw)")
    (tmp_path / "fs/nfsd/exports").write_text("\n".join(rows) + "\n")
    found = users.in_kernel(frozenset({"/srv/data"}), Places(proc=tmp_path))
    assert found == ("the NFS export of /srv/data", "the NFS export of /srv/data/a b")


def test_an_overlay_with_its_layers_on_it_goes_first(rig: Rig, run_dir: Path) -> None:
    rig.mount()
    for name in ("lower", "upper", "work"):
        (rig.mountpoint / name).mkdir()
    merged = run_dir / "merged"
    merged.mkdir()
    layers = ",".join(f"{key}dir={rig.mountpoint}/{key}" for key in ("lower", "upper", "work"))
    subprocess.run(["mount", "-t", "overlay", "o", "-o", layers, str(merged)], check=True)
    user = rig.run(WRITER, str(merged / "file"))
    done = _release(rig)
    assert done.clean, done
    assert user.wait(1) == -signal.SIGTERM
    assert not mounts.visible(mounts.of_process(), str(merged))


def test_an_overlay_of_something_else_stays(rig: Rig, run_dir: Path) -> None:
    rig.mount()
    for name in ("lower", "lower2", "merged"):
        (run_dir / name).mkdir()
    layers = f"lowerdir={run_dir}/lower:{run_dir}/lower2"
    subprocess.run(["mount", "-t", "overlay", "o", "-o", layers, f"{run_dir}/merged"], check=True)
    try:
        assert _release(rig).clean
        assert mounts.visible(mounts.of_process(), f"{run_dir}/merged")
    finally:
        subprocess.run(["umount", f"{run_dir}/merged"], check=True)


_USERS = {
    "root": f"import os, signal, sys; os.chroot(sys.argv[1]); {_PAUSE}",
    "cwd, deleted": "import os, signal, sys; os.mkdir(sys.argv[1] + '/d'); os.chdir(sys.argv[1] + '/d');"
    f"os.rmdir(sys.argv[1] + '/d'); {_PAUSE}",
    "fd, deleted": f"import os, signal, sys; f = open(sys.argv[1] + '/f', 'w'); os.unlink(f.name); {_PAUSE}",
    "fd in another mount namespace": "import ctypes, signal, sys; libc = ctypes.CDLL(None);"
    "assert libc.unshare(0x20000) == 0 and libc.mount(None, b'/', None, 0x44000, None) == 0;"
    f"f = open(sys.argv[1] + '/f', 'w'); {_PAUSE}",
    "cwd in a mount namespace that hides it": "import ctypes, os, signal, sys; libc = ctypes.CDLL(None);"
    "assert libc.unshare(0x20000) == 0 and libc.mount(None, b'/', None, 0x44000, None) == 0;"
    f"os.chdir(sys.argv[1]); assert libc.umount2(sys.argv[1].encode(), 2) == 0; f = 1; {_PAUSE}",
}


@pytest.mark.parametrize("kind", [kind for kind in _USERS if "hides" not in kind])
def test_a_user_is_found_and_ended(rig: Rig, kind: str) -> None:
    rig.mount()
    user = rig.run(_USERS[kind], str(rig.mountpoint))
    done = _release(rig)
    assert done.clean, done
    assert user.wait(1) == -signal.SIGTERM


def test_a_user_that_has_hidden_itself_is_no_clean_release(rig: Rig) -> None:
    """Its working directory is on a mount that no namespace lists any more, so nobody can find it."""
    rig.mount()
    rig.run(_USERS["cwd in a mount namespace that hides it"], str(rig.mountpoint))
    done = _release(rig, 2.0)
    assert (done.clean, done.code) == (False, "superblock_alive"), done


@pytest.mark.parametrize("step", ["stop services", "unmount", "prove", "remove", "end"])
def test_a_release_that_is_killed_is_finished_by_the_next(rig: Rig, step: str) -> None:
    """SIGKILL to the releasing process as soon as it has come to a step; its children live on or end as they may."""
    rig.mount()
    user = rig.run(WRITER, str(rig.mountpoint / "file"))
    reached, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        _killed_at(rig, step, tell)
    os.close(tell)
    assert os.read(reached, 1) == b"x"
    os.close(reached)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    done = _release(rig, epoch=8)
    assert done.clean, done
    assert user.wait(1) < 0
    said = node_facts(rig.resource, minion="db1", state_dir=rig.state, prober=None, places=rig.places)
    assert said.released == 8, said
    again = mount_all(
        rig.resource,
        start_services=lambda: None,
        deadline_s=5,
        state_dir=rig.state,
        epoch=9,
        places=rig.places,
    )
    assert again.ok, again


def _killed_at(rig: Rig, step: str, tell: int) -> None:
    """In a child: release, and stand still at a step until the end comes."""
    real = steps.Course.step

    def stop(self: steps.Course, name: str) -> object:
        if name == step:
            os.write(tell, b"x")
            time.sleep(0.03)  # the parent's signal comes now, or in the middle of the step
        return real(self, name)

    steps.Course.step = stop  # type: ignore[method-assign, assignment]
    try:
        _release(rig)
        os.write(tell, b"x")
        time.sleep(60)
    finally:
        os._exit(0)
