"""Platforms: spelling, and which image of an index runs here."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest

from pycontainer.errors import InvalidInput, NotFound
from pycontainer.oci import Descriptor, Index, Platform, choose, mediatype, sha256


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("Linux/X86-64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/amd64/3", "linux/amd64/v3"),
        ("linux/i386", "linux/386"),
        ("linux/i686", "linux/386"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v8.0", "linux/arm64"),
        ("linux/arm64/v9.0", "linux/arm64/v9"),
        ("linux/arm64/v8.2", "linux/arm64/v8.2"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/armv7l", "linux/arm/v7"),
        ("macos/arm64", "darwin/arm64"),
        ("windows/amd64", "windows/amd64"),
        ("linux/loongarch64", "linux/loong64"),
        ("arm64", "linux/arm64"),
        ("amd64", "linux/amd64"),
        ("linux/brandnew", "linux/brandnew"),
    ],
)
def test_a_platform_is_read_in_any_spelling(text: str, expected: str) -> None:
    assert str(Platform.parse(text)) == expected
    assert Platform.parse(text).normalized() == Platform.parse(text)


@pytest.mark.parametrize(
    "text",
    ["", "/", "linux/", "/amd64", "a/b/c/d", "linux/amd 64", "linux/../x", "linux/amd64\n", "nonsense"],
)
def test_a_text_that_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        Platform.parse(text)


def test_the_host_is_this_machine() -> None:
    machine = os.uname().machine
    expected = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}.get(machine, Platform.host())
    assert str(Platform.host()) == str(expected)
    assert Platform.parse("linux") == Platform.host()


def index_of(*platforms: str | None, annotations: Mapping[str, str] = {}) -> Index:
    """An index with one manifest per platform; its media type of digest tells which."""
    entries = []
    for text in platforms:
        platform = None
        if text is not None:
            system, architecture, variant = (*text.split("/"), "")[:3]
            platform = Platform(os=system, architecture=architecture, variant=variant)
        entries.append(
            Descriptor(
                media_type=mediatype.OCI_MANIFEST,
                digest=sha256(str(text).encode()),
                size=1,
                platform=platform,
                annotations=annotations,
            )
        )
    return Index(manifests=tuple(entries))


@pytest.mark.parametrize(
    ("wanted", "offered", "expected"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], "linux/amd64"),
        ("linux/amd64", ["linux/x86_64"], "linux/x86_64"),
        ("linux/amd64", ["linux/amd64/v3", "linux/amd64"], "linux/amd64"),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], "linux/amd64/v2"),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v3"], "linux/amd64/v3"),
        ("linux/amd64/v4", ["linux/386", "linux/amd64"], "linux/amd64"),
        ("linux/amd64", ["linux/386"], "linux/386"),
        ("linux/arm64", ["linux/arm64/v8"], "linux/arm64/v8"),
        ("linux/arm64/v8", ["linux/arm64"], "linux/arm64"),
        ("linux/arm64/v9", ["linux/arm64", "linux/arm64/v8.2"], "linux/arm64/v8.2"),
        ("linux/arm64", ["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6"], "linux/arm/v6"),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm/v5"], "linux/arm/v5"),
        ("linux/arm", ["linux/arm/v7"], "linux/arm/v7"),
        ("linux/riscv64", ["linux/riscv64"], "linux/riscv64"),
        ("linux/amd64", ["unknown/unknown", "linux/amd64"], "linux/amd64"),
    ],
)
def test_the_best_fitting_image_is_chosen(wanted: str, offered: list[str], expected: str) -> None:
    assert choose(index_of(*offered), Platform.parse(wanted)).digest == sha256(expected.encode())


@pytest.mark.parametrize(
    ("wanted", "offered"),
    [
        ("linux/amd64", ["linux/arm64", "windows/amd64"]),
        ("linux/amd64", ["linux/amd64/v3"]),
        ("linux/amd64", ["unknown/unknown"]),
        ("linux/386", ["linux/amd64"]),
        ("linux/arm/v6", ["linux/arm/v7"]),
        ("linux/amd64", []),
    ],
)
def test_no_fitting_image_is_an_error_that_lists_what_there_is(wanted: str, offered: list[str]) -> None:
    with pytest.raises(NotFound) as caught:
        choose(index_of(*offered), Platform.parse(wanted))
    for text in offered:
        assert ("unknown" in text) or text in str(caught.value)


def test_the_first_of_equals_is_chosen() -> None:
    first, second = index_of("linux/amd64", "linux/x86_64").manifests
    assert choose(Index(manifests=(second, first)), Platform.parse("linux/amd64")) == second


def test_attestations_never_fit_even_with_a_platform() -> None:
    index = index_of("linux/amd64", annotations={"vnd.docker.reference.type": "attestation-manifest"})
    with pytest.raises(NotFound):
        choose(index, Platform.parse("linux/amd64"))


def test_the_only_manifest_without_platform_is_taken_when_nothing_states_one() -> None:
    assert choose(index_of(None), Platform.parse("linux/s390x")).digest == sha256(b"None")
    with pytest.raises(NotFound):
        choose(index_of(None, "linux/amd64"), Platform.parse("linux/s390x"))


def test_features_the_platform_lacks_exclude_an_image_and_versions_must_agree() -> None:
    demanding = Platform(architecture="amd64", os_features=("erofs",))
    old = Platform(architecture="amd64", os_version="10.0.1")
    entries = [
        Descriptor(media_type=mediatype.OCI_MANIFEST, digest=sha256(name), size=1, platform=platform)
        for name, platform in ((b"demanding", demanding), (b"old", old))
    ]
    index = Index(manifests=tuple(entries))
    assert choose(index, Platform.parse("linux/amd64")).digest == sha256(b"old")
    both = Platform(architecture="amd64", os_features=("erofs",), os_version="10.0.2")
    assert choose(index, both).digest == sha256(b"demanding")
    with pytest.raises(NotFound):
        choose(index, Platform(architecture="amd64", os_version="10.0.2"))
