"""Properties of the document layer: no input crashes it, and what it accepts it gives back."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pycontainer.errors import BadReference, IntegrityError, InvalidImage, InvalidInput
from pycontainer.oci import (
    ContainerConfig,
    Descriptor,
    Healthcheck,
    History,
    ImageConfig,
    Index,
    Manifest,
    Platform,
    Reference,
    choose,
    decode_config,
    decode_manifest,
    encode,
    parse_digest,
    sha256,
)

# --- references -------------------------------------------------------------------------------------

lower = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=6)
separators = st.sampled_from([".", "_", "__", "-", "--", "---"])


@st.composite
def components(draw: st.DrawFn) -> str:
    text = draw(lower)
    for _ in range(draw(st.integers(0, 2))):
        text += draw(separators) + draw(lower)
    return text


labels = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,6}[a-zA-Z0-9])?", fullmatch=True)
hosts = st.one_of(
    st.just("localhost"),
    st.just("[::1]"),
    st.just("docker.io"),
    st.just("index.docker.io"),
    st.lists(labels, min_size=2, max_size=4).map(".".join),
)
ports = st.one_of(st.just(""), st.integers(1, 65535).map(lambda port: f":{port}"))
domains = st.one_of(st.just(""), st.tuples(hosts, ports).map(lambda pair: f"{pair[0]}{pair[1]}/"))
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
digests = st.binary(max_size=8).map(sha256)


@st.composite
def names(draw: st.DrawFn) -> str:
    host = draw(domains)
    parts = draw(st.lists(components(), min_size=1, max_size=4))
    # A first component with a dot is read as a host, and no host has an underscore.
    assume(host or len(parts) == 1 or not ("." in parts[0] and "_" in parts[0]))
    text = host + "/".join(parts)
    if draw(st.booleans()):
        text += ":" + draw(tags)
    if draw(st.booleans()):
        text += "@" + draw(digests)
    return text


@given(names())
def test_a_name_of_the_grammar_is_accepted_and_its_normal_forms_mean_the_same(text: str) -> None:
    reference = Reference.parse(text)
    assert Reference.parse(str(reference)) == reference
    assert str(Reference.parse(str(reference))) == str(reference)
    assert Reference.parse(reference.familiar) == reference
    assert reference.domain not in ("", "index.docker.io")
    assert reference.tag or reference.digest


def test_a_first_component_that_is_read_as_a_host_must_be_one() -> None:
    with pytest.raises(BadReference, match="registry host"):
        Reference.parse("0.0_0/0")


@given(st.one_of(st.text(max_size=80), st.text(string.printable + "é٣ａ", max_size=80)))
def test_any_text_is_either_a_reference_with_a_normal_form_or_a_bad_reference(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except BadReference:
        return
    assert Reference.parse(str(reference)) == reference
    assert str(reference).isascii()
    assert ".." not in reference.path
    assert not set(str(reference)) & set(" \r\n\t\0\\%?#")


@given(names(), st.integers(0, 200), st.sampled_from("/:@.-_[]%\\ \n\0Aé~"))
def test_a_name_with_one_character_more_is_a_reference_or_a_bad_one(text: str, at: int, extra: str) -> None:
    at %= len(text) + 1
    changed = text[:at] + extra + text[at:]
    try:
        reference = Reference.parse(changed)
    except BadReference:
        return
    assert Reference.parse(str(reference)) == reference


@given(st.text(max_size=100))
def test_any_text_is_a_digest_unchanged_or_refused(text: str) -> None:
    try:
        assert parse_digest(text) == text
    except InvalidInput:
        pass


# --- platforms --------------------------------------------------------------------------------------

words = st.sampled_from(
    ["linux", "windows", "amd64", "x86_64", "arm", "arm64", "v8", "8", "v7", "v1", "v3", "", "q"]
)
platforms = st.builds(Platform, os=words, architecture=words, variant=words)


@given(platforms)
def test_normalising_a_platform_twice_changes_nothing_more(platform: Platform) -> None:
    assert platform.normalized().normalized() == platform.normalized()


@given(st.text(max_size=40))
def test_any_text_is_a_platform_or_refused(text: str) -> None:
    try:
        platform = Platform.parse(text)
    except InvalidInput:
        return
    assert Platform.parse(str(platform)) == platform


# --- documents --------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
scalars = st.one_of(
    st.booleans(), st.integers(-(2**53), 2**53), texts, st.floats(allow_nan=False, allow_infinity=False)
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
# Keys no specification uses, in no spelling.
extras = st.dictionaries(texts.map(lambda text: f"x-{text}"), json_values, max_size=3)
text_maps = st.dictionaries(texts, texts, max_size=3)
text_tuples = st.lists(texts, max_size=3).map(tuple)
sizes = st.integers(0, 2**63 - 1)

descriptors = st.builds(
    Descriptor,
    media_type=st.sampled_from(["application/vnd.oci.image.layer.v1.tar+gzip", "a/b"]),
    digest=digests,
    size=sizes,
    urls=text_tuples,
    annotations=text_maps,
    data=st.none(),
    artifact_type=texts,
    platform=st.one_of(
        st.none(),
        st.builds(
            Platform, os=texts, architecture=texts, variant=texts, os_version=texts, os_features=text_tuples
        ),
    ),
    extra=extras,
)
tuples_of_descriptors = st.lists(descriptors, max_size=3).map(tuple)
common = {
    "annotations": text_maps,
    "subject": st.one_of(st.none(), descriptors),
    "artifact_type": texts,
    "extra": extras,
}
manifests = st.builds(
    Manifest,
    media_type=st.just(Manifest(config=Descriptor.of(b"", "a/b")).media_type),
    config=descriptors,
    layers=tuples_of_descriptors,
    **common,
)
indexes = st.builds(Index, media_type=st.just(Index().media_type), manifests=tuples_of_descriptors, **common)
words_or_none = st.one_of(st.none(), text_tuples)
sets_of_text = st.lists(texts, unique=True, max_size=3).map(tuple)
times = st.integers(-(2**40), 2**40)
healthchecks = st.builds(
    Healthcheck,
    test=text_tuples,
    interval_ns=times,
    timeout_ns=times,
    start_period_ns=times,
    start_interval_ns=times,
    retries=st.integers(0, 99),
    extra=extras,
)
container_configs = st.builds(
    ContainerConfig,
    user=texts,
    env=text_tuples,
    entrypoint=words_or_none,
    cmd=words_or_none,
    working_dir=texts,
    labels=text_maps,
    exposed_ports=sets_of_text,
    volumes=sets_of_text,
    stop_signal=texts,
    healthcheck=st.one_of(st.none(), healthchecks),
    shell=words_or_none,
    on_build=text_tuples,
    extra=extras,
)
histories = st.builds(
    History,
    created=texts,
    created_by=texts,
    author=texts,
    comment=texts,
    empty_layer=st.booleans(),
    extra=extras,
)
configs = st.builds(
    ImageConfig,
    architecture=texts,
    os=st.sampled_from(["linux", "windows"]),
    variant=texts,
    os_version=texts,
    os_features=text_tuples,
    config=container_configs,
    diff_ids=st.lists(digests, max_size=3).map(tuple),
    history=st.lists(histories, max_size=3).map(tuple),
    created=texts,
    author=texts,
    rootfs_extra=extras,
    extra=extras,
)


@settings(max_examples=60)
@given(st.one_of(manifests, indexes))
def test_what_is_encoded_is_decoded_to_the_same_manifest(document: Manifest | Index) -> None:
    data = encode(document)
    assert decode_manifest(data) == document
    assert encode(decode_manifest(data)) == data


@settings(max_examples=60)
@given(configs)
def test_what_is_encoded_is_decoded_to_the_same_configuration(config: ImageConfig) -> None:
    data = encode(config)
    assert decode_config(data) == config
    assert encode(decode_config(data)) == data


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    for decode in (decode_manifest, decode_config):
        try:
            decode(data)
        except InvalidImage:
            pass


@settings(max_examples=200)
@given(st.data(), st.one_of(manifests, indexes, configs))
def test_a_document_with_one_value_replaced_is_decoded_or_refused(
    data: st.DataObject, document: Manifest | Index | ImageConfig
) -> None:
    value = json.loads(encode(document))
    _replace_somewhere(data, value, data.draw(st.one_of(st.none(), json_values)))
    changed = json.dumps(value).encode()
    for decode in (decode_manifest, decode_config):
        try:
            decode(changed)
        except (InvalidImage, IntegrityError):
            pass


def _replace_somewhere(data: st.DataObject, value: dict[str, object], replacement: object) -> None:
    at: dict[str, object] | list[object] = value
    while at:
        key = data.draw(st.sampled_from(sorted(at))) if isinstance(at, dict) else 0
        inner = at[key]  # type: ignore[call-overload,index]
        if isinstance(inner, (dict, list)) and inner and data.draw(st.booleans()):
            at = inner
            continue
        at[key] = replacement  # type: ignore[call-overload,index]
        return


@given(indexes, platforms)
def test_choosing_gives_an_entry_of_the_index_or_not_found(index: Index, platform: Platform) -> None:
    try:
        assert choose(index, platform) in index.manifests
    except LookupError:
        pass


@pytest.mark.parametrize(
    "character", [chr(code) for code in range(256)], ids=lambda character: hex(ord(character))
)
def test_no_other_single_character_joins_two_components(character: str) -> None:
    allowed = string.ascii_lowercase + string.digits + "._-/:"
    try:
        Reference.parse(f"a{character}b")
    except BadReference:
        assert character not in allowed
    else:
        assert character in allowed
