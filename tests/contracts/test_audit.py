"""The audit table of docs/security.md: every advisory has a row, every module and test named there exists."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.source import ROOT

PAGE = (ROOT / "docs/security.md").read_text()
ROWS = [
    line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| ---", "| adv"))
]
ADVISORY = re.compile(r"CVE-\d{4}-\d{4,7}|GHSA(?:-[a-z0-9]{4}){3}")
LEAST = 140
"""Advisories that the page has; one may be added, none forgotten."""


def test_every_advisory_that_was_looked_at_has_a_row() -> None:
    found = {name for row in ROWS for name in ADVISORY.findall(row)}
    assert len(found) >= LEAST


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:40])
def test_a_row_names_code_and_tests_that_exist_or_says_why_there_are_none(row: str) -> None:
    _, _, code, tests, _ = row.split("|")
    for module in re.findall(r"`(pycontainer/[^`]+)`", code):
        assert (ROOT / module).is_file(), module
    named = re.findall(r"`(tests/[^`]+)`", tests)
    assert named or tests.strip().startswith("no ")
    for name in named:
        path, _, function = name.partition("::")
        assert (ROOT / path).is_file(), name
        tree = ast.parse((ROOT / path).read_text())
        known = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert not function or function in known, name
