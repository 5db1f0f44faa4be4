"""Lines become statements as in BuildKit's parser.

The behaviours are those that moby/buildkit tests in frontend/dockerfile/parser (testfiles, parser_test.go,
parser_heredoc_test.go, json_test.go, directives_test.go); the cases here are our own.
"""

from __future__ import annotations

import pytest

from pycontainer.build.dockerfile.heredocs import announced, parse_heredoc
from pycontainer.build.dockerfile.source import Problem
from pycontainer.build.dockerfile.statements import Statement, statements
from pycontainer.build.dockerfile.words import json_strings, split_words
from pycontainer.errors import DockerfileError


def only(text: str) -> Statement:
    (found,) = statements(text).items
    return found


def shown(statement: Statement) -> list[object]:
    inner = [shown(statement.child)] if statement.child else []
    flags = [list(statement.flags)] if statement.flags else []
    return [statement.keyword, *flags, *inner, *statement.args]


SPLIT: dict[str, list[object]] = {
    "FROM a": ["FROM", "a"],
    "from\ta:1  AS\tb": ["from", "a:1", "AS", "b"],
    "FROM --platform=linux/arm64 a": ["FROM", ["--platform=linux/arm64"], "a"],
    "  RUN echo  hi ": ["RUN", "echo  hi"],
    'RUN ["echo", "a b"]': ["RUN", "echo", "a b"],
    'RUN [ "echo", "a b" ] ': ["RUN", "echo", "a b"],
    "RUN []": ["RUN"],
    "RUN ['echo']": ["RUN", "['echo']"],
    'RUN ["echo"': ["RUN", '["echo"'],
    'RUN ["echo", ]': ["RUN", '["echo", ]'],
    'RUN ["echo"] && x': ["RUN", '["echo"] && x'],
    "RUN [ -f x ] || y": ["RUN", "[ -f x ] || y"],
    'CMD ["[\\"a\\"]"]': ["CMD", '["a"]'],
    "CMD": ["CMD"],
    "ENV A b  c": ["ENV", "A", "b  c"],
    "ENV A=b": ["ENV", "A", "b"],
    'ENV A="b c" D=e\\ f': ["ENV", "A", '"b c"', "D", "e\\ f"],
    "LABEL a.b=c d=": ["LABEL", "a.b", "c", "d", ""],
    "ARG a b=c": ["ARG", "a", "b=c"],
    "COPY a b /c": ["COPY", "a", "b", "/c"],
    'COPY ["a b", "/c"]': ["COPY", "a b", "/c"],
    "COPY --from=x --link a /b": ["COPY", ["--from=x", "--link"], "a", "/b"],
    "COPY --made-up=1 -- --a /b": ["COPY", ["--made-up=1"], "--a", "/b"],
    'RUN --mount="type=cache,target=/a b" x': ["RUN", ["--mount=type=cache,target=/a b"], "x"],
    "RUN --mount=a\\ b x": ["RUN", ["--mount=a b"], "x"],
    "RUN make --jobs=4": ["RUN", "make --jobs=4"],
    "EXPOSE 80 443/tcp": ["EXPOSE", "80", "443/tcp"],
    "USER a b": ["USER", "a b"],
    "HEALTHCHECK": ["HEALTHCHECK"],
    "HEALTHCHECK NONE": ["HEALTHCHECK", "NONE"],
    "HEALTHCHECK --retries=3 CMD  a  b": ["HEALTHCHECK", ["--retries=3"], "CMD", "a  b"],
    'HEALTHCHECK CMD ["a","b"]': ["HEALTHCHECK", "CMD", "a", "b"],
    'ONBUILD RUN ["a"]': ["ONBUILD", ["RUN", "a"]],
    "ONBUILD COPY --chown=1 a b": ["ONBUILD", ["COPY", ["--chown=1"], "a", "b"]],
    "NONSENSE a b": ["NONSENSE"],
}


@pytest.mark.parametrize("line", SPLIT)
def test_a_line_is_split(line: str) -> None:
    assert shown(only(line)) == SPLIT[line]


CONTINUED = {
    "RUN a \\\n  b": "a   b",
    "RUN a\\\nb": "ab",
    "RUN a \\  \t\n b": "a  b",
    "RUN a \\\n# no text\n   # nor this\nb": "a b",
    "RUN a \\\n\n\nb": "a b",
    "RUN a \\\n \\\n b": "a   b",
    "RUN a \\": "a",
    "RUN a \\\n": "a",
    "RUN a \\\\": "a \\\\",
    "RUN a \\\r\n b\r\n": "a  b",
    "\\\nRUN a": "a",
    "# escape=`\nRUN a `\n b\\": "a  b\\",
    "# escape=`\nRUN C:\\dir\\": "C:\\dir\\",
}


