"""The package's source as the architecture tests see it: modules, their imports, where each stands."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "pycontainer"


class Import(NamedTuple):
    """One imported module: by whom, where, and what."""

    path: Path
    line: int
    target: str
    names: tuple[str, ...]
    is_typing_only: bool

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} imports {self.target}"

    @property
    def importer(self) -> str:
        """Dotted name of the importing module."""
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def top(self) -> str:
        return self.target.split(".")[0]


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(path: Path) -> list[Import]:
    """Every import statement of a module, lazy and typing-only ones included, as absolute names."""
    package = path.relative_to(ROOT).parts[:-1]
    found: list[Import] = []

    def add(node: ast.Import | ast.ImportFrom, is_typing_only: bool) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.append(Import(path, node.lineno, alias.name, (), is_typing_only))
            return
        base = list(package[: len(package) - node.level + 1]) if node.level else []
        target = ".".join(base + (node.module.split(".") if node.module else []))
        names = tuple(alias.name for alias in node.names)
        found.append(Import(path, node.lineno, target, names, is_typing_only))

    def walk(node: ast.AST, is_typing_only: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                walk(child, True)
            for child in node.orelse:
                walk(child, is_typing_only)
            return
        if isinstance(node, ast.Import | ast.ImportFrom):
            add(node, is_typing_only)
        for child in ast.iter_child_nodes(node):
            walk(child, is_typing_only)

    walk(tree_of(path), False)
    return found


def all_imports() -> Iterator[Import]:
    for path in modules():
        yield from imports(path)


def is_stdlib(name: str) -> bool:
    return name.split(".")[0] in sys.stdlib_module_names
