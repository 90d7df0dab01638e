"""
YAML that knows its lines: mappings and lists that remember where each entry stands, and one sentence for whatever is wrong.

``true`` and ``false`` alone are booleans, so that ``power: off`` says what it says.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml


class Wrong(Exception):
    """Something in a scenario file cannot be used: file, line, key, and what would be right."""

    def __init__(self, at: Spot, reason: str) -> None:
        super().__init__(f"{at}: {reason}")


class Spot:
    """A place in a file: line and the keys that lead to it."""

    def __init__(self, path: Path, line: int, keys: tuple[str, ...] = ()) -> None:
        self.path, self.line, self.keys = path, line, keys

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" + (f": {'.'.join(self.keys)}" if self.keys else "")


NOWHERE = Spot(Path("scenario"), 1)


class Table(dict[str, Any]):
    """A mapping with the spot of each of its keys."""

    def __init__(self, at: Spot) -> None:
        super().__init__()
        self.at, self.spots = at, dict[str, Spot]()

    def spot(self, key: str) -> Spot:
        """Where ``key`` stands; the mapping itself if it is not there."""
        return self.spots.get(key, self.at)

    def only(self, known: Iterable[str]) -> None:
        """Refuse any other key."""
        names = list(known)
        for key in self:
            if key not in names:
                raise Wrong(self.spot(key), f"there is no such key; {nearest(key, names)}")


class Row(list[Any]):
    """A list with the spot of each of its items."""

    def __init__(self, at: Spot) -> None:
        super().__init__()
        self.at, self.spots = at, list[Spot]()


def nearest(word: str, known: Iterable[str]) -> str:
    """What was meant, or what there is."""
    names = [str(name) for name in known]
    near = difflib.get_close_matches(word, names, 1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Booleans as in YAML 1.2."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:bool"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_BOOLEANS = {"true": True, "false": False}


def read(path: Path) -> Any:
    """The file's content; :raises Wrong: if it is no YAML or names a key twice."""
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as err:
        line = err.problem_mark.line + 1 if err.problem_mark else 1
        raise Wrong(Spot(path, line), f"this is no YAML: {err.problem}") from err
    if node is None:
        raise Wrong(Spot(path, 1), "the file is empty")
    return _value(loader, node, Spot(path, 1))


def _value(loader: yaml.SafeLoader, node: yaml.Node, at: Spot) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _table(loader, node, at)
    if isinstance(node, yaml.SequenceNode):
        row = Row(at)
        for i, item in enumerate(node.value, 1):
            row.spots.append(Spot(at.path, item.start_mark.line + 1, (*at.keys, str(i))))
            row.append(_value(loader, item, row.spots[-1]))
        return row
    assert isinstance(node, yaml.ScalarNode)
    if node.style is None and node.value in _BOOLEANS:
        return _BOOLEANS[node.value]
    return loader.construct_object(node)


def _table(loader: yaml.SafeLoader, node: yaml.MappingNode, here: Spot) -> Table:
    table = Table(here)
    for name, value in node.value:
        key = str(name.value)
        spot = Spot(here.path, name.start_mark.line + 1, (*here.keys, key))
        if key in table:
            raise Wrong(spot, "is there twice")
        table.spots[key] = spot
        table[key] = _value(loader, value, spot)
    return table
