"""The contract of every declared option: documented, placed in the runtime-spec, derived up to date."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

import pycontainer._generated as generated
from pycontainer import options
from pycontainer.oci import runtime as model
from pycontainer.options import OPTIONS, RunOptions, reference_table
from pycontainer.options.derive import generated_source
from pycontainer.runtime import resources, security, specgen

_ENGINE = {
    *("init", "stop", "name", "labels", "platform", "pull", "remove", "log", "restart", "health"),
    "start",
    *("stdin", "storage", "environment", "names", "networks", "ports", "volumes"),
}
_EVERY = pytest.mark.parametrize("name", list(OPTIONS))


@_EVERY
def test_every_option_is_documented_with_a_unit_or_as_text(name: str) -> None:
    info = OPTIONS[name]
    assert info.doc.endswith(".")
    assert info.doc[0].isupper() or info.doc.startswith("no-new")
    assert info.unit
    assert info.flag.startswith("--") or name == "command"


@_EVERY
def test_every_option_lands_where_its_declaration_says(name: str) -> None:
    kind, separator, target = OPTIONS[name].spec.partition(":")
    if not separator:
        assert model.Spec.has_path(kind), f"{name}: the runtime-spec has no {kind}"
    elif kind == "specgen":
        functions = {
            key for module in (specgen, resources, security) for key, _ in inspect.getmembers(module)
        }
        assert target in functions or target == "user", f"{name}: no function {target}"
    else:
        assert (kind, target in _ENGINE) == ("engine", True)


def _names_read(tree: ast.AST) -> set[str]:
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return attributes | {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_every_option_is_read_by_what_carries_it_out() -> None:
    package = Path(options.__file__).parents[1]
    declarations = {package / "options" / name for name in ("run.py", "kinds.py", "derive.py")}
    read: set[str] = set()
    for path in package.rglob("*.py"):
        if path not in declarations and path.name != "_generated.py":
            read |= _names_read(ast.parse(path.read_text()))
    assert set(OPTIONS) - read == set()


def test_flags_and_api_names_are_not_given_twice() -> None:
    flags = [info.flag for info in OPTIONS.values()]
    assert len(set(flags)) == len(flags)
    names = [info.api for info in OPTIONS.values() if info.api]
    assert len(set(names)) == len(names)


_TAKEN_BESIDE = ("cpus", "restart", "egress", "egress_allow")


def test_only_limits_say_that_a_running_container_takes_them() -> None:
    for name, info in OPTIONS.items():
        if info.update:
            assert info.spec.startswith("linux.resources") or name in _TAKEN_BESIDE


def test_the_generated_types_are_current() -> None:
    assert Path(generated.__file__).read_text() == generated_source()
    assert set(generated.RunKwargs.__annotations__) == set(OPTIONS) - {"command"}


def test_the_generator_checks_itself_from_the_command_line() -> None:
    command = [sys.executable, "-W", "error", "-m", "pycontainer.options.derive"]
    assert subprocess.run([*command, "--check"], check=False).returncode == 0
    assert subprocess.run([*command, "--nonsense"], check=False, capture_output=True).returncode == 2
    table = subprocess.run([*command, "--table"], check=True, capture_output=True, text=True).stdout
    assert table == reference_table()


def test_the_reference_table_has_a_row_for_every_option() -> None:
    rows = reference_table().splitlines()
    assert len(rows) == len(OPTIONS) + 2
    assert all(row.count(" | ") >= 4 for row in rows)


def test_an_options_json_can_hold_every_default() -> None:
    json.dumps({item.name: item.default for item in attrs.fields(RunOptions)})
