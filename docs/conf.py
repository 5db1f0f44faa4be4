"""Sphinx configuration; the option table is made from the declarations at every build."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import pycontainer  # noqa: E402
from pycontainer.options import reference_table  # noqa: E402

project = "pycontainer"
author = "The pycontainer authors"
copyright = author
release = version = pycontainer.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "changes.d", "_generated"]
html_theme = "furo"
html_title = f"pycontainer {release}"
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
nitpicky = False
suppress_warnings = ["mystnb.unknown_mime_type"]  # what only a live notebook shows has a text beside it

NOTEBOOKS = HERE.parent / "examples"
STORE = tempfile.TemporaryDirectory(prefix="pycontainer-docs-")
"""Of the notebooks, which run in each build where containers can: pages show what there is, not what was."""
nb_execution_mode = "force" if os.geteuid() == 0 else "off"
nb_execution_raise_on_error = True
nb_execution_timeout = 120

_FIELD = re.compile(r"^(\*{0,2}[A-Za-z_][\w*, ]{0,60}): (.+)$")
_SPECIAL = re.compile(r"([\\*|]|(?<=\w)_(?=\W|$))")


def _as_rst(lines: list[str]) -> list[str]:
    """Docstrings are plain text: paragraphs, `name: meaning` lines and indented code."""
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    made: list[str] = []
    for paragraph in filter(None, paragraphs):
        if paragraph[0].startswith(" "):
            made += ["::", "", *[f"    {line.strip()}" for line in paragraph], ""]
            continue
        for number, line in enumerate(paragraph):
            text = _SPECIAL.sub(r"\\\1", line.strip())
            text = re.sub(r"(?<!`)`([^`]+)`(?!`)", lambda match: f"``{match[1]}``", text)
            field = _FIELD.match(text) if not line.startswith(" ") else None
            if field:
                made += ["", f"| **{field[1]}**: {field[2]}"]
            elif number and made[-1].startswith(("| ", "  ")):
                made.append(f"  {text}")
            else:
                made.append(text)
        made.append("")
    return made


def _process_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = _as_rst(lines)


def _write_generated(app: Any) -> None:
    target = HERE / "_generated"
    target.mkdir(exist_ok=True)
    (target / "options.md").write_text(reference_table())


def _copy_notebooks(app: Any) -> None:
    target = HERE / "examples"
    target.mkdir(exist_ok=True)
    for notebook in NOTEBOOKS.glob("*.ipynb"):
        shutil.copy(notebook, target)
    os.environ["PYCONTAINER_ROOT"] = STORE.name  # the kernel inherits it


def _remove_store(app: Any, error: Exception | None) -> None:
    STORE.cleanup()


def setup(app: Any) -> None:
    app.connect("builder-inited", _copy_notebooks)
    app.connect("build-finished", _remove_store)
    app.connect("builder-inited", _write_generated)
    app.connect("autodoc-process-docstring", _process_docstring)
