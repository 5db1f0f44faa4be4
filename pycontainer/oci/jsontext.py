"""Strict reading of JSON documents that strangers wrote.

Refused: other encodings than UTF-8, duplicate keys, NaN and infinities, numbers beyond float or too
long, deep nesting, wrong types, NUL characters and lone surrogates in text we use. Each refusal is an
InvalidImage that says where.

Readers written in Go match keys without regard to case; a document that says `Layers` beside `layers`
would mean different things to them and to us. `Fields` refuses such a key, or, where real images rely
on it, accepts the one spelling there is.
"""

from __future__ import annotations

import binascii
import json
import math
import re
from collections.abc import Iterator

from pycontainer.errors import InvalidImage, InvalidInput
from pycontainer.oci.digest import Digest, parse_digest

__all__ = ["Fields", "dump", "parse"]

MAX_DEPTH = 64
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NOT_BRACKETS = {code: None for code in range(128) if chr(code) not in "[]{}"}
_INT64_MAX = 2**63 - 1  # readers in Go hold sizes and durations in int64
_SHOWN = 80


def parse(data: bytes, what: str, limit_bytes: int) -> object:
    """Decode one JSON document.

    Raises: InvalidImage, naming `what`.
    """
    if len(data) > limit_bytes:
        raise InvalidImage(f"{what} of {len(data)} bytes is above the limit of {limit_bytes}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidImage(f"{what} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    _check_depth(text, what)
    try:
        return json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_integer,
        )
    except InvalidImage as error:
        raise InvalidImage(f"{what}: {error}") from None
    except ValueError as error:
        raise InvalidImage(f"{what} is not JSON: {error}") from None


