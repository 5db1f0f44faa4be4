"""What is written twice agrees: generated code, the commands of README and CI, names and their pages."""

from __future__ import annotations

import re

import pycontainer
from pycontainer.options import derive
from tests.support.source import ROOT


def test_the_generated_types_are_current() -> None:
    assert (ROOT / "pycontainer/_generated.py").read_text() == derive.generated_source()


def test_ci_runs_the_test_command_of_the_readme() -> None:
    commands = re.findall(r"```console\n(.*?)\n```", (ROOT / "README.md").read_text(), re.DOTALL)
    command = next(text for text in commands if "test" in text).removeprefix("# ")
    assert command in (ROOT / ".ci/run").read_text().splitlines()


def test_every_public_name_has_its_place_in_the_reference() -> None:
    text = (ROOT / "docs/reference/api.md").read_text()
    documented = set(
        re.findall(r"^\.\. auto(?:class|function|module):: pycontainer\.(\w+)$", text, re.MULTILINE)
    )
    assert documented | {"errors"} == set(pycontainer.__all__)


def test_the_version_is_said_once_more_only_in_the_distribution() -> None:
    assert f'version = "{pycontainer.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_the_changelog_has_the_version() -> None:
    assert f"## {pycontainer.__version__}" in (ROOT / "CHANGELOG.md").read_text()
