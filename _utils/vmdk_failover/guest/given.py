"""The beacon's configuration as the master's pillar gives it: every mistake in one sentence. Pure."""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vmdk_failover.model import Resource, resource_from_plain

#: What Salt itself allows in any beacon's configuration, and puts there.
_SALTS_OWN = frozenset({"_beacon_name", "interval", "enabled", "disable_during_state_run", "beacon_module"})
_SOURCE = "the master's pillar writes it, take out what was written by hand"
_NAMES = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a mapping",
    list: "a list",
}


def read(config: Any) -> tuple[dict[str, Resource], str]:
    """
    Resources by name, and what is wrong, as one sentence; empty if nothing is.

    :param config: a list of mappings with one key each, as Salt has it.
    """
    if not isinstance(config, (list, tuple)) or not all(isinstance(one, Mapping) for one in config):
        return {}, f"The configuration of the beacon vmdk must be a list of mappings; {_SOURCE}."
    given = {str(key): value for one in config for key, value in one.items()}
    fault = _unknown(given, {"resources", *_SALTS_OWN}, "")
    resources = given.get("resources")
    if not fault and not isinstance(resources, Mapping):
        fault = f"resources must be a mapping of names to resources, not {_shown(resources)}"
    if fault or not isinstance(resources, Mapping):
        return {}, f"The beacon vmdk cannot be configured: {fault}; {_SOURCE}."
    for name, plain in resources.items():
        fault = next(_faults(Resource, plain, f"resources.{name}"), "")
        if not fault and plain["name"] != name:
            fault = f"resources.{name}.name must be {name}, not {_shown(plain['name'])}"
        if fault:
            return {}, (
                f"The beacon vmdk cannot watch {name}: {fault}; {_SOURCE}, or bring this node to the master's version "
                "with 'salt-call saltutil.sync_all'."
            )
    return {str(name): resource_from_plain(plain) for name, plain in resources.items()}, ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unknown(given: Iterable[Any], known: Iterable[str], where: str) -> str:
    names = sorted(known)
    for key in given:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, 1)
            return f"{where}{key} is not known" + (f", did you mean {near[0]}?" if near else "")
    return ""


def _faults(kind: Any, plain: Any, where: str) -> Iterator[str]:
    """What is wrong with the plain form of a frozen value of the model."""
    if not isinstance(plain, Mapping):
        yield f"{where} must be a mapping, not {_shown(plain)}"
        return
    fields = {one.name: one for one in dataclasses.fields(kind)}
    if strange := _unknown(plain, fields, f"{where}."):
        yield strange
    hints = typing.get_type_hints(kind)
    for name, field in fields.items():
        if name in plain:
            yield from _value(hints[name], plain[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            yield f"{where}.{name} is missing"


def _value(hint: Any, value: Any, where: str) -> Iterator[str]:
    if dataclasses.is_dataclass(hint):
        yield from _faults(hint, value, where)
    elif typing.get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)):
            yield f"{where} must be a list, not {_shown(value)}"
            return
        for at, one in enumerate(value):
            yield from _value(typing.get_args(hint)[0], one, f"{where}.{at}")
    elif not _is(hint, value):
        yield f"{where} must be {_NAMES.get(hint, str(hint))}, not {_shown(value)}"


def _is(kind: type, value: Any) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is float:
        return isinstance(value, (int, float)) and math.isfinite(value) and value >= 0
    if kind is int:
        return isinstance(value, int) and value >= 0
    return isinstance(value, kind)