@pytest.mark.parametrize("text", CONTINUED)
def test_a_line_goes_on_behind_an_escape_at_its_end(text: str) -> None:
    assert only(text).args == (CONTINUED[text],)


def test_a_statement_knows_its_lines() -> None:
    text = "\n\nFROM a\n\n# c\nENV A \\\n b\nRUN x \\\n\n y <<E\nz\nE\n"
    assert [(item.lines.first, item.lines.last) for item in statements(text).items] == [
        (3, 3),
        (6, 7),
        (8, 12),
    ]


def test_an_empty_line_in_a_continuation_is_remembered() -> None:
    text = "FROM a\nRUN a \\\n\n b\nRUN c \\\n# comment\n d\n"
    assert [item.has_empty_lines for item in statements(text).items] == [False, True, False]


def test_the_comments_directly_above_belong_to_an_instruction() -> None:
    text = "# syntax=docker/dockerfile:1\n# a b\nFROM a\n# one\n#\n# two\n# three\nARG x\n# far\n\nARG y\n"
    assert [item.comments for item in statements(text).items] == [("a b",), ("two", "three"), ()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# syntax=docker/dockerfile:1\n# escape=`\n#check = skip=all ;x\nFROM a", "syntax escape check"),
        ("#SynTax = x\nFROM a", "syntax"),
        ("#!/usr/bin/env docker\n# syntax=x\nFROM a", "syntax"),
        ("\ufeff# syntax=x\nFROM a", "syntax"),
        ("# comment\n# syntax=x\nFROM a", ""),
        ("\n# syntax=x\nFROM a", ""),
        ("# unknown=x\n# syntax=x\nFROM a", ""),
        ("FROM a\n# syntax=x", ""),
    ],
)
def test_directives_stand_at_the_top_only(text: str, expected: str) -> None:
    assert " ".join(statements(text).directives) == expected


def test_a_directive_has_value_and_line() -> None:
    found = statements("# syntax = docker/dockerfile:1.4 x \nFROM a").directives["syntax"]
    assert (found.value, found.lines.first) == ("docker/dockerfile:1.4 x", 1)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("# escape=/\nFROM a", 1, "invalid escape token '/'"),
        ("# syntax=a\n# SYNTAX=b\nFROM a", 2, "only one syntax parser directive"),
        ("FROM a\nENV A", 2, "ENV must have two arguments"),
        ("FROM a\nLABEL a=b c", 2, 'can\'t find = in "c"'),
        ('FROM a\nRUN ["a", 1]', 2, "arrays must be comprised of strings only"),
        ('FROM a\nCMD [["a"]]', 2, "arrays must be comprised of strings only"),
        ("FROM a\nRUN <<E\nx\n", 2, "unterminated heredoc"),
        ("", 0, "file with no instructions"),
        ("# only\n\n  # comments\n", 0, "file with no instructions"),
        (f"FROM a\nLABEL a={'x' * 65535}", 2, "greater than max allowed size of 65535"),
    ],
)
def test_an_error_has_its_line(text: str, line: int, problem: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        statements(text)
    assert caught.value.line == line
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", ()),
        ('[""]', ("",)),
        ('["a","b"]', ("a", "b")),
        ('[ "a" ,\t"b" ]\t', ("a", "b")),
        ('["\\u00e9\\n\\/", "♥"]', ("é\n/", "♥")),
        ('["\\ud800"]', ("\ufffd",)),
        ("a", None),
        ("[a]", None),
        ('["a",]', None),
        ('["a"', None),
        ('["a"]]', None),
        ("[NaN]", None),
        ("[" * 5000 + "]" * 5000, None),
    ],
)
def test_an_array_of_strings_is_the_exec_form_and_what_is_no_array_the_shell_form(
    text: str, expected: tuple[str, ...] | None
) -> None:
    assert json_strings(text) == expected


