"""Files of variables and labels: Docker's grammar, read once, and who wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from pycontainer.errors import InvalidOption
from pycontainer.options import dump_run_options, parse_run_options
from pycontainer.options.files import parse_lines


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"A=1\nB=2", {"A": "1", "B": "2"}),
        (b"A=b=c", {"A": "b=c"}),
        (b"A=", {"A": ""}),
        (b"ALONE", {"ALONE": None}),
        (b"# note\n\n   \nA=1 # kept\n", {"A": "1 # kept"}),
        (b"  A= spaced \r\nB='quoted'", {"A": " spaced ", "B": "'quoted'"}),
        (b"\xef\xbb\xbfA=mark", {"A": "mark"}),
        ("Ä=ö".encode(), {"Ä": "ö"}),
        (b"A=1\nA=2", {"A": "2"}),
    ],
)
def test_lines_are_read_as_docker_reads_them(content: bytes, found: dict[str, str | None]) -> None:
    assert dict(parse_lines(content, "file", "env_file")) == found


@pytest.mark.parametrize("content", [b"=1", b"A B=1", b"A =1", b"A=\0", b"\xff=1"])
def test_a_broken_line_is_refused_by_its_file(content: bytes) -> None:
    with pytest.raises(InvalidOption, match="env_file='broken'"):
        list(parse_lines(content, "broken", "env_file"))


def test_names_alone_take_the_callers_variable_and_given_ones_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_CALLER", "yes")
    first, second = tmp_path / "one", tmp_path / "two"
    first.write_text("FROM_CALLER\nNOT_THERE\nA=one\nB=one\nC=one\n")
    second.write_text("B=two\nC=two\n")
    options = parse_run_options(env_file=[first, str(second)], env={"C": "given"})
    assert options.env == {"FROM_CALLER": "yes", "A": "one", "B": "two", "C": "given"}
    # What was read is kept, and the files are not read again.
    first.unlink()
    assert parse_run_options(**dump_run_options(options)) == options


def test_the_callers_whole_environment_comes_on_request_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_CALLER", "yes")
    assert parse_run_options(env={"A": "1"}).env == {"A": "1"}
    found = parse_run_options(env_host=True, env={"FROM_CALLER": "no"}).env
    assert found is not None
    assert (found["FROM_CALLER"], "PATH" in found) == ("no", True)


def test_labels_of_files_are_below_those_given(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("a=file\nflag\nb=file\n")
    options = parse_run_options(label_file=str(tmp_path / "labels"), labels={"b": "given"})
    assert options.labels == {"a": "file", "flag": "", "b": "given"}


def test_a_file_that_is_missing_or_endless_is_named(tmp_path: Path) -> None:
    for path in (str(tmp_path / "none"), "/dev/zero"):
        with pytest.raises(InvalidOption, match=f"env_file='{path}'"):
            parse_run_options(env_file=path)
