"""Small pieces: files under 300 lines, functions of 45 at most, half of them under 10; docstrings apart."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

from tests.packaging.source import FACES, LIBRARY, ROOT

FILE_LINES, FUNCTION_LINES, MEDIAN_LINES = 300, 45, 10


def sources() -> list[Path]:
    return [*LIBRARY.rglob("*.py"), *(path for face in FACES for path in (ROOT / f"_{face}").glob("*.py"))]


def functions() -> Iterator[tuple[str, int]]:
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", lines_of_code(node)


def docstring_lines(node: ast.AST) -> int:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return 0
    if ast.get_docstring(node, clean=False) is None:
        return 0
    return (node.body[0].end_lineno or node.body[0].lineno) - node.body[0].lineno + 1


def lines_of_code(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count a function's lines, docstrings left out: a manual may be long."""
    whole = (node.end_lineno or node.lineno) - node.lineno + 1
    return whole - sum(docstring_lines(inner) for inner in ast.walk(node))


def code_lines(path: Path) -> int:
    """Count a file's lines, docstrings left out."""
    text = path.read_text(encoding="utf-8")
    return len(text.splitlines()) - sum(docstring_lines(node) for node in ast.walk(ast.parse(text)))


def test_no_file_is_long() -> None:
    long = {
        str(path.relative_to(ROOT)): code_lines(path) for path in sources() if code_lines(path) >= FILE_LINES
    }
    assert long == {}


def test_no_function_is_long() -> None:
    assert {name: lines for name, lines in functions() if lines > FUNCTION_LINES} == {}


def test_half_of_the_functions_are_short() -> None:
    assert statistics.median(lines for _, lines in functions()) < MEDIAN_LINES
