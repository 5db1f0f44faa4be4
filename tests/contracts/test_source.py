"""Files stay readable: not too long, nothing unfinished, broad handlers at the edges only."""

from __future__ import annotations

import ast
import re

from tests.support.source import PACKAGE, ROOT, modules, tree_of

MAX_LINES = 600
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
# Process edges: a helper, a monitor or a server must answer whatever happens.
EDGES = ("launcher/", "cli/", "registry/server/", "network/netlink.py", "integrations/executor/worker.py")


def test_no_module_is_too_long() -> None:
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in modules()}
    written = {name: length for name, length in lengths.items() if not name.endswith("/_generated.py")}
    assert {name: length for name, length in written.items() if length > MAX_LINES} == {}


def test_nothing_is_left_unfinished() -> None:
    found = []
    for path in modules():
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if UNFINISHED.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert found == []


def test_broad_handlers_stand_at_process_edges_only() -> None:
    found = []
    for path in modules():
        place = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(tree_of(path)):
            is_handler = isinstance(node, ast.ExceptHandler)
            if not is_handler or place.startswith(EDGES):
                continue
            assert isinstance(node, ast.ExceptHandler)
            is_broad = node.type is None or "Exception" in {
                name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)
            }
            # One that raises again only cleans up.
            if is_broad and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node)):
                found.append(f"{place}:{node.lineno}")
    assert found == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [str(path.relative_to(ROOT)) for path in modules() if not ast.get_docstring(tree_of(path))]
    assert silent == []
