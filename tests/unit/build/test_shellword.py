"""Words are expanded as BuildKit's shell lexer does.

The behaviours are those that moby/buildkit tests in frontend/dockerfile/shell (lex_test.go, envVarTest,
wordsTest); the cases here are our own.
"""

from __future__ import annotations

import pytest

from pycontainer.build.dockerfile.shellword import expand
from pycontainer.build.dockerfile.source import Problem

VALUES = {"DIR": "/srv", "TOOL": "make", "WORD": "고양이", "EMPTY": "", "P": "a/b/a.tar.gz", "STAR": "x**y"}

EXPANDED = {
    # quotes and escapes
    "plain": "plain",
    "sin'gl'e": "single",
    '"dou"ble': "double",
    r"esc\'d": "esc'd",
    r"a\nb": "anb",
    r'"a\nb"': r"a\nb",
    r'"a\\nb"': r"a\nb",
    r"'a\nb'": r"a\nb",
    "tail\\": "tail",
    "tail\\\\": "tail\\",
    r"'one\'": "one\\",
    '"it\'s"': "it's",
    "'say \"it\"'": 'say "it"',
    "고'양'이": "고양이",
    # variables
    "$DIR": "/srv",
    "${DIR}x": "/srvx",
    "in$DIR": "in/srv",
    "$DIR.x": "/srv.x",
    "$NONE": "",
    "$dir": "",
    "$1": "",
    "a$12b": "ab",
    "$.": "$.",
    "a$": "a$",
    "$WORD!": "고양이!",
    '"$DIR"': "/srv",
    "'$DIR'": "$DIR",
    "\"'$DIR'\"": "'/srv'",
    r"\$DIR": "$DIR",
    r"\\$DIR": "\\/srv",
    r'"\$DIR"': "$DIR",
    r'"\\$DIR"': "\\/srv",
    r"\${}": "${}",
    "${DIR}}": "/srv}",
    # defaults and alternatives
    "${NONE:-d}": "d",
    "${EMPTY:-d}": "d",
    "${DIR:-d}": "/srv",
    "${NONE-d}": "d",
    "${EMPTY-d}": "",
    "${NONE:+a}": "",
    "${EMPTY:+a}": "",
    "${DIR:+a}": "a",
    "${NONE+a}": "",
    "${EMPTY+a}": "a",
    "${NONE:-}": "",
    "${NONE:-$TOOL}": "make",
    "${NONE:-${OTHER:-${DIR:-x}}}": "/srv",
    "${NONE:-a {b}": "a {b",
    r"${NONE:-\$DIR}": "$DIR",
    r"${NONE:-\${DIR}z}": "${DIRz}",
    "${DIR:?must be set}": "/srv",
    "${EMPTY?must be set}": "",
    "${DIR:+${DIR}:}/bin": "/srv:/bin",
    # prefixes and suffixes
    "${P#*/}": "b/a.tar.gz",
    "${P##*/}": "a.tar.gz",
    "${P%.*}": "a/b/a.tar",
    "${P%%.*}": "a/b/a",
    "${P#?/}": "b/a.tar.gz",
    "${P#nothing}": "a/b/a.tar.gz",
    "${P#}": "a/b/a.tar.gz",
    "${P#*}": "a/b/a.tar.gz",
    "${P##*}": "",
    "${P%$EMPTY}": "a/b/a.tar.gz",
    "${P:##*/}": "a.tar.gz",
    r"${STAR#x\*}": "*y",
    r"${STAR%\**}": "x*",
    r"${STAR%%\**}": "x",
    "${NONE#x}": "",
    # replacements
    "${P/a/z}": "z/b/a.tar.gz",
    "${P//a/z}": "z/b/z.tzr.gz",
    r"${P//\//_}": "a_b_a.tar.gz",
    "${P/b*./-}": "a/-gz",
    "${P//./}": "a/b/atargz",
    "${P/$EMPTY/z}": "za/b/a.tar.gz",
    "${P/nothing/z}": "a/b/a.tar.gz",
    "${P/?.t/$TOOL}": "a/b/makear.gz",
    r"${DIR//\//\/}": r"\/srv",
    "${P//*/z}": "z",
}


@pytest.mark.parametrize("word", EXPANDED)
def test_a_word_is_expanded(word: str) -> None:
    assert expand(word, VALUES).text == EXPANDED[word]


BROKEN = {
    "'open": "looking for matching single-quote",
    '"open': "looking for matching double-quote",
    r'"open\"': "looking for matching double-quote",
    "a'b\\'c'": "looking for matching single-quote",
    "${": "missing '}'",
    "${DIR": "missing '}'",
    "${NONE:-a": "missing '}'",
    "${NONE:-a ${DIR}": "missing '}'",
    "${}": "bad substitution",
    "${:}": "bad substitution",
    "${:-a}": "bad substitution",
    "${{DIR}}": "bad substitution",
    "${.}": "unsupported modifier (.)",
    "${DIR=a}": "unsupported modifier (=)",
    "${DIR:=a}": "unsupported modifier (:=)",
    "${DIR:x}": "unsupported modifier (:x)",
    "${P//a}": "missing '/' in ${}",
    "${P/a/b": "missing '}'",
    r"${P#\a}": "invalid escape '\\a'",
    "${NONE:?who asked $TOOL}": "NONE: who asked make",
    "${NONE?}": "NONE: is not allowed to be unset",
    "${EMPTY:?}": "EMPTY: is not allowed to be empty",
}


@pytest.mark.parametrize("word", BROKEN)
def test_a_broken_word_says_what_is_wrong(word: str) -> None:
    with pytest.raises(Problem) as caught:
        expand(word, VALUES)
    assert BROKEN[word] in caught.value.problem


SPLIT: dict[str, tuple[str, ...]] = {
    "one": ("one",),
    " one  two ": ("one", "two"),
    "one\ttwo": ("one", "two"),
    '"one two" three': ("one two", "three"),
    r"one\ two": ("one two",),
    "a$BLANKS.b": ("a", "c", ".b"),
    'a"$BLANKS"b': ("a c b",),
    "a $BLANKS": ("a", "c"),
    "''": (),
    "a ''": ("a",),
    "<< EOF x": ("<< EOF", "x"),
    "< EOF": ("<", "EOF"),
}


@pytest.mark.parametrize("word", SPLIT)
def test_words_end_at_blanks_outside_of_quotes_after_expansion(word: str) -> None:
    values = {"BLANKS": " c "}
    assert expand(word, values).words == SPLIT[word]


def test_a_value_with_blanks_is_split_only_outside_of_quotes() -> None:
    values = {"V": "b  c"}
    assert expand('a$V"$V"d', values).words == ("ab", "cb  cd")


def test_the_escape_character_can_be_a_backtick() -> None:
    assert expand(r"C:\dir`$X", {"X": "1"}, escape="`").text == r"C:\dir$X"


def test_the_variables_that_were_read_are_told_apart_from_those_that_are_missing() -> None:
    found = expand("$DIR ${NONE:-$TOOL} ${EMPTY+x}", VALUES)
    assert found.used == {"DIR", "TOOL", "EMPTY"}
    assert found.missing == {"NONE"}


def test_what_is_not_set_can_stay_as_it_is_written() -> None:
    assert expand("$A ${B} ${C:-d} ${E/f/g}", {}, keep_unset=True).text == "$A ${B} ${C:-d} ${E/f/g}"


def test_in_a_here_document_quotes_are_text() -> None:
    text = "say \"$DIR\" '$TOOL' \\$DIR\n"
    assert expand(text, VALUES, ignore_quotes=True).text == "say \"/srv\" 'make' $DIR\n"
