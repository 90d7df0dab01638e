"""Other resources of a hierarchy, as one look may find them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.core.build import move, resource
from vmdk_failover.kin import Kin
from vmdk_failover.model import MoveKind


def going(below: bool = True, clean: bool = False, target: str = "db2", rule: int = 0) -> Kin:
    """One that is on its way from db1, where it is not in use any more."""
    name, kind = ("base" if below else "top"), (MoveKind.SWITCHOVER if clean else MoveKind.FAILOVER)
    begun = replace(move(replace(resource(), name=name), kind, "db1", target), rule=rule)
    return Kin(name, below, active="db1" if below else "", on=("db1",) if below else (), move=begun)


def every() -> Iterator[tuple[Kin, ...]]:
    """One of them, or one on each side."""
    unfit = {"db2": ("its slot is taken",)}
    lower = (
        *(Kin("base", True, node, (node,)) for node in ("db1", "db2")),
        Kin("base", True),
        Kin("base", True, "db1", ("db1",), paused=True),
        Kin("base", True, "db1", ("db1",), unfit=unfit),
        *(going(clean=clean) for clean in (False, True)),
    )
    upper = (
        Kin("top", False, "db1", ("db1",)),
        Kin("top", False, "", ("db1",), failed=True),
        Kin("top", False),
        Kin("top", False, "db1", ("db1",), paused=True),
        Kin("top", False, "db1", ("db1",), unfit=unfit),
        *(going(False, clean, rule=rule) for clean in (False, True) for rule in (555, 570)),
    )
    yield from ((one,) for one in (*lower, *upper))
    yield from ((one, upper[0]) for one in lower)
