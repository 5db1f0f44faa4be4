"""PAX extended headers: records, times, extended attributes, and the sparse maps GNU tar keeps in them.

Source: POSIX.1-2024 pax "pax Extended Header"; GNU tar manual "Storing Sparse Files";
libarchive's archive_write_set_format_pax (LIBARCHIVE.xattr); star(5) (SCHILY.xattr).
"""

from __future__ import annotations

import binascii

from pycontainer.errors import InvalidImage

__all__ = ["attributes", "check_extents", "decimal", "nanoseconds", "records", "sparse_extents"]

_NO_NUL = (b"path", b"linkpath", b"uname", b"gname", b"GNU.sparse.name")
_MAX_DIGITS = 20  # more than any 64-bit number has
_SCHILY = b"SCHILY.xattr."
_LIBARCHIVE = b"LIBARCHIVE.xattr."


def records(body: bytes) -> list[tuple[bytes, bytes]]:
    """Split an extended header into its records, in order and with repetitions.

    Raises: InvalidImage for a wrong length, a missing '=' or newline, or a NUL where a name is expected.
    """
    found: list[tuple[bytes, bytes]] = []
    position, end = 0, len(body)
    while position < end:
        space = body.find(b" ", position, position + _MAX_DIGITS + 1)
        digits = body[position:space] if space > 0 else b""
        if not digits.isdigit():
            raise InvalidImage(f"the PAX record at byte {position} does not start with its length")
        stop = position + int(digits)
        if stop > end or stop < space + 3 or body[stop - 1] != 0x0A:
            raise InvalidImage(f"the PAX record at byte {position} has the wrong length {int(digits)}")
        key, equals, value = body[space + 1 : stop - 1].partition(b"=")
        if not key or not equals or b"\0" in key or (key in _NO_NUL and b"\0" in value):
            raise InvalidImage(f"the PAX record at byte {position} is malformed: {key[:64]!r}")
        found.append((key, value))
        position = stop
    return found


def decimal(value: bytes, what: str) -> int:
    """A number of a record. Raises: InvalidImage if it is not plain digits (one '-' may precede)."""
    digits = value[1:] if value[:1] == b"-" else value
    if not digits.isdigit() or len(digits) > _MAX_DIGITS:
        raise InvalidImage(f"the PAX record {what}={value[:64]!r} is not a number")
    return int(value)


def nanoseconds(value: bytes) -> int:
    """A time record, seconds with an optional fraction, in nanoseconds; finer digits are cut off."""
    whole, _, fraction = value.partition(b".")
    if fraction and not fraction.isdigit():
        raise InvalidImage(f"the PAX record mtime={value[:64]!r} is not a time")
    seconds = decimal(whole, "mtime") * 1_000_000_000
    part = int(fraction[:9].ljust(9, b"0")) if fraction else 0
    return seconds - part if whole.startswith(b"-") else seconds + part


def attributes(found: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The extended attributes among the records; SCHILY's raw form wins over libarchive's encoded one."""
    encoded: dict[bytes, bytes] = {}
    plain: dict[bytes, bytes] = {}
    for key, value in found:
        if key.startswith(_SCHILY):
            plain[_attribute_name(key[len(_SCHILY) :])] = value
        elif key.startswith(_LIBARCHIVE):
            name = _attribute_name(_unquote(key[len(_LIBARCHIVE) :]))
            try:
                encoded[name] = binascii.a2b_base64(value + b"=" * (-len(value) % 4))
            except binascii.Error as error:
                raise InvalidImage(f"the PAX record {key[:64]!r} is not base64: {error}") from error
    return encoded | plain


def _attribute_name(name: bytes) -> bytes:
    # 255 is XATTR_NAME_MAX of linux/limits.h.
    if not name or len(name) > 255 or b"\0" in name:
        raise InvalidImage(f"an extended attribute has the invalid name {name[:64]!r}")
    return name


def _unquote(name: bytes) -> bytes:
    """Undo %XX; urllib.parse would cost the helper 8 ms at start."""
    head, *parts = name.split(b"%")
    try:
        return head + b"".join(bytes((int(part[:2], 16),)) + part[2:] for part in parts)
    except ValueError as error:
        raise InvalidImage(f"an extended attribute has the badly quoted name {name[:64]!r}") from error


def sparse_extents(found: list[tuple[bytes, bytes]], limit: int) -> list[tuple[int, int]] | None:
    """The map of the PAX sparse formats 0.0 (one record per number) and 0.1 (one list), else None.

    Raises: InvalidImage if the numbers do not pair up or there are more than `limit` bytes of them.
    """
    numbers: list[int] = []
    has_map = False
    for key, value in found:
        if key == b"GNU.sparse.map":
            has_map = True
            numbers = [decimal(item, "GNU.sparse.map") for item in value.split(b",")] if value else []
        elif key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            has_map = True
            if (key == b"GNU.sparse.offset") != (len(numbers) % 2 == 0):
                raise InvalidImage("the PAX sparse map does not alternate between offset and numbytes")
            numbers.append(decimal(value, key.decode()))
    if not has_map:
        return None
    if len(numbers) % 2 or len(numbers) * 2 > limit:
        raise InvalidImage(f"the PAX sparse map has {len(numbers)} numbers")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def check_extents(extents: list[tuple[int, int]], real_size: int, stored: int) -> list[tuple[int, int]]:
    """Drop empty extents and prove the rest: ascending, disjoint, inside the file, together the stored data.

    Raises: InvalidImage for a map that lies.
    """
    end = total = 0
    for offset, length in extents:
        if offset < end or length < 0 or offset + length > real_size:
            raise InvalidImage(
                f"the sparse map has the extent {offset}+{length} in a file of {real_size} bytes"
            )
        end = offset + length
        total += length
    if total != stored:
        raise InvalidImage(f"the sparse map speaks of {total} bytes of data, the archive holds {stored}")
    return [extent for extent in extents if extent[1]]
