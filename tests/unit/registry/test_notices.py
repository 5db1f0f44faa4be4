"""Warnings of registries, from the header to whoever listens."""

from __future__ import annotations

import httpx
import pytest

from pycontainer.errors import RegistryError
from pycontainer.image import Progress
from pycontainer.oci import Reference
from pycontainer.registry import RegistryClient, RegistryConfig
from tests.unit.registry.fakes import FAST, MemorySink, Table, served, small_image

REF = Reference.parse("reg.example/app:1")
BASE = "https://reg.example"
IMAGE = MemorySink()
TOP = small_image(IMAGE, b"layer")


def warned(*headers: str) -> list[str]:
    """Messages of the warnings of two resolutions, whose manifests come with these headers."""
    replies = served(IMAGE, BASE, "app", "1", TOP)
    content = IMAGE.blobs[TOP.digest]
    given = [("Warning", header) for header in headers]
    replies[f"GET {BASE}/v2/app/manifests/1"] = httpx.Response(
        200, content=content, headers=[("Content-Type", TOP.media_type), *given]
    )
    events: list[Progress] = []
    config = RegistryConfig(retries=FAST, certs_dirs=())
    with RegistryClient(config, transport=Table(replies)) as client:
        client.resolve(REF)  # nobody listens: they are kept
        for _ in range(2):
            client.resolve(REF, on_event=events.append)
    return [event.message for event in events if event.action == "warning"]


def test_each_warning_is_told_once_to_the_first_who_listens() -> None:
    assert warned('299 - "old \\"tag\\""', '299 - "moves soon"') == [
        'reg.example warns: old "tag"',
        "reg.example warns: moves soon",
    ]


@pytest.mark.parametrize(
    "header",
    [
        '199 - "another code"',
        '299 example.com "another agent"',
        "299 - unquoted",
        '299 - "dated" "Wed, 21 Oct 2015 07:28:00 GMT"',
        '299 - ""',
        f'299 - "{"x" * 4097}"',
    ],
)
def test_what_the_specification_does_not_know_is_passed_over(header: str) -> None:
    assert warned(header) == []


def test_a_registry_that_never_ends_to_warn_is_not_listened_to_for_ever() -> None:
    assert len(warned(*(f'299 - "number {number}"' for number in range(1000)))) == 100


def test_control_characters_reach_no_terminal() -> None:
    [message] = warned('299 - "a\x1b[2Jb"')
    assert "\x1b" not in message


def test_a_failure_is_told_with_its_warning() -> None:
    events: list[Progress] = []
    gone = httpx.Response(410, headers={"Warning": '299 - "app is retired"'})
    transport = Table({f"GET {BASE}/v2/app/manifests/1": gone})
    with RegistryClient(RegistryConfig(retries=FAST, certs_dirs=()), transport=transport) as client:
        with pytest.raises(RegistryError):
            client.resolve(REF, on_event=events.append)
    assert [event.message for event in events if event.action == "warning"] == [
        "reg.example warns: app is retired"
    ]


def test_a_host_we_are_sent_to_has_no_say() -> None:
    events: list[Progress] = []
    replies = served(IMAGE, BASE, "app", "1", TOP)
    replies[f"GET {BASE}/v2/app/manifests/1"] = httpx.Response(
        307, headers={"Location": "https://cdn.example/m"}
    )
    replies["GET https://cdn.example/m"] = httpx.Response(
        200,
        content=IMAGE.blobs[TOP.digest],
        headers={"Content-Type": TOP.media_type, "Warning": '299 - "x"'},
    )
    with RegistryClient(RegistryConfig(retries=FAST, certs_dirs=()), transport=Table(replies)) as client:
        client.resolve(REF, on_event=events.append)
    assert "warning" not in {event.action for event in events}
