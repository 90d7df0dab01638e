"""What docs/answers.md says of an answer, and what an answer has otherwise."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.packaging.pages import DOCS

#: By table (``""`` for the answer itself) each key, and whether it is always there.
Tables = Mapping[str, Mapping[str, bool]]


@functools.cache
def documented() -> Mapping[str, Tables]:
    """By command, as it stands in a heading."""
    found: dict[str, dict[str, dict[str, bool]]] = {}
    commands: list[str] = []
    for part in re.split(r"^## ", (DOCS / "answers.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        commands = re.findall(r"`vmdk\.([^`]+)`", heading)
        tables = dict(_tables(body))
        found.update(dict.fromkeys(commands, tables))
    return found


def _tables(body: str) -> Iterator[tuple[str, dict[str, bool]]]:
    for block in re.findall(r"(?:^\|.*\n)+", body, re.MULTILINE):
        head, _, *rows = [line.strip("|").split("|")[0].strip() for line in block.splitlines()]
        named = re.search(r"`([\w.]+)`", head)
        path = named.group(1) if named else "each" if head.startswith("each") else ""
        yield path, {key: not star for row in rows for key, star in re.findall(r"`(\w+)`( \*)?", row)}


def strange(command: str, answer: Mapping[str, Any]) -> list[str]:
    """What an answer has besides its table, or lacks of it; empty if it is as documented."""
    return [words for path, keys in documented()[command].items() for words in _strange(path, keys, answer)]


def _strange(path: str, keys: Mapping[str, bool], answer: Mapping[str, Any]) -> Iterator[str]:
    for one in _within(path, answer):
        for key in sorted(set(one) - set(keys) - {"retcode"}):
            yield f"{path or 'the answer'} has {key}, which docs/answers.md does not know"
        for key in sorted(key for key, always in keys.items() if always and key not in one):
            yield f"{path or 'the answer'} lacks {key}"


def _within(path: str, answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The mappings that a table speaks of."""
    if path == "each":
        return [entry for entries in answer.values() for entry in entries]
    places: list[Any] = [answer]
    for key in path.split(".") if path else ():
        inner = [place[key] for place in places if place.get(key) is not None]
        places = [one for value in inner for one in _each(value)]
    return places


def _each(value: Any) -> list[Any]:
    """A list's entries, those of a mapping by name, or what there is one of."""
    if isinstance(value, list):
        return value
    named = value and all(isinstance(one, Mapping) for one in value.values())
    return list(value.values()) if named or not value else [value]
