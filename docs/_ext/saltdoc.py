"""
The manual of the commands, taken from the docstrings that Salt itself shows (``salt-run -d vmdk``, ``salt-call -d vmdk``).

``.. salt-functions:: _runners/vmdk.py salt-run`` puts every public function of that file here. Nothing is imported.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils.nodes import Node
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[2]
#: Functions that only the product itself calls.
INTERNAL = frozenset({"facts", "look"})


def public(path: Path) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Functions of a Salt file by the names that people call them by."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    alias: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__func_alias__":
            alias = ast.literal_eval(node.value)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield alias.get(node.name, node.name), node


def signature(node: ast.FunctionDef) -> str:
    """The arguments as people type them."""
    return ast.unparse(node.args)


class SaltFunctions(SphinxDirective):
    """Every public function of a file, with its manual."""

    required_arguments = 2

    def run(self) -> list[Node]:
        path, command = ROOT / self.arguments[0], self.arguments[1]
        self.env.note_dependency(str(path))
        lines: list[str] = []
        for name, node in public(path):
            if name in INTERNAL:
                continue
            lines += [f".. describe:: {command} vmdk.{name}({signature(node)})", ""]
            manual = inspect.cleandoc(ast.get_docstring(node) or "")
            lines += [f"   {line}".rstrip() for line in manual.splitlines()] + [""]
        self.state_machine.insert_input(lines, str(path))
        return []


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("salt-functions", SaltFunctions)
    return {"version": "1", "parallel_read_safe": True}
