"""Docker's user strings against passwd and group files."""

from __future__ import annotations

import pytest

from pycontainer.launcher import identity
from tests.support.images import GROUP, PASSWD

_PASSWD, _GROUP = PASSWD.encode(), GROUP.encode()


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (b"", (0, 0, {0, 10}, b"/root")),
        (b"root", (0, 0, {0, 10}, b"/root")),
        (b"0:0", (0, 0, {0}, b"/root")),
        (b"web", (1000, 1000, {1000, 50, 44}, b"/home/web")),
        (b"1000", (1000, 1000, {1000, 50, 44}, b"/home/web")),
        (b"web:", (1000, 1000, {1000, 50, 44}, b"/home/web")),
        (b"web:daemon", (1000, 1, {1}, b"/home/web")),
        (b"web:5", (1000, 5, {5}, b"/home/web")),
        (b":5", (0, 5, {5}, b"/root")),
        (b"12345", (12345, 0, {0}, b"/")),
        (b"4294967294", (4294967294, 0, {0}, b"/")),
    ],
)
def test_users_are_found(user: bytes, expected: tuple[int, int, set[int], bytes]) -> None:
    found = identity.resolve(user, (), _PASSWD, _GROUP)
    assert (found.uid, found.gid, set(found.groups), found.home) == expected


def test_extra_groups_join() -> None:
    found = identity.resolve(b"web", (b"daemon", b"9", b"video"), _PASSWD, _GROUP)
    assert found.groups == (1000, 50, 44, 1, 9)


@pytest.mark.parametrize(
    "user",
    [
        b"nobody",
        b"4294967295",
        b"4294967296",
        b"00000000001",
        b"-1",
        b"+0",
        b"web:nogroup",
        b"web:-1",
        b"0x0",
    ],
)
def test_nobody_is_refused(user: bytes) -> None:
    with pytest.raises(identity.UnknownIdentity):
        identity.resolve(user, (), _PASSWD, _GROUP)


def test_a_name_of_digits_is_never_looked_up() -> None:
    assert identity.resolve(b"7", (), b"7:x:0:0::/:\n", b"").uid == 7


def test_broken_lines_are_skipped() -> None:
    passwd = b"#web:x:1:1\nweb\nweb:x:-5:0::/\nweb:x:4294967295:0::/\n web : x : 8 : 9 :: /w \n"
    found = identity.resolve(b"web", (), passwd, b"g:x:zz:web\ng:x:3:web\n")
    assert (found.uid, found.gid, found.groups, found.home) == (8, 9, (9, 3), b"/w")


def test_groups_without_end_are_refused() -> None:
    group = b"".join(b"g%d:x:%d:web\n" % (number, number) for number in range(70000))
    with pytest.raises(identity.UnknownIdentity, match="65536"):
        identity.resolve(b"web", (), _PASSWD, group)
