"""The page that compares our flags with Docker's."""

from __future__ import annotations

import runpy

from tests.support.source import ROOT


def test_the_page_of_flags_is_current() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "cli_reference.py"))
    assert made["PAGE"].read_text() == made["page"](), "run python docs/cli_reference.py --write"