@pytest.mark.parametrize("item", ["1", "1.5", "{}", '{"a": "b"}', '["a"]', "true", "null", "9" * 5000])
def test_an_array_of_anything_else_is_an_error(item: str) -> None:
    with pytest.raises(Problem):
        json_strings(f'["a", {item}]')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b", ("a", "b")),
        ("a\\ b", ("a\\ b",)),
        ("a 'b c' d", ("a", "'b c'", "d")),
        ('a="b c"d e', ('a="b c"d', "e")),
        ("a='b\\' c", ("a='b\\'", "c")),
        ('a="b\\" c"', ('a="b\\" c"',)),
        ("a\\", ("a",)),
        ('"a b', ('"a b',)),
        ("é 'ü ö'", ("é", "'ü ö'")),
    ],
)
def test_words_keep_quotes_and_escapes(text: str, expected: tuple[str, ...]) -> None:
    assert split_words(text, "\\") == expected


HEREDOCS: dict[str, tuple[str, bool, bool, int, str]] = {
    # text: name, is_expanded, strips_tabs, descriptor, content
    "RUN <<E\nE": ("E", True, False, 0, ""),
    "RUN <<E\na\nb\nE\n": ("E", True, False, 0, "a\nb\n"),
    "RUN <<-E\n\ta\n\tE\n": ("E", True, True, 0, "\ta\n"),
    "RUN <<'E'\n$a\nE\n": ("E", False, False, 0, "$a\n"),
    'RUN <<"E"\n$a\nE\n': ("E", False, False, 0, "$a\n"),
    "RUN <<E'N'D\na\nEND\n": ("END", False, False, 0, "a\n"),
    "RUN <<E\\'D\na\nE'D\n": ("E'D", True, False, 0, "a\n"),
    "RUN <<'a b'\nc\na b\n": ("a b", False, False, 0, "c\n"),
    "RUN <<$E\na\n$E\n": ("$E", True, False, 0, "a\n"),
    "RUN << E\na\nE\n": ("E", True, False, 0, "a\n"),
    "RUN <<- E\na\nE\n": ("E", True, True, 0, "a\n"),
    "RUN 3<<E\na\nE\n": ("E", True, False, 3, "a\n"),
    "RUN cat <<E >f\na\nE\n": ("E", True, False, 0, "a\n"),
    "RUN --mount=type=tmpfs,target=/x <<E\na\nE\n": ("E", True, False, 0, "a\n"),
    "RUN <<E\n# text \\\nE\n": ("E", True, False, 0, "# text \\\n"),
    "RUN <<E\r\na\r\nE\r\n": ("E", True, False, 0, "a\r\n"),
    "RUN a \\\n <<E\na\nE\n": ("E", True, False, 0, "a\n"),
    "COPY <<f.txt /d\na\nf.txt\n": ("f.txt", True, False, 0, "a\n"),
    "ADD <<E /d\na\nE\n": ("E", True, False, 0, "a\n"),
    "ONBUILD RUN <<E\na\nE\n": ("E", True, False, 0, "a\n"),
}


@pytest.mark.parametrize("text", HEREDOCS)
def test_a_here_document_is_read(text: str) -> None:
    (found,) = only(text).heredocs
    made = (found.name, found.is_expanded, found.strips_tabs, found.descriptor, found.content)
    assert made == HEREDOCS[text]


def test_here_documents_follow_one_another() -> None:
    found = only("COPY <<X <<Y /d\nY\nX\nX\nY\n").heredocs
    assert [(document.name, document.content) for document in found] == [("X", "Y\n"), ("Y", "X\n")]


@pytest.mark.parametrize(
    "line",
    [
        "RUN '<<E'",
        'RUN "<<E"',
        "RUN <<<E",
        "RUN $((1<<2<3))",
        'RUN ["<<E"]',
        "USER <<E",
        "ENV A=<<E",
        "RUN <<",
        "RUN echo 'open <<E",
    ],
)
def test_what_only_looks_like_a_here_document_is_none(line: str) -> None:
    assert only(line).heredocs == ()


@pytest.mark.parametrize("word", ["", "E", "<<", "<<-", "<E", "<<<E", "<<E x"])
def test_no_here_document_is_read_from_other_words(word: str) -> None:
    assert parse_heredoc(word) is None


@pytest.mark.parametrize("word", ["<<'E", '<<"E', "<<E'", '<<E"'])
def test_an_open_quote_in_the_name_of_a_here_document_is_an_error(word: str) -> None:
    with pytest.raises(Problem):
        parse_heredoc(word)


def test_tabs_go_from_the_lines_of_a_stripped_document() -> None:
    (found,) = only("RUN <<-E\n\t\ta\n b\n\tE\n").heredocs
    assert found.text == "a\n b\n"


def test_more_than_a_few_hundred_here_documents_are_refused() -> None:
    with pytest.raises(Problem, match="here-documents"):
        announced("RUN " + "<<E " * 300)
