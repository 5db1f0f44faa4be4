"""What an import drags along: almost nothing for the package, the standard library for the helper."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.source import ROOT, is_stdlib


def _modules_after(statement: str, *flags: str) -> set[str]:
    """Modules that the statement adds in a fresh interpreter."""
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); before = set(sys.modules)\n"
        f"{statement}\nprint(*(set(sys.modules) - before))"
    )
    command = [sys.executable, *flags, "-c", program]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_adds_fewer_than_ten_modules_and_no_library() -> None:
    added = _modules_after("import pycontainer")
    assert len(added) < 10, sorted(added)
    assert [name for name in added if not is_stdlib(name) and not name.startswith("pycontainer")] == []


@pytest.mark.parametrize("module", ["pycontainer.launcher.zygote", "pycontainer.layers.jobs"])
def test_the_helper_needs_the_standard_library_only(module: str) -> None:
    added = _modules_after(f"import {module}", "-I", "-S", "-B")
    assert [name for name in added if not is_stdlib(name) and not name.startswith("pycontainer")] == []


@pytest.mark.parametrize("module", ["pycontainer.oci", "pycontainer.store", "pycontainer.engine"])
def test_what_lists_containers_and_images_loads_no_network_library(module: str) -> None:
    added = _modules_after(f"import {module}")
    assert {"httpx", "pyroute2", "rich", "click"} & added == set()


_OF_STARTS = {
    *("pycontainer.engine.launching", "pycontainer.oci.runtime", "pycontainer.runtime.specgen"),
    *("pycontainer.store.buildcache", "pycontainer.store.unpack"),
}
"""What makes and starts containers, and makes layers: who only looks does without."""


@pytest.mark.parametrize(
    "words", [["--help"], ["version"], ["images"], ["ps"], ["network", "ls"]], ids=" ".join
)
def test_a_command_imports_no_library_that_it_does_not_need(words: list[str], tmp_path: Path) -> None:
    """Each module costs half a millisecond, most of what a short command takes."""
    program = (
        "import sys; from pycontainer.cli import invoke; code = invoke(sys.argv[1:]); print()\n"
        "print(code, *sys.modules)"
    )
    command = [sys.executable, "-c", program, *words]
    env = {**os.environ, "PYCONTAINER_ROOT": str(tmp_path / "store")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env, cwd=ROOT)
    code, *names = done.stdout.splitlines()[-1].split()
    assert code == "0"
    assert {"httpx", "pyroute2", "rich", "ssl"} & set(names) == set()
    assert {"subprocess", *_OF_STARTS} & set(names) == set()


def test_the_helper_is_begun_without_the_library_for_programs_of_all_kinds() -> None:
    """What is imported before it is begun is time in which it does not get ready."""
    statement = "from pycontainer.launcher import Helper; helper = Helper(); helper.begin(); helper.close()"
    assert {"subprocess", "ctypes", "attrs"} & _modules_after(statement) == set()


def test_every_public_name_can_be_had() -> None:
    statement = "import pycontainer; [getattr(pycontainer, name) for name in pycontainer.__all__]"
    assert "pycontainer.engine" in _modules_after(statement)
