"""Options that stand for others: env_file, label_file, env_host, http_proxy. Read when they are parsed.

The container's record keeps what was read and not the files' names: what a file says later changes no
container. Source: docker/cli, opts/file.go and opts/envfile.go (the grammar), pkg/kvfile.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from pycontainer.errors import InvalidOption

__all__ = ["expand", "parse_lines"]

MAX_FILE_BYTES = 4 << 20
_PROXIES = tuple(
    cased
    for name in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
    for cased in (name, name.upper())
)
"""Source: containers/common, pkg/config, ProxyEnv; docker/cli, cli/config/configfile, ProxyConfig."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def expand(parsed: dict[str, Any]) -> None:
    """Replace env_file, label_file, env_host and http_proxy in parsed options by what they give.

    What is given by name wins over a file, a later file over an earlier one, and both over the host's
    environment. Raises InvalidOption naming the file and the line.
    """
    files, from_host = parsed.pop("env_file", None), parsed.pop("env_host", False)
    has_proxies = parsed.pop("http_proxy", False)
    if files or from_host or has_proxies:
        merged: dict[str, str | None] = dict(os.environ) if from_host else {}
        if has_proxies:
            merged.update({name: os.environ[name] for name in _PROXIES if name in os.environ})
        for path in files or ():
            for name, value in parse_lines(_read(path, "env_file"), path, "env_file"):
                if value is None:
                    value = os.environ.get(name)
                    if value is None:
                        continue  # as Docker: a name alone passes the caller's variable on, if there is one
                merged[name] = value
        parsed["env"] = {**merged, **(parsed.get("env") or {})}
    files = parsed.pop("label_file", None)
    if files:
        labels: dict[str, str] = {}
        for path in files:
            labels.update(
                (name, value or "")
                for name, value in parse_lines(_read(path, "label_file"), path, "label_file")
            )
        parsed["labels"] = {**labels, **(parsed.get("labels") or {})}


def parse_lines(content: bytes, path: str, option: str) -> Iterator[tuple[str, str | None]]:
    """Names and values of a file: NAME=value a line, the value verbatim; # starts a comment line.

    A name alone has the value None. Quotes and spaces in values are kept, spaces before a name are not.
    Raises InvalidOption naming the line.
    """
    if b"\0" in content:
        raise InvalidOption(f"option {option}={path!r}: it holds a NUL byte and is no text")
    for number, line in enumerate(_lines(content), 1):
        try:
            text = line.decode("utf-8").lstrip(" \t\n\v\f\r\x85\xa0")
        except UnicodeDecodeError:
            raise InvalidOption(f"option {option}={path!r}: line {number} is not UTF-8") from None
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not name or any(letter.isspace() for letter in name):
            raise InvalidOption(
                f"option {option}={path!r}: line {number} has no name before the value, or white space in it"
            )
        yield name, value if equals else None


def _lines(content: bytes) -> Iterable[bytes]:
    for line in content.removeprefix(_BYTE_ORDER_MARK).split(b"\n"):
        yield line.removesuffix(b"\r")


def _read(path: str, option: str) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as problem:
        raise InvalidOption(f"option {option}={path!r}: {problem.strerror}; give a file to read") from None
    if len(content) > MAX_FILE_BYTES:
        raise InvalidOption(f"option {option}={path!r}: it is larger than {MAX_FILE_BYTES} bytes")
    return content