def dump(value: object) -> bytes:
    """Encode compactly, in the order given; ASCII, so that any text read can be written back."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def _check_depth(text: str, what: str) -> None:
    # Before parsing: the parser in C recurses, and a caller may have lifted the recursion limit.
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _STRING.sub("", text).translate(_NOT_BRACKETS):
        if bracket in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise InvalidImage(f"{what} nests deeper than {MAX_DEPTH} levels")
        elif bracket in "]}":
            depth -= 1


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise InvalidImage(f"key {key[:_SHOWN]!r} occurs twice")
            seen.add(key)
    return result


def _no_constant(text: str) -> object:
    raise InvalidImage(f"{text} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise InvalidImage(f"number {text[:_SHOWN]} is out of range")
    return value


def _integer(text: str) -> int:
    if len(text) > 64:  # also keeps clear of int()'s quadratic time
        raise InvalidImage(f"number of {len(text)} digits is out of range")
    return int(text)


class Fields:
    """One JSON object, read key by key with its types checked; what nobody asked for is `rest()`.

    A null counts as absent, because Go writes empty lists and maps so.
    """

    __slots__ = ("_folded", "_folds_case", "_left", "where")

    def __init__(self, value: object, where: str, *, folds_case: bool = False) -> None:
        if not isinstance(value, dict):
            raise InvalidImage(f"{where}: expected an object, got {_kind(value)}")
        self.where: str = where
        self._left: dict[str, object] = dict(value)
        self._folds_case = folds_case
        self._folded: dict[str, list[str]] = {}
        for key in value:
            self._folded.setdefault(key.lower(), []).append(key)

    def take(self, key: str) -> object:
        """The raw value of a key, or None."""
        spelled = self._folded.get(key.lower())
        if spelled is None:
            return None
        if len(spelled) > 1:
            raise InvalidImage(f"{self.where}: {' and '.join(sorted(spelled))} differ only in case")
        if spelled[0] != key and not self._folds_case:
            raise InvalidImage(f"{self.where}: {spelled[0]!r} must be spelled {key!r}")
        return self._left.pop(spelled[0])

    def has(self, key: str) -> bool:
        """Whether the key is there in any spelling, null or not."""
        return key.lower() in self._folded

    def rest(self) -> dict[str, object]:
        """The keys nobody took, nulls left out."""
        return {key: value for key, value in self._left.items() if value is not None}

    def fail(self, key: str, expected: str, value: object) -> InvalidImage:
        """The error for a value of the wrong form."""
        return InvalidImage(f"{self.where}.{key}: expected {expected}, got {_kind(value)}")

    def text(self, key: str) -> str:
        """A string; "" if absent."""
        value = self.take(key)
        return "" if value is None else self._text(key, value)

    def boolean(self, key: str) -> bool:
        """A boolean; False if absent."""
        value = self.take(key)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.fail(key, "true or false", value)
        return value

    def integer(self, key: str) -> int:
        """An integer of 64 bits; 0 if absent."""
        value = self.take(key)
        if value is None:
            return 0
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _INT64_MAX:
            raise self.fail(key, "an integer of 64 bits", value)
        return value

    def size(self, key: str) -> int:
        """A required size in bytes."""
        value = self.take(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _INT64_MAX:
            raise self.fail(key, "a size in bytes", value)
        return value

    def digest(self, key: str) -> Digest:
        """A required digest."""
        return self._digest(key, self.take(key))

    def digests(self, key: str) -> tuple[Digest, ...]:
        """A list of digests."""
        return tuple(self._digest(f"{key}[{i}]", value) for i, value in enumerate(self.values(key)))

    def base64(self, key: str) -> bytes | None:
        """Bytes in base 64, or None if absent."""
        value = self.take(key)
        if value is None:
            return None
        try:
            return binascii.a2b_base64(self._text(key, value), strict_mode=True)
        except ValueError as error:
            raise InvalidImage(f"{self.where}.{key}: not base64: {error}") from None

    def values(self, key: str) -> list[object]:
        """A list; empty if absent."""
        value = self.take(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.fail(key, "a list", value)
        return value

    def nested_list(self, key: str, limit: int) -> Iterator[Fields]:
        """The objects of a list, at most `limit`."""
        values = self.values(key)
        if len(values) > limit:
            raise InvalidImage(f"{self.where}.{key}: {len(values)} entries are above the limit of {limit}")
        for i, value in enumerate(values):
            yield Fields(value, f"{self.where}.{key}[{i}]", folds_case=self._folds_case)

    def nested(self, key: str) -> Fields | None:
        """A nested object, or None if absent."""
        value = self.take(key)
        return None if value is None else Fields(value, f"{self.where}.{key}", folds_case=self._folds_case)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings; empty if absent."""
        return tuple(self._text(f"{key}[{i}]", value) for i, value in enumerate(self.values(key)))

    def words(self, key: str) -> tuple[str, ...] | None:
        """A command: a list of strings, or one string as old images have it; None if absent."""
        value = self.take(key)
        if value is None:
            return None
        if isinstance(value, str):
            return (self._text(key, value),)
        if not isinstance(value, list):
            raise self.fail(key, "a list of strings", value)
        return tuple(self._text(f"{key}[{i}]", word) for i, word in enumerate(value))

    def text_map(self, key: str) -> dict[str, str]:
        """An object whose values are strings; empty if absent."""
        return {
            self._text(key, name): self._text(f"{key}.{name[:_SHOWN]}", value)
            for name, value in self._map(key)
        }

    def key_set(self, key: str) -> tuple[str, ...]:
        """The keys of an object whose values say nothing, as Go writes a set."""
        return tuple(self._text(key, name) for name, _ in self._map(key))

    def _map(self, key: str) -> list[tuple[str, object]]:
        value = self.take(key)
        if value is None:
            return []
        if not isinstance(value, dict):
            raise self.fail(key, "an object", value)
        return list(value.items())

    def _text(self, key: str, value: object) -> str:
        if not isinstance(value, str):
            raise self.fail(key, "a string", value)
        if "\0" in value:
            raise InvalidImage(f"{self.where}.{key}: text with a NUL character")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise InvalidImage(f"{self.where}.{key}: text with half a surrogate pair") from None
        return value

    def _digest(self, key: str, value: object) -> Digest:
        if value is None:
            raise self.fail(key, "a digest", value)
        try:
            return parse_digest(self._text(key, value))
        except InvalidInput as error:
            raise InvalidImage(f"{self.where}.{key}: {error}") from None


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, (bool, int, float, str)):
        return repr(value)[:_SHOWN]
    return "an object" if isinstance(value, dict) else "a list"
