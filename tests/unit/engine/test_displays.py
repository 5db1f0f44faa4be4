"""Markup of notebooks: whatever text gets into it is shown, and does nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from pycontainer.engine.displays import graphs, markup
from pycontainer.integrations.jupyter import build_graph

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</pre></svg><iframe src=//evil>",
    "\x1b]8;;http://evil\x07click\x1b]8;;\x07",
    "\u202egnp.exe",
    "javascript:alert(1)",
    "&lt;script&gt;",
    "\x00\x08\x9b2J",
]

SAFE = set("div b span table tr td th pre svg g title rect text path".split())


class Reader(HTMLParser):
    """What a browser would make of it: elements, attributes, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_shown_as_text(text: str) -> None:
    for made in (
        markup.card(text, text, [text]),
        markup.table([(text, text)], head=(text,)),
        markup.box("pre", text),
        graphs.network_svg(text, False, [(text, text, markup.GREEN)] * 9),
    ):
        read = Reader(made)
        assert read.elements <= SAFE
        assert not any(name.startswith("on") or name in ("src", "href") for name in read.attributes)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", made)


def test_what_is_shown_is_what_was_given() -> None:
    assert Reader(markup.box("b", HOSTILE[0])).text == HOSTILE[0]
    assert Reader(markup.box("b", "\x1b[31mred\x1b[0m")).text == "red"


DOCKERFILE = """\
FROM golang AS build
RUN go build
FROM build AS test
RUN go test
FROM alpine
COPY --from=build /app /app
"""


def test_a_build_is_drawn_as_far_as_its_target_needs() -> None:
    found = str(build_graph(DOCKERFILE))
    assert "build" in found
    assert ">test<" not in found
    assert found.count("stroke-dasharray") == 1
    assert ">test<" in str(build_graph(DOCKERFILE, target="test"))
