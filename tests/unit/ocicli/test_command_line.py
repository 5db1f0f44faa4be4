"""The command line and the types of config.json, without a container."""

from __future__ import annotations

from typing import Any

import pytest

from pycontainer.errors import InvalidOption
from pycontainer.ocicli import arguments, lifecycle, schema


@pytest.mark.parametrize(
    ("words", "flags", "rest"),
    [
        (["create", "--bundle", "/b", "id"], {"bundle": "/b"}, ["id"]),
        (["create", "--bundle=/b", "id"], {"bundle": "/b"}, ["id"]),
        (["create", "-bundle", "/b", "id"], {"bundle": "/b"}, ["id"]),
        (["create", "-b", "/b", "id"], {"bundle": "/b"}, ["id"]),
        (["delete", "id", "--force"], {"force": "true"}, ["id"]),
        (["delete", "-f", "id"], {"force": "true"}, ["id"]),
        (["run", "-f", "c.json", "id"], {"config": "c.json"}, ["id"]),
        (["list", "-f", "json"], {"format": "json"}, []),
        (["kill", "--all=false", "id", "9"], {}, ["id", "9"]),
        (
            ["exec", "--env", "A=1", "-e", "B=2", "id", "ls", "-l"],
            {"env": ["A=1", "B=2"]},
            ["id", "ls", "-l"],
        ),
        (["exec", "id", "--", "-x"], {}, ["id", "-x"]),
        (["update", "--resources", "-", "id"], {"resources": "-"}, ["id"]),
    ],
)
def test_flags_are_read_as_runc_reads_them(words: list[str], flags: dict[str, Any], rest: list[str]) -> None:
    asked = arguments.parse(["--root", "/r", "--systemd-cgroup", *words])
    assert asked.options == {"root": "/r", "systemd-cgroup": "true"}
    assert (asked.flags, asked.words) == (flags, rest)


@pytest.mark.parametrize(
    "words",
    [["nothing"], ["create"], ["create", "a", "b"], ["start", "--what", "a"], ["create", "a", "--bundle"]],
)
def test_what_a_command_does_not_take_is_refused(words: list[str]) -> None:
    with pytest.raises(InvalidOption):
        arguments.parse(words)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "ociVersion is missing"),
        ({"ociVersion": 1}, "ociVersion"),
        ({"ociVersion": "1.0.0", "mounts": {}}, "mounts"),
        ({"ociVersion": "1.0.0", "mounts": [{"destination": None}]}, r"mounts\[0\].destination"),
        ({"ociVersion": "1.0.0", "process": {"cwd": "/", "args": ["a\0b"]}}, r"process.args\[0\]"),
        ({"ociVersion": "1.0.0", "linux": {"timeOffsets": {"boottime": 1}}}, "linux.timeOffsets"),
        ({"ociVersion": "1.0.0", "linux": {"resources": {"pids": {"limit": True}}}}, "pids.limit"),
        ({"ociVersion": "1.0.0", "hooks": {"prestart": [{"path": "/x", "timeout": 0}]}}, "timeout"),
    ],
)
def test_a_wrong_type_is_told_by_the_property_s_path(document: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidOption, match=field):
        schema.check(document, schema.SPEC, "")


def test_null_and_whole_floats_are_taken() -> None:
    document = {"ociVersion": "1.0.0", "mounts": None, "linux": {"resources": {"pids": {"limit": 10.0}}}}
    schema.check(document, schema.SPEC, "")


@pytest.mark.parametrize(
    ("text", "number"), [("TERM", 15), ("SIGKILL", 9), ("sigusr1", 10), ("9", 9), ("0", 0), ("RTMIN+1", 35)]
)
def test_signals_have_names_and_numbers(text: str, number: int) -> None:
    assert lifecycle.signal_number(text) == number


@pytest.mark.parametrize("text", ["NOPE", "-1", "99", ""])
def test_what_is_no_signal_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption):
        lifecycle.signal_number(text)
