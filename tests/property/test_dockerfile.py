"""Properties of the language of Dockerfiles: quoting and layout are undone, patterns match as defined."""

from __future__ import annotations

import re
import shlex

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pycontainer.build.dockerfile import Copy, Env, Run, parse, plan
from pycontainer.build.dockerfile.patterns import Pattern
from pycontainer.build.dockerfile.shellword import SPACES, expand
from pycontainer.errors import DockerfileError
from pycontainer.oci import Platform
from pycontainer.patterns import PatternMatcher, matcher

AMD64 = Platform(architecture="amd64")
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
lines = texts.filter(lambda text: not set(text) & set("\n\r"))
words = st.text("abcXYZ019._/=", min_size=1, max_size=8)


@given(texts)
def test_a_quoted_text_expands_to_itself(text: str) -> None:
    assert expand(shlex.quote(text), {}).text == text
    doubled = re.sub(r'(["$\\])', r"\\\1", text)
    assert expand(f'"{doubled}"', {}).text == text


@given(texts, texts)
def test_a_value_is_put_in_as_it_is(value: str, default: str) -> None:
    assert expand('"$v"', {"v": value}).text == value
    assert expand("a${v:-x}b", {"v": value}).text == f"a{value or 'x'}b"
    assert expand(f"${{w:-{shlex.quote(default)}}}", {}).text == default


@given(st.lists(lines.map(lambda text: text.strip(SPACES)).filter(bool), max_size=4))
def test_words_in_quotes_stay_together(values: list[str]) -> None:
    assert list(expand(" ".join(map(shlex.quote, values)), {}).words) == values


@given(st.lists(words, min_size=2, max_size=6), st.data())
def test_the_layout_of_an_instruction_does_not_matter(parts: list[str], data: st.DataObject) -> None:
    breaks = st.sampled_from([" ", "\t ", " \\\n", "\\\n ", " \\ \t\r\n # no text\n\n  "])
    text = "".join(f"{part}{data.draw(breaks)}" for part in parts)
    (made,) = parse(f"FROM a\nCOPY {text}x").stages[0].instructions
    assert isinstance(made, Copy)
    assert (*made.sources, made.destination) == (*parts, "x")


@given(st.lists(st.tuples(st.sampled_from(["A", "B_", "c1"]), lines), min_size=1, max_size=4))
def test_a_variable_has_the_value_that_was_quoted(pairs: list[tuple[str, str]]) -> None:
    quoted = " ".join(f"{name}={shlex.quote(value)}" for name, value in pairs)
    made = plan(parse(f"FROM a\nENV {quoted}\nRUN x"), build_platform=AMD64)
    env, run = made.evaluate({})[0]
    assert isinstance(env.instruction, Env)
    assert [(pair.name, pair.value) for pair in env.instruction.pairs] == pairs
    assert {name: run.environment[name] for name, _ in pairs} == dict(pairs)


@given(texts, st.sampled_from(["E", "a b", "ü.txt"]))
def test_a_here_document_is_kept_as_it_is(content: str, name: str) -> None:
    content = content if not content or content.endswith("\n") else f"{content}\n"
    assume(name not in {line.rstrip("\r") for line in content.split("\n")})
    (run,) = parse(f"FROM a\nRUN cat <<'{name}'\n{content}{name}").stages[0].instructions
    assert isinstance(run, Run)
    (document,) = run.command.heredocs
    assert (document.name, document.text) == (name, content)


@settings(max_examples=150)
@given(texts)
def test_any_text_is_a_dockerfile_or_an_error_with_a_place(text: str) -> None:
    written = f"FROM a\n{text}"
    first = last = 0
    try:
        plan(parse(written), build_platform=AMD64).evaluate({})
    except DockerfileError as error:
        first, last = error.line, error.last_line
    assert 0 <= first <= last <= len(written.split("\n"))


# --- patterns of `${v#p}` ---------------------------------------------------------------------------

small = st.text("ab*?", max_size=6)


def ends(pattern: str, value: str) -> list[int]:
    """Where a match that begins at the start can end."""
    text = "".join({"*": ".*", "?": "."}.get(char, char) for char in pattern)
    return [end for end in range(len(value) + 1) if re.fullmatch(text, value[:end], re.DOTALL)]


@settings(max_examples=200)
@given(small, st.text("ab", max_size=8), st.booleans())
def test_a_prefix_and_a_suffix_are_the_shortest_or_longest_that_match(
    pattern: str, value: str, longest: bool
) -> None:
    found = ends(pattern, value)
    end = (max if longest else min)(found, default=0)
    assert Pattern(pattern).without_prefix(value, longest=longest) == value[end:]
    mirrored = Pattern(pattern[::-1]).without_suffix(value[::-1], longest=longest)
    assert mirrored == value[end:][::-1]


@settings(max_examples=200)
@given(small.filter(lambda pattern: pattern.strip("*")), st.text("ab", max_size=8), st.booleans())
def test_what_is_replaced_is_what_a_regular_expression_finds(pattern: str, value: str, every: bool) -> None:
    text = "".join({"*": ".*", "?": "."}.get(char, char) for char in pattern)
    expected = re.sub(text, "<>", value, count=0 if every else 1, flags=re.DOTALL)
    assert Pattern(pattern).replaced(value, "<>", every=every, limit=1000) == expected


# --- ignore patterns --------------------------------------------------------------------------------

parts_of_globs = st.sampled_from(["a", "b", "/", "*", "**", "?", "[ab]", "[^a]"])
globs = st.lists(parts_of_globs, max_size=7).map("".join).filter(lambda glob: glob.strip("/"))
paths = st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4).map("/".join)


@settings(max_examples=200)
@given(globs, paths)
def test_both_ways_to_match_a_pattern_agree(glob: str, path: str) -> None:
    few = matcher._FEW
    matched = PatternMatcher([glob]).matches(path)
    try:
        matcher._FEW = -1
        assert PatternMatcher([glob]).matches(path) == matched
    finally:
        matcher._FEW = few


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.booleans(), globs).map(lambda pair: "!" * pair[0] + pair[1]), max_size=5),
    st.sets(paths, max_size=12),
)
def test_skipping_directories_loses_nothing(patterns: list[str], files: set[str]) -> None:
    chosen = PatternMatcher(patterns)
    kept = set()
    for path in files:
        parts = path.split("/")
        state, is_skipped = 0, False
        for depth in range(1, len(parts) + 1):
            here = "/".join(parts[:depth])
            is_out, state = chosen.look(state, here)
            if depth < len(parts) and is_out and chosen.can_skip(here, state):
                is_skipped = True
                break
        if not is_skipped and not is_out:
            kept.add(path)
    assert kept == {path for path in files if not chosen.matches(path)}
