"""Files of variables; the tables are those of the specification and of compose-go's godotenv_test.go."""

from __future__ import annotations

import pytest

from pycontainer.compose.dotenv import parse_environment
from pycontainer.errors import ComposeFileError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FOO=bar", {"FOO": "bar"}),
        ("FOO =bar", {"FOO": "bar"}),
        ("FOO= bar", {"FOO": "bar"}),
        ('FOO="bar"', {"FOO": "bar"}),
        ("FOO='bar'", {"FOO": "bar"}),
        (r'FOO="escaped\"bar"', {"FOO": 'escaped"bar'}),
        ("""FOO="'d'" """, {"FOO": "'d'"}),
        ("OPTION_A: 1", {"OPTION_A": "1"}),
        ("OPTION_A: Foo=bar", {"OPTION_A": "Foo=bar"}),
        ("OPTION_A=1:B", {"OPTION_A": "1:B"}),
        ("export OPTION_A=2", {"OPTION_A": "2"}),
        (r"export OPTION_B='\n'", {"OPTION_B": r"\n"}),
        ("export exportFoo=2", {"exportFoo": "2"}),
        ("export.FOO= 2", {"export.FOO": "2"}),
        ("\texport OPTION_A=2", {"OPTION_A": "2"}),
        (r'FOO="bar\nbaz"', {"FOO": "bar\nbaz"}),
        ("FOO.BAR=foobar", {"FOO.BAR": "foobar"}),
        ("FOO=foobar=", {"FOO": "foobar="}),
        ("FOO=bar ", {"FOO": "bar"}),
        ("FOO=bar # this is foo", {"FOO": "bar"}),
        ("FOO=bar#baz", {"FOO": "bar#baz"}),
        ("FOO= # nothing", {"FOO": ""}),
        ('FOO="bar#baz" # comment', {"FOO": "bar#baz"}),
        ("FOO='bar#baz' # comment", {"FOO": "bar#baz"}),
        (r"VAR='Let\'s go!'", {"VAR": "Let's go!"}),
        (r"VAR='some\tvalue'", {"VAR": r"some\tvalue"}),
        (r'VAR="{\"hello\": \"json\"}"', {"VAR": '{"hello": "json"}'}),
        ("KEY='SOME\nVALUE'\nB=2", {"KEY": "SOME\nVALUE", "B": "2"}),
        ("\n\r\n\t\t \n# Comment\n\t # comment\nA=1\r\nB=2", {"A": "1", "B": "2"}),
        ("FOO=test\nBAR=$FOO", {"FOO": "test", "BAR": "test"}),
        ("FOO=test\nBAR=${FOO}bar", {"FOO": "test", "BAR": "testbar"}),
        ("BAR=$FOO", {"BAR": ""}),
        ('FOO=test\nBAR="quote $FOO"', {"FOO": "test", "BAR": "quote test"}),
        ("BAR='quote $FOO'", {"BAR": "quote $FOO"}),
        (r'FOO="foo\$BAR"', {"FOO": "foo$BAR"}),
        ('FOO=test\nBAR="foo\\${FOO} ${FOO}"', {"FOO": "test", "BAR": "foo${FOO} test"}),
        ("KNOWN\nUNKNOWN", {"KNOWN": "outer", "UNKNOWN": None}),
        ("KNOWN=inner\nA=$KNOWN", {"KNOWN": "inner", "A": "outer"}),
    ],
)
def test_lines_are_read(text: str, expected: dict[str, str | None]) -> None:
    assert parse_environment(text, {"KNOWN": "outer"}) == expected


def test_raw_lines_are_taken_as_they_are() -> None:
    assert parse_environment("A='x $B' # c\nB=\"2\"", {}, is_raw=True) == {"A": "'x $B' # c", "B": '"2"'}


@pytest.mark.parametrize(
    ("text", "line"),
    [("A=1\nlol$wut", 2), ("A=1\n\nB='x", 3), ("A='1' rest", 1), ("A=${", 1), ("=value", 1)],
)
def test_a_line_that_is_wrong_is_named(text: str, line: int) -> None:
    with pytest.raises(ComposeFileError) as caught:
        parse_environment(text, {}, file="a.env")
    assert (caught.value.file, caught.value.line) == ("a.env", line)
