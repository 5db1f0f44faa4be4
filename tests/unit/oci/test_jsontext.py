"""The strict JSON reader."""

from __future__ import annotations

import pytest

from pycontainer.errors import InvalidImage
from pycontainer.oci import jsontext

LIMIT = 1 << 20


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"nonsense",
        b'{"a":1}{"b":2}',
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":1}\0',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b'{"a":"\xff"}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e400}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":1,"a":2}',
        b'{"x":{"a":1,"\\u0061":2}}',
        b'{"a":"\n"}',
        b"[" * 65 + b"]" * 65,
        b"[" * 500_000,
        b'{"a":' * 500_000,
        b'["' + b"[" * 100 + b'",' + b"[" * 65,
    ],
    ids=lambda data: repr(data[:24]),
)
def test_a_document_that_is_not_plain_json_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage, match=r"^thing"):
        jsontext.parse(data, "thing", LIMIT)


def test_brackets_inside_of_text_do_not_count_as_nesting() -> None:
    text = "[{" * 500 + '\\"'
    assert jsontext.parse(f'["{text}"]'.encode(), "thing", LIMIT) == [text.replace("\\", "")]


def test_nesting_up_to_the_limit_and_width_without_limit_are_read() -> None:
    data = b"[" * 64 + b"]" * 64
    assert jsontext.parse(data, "thing", LIMIT)
    assert len(jsontext.parse(b"[" + b",".join([b"[]"] * 1000) + b"]", "thing", LIMIT)) == 1000  # type: ignore[arg-type]


def test_a_document_above_the_limit_is_refused_before_parsing() -> None:
    with pytest.raises(InvalidImage, match="of 11 bytes is above the limit of 10"):
        jsontext.parse(b"[" + b" " * 9 + b"]", "thing", 10)


def test_what_was_read_can_be_written_and_read_again() -> None:
    data = '{"é":"\\ud800","n":1.0,"big":123456789012345678901234567890,"z":null,"t":[true,{}]}'.encode()
    value = jsontext.parse(data, "thing", LIMIT)
    assert jsontext.parse(jsontext.dump(value), "thing", LIMIT) == value
    assert jsontext.dump(value).isascii()


def test_a_key_in_another_case_is_refused_or_folded_but_never_ambiguous() -> None:
    with pytest.raises(InvalidImage, match="must be spelled 'layers'"):
        jsontext.Fields({"Layers": []}, "m").take("layers")
    assert jsontext.Fields({"cmd": "x"}, "c", folds_case=True).text("Cmd") == "x"
    for folds_case in (False, True):
        with pytest.raises(InvalidImage, match="differ only in case"):
            jsontext.Fields({"cmd": "x", "Cmd": "y"}, "c", folds_case=folds_case).text("Cmd")
