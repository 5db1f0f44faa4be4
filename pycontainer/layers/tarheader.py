"""The 512-byte tar header: field layout, numbers and checksum.

Source: POSIX.1-2024 pax "ustar Interchange Format"; GNU tar manual "Basic Tar Format"; star(5).
"""

from __future__ import annotations

import struct
import zlib

from pycontainer.errors import InvalidImage

__all__ = ["BLOCK", "HEADER", "ZERO_BLOCK", "checksum_ok", "number", "text"]

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)

HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s64x8s8s155s12s")
"""name mode uid gid size mtime checksum type linkname magic+version (uname gname) major minor prefix tail"""

assert HEADER.size == BLOCK

_ADLER_MODULUS = 65521
_MAX_NUMBER = (1 << 63) - 1
_cache: dict[bytes, int] = {}
_CACHE_SIZE = 4096


def checksum_ok(block: bytes, stored: bytes) -> bool:
    """Whether the header's checksum is the sum of its bytes, its own field counted as spaces.

    Adler-32's low half is that sum (plus one, modulo 65521) at the price of one C call. Only when it
    differs are the sums taken slowly, the signed one of old Sun tars too.
    """
    expected = number(stored, "checksum")
    fast = (zlib.adler32(block) & 0xFFFF) - 1 - sum(stored) + 256
    if (fast - expected) % _ADLER_MODULUS == 0:
        return True
    blanked = block[:148] + b" " * 8 + block[156:]
    return expected == sum(byte - 256 if byte > 127 else byte for byte in blanked)


def number(field: bytes, what: str) -> int:
    """Read a number: octal digits padded with spaces or NULs, or base-256 when the top bit is set.

    Raises: InvalidImage for anything else, and for a base-256 number beyond 63 bits.
    """
    value = _cache.get(field)
    if value is not None:
        return value
    if field[0] & 0x80:
        value = _base256(field, what)
    else:
        digits = field.strip(b" \0").partition(b"\0")[0]
        if digits and (not digits.isdigit() or b"8" in digits or b"9" in digits):
            raise InvalidImage(f"the {what} field {field!r} is not an octal number")
        value = int(digits, 8) if digits else 0
    if len(_cache) < _CACHE_SIZE:
        _cache[field] = value
    return value


def _base256(field: bytes, what: str) -> int:
    """GNU's binary form: big-endian two's complement of which the first bit is a mark, the next the sign."""
    value = int.from_bytes(field, "big")
    bits = 8 * len(field) - 1
    value &= (1 << bits) - 1
    if value >> (bits - 1):
        value -= 1 << bits
    if abs(value) > _MAX_NUMBER:
        raise InvalidImage(f"the {what} field {field!r} is beyond 63 bits")
    return value


def text(field: bytes) -> bytes:
    """The field's bytes up to the first NUL, or all of them."""
    end = field.find(0)
    return field if end < 0 else field[:end]
