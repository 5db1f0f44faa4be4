"""The frames between a monitor and who is attached."""

from __future__ import annotations

import pytest

from pycontainer import errors
from pycontainer.launcher import frames


def test_a_frame_is_dockers_header_and_the_payload() -> None:
    assert frames.header(frames.STDERR, 5) == b"\x02\0\0\0\0\0\0\x05"


@pytest.mark.parametrize("size", [1, 3, 8, 1000])
def test_frames_are_found_in_pieces_of_any_size(size: int) -> None:
    sent = frames.header(1, 3) + b"abc" + frames.header(2, 0) + frames.header(4, 1) + b"x"
    decoder = frames.Decoder()
    found: list[tuple[int, bytes]] = []
    for start in range(0, len(sent), size):
        found += decoder.feed(sent[start : start + size])
    assert found == [(1, b"abc"), (2, b""), (4, b"x")]


@pytest.mark.parametrize("sent", [b"\x09" + bytes(7), b"\x01\0\0\0\x7f\0\0\0", b"\x01x\0\0\0\0\0\0"])
def test_what_is_no_frame_is_refused(sent: bytes) -> None:
    with pytest.raises(errors.InvalidInput, match="no frame"):
        list(frames.Decoder().feed(sent))
