"""What a program may be given to read."""

from __future__ import annotations

import fcntl
import io
import os
from typing import IO

from pycontainer.errors import InvalidOption

__all__ = ["readable"]

_GIVE = "give bytes or an open file"


def readable(given: object) -> bytes | IO[bytes]:
    """The input as bytes, or as a file whose descriptor the program can read from.

    Bytes-like objects are copied, and files without a descriptor (io.BytesIO) are read to their end.
    Raises: InvalidOption for text, and for what cannot be read.
    """
    if isinstance(given, bytes | bytearray | memoryview):
        return bytes(given)
    if isinstance(given, str | io.StringIO):
        raise InvalidOption(f"option input: {type(given).__name__} is text; give bytes: text.encode()")
    if isinstance(given, os.PathLike):
        raise InvalidOption(f'option input: {os.fspath(given)!r} is a path; give open(path, "rb")')
    if not callable(getattr(given, "fileno", None)) and not callable(getattr(given, "read", None)):
        raise InvalidOption(f"option input: {type(given).__name__} cannot be read; {_GIVE}")
    return _of_file(given)  # type: ignore[arg-type]  # it has the methods


def _of_file(file: IO[bytes]) -> bytes | IO[bytes]:
    try:
        descriptor = file.fileno()
        mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
    except (AttributeError, io.UnsupportedOperation):
        return _read(file)
    except (ValueError, OSError) as error:  # of a closed file, or a descriptor that was closed
        raise InvalidOption(f"option input: the file is closed; {_GIVE}") from error
    if mode == os.O_WRONLY:
        raise InvalidOption(f"option input: the file is open for writing only; {_GIVE} that can be read")
    return file


def _read(file: IO[bytes]) -> bytes:
    try:
        content = file.read()
    except ValueError as error:
        raise InvalidOption(f"option input: {error}; {_GIVE}") from error
    if not isinstance(content, bytes):
        raise InvalidOption(f"option input: it reads as {type(content).__name__}, not as bytes; {_GIVE}")
    return content
