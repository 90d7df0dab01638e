"""The closed lists: states, conditions, kinds. Every one of these words means one thing (docs/conditions.md)."""

from __future__ import annotations

import enum


class Power(str, enum.Enum):
    """Power state of a VM. ``UNKNOWN`` is not ``OFF``; nothing may treat it so."""

    ON = "on"
    OFF = "off"
    SUSPENDED = "suspended"
    UNKNOWN = "unknown"


class Condition(str, enum.Enum):
    """What a node's prober says of a resource (docs/conditions.md)."""

    OK = "ok"
    IO_ERROR = "io_error"
    HUNG = "hung"
    FS_ERROR = "fs_error"
    DEVICE_GONE = "device_gone"
    DEVICE_OFFLINE = "device_offline"
    UNMOUNTED = "unmounted"
    LAZILY_UNMOUNTED = "lazily_unmounted"
    WRONG_FILESYSTEM = "wrong_filesystem"
    OPTIONS_CHANGED = "options_changed"
    SLOW = "slow"
    NEARLY_FULL = "nearly_full"
    WATCHER_SILENT = "watcher_silent"
    UNKNOWN = "unknown"


#: Conditions after which the file system cannot be used where it is.
FAILED_CONDITIONS = frozenset(
    {
        Condition.IO_ERROR,
        Condition.HUNG,
        Condition.FS_ERROR,
        Condition.DEVICE_GONE,
        Condition.DEVICE_OFFLINE,
    }
)

#: Conditions in which nobody watches the disk.
UNWATCHED = frozenset({Condition.UNKNOWN, Condition.WATCHER_SILENT})

#: Conditions that cannot be while it is mounted as recorded: then one of both words is wrong, or the disk's content was replaced.
DISPUTES = frozenset({Condition.WRONG_FILESYSTEM, Condition.LAZILY_UNMOUNTED})

#: Conditions that only warn: the file system is in use and stays where it is.
WARNINGS = frozenset({Condition.OPTIONS_CHANGED, Condition.SLOW, Condition.NEARLY_FULL})


class MountState(str, enum.Enum):
    """State of a resource's mount points on one node, all of them together."""

    MOUNTED = "mounted"
    PARTLY = "partly"
    UNMOUNTED = "unmounted"
    FOREIGN = "foreign"  # something else is mounted there
    UNKNOWN = "unknown"


class MoveKind(str, enum.Enum):
    """Why a resource moves, or is brought up again."""

    FAILOVER = "failover"
    SWITCHOVER = "switchover"
    START = "start"  # nobody is active: bring it up where its disk is
    REPAIR = "repair"  # local recovery: mount it again where it was


#: Disk modes that keep what was written; vSphere's others discard it when the VM is powered off, as a fence does.
KEEPING_MODES = ("persistent", "independent_persistent")


class StepKind(str, enum.Enum):
    """One act. Everything the product ever does to the world is one of these."""

    RELEASE = "release"
    HALT = "halt"
    FENCE = "fence"
    DETACH = "detach"
    ATTACH = "attach"
    MOUNT = "mount"
    SEAL = "seal"  # make a lost request to a VM impossible
    FENCE_HOOK = "fence_hook"  # the administrator's own way to get a VM off
    FENCE_HOST = "fence_host"  # the administrator's own way to get an ESXi host off
    POWER_ON = "power_on"  # start a fenced VM again
    ALONG = "along"  # other resources of the hierarchy leave this node, or come to it


class Result(str, enum.Enum):
    """How a step ended. ``UNKNOWN``: the answer was lost; the next look decides."""

    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
