"""Who the program runs as, worked out from the container's own passwd and group files.

Docker's rules: "name|uid[:name|gid]"; digits are ids and never names, from 0 to 2^32-2; a user without
a group gets its primary group of passwd and the groups that list its name; a given group stands alone.
The parser is our own: the C library would load the image's NSS modules into us (CVE-2019-14271).
Source: moby/sys/user, GetExecUser; passwd(5), group(5).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

MAX_ID = 2**32 - 2  # 2^32-1 is (uid_t)-1, "unchanged" (setuid(2); CVE-2024-40635)
MAX_FILE_BYTES = 8 << 20
MAX_LINE_BYTES = 1 << 20
MAX_GROUPS = 65536  # NGROUPS_MAX


class UnknownIdentity(Exception):
    """The user or group cannot be found or is no id."""


class Identity(NamedTuple):
    """Ids for setuid(2) and company; groups include the primary one; home is from passwd or "/"."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: bytes


class _Account(NamedTuple):
    name: bytes
    uid: int
    gid: int
    home: bytes


def resolve(user: bytes, extra_groups: Iterable[bytes], passwd: bytes, group: bytes) -> Identity:
    """The identity that Docker's user string means here. Raises UnknownIdentity."""
    user_text, separator, group_text = user.partition(b":")
    wanted = _as_id(user_text, "user") if user_text else 0
    account = _find_account(passwd, user_text, wanted)
    if account is None:
        if wanted is None:
            raise UnknownIdentity(
                f"unable to find user {_show(user_text)}: no matching entries in passwd file"
            )
        account = _Account(b"", wanted, 0, b"/")
    gid, groups = account.gid, []
    if separator and group_text:
        gid = _group_id(group, group_text)
    elif account.name:
        groups = [number for _, number, members in _groups(group) if account.name in members]
    groups += [_group_id(group, text) for text in extra_groups]
    if len(groups) >= MAX_GROUPS:
        raise UnknownIdentity(f"user {_show(user_text)} is in more than {MAX_GROUPS} groups")
    return Identity(account.uid, gid, tuple(dict.fromkeys((gid, *groups))), account.home or b"/")


def home_of(uid: int, passwd: bytes) -> bytes:
    """The home directory that passwd gives this id, or "/"."""
    account = _find_account(passwd, b"", uid)
    return account.home if account is not None and account.home else b"/"


def _find_account(passwd: bytes, name: bytes, uid: int | None) -> _Account | None:
    for fields in _records(passwd):
        if len(fields) < 4:
            continue
        account_uid, account_gid = _number(fields[2]), _number(fields[3])
        if account_uid is None or account_gid is None:
            continue
        if account_uid == uid if uid is not None else fields[0] == name:
            return _Account(fields[0], account_uid, account_gid, fields[5] if len(fields) > 5 else b"/")
    return None


def _group_id(group: bytes, text: bytes) -> int:
    number = _as_id(text, "group")
    if number is not None:
        return number
    for name, gid, _ in _groups(group):
        if name == text:
            return gid
    raise UnknownIdentity(f"unable to find group {_show(text)}: no matching entries in group file")


def _groups(group: bytes) -> Iterator[tuple[bytes, int, list[bytes]]]:
    for fields in _records(group):
        gid = _number(fields[2]) if len(fields) > 2 else None
        if gid is not None:
            yield fields[0], gid, fields[3].split(b",") if len(fields) > 3 else []


def _records(content: bytes) -> Iterator[list[bytes]]:
    for line in content.split(b"\n"):
        line = line.strip()
        if line and not line.startswith(b"#") and len(line) <= MAX_LINE_BYTES:
            yield [field.strip() for field in line.split(b":")]


def _as_id(text: bytes, kind: str) -> int | None:
    """The id if the text is digits, None if it is a name; out of range is an error, never a name."""
    # A sign makes it a number too: "-1" and "+0" are nobody's name (CVE-2026-46680).
    if not text.lstrip(b"+-").isdigit():
        return None
    number = _number(text)
    if number is None:
        raise UnknownIdentity(f"{kind} {_show(text)} is out of range, use 0 to {MAX_ID}")
    return number


def _number(text: bytes) -> int | None:
    if not text.isdigit() or len(text) > 10:
        # More digits can only be zeros in front, which is nobody's way to write an id.
        return None
    number = int(text)
    return number if number <= MAX_ID else None


def _show(text: bytes) -> str:
    return repr(text.decode("utf-8", "replace")[:64])
