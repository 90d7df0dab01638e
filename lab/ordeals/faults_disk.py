"""Disks that fail or hang, and mounts that people and programs spoil."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from lab.cell import LabError
from lab.faultdisk import DiskError
from lab.observer import mountpoints
from lab.ordeals.fault import FENCED, NAMESPACES, PLANNED, Fault
from lab.ordeals.scene import Cure, Scene, nothing, quietly
from lab.scenarios import DISK
from lab.strikes import TooLate
from lab.trial import SERVICE

_TICK = 0.1


def _say(scene: Scene, node: str, words: str) -> None:
    try:
        scene.lab.fault(node, DISK, words)
    except (LabError, DiskError, OSError) as problem:
        raise TooLate(f"the disk of {node} is gone: {problem}") from None


def hurt(words: str, what: str = "disk") -> Callable[[Scene], Cure]:
    """Hurt the disk where it is attached now; a disk that is attached anew is whole."""

    def strike(scene: Scene) -> Cure:
        node = scene.holder()
        _say(scene, node, words)

        def cure() -> None:
            with quietly():
                _say(scene, node, "ok")

        return scene.note(what, node, cure)

    return strike


def _everywhere(scene: Scene) -> Cure:
    """The disk itself is bad: wherever it is attached, it fails."""
    stop = threading.Event()

    def again() -> None:
        while not stop.wait(_TICK):
            for name in scene.lab.nodes:
                with quietly():
                    _say(scene, name, "all=eio")

    thread = threading.Thread(target=again, name="bad disk", daemon=True)
    thread.start()

    def cure() -> None:
        stop.set()
        thread.join(10)
        for name in scene.lab.nodes:
            with quietly():
                _say(scene, name, "ok")

    return scene.note("disk-everywhere", "", cure)


def mounted(scene: Scene) -> str:
    """The node that has it mounted. Raises TooLate."""
    node = scene.holder()
    scene.running(node)
    if not mountpoints(scene.node(node), scene.lab.disks[DISK]):
        raise TooLate(f"it is not mounted on {node}")
    return node


def _inside(scene: Scene, script: str) -> str:
    """Start a shell's words where it is mounted, and do not wait: they may be stuck in the disk. Returns the node."""
    node = mounted(scene)
    scene.inside(node).tell(script)
    return node


def _unmount(scene: Scene) -> Cure:
    node = _inside(scene, f"umount -l {scene.lab.mountpoint()}")
    return scene.note("unmounted", node, nothing)


def _stop_and_unmount(scene: Scene) -> Cure:
    node = mounted(scene)
    scene.lab.master.send(node, "service.stop", SERVICE)
    _inside(scene, f"for n in 1 2 3 4 5 6 7 8; do umount {scene.lab.mountpoint()} && exit; sleep 0.3; done")
    return scene.note("unmounted", node, nothing)


def _overmount(scene: Scene) -> Cure:
    """A person mounts something else in its place, and takes it away again."""
    place = scene.lab.mountpoint()
    node = mounted(scene)
    scene.inside(node).tell(f"mount -t tmpfs foreign {place}")

    def cure() -> None:
        with suppress(LabError, TooLate):
            scene.inside(node).run(
                ["sh", "-c", f"grep -q '^foreign {place} ' /proc/mounts && umount {place}"]
            )

    return scene.note("overmount", node, cure)


def _read_only(scene: Scene) -> Cure:
    """Only a file system that nobody writes to can be made read-only by hand."""
    end = f"kill -9 $(cat /run/lab-services/{SERVICE}.pid)"
    node = _inside(scene, f"{end}; sleep 0.2; mount -o remount,ro {scene.lab.mountpoint()}")

    def cure() -> None:
        with suppress(LabError, TooLate):
            scene.inside(node).tell(f"mount -o remount,rw {scene.lab.mountpoint()}")

    return scene.note("read-only", node, cure)


def _kill_service(scene: Scene) -> Cure:
    """The service dies; somebody starts it again if nobody else has."""
    node = mounted(scene)
    if scene.inside(node).run(["sh", "-c", f"kill -9 $(cat /run/lab-services/{SERVICE}.pid)"]).code:
        raise TooLate(f"no service runs on {node}")

    def cure() -> None:
        if scene.node(node).is_running and node == scene.holder():
            scene.lab.master.send(node, "service.start", SERVICE)

    return scene.note("service-dead", node, cure)


FAULTS = (
    Fault("disk-eio", "disk", hurt("all=eio"), (0.5, 8.0), weight=4, steps=PLANNED),
    Fault("disk-eio-read", "disk", hurt("read=eio"), (1.0, 8.0)),
    Fault("disk-eio-write", "disk", hurt("write=eio"), (0.5, 8.0), steps=PLANNED),
    Fault("disk-eio-flush", "disk", hurt("flush=eio"), (0.5, 8.0), steps=PLANNED, nodes=NAMESPACES),
    Fault("disk-eio-thrice", "disk", hurt("all=eio:3"), (0.5, 2.0), nodes=NAMESPACES),
    Fault("disk-hang", "disk", hurt("all=hang"), (0.3, 9.0), weight=4, steps=FENCED),
    Fault("disk-hang-write", "disk", hurt("write=hang"), (0.3, 9.0), steps=FENCED, nodes=NAMESPACES),
    Fault("disk-slow", "disk", hurt("all=delay:0.3"), (2.0, 6.0), nodes=NAMESPACES),
    Fault("disk-full", "disk", hurt("write=enospc", "disk-full"), (0.5, 6.0), weight=1),
    Fault("disk-bad-everywhere", "disk", _everywhere, (2.0, 9.0), steps=PLANNED),
    Fault("unmounted", "mount", _unmount, (0.5, 1.0), steps=("mount",)),
    Fault("stopped-and-unmounted", "mount", _stop_and_unmount, (2.5, 3.0), steps=("mount",)),
    Fault("overmounted", "mount", _overmount, (0.5, 7.0), weight=1),
    Fault("read-only", "mount", _read_only, (1.0, 6.0)),
    Fault("service-killed", "mount", _kill_service, (0.5, 5.0), weight=1),
)
