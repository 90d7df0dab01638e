"""One thing that ``doctor`` found."""

from __future__ import annotations

from dataclasses import dataclass

ERROR, WARNING, HINT = "error", "warning", "hint"
#: What is told of a master that has no resource.
NOTHING_YET = "Nothing is protected yet."


@dataclass(frozen=True)
class Found:
    """
    :param severity: ``error`` (a failover would not work), ``warning`` (works, but) or ``hint``.
    :param what: a sentence. :param do: the command or setting that mends it.
    :param resource: the resource it is about, ``""`` for all. :param node: the node it is about, ``""`` for none of them.
    :param code: stable word for programs.
    """

    severity: str
    what: str
    do: str
    resource: str = ""
    node: str = ""
    code: str = ""


def worst_first(found: list[Found]) -> list[Found]:
    """Errors, then warnings, then hints; each once."""
    order = (ERROR, WARNING, HINT)
    return sorted(dict.fromkeys(found), key=lambda one: (order.index(one.severity), one.resource, one.node))
