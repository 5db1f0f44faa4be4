"""The copy of the interpreter that the helper runs from."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pycontainer import errors
from pycontainer.launcher.sealed import sealed_copy

AT = 0x1000
"""Address of all that is loaded of the made programs, whose offset in the file is 0."""


def wide(strings: bytes) -> bytes:
    """A program of 64 bits that consists of what its linker reads."""
    headers, dynamic, table = 64, 64 + 2 * 56, 64 + 2 * 56 + 3 * 16
    whole = table + len(strings)
    return b"".join(
        (
            b"\x7fELF\2".ljust(32, b"\0"),
            struct.pack("=Q14xHH6x", headers, 56, 2),
            struct.pack("=IIQQQQQQ", 1, 0, 0, AT, AT, whole, whole, 0),
            struct.pack("=IIQQQQQQ", 2, 0, dynamic, AT + dynamic, 0, 3 * 16, 3 * 16, 0),
            struct.pack("=qQqQqQ", 5, AT + table, 10, len(strings), 0, 0),
            strings,
        )
    )


def narrow(strings: bytes) -> bytes:
    """The same of 32 bits."""
    headers, dynamic, table = 52, 52 + 2 * 32, 52 + 2 * 32 + 3 * 8
    whole = table + len(strings)
    return b"".join(
        (
            b"\x7fELF\1".ljust(28, b"\0"),
            struct.pack("=I10xHH6x", headers, 32, 2),
            struct.pack("=IIIIIIII", 1, 0, AT, AT, whole, whole, 0, 0),
            struct.pack("=IIIIIIII", 2, dynamic, AT + dynamic, 0, 3 * 8, 3 * 8, 0, 0),
            struct.pack("=iIiIiI", 5, AT + table, 10, len(strings), 0, 0),
            strings,
        )
    )


@pytest.mark.parametrize("made", [wide, narrow])
@pytest.mark.parametrize(
    ("strings", "is_named"), [(b"\0$ORIGIN/../lib\0", True), (b"\0/usr/lib\0", False)], ids=["own", "fixed"]
)
def test_a_library_beside_the_program_is_named_since_the_copy_is_nowhere(
    made: Callable[[bytes], bytes], strings: bytes, is_named: bool, tmp_path: Path
) -> None:
    program = tmp_path / "bin" / "python"
    program.parent.mkdir()
    program.write_bytes(made(strings))
    fd, environment = sealed_copy(str(program))
    os.close(fd)
    assert environment == ({"LD_LIBRARY_PATH": str(tmp_path / "lib")} if is_named else {})


def test_the_copy_is_the_interpreter_and_nobody_can_change_it() -> None:
    executable = os.path.realpath(sys.executable)
    fd, _ = sealed_copy(executable)
    with open(fd, "rb") as copy:
        copy.seek(0)
        assert copy.read() == Path(executable).read_bytes()
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) == seals
        with pytest.raises(PermissionError):
            os.write(fd, b"x")


@pytest.mark.parametrize("content", [b"#!/bin/sh\n", b"", b"\x7fELF", wide(b"")[:80]])
def test_what_is_no_program_is_refused_with_the_remedy(content: bytes, tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_bytes(content)
    with pytest.raises(errors.Unsupported, match=r"Engine\(python="):
        sealed_copy(str(program))
