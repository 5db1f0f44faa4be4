"""Pushing by hand, raw requests, and what a manifest looks like."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def push_blob(client: httpx.Client, repository: str, content: bytes) -> str:
    digest = sha256(content)
    answer = client.post(f"/v2/{repository}/blobs/uploads/", params={"digest": digest}, content=content)
    assert answer.status_code == 201, answer.text
    return digest


def begin(client: httpx.Client, repository: str) -> str:
    answer = client.post(f"/v2/{repository}/blobs/uploads/")
    assert answer.status_code == 202, answer.text
    return answer.headers["Location"]


def descriptor(content: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": sha256(content), "size": len(content), **more}


def manifest(layers: Sequence[bytes] = (b"layer",), config: bytes = b"{}", **more: Any) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [descriptor(layer, "application/vnd.oci.image.layer.v1.tar") for layer in layers],
        **more,
    }
    return json.dumps(document).encode()


def index(children: Sequence[bytes], **more: Any) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [descriptor(child, OCI_MANIFEST) for child in children],
        **more,
    }
    return json.dumps(document).encode()


def put_manifest(
    client: httpx.Client, repository: str, reference: str, content: bytes, media_type: str = OCI_MANIFEST
) -> httpx.Response:
    return client.put(
        f"/v2/{repository}/manifests/{reference}", content=content, headers={"Content-Type": media_type}
    )


def push_image(client: httpx.Client, repository: str, tag: str, **more: Any) -> str:
    """Push a small image; return its manifest's digest."""
    push_blob(client, repository, b"layer")
    push_blob(client, repository, b"{}")
    content = manifest(**more)
    answer = put_manifest(client, repository, tag, content)
    assert answer.status_code == 201, answer.text
    return sha256(content)


def code(answer: httpx.Response) -> str:
    """The specification's error code of an answer."""
    found: str = answer.json()["errors"][0]["code"]
    return found


def connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def raw(address: str, request: bytes) -> bytes:
    """Send bytes, say that nothing more comes, and read to the end."""
    with connect(address) as sock:
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        answer = bytearray()
        while block := sock.recv(65536):
            answer += block
        return bytes(answer)


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    """Wait for what another thread is about to do."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)
