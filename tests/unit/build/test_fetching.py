"""Sources from the network: which there are, and what git is never told."""

from __future__ import annotations

import pytest

from pycontainer.build import is_git, is_url, url_name
from pycontainer.engine.building.git import split_git
from pycontainer.errors import InvalidInput


@pytest.mark.parametrize(
    "text",
    [
        "https://host/a/b.git",
        "http://host/b.git#main:sub",
        "git://host/b",
        "ssh://git@host/b",
        "git@host:a/b.git#v1",
    ],
)
def test_git_repositories_are_known(text: str) -> None:
    assert is_git(text)
    assert not is_url(text)


@pytest.mark.parametrize("text", ["a.git", "https://host/a.tar.gz", "file:///a.git", "./git@x", "a:b"])
def test_other_sources_are_no_repositories(text: str) -> None:
    assert not is_git(text)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/b.tar?x=1", "b.tar"),
        ("https://h/", "__unnamed__"),
        ("https://h/a/..", "__unnamed__"),
        ("https://h/a%2fb", "b"),
        ("https://h/a%20b/", "a b"),
    ],
)
def test_a_file_is_called_by_the_end_of_its_url(url: str, name: str) -> None:
    assert url_name(url) == name


def test_a_git_url_has_a_reference_and_a_directory() -> None:
    assert split_git("https://h/r.git#v1.0:sub/dir") == ("https://h/r.git", "v1.0", "sub/dir")
    assert split_git("git@h:r.git") == ("git@h:r.git", "", "")
    assert split_git("https://h/r.git?ref=v1&subdir=/a") == ("https://h/r.git", "v1", "/a")
    assert split_git("https://h/r.git?branch=x#:b") == ("https://h/r.git", "refs/heads/x", "b")
    assert split_git("https://h/r.git?tag=y") == ("https://h/r.git", "refs/tags/y", "")


@pytest.mark.parametrize(
    "url",
    [
        "https://h/r.git#--upload-pack=touch /tmp/x",  # CVE-2019-13139
        "https://h/r.git#-x",
        "https://h/r.git?ref=--upload-pack=x",
        "https://h/r.git?ref=a&tag=b",
        "https://h/r.git?subdir=a#b:c",
        "https://h/r.git?nosuch=a",
        "https://h/r.git#a..b",
        "https://h/r.git#a@{1}",
        "https://h/r.git#a b",
        "https://h/r.git#a;b",
        "ext::sh -c x#main",
        "file:///etc/r.git",
        "--upload-pack=x",
        "ssh://-oProxyCommand=x/r",  # CVE-2017-1000117
        "-oProxyCommand=x@h:r.git",
    ],
)
def test_what_git_would_take_for_something_else_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        split_git(url)
