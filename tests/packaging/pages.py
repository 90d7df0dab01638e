"""What the documentation says and what the code has: both as plain data, for the tests of the documentation."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.packaging.source import FACES, LIBRARY, ROOT

DOCS = ROOT / "docs"
_CODE = re.compile(r"[a-z][a-z0-9_]+\Z")
#: Which argument of what is called holds a code, when it is given by position.
_PLACES = {"GiveUp": 1, "Finding": 1, "Found": 5, "Outcome": 3}
_FENCE = re.compile(r"^ *```([^\s`]*)[^\n`]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """Everything that people read."""
    return [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
        *sorted(DOCS.rglob("*.md")),
    ]


def salt_files() -> list[Path]:
    """Return the Salt-facing files of the product."""
    return [ROOT / f"_{face}" / "vmdk.py" for face in FACES]


def public(path: Path) -> dict[str, ast.FunctionDef]:
    """Return the public functions of a Salt file by the names that people call them by."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    alias: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__func_alias__":
            alias = ast.literal_eval(node.value)
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
    return {alias.get(node.name, node.name): node for node in functions}


# -- tables ---------------------------------------------------------------------------------------------------------


def rows(page: str, columns: int) -> dict[str, list[str]]:
    """Return the rows of a page's tables whose first cell holds one or more `words`; by each of these words.

    columns: how many cells a row must have to count.
    """
    found: dict[str, list[str]] = {}
    for line in (DOCS / page).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
        if len(cells) == columns:
            for word in re.findall(r"`([\w.]+)`", cells[0]):
                assert word not in found, f"{page} has two rows for {word}"
                found[word] = cells[1:]
    return found


# -- codes ----------------------------------------------------------------------------------------------------------


def codes() -> dict[str, str]:
    """Return every code that an answer of the product may carry, and where it comes from."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in LIBRARY.rglob("*.py")}
    errors = {n.name for n in ast.walk(trees[LIBRARY / "errors.py"]) if isinstance(n, ast.ClassDef)}
    places = {**dict.fromkeys(errors, 1), **_PLACES}
    found: dict[str, str] = {}
    for path, tree in trees.items():
        for node in ast.walk(tree):
            for code in _codes_of(node, places):
                found.setdefault(code, f"{path.name}:{getattr(node, 'lineno', '?')}")
    return found


def _codes_of(node: ast.AST, places: Mapping[str, int]) -> Iterator[str]:
    if isinstance(node, ast.Call):
        place = places.get(ast.unparse(node.func).rsplit(".", 1)[-1])
        if place is None:
            return
        yield from (code for given in node.args[place : place + 1] for code in _texts(given))
        yield from (code for given in node.keywords if given.arg == "code" for code in _texts(given.value))
    elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [ast.unparse(target) for target in targets]
        if "code" in names:
            yield from _texts(node.value)
        if "_CODES" in names or "_ALREADY" in names:
            pairs = node.value.values if isinstance(node.value, ast.Dict) else _seconds(node.value)
            yield from (code for pair in pairs for code in _texts(pair))


def _seconds(table: ast.expr) -> list[ast.expr]:
    assert isinstance(table, ast.Tuple)
    return [pair.elts[1] for pair in table.elts if isinstance(pair, ast.Tuple)]


def _texts(value: ast.expr) -> Iterator[str]:
    """The constants that an expression can end in."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str) and _CODE.match(value.value):
        yield value.value
    elif isinstance(value, ast.IfExp):
        yield from _texts(value.body)
        yield from _texts(value.orelse)


# -- commands -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Command:
    """A command as it is printed. where: file and what it starts with. words: without prompt and comment."""

    where: str
    words: tuple[str, ...]


def fences(text: str, *languages: str) -> Iterator[str]:
    """Yield the bodies of fenced blocks in one of these languages."""
    for language, body in _FENCE.findall(text):
        if language in languages:
            yield body


def commands() -> Iterator[Command]:
    """Every command in a console block, in `code` of a page, and in the docstrings of Salt files."""
    for path in pages():
        text = path.read_text(encoding="utf-8")
        for body in fences(text, "console"):
            lines = [
                line[2:] for line in body.replace("\\\n", " ").splitlines() if line.startswith(("# ", "$ "))
            ]
            yield from _split(path, lines)
        yield from _split(path, _inline(_FENCE.sub("", text)))
    for path in salt_files():
        text = path.read_text(encoding="utf-8")
        yield from _split(path, re.findall(r"^\s+(salt(?:-run|-call)? .*)$", text, re.M))
    for path in LIBRARY.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        yield from _split(
            path, (one.replace("{name}", "x") for one in re.findall(r"'(salt-(?:run|call) [^']*)'", text))
        )


def _inline(text: str) -> Iterator[str]:
    for code in re.findall(r"`([^`\n]+)`", text):
        if re.match(r"(salt|salt-run|salt-call|make|build/venv/bin/python|python) .", code):
            yield code


def _split(path: Path, lines: Iterator[str] | list[str]) -> Iterator[Command]:
    for line in lines:
        words = shlex.split(
            line.split("   #")[0].split("    ")[0].replace("[", "").replace("]", ""), comments=True
        )
        if words:
            yield Command(f"{path.relative_to(ROOT)}: {line}", tuple(words))
