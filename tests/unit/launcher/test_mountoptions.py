"""Option words of mounts."""

from __future__ import annotations

import pytest

from pycontainer.kernel import mounts
from pycontainer.launcher import mountoptions


def test_words_are_sorted_by_what_they_act_on() -> None:
    found = mountoptions.parse(
        ["nosuid", "noexec", "nodev", "ro", "size=64m", "mode=1777", "rshared", "newinstance"]
    )
    assert found.attributes == 0b1111
    assert found.data == ((b"size", b"64m"), (b"mode", b"1777"), (b"newinstance", None))
    assert (found.propagation, found.propagates_recursively) == (mounts.MS_SHARED, True)


def test_the_later_word_wins() -> None:
    found = mountoptions.parse(["ro", "rw"])
    assert (found.attributes, found.cleared) == (0, mounts.ATTR_RDONLY)


@pytest.mark.parametrize(
    ("word", "set_"),
    [("noatime", mounts.ATTR_NOATIME), ("strictatime", mounts.ATTR_STRICTATIME), ("relatime", 0)],
)
def test_access_times_are_one_field(word: str, set_: int) -> None:
    found = mountoptions.parse(["noatime", word])
    assert found.attributes == set_
    assert found.cleared | set_ == mounts.ATTR_ATIME_MASK | set_


def test_words_for_the_whole_tree_are_kept_apart() -> None:
    found = mountoptions.parse(["rbind", "rro", "rnosymfollow"])
    assert found.attributes == 0
    assert found.tree_attributes == mounts.ATTR_RDONLY | mounts.ATTR_NOSYMFOLLOW
    assert found.data == ()
