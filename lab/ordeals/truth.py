"""Whether the reason for which the product holds is true of the world, as the ordeal itself made it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lab.ordeals.scene import Scene
from lab.scenarios import DISK

Test = Callable[[Scene], bool]


def _stands(*what: str) -> Test:
    return lambda scene: any(scene.stands(one) for one in what)


def _was(*what: str) -> Test:
    """For what a person has to acknowledge: it was so in this ordeal."""
    return lambda scene: scene.was(*what)


def _holds_and_is_silent(scene: Scene) -> bool:
    """A node that runs and lists the disk gives no answer."""
    running = [name for name, node in scene.lab.nodes.items() if node.is_running and _lists(scene, name)]
    return any(not scene.is_fit(name) for name in running)


def _lists(scene: Scene, name: str) -> bool:
    return any(one.disk == scene.lab.disks[DISK] for one in scene.node(name).slots())


def _holder_off(scene: Scene) -> bool:
    return any(_lists(scene, name) and not node.is_running for name, node in scene.lab.nodes.items())


def _nowhere_to_go(scene: Scene) -> bool:
    """No node beside the holder could take it."""
    return not any(scene.is_fit(name) for name in scene.lab.nodes if not _lists(scene, name))


def _both(*tests: Test) -> Test:
    return lambda scene: all(test(scene) for test in tests)


def _either(*tests: Test) -> Test:
    return lambda scene: any(test(scene) for test in tests)


_UNREADABLE = _stands("vcenter", "vcenter-slow", "denied")
_GONE = _stands("host-gone")
_FAILS = ("disk", "disk-full", "disk-everywhere", "read-only")
_REFUSED = _was("denied", "task-fault", "vcenter", "vcenter-slow", "host-gone", "snapshot")

#: By rule number. A rule that is not here cannot be true of anything that a story does.
TRUE_WHEN: Mapping[int, Test] = {
    10: _stands("paused"),
    510: _stands("paused"),
    20: _UNREADABLE,
    520: _UNREADABLE,
    40: _either(_GONE, _UNREADABLE, _stands("snapshot")),  # its disk is another file then
    530: _either(_GONE, _UNREADABLE, _stands("snapshot")),
    45: _GONE,
    545: _GONE,
    63: _UNREADABLE,
    90: _stands("snapshot"),
    105: _either(_stands("snapshot", "denied"), _REFUSED),
    160: _REFUSED,
    220: _stands("overmount"),
    230: _stands("overmount"),
    598: _was("service-dead", *_FAILS),
    603: _was("disk-full"),
    630: _both(_holder_off, _nowhere_to_go),
    638: _both(_holds_and_is_silent, _stands("paused")),
    640: _holds_and_is_silent,
    643: _holds_and_is_silent,
    644: _both(_holds_and_is_silent, _stands("agent-dead", "agent-stopped")),
    645: _holds_and_is_silent,
    648: _both(_holds_and_is_silent, _nowhere_to_go),
    652: _was("disk-full"),
    653: _was("disk-everywhere"),
    670: _both(_was(*_FAILS), _either(_nowhere_to_go, _stands("snapshot", "denied"))),
    710: _stands("overmount"),
    730: _both(_was(*_FAILS, "unmounted", "disk-removed"), _nowhere_to_go),
    740: _holds_and_is_silent,
    810: lambda scene: not any(map(scene.is_fit, scene.lab.nodes)),
    900: _was("disk-removed"),
}


def is_true(scene: Scene, rule: int) -> bool:
    """Whether a hold by this rule is true now. scene: with what stands wrong in it."""
    test = TRUE_WHEN.get(rule)
    return test is not None and test(scene)
