"""Docker's own tests of its parser and of its ignore patterns, as Debian packages have them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from pycontainer.build.dockerfile import parse
from pycontainer.build.dockerfile.statements import Statement, statements
from pycontainer.errors import DockerfileError, InvalidInput
from pycontainer.patterns import PatternMatcher
from tests.support.needs import needs

pytestmark = needs("apt-get", "dpkg-deb")
PACKAGE = "golang-github-openshift-imagebuilder-dev"
PLACE = "usr/share/gocode/src/github.com/openshift/imagebuilder/dockerfile/parser"
PATTERNS_PACKAGE = "golang-github-moby-patternmatcher-dev"
PATTERNS_PLACE = "usr/share/gocode/src/github.com/moby/patternmatcher/patternmatcher_test.go"
# BuildKit takes one character for the directive escape, where the parser before it looked at the first alone.
OLDER = {"escape-nonewline": "invalid escape token"}
_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\t": "\\t",
    "\n": "\\n",
    "\r": "\\r",
    "\b": "\\b",
    "\f": "\\f",
    "\0": "\\x00",
}


_TEXT = r'"(?:[^"\\]|\\.)*"'
_CASE = re.compile(rf"\{{(\[\]string\{{[^}}]*\}}|{_TEXT}), ({_TEXT}), (true|false)(?:, ([\w.]+))?\}}")


def unpacked(package: str, place: Path) -> Path:
    """A directory with what is in a package of Debian's."""
    command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package]
    fetched = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=100, check=False)
    if fetched.returncode:
        pytest.skip(f"no {package}: {fetched.stderr.strip()[-200:]}")
    [archive] = place.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", archive, place], check=True, timeout=100)
    return place


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(PACKAGE, tmp_path_factory.mktemp("corpus")) / PLACE


def quoted(text: str) -> str:
    """A string as Go's strconv.Quote writes it."""
    return f'"{"".join(_ESCAPES.get(character, character) for character in text)}"'


def shown(statement: Statement) -> str:
    """A statement as their Node.Dump shows it."""
    words = [statement.keyword.lower()]
    if statement.flags:
        words.append(f"[{' '.join(map(quoted, statement.flags))}]")
    if statement.child is not None:
        words.append(f"({shown(statement.child)})")
    return " ".join([*words, *map(quoted, statement.args)])


def test_each_is_split_as_by_docker(corpus: Path) -> None:
    found = sorted((corpus / "testfiles").iterdir())
    assert len(found) >= 30
    for place in found:
        text = (place / "Dockerfile").read_text()
        if place.name in OLDER:
            with pytest.raises(DockerfileError, match=OLDER[place.name]):
                statements(text)
            continue
        made = "\n".join(f"({shown(statement)})" for statement in statements(text).items)
        assert made == (place / "result").read_text().strip(), place.name


def test_what_docker_refuses_is_refused(corpus: Path) -> None:
    found = sorted((corpus / "testfiles-negative").iterdir())
    assert found
    for place in found:
        with pytest.raises(DockerfileError):
            parse((place / "Dockerfile").read_text())


def test_each_pattern_matches_what_it_does_for_docker(tmp_path: Path) -> None:
    tables = (unpacked(PATTERNS_PACKAGE, tmp_path) / PATTERNS_PLACE).read_text()
    cases = _CASE.findall(tables)
    assert len(cases) >= 120
    different = []
    for given, path, expected, problem in cases:
        patterns = [json.loads(text) for text in re.findall(_TEXT, given)]
        found = ignored(patterns, json.loads(path))
        wanted = None if problem.endswith("ErrBadPattern") else expected == "true"
        if found != wanted:
            different.append((patterns, path, found, wanted))
    assert different == []


def ignored(patterns: list[str], path: str) -> bool | None:
    """Whether patterns leave a path out; None if one of them is none."""
    try:
        return PatternMatcher(patterns).matches(path)
    except InvalidInput:
        return None
