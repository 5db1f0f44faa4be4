"""skopeo, podman and docker's own tools push to the embedded registry and pull from it, unchanged."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from pycontainer.registry.server import Fault, Registry, Status
from tests.support import images
from tests.support.needs import needs

USER, PASSWORD = "ada", "lovelace"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as running:
        yield running


def run(command: Sequence[str | Path], *, environment: dict[str, str] | None = None) -> str:
    """Run a tool; its complaint is the failure."""
    ended = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        stdin=subprocess.DEVNULL,
        env=environment,
    )
    assert ended.returncode == 0, f"{command}: {ended.stderr}"
    return ended.stdout


def skopeo(*words: str | Path) -> str:
    return run(["skopeo", "--insecure-policy", *words])


def blobs_of(layout: Path) -> dict[str, str]:
    """Names and real digests of a layout's blobs."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (layout / "blobs/sha256").iterdir()
    }


@needs("skopeo")
def test_image_survives_skopeos_round_trip_bit_by_bit(
    registry: Registry, busybox_layout: Path, tmp_path: Path
) -> None:
    name = f"docker://{registry.address}/library/busybox:1"
    skopeo("copy", "--dest-tls-verify=false", f"oci:{busybox_layout}:latest", name)
    skopeo("copy", "--src-tls-verify=false", name, f"oci:{tmp_path / 'back'}:latest")
    back = blobs_of(tmp_path / "back")
    assert back == {digest: digest for digest in blobs_of(busybox_layout)}
    assert registry.tags("library/busybox") == ["1"]


@needs("skopeo")
@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_skopeo_pushes_both_manifest_forms_and_inspects_them(
    registry: Registry, busybox_layout: Path, form: str
) -> None:
    name = f"docker://{registry.address}/busybox:{form}"
    skopeo("copy", "--dest-tls-verify=false", "--format", form, f"oci:{busybox_layout}:latest", name)
    found = json.loads(skopeo("inspect", "--tls-verify=false", name))
    assert len(found["Layers"]) == 2
    assert found["RepoTags"] == [form]


@needs("skopeo")
def test_skopeo_mounts_a_blob_it_pushed_to_another_repository(
    registry: Registry, busybox_layout: Path
) -> None:
    first, second = (f"docker://{registry.address}/{name}:1" for name in ("one", "two"))
    skopeo("copy", "--dest-tls-verify=false", f"oci:{busybox_layout}:latest", first)
    skopeo("copy", "--src-tls-verify=false", "--dest-tls-verify=false", first, second)
    mounts = [record for record in registry.requests if "mount=" in record.path]
    assert mounts
    assert all(record.status == 201 for record in mounts)


@needs("skopeo")
def test_skopeo_deletes_a_manifest(registry: Registry, busybox_layout: Path) -> None:
    name = f"docker://{registry.address}/busybox:1"
    skopeo("copy", "--dest-tls-verify=false", f"oci:{busybox_layout}:latest", name)
    skopeo("delete", "--tls-verify=false", name)
    assert registry.tags("busybox") == []


@needs("skopeo")
@pytest.mark.parametrize("with_tokens", [False, True], ids=["basic", "bearer"])
def test_skopeo_logs_in(busybox_layout: Path, tmp_path: Path, with_tokens: bool) -> None:
    with Registry(auth={USER: PASSWORD}, token_auth=with_tokens) as registry:
        name = f"docker://{registry.address}/private/busybox:1"
        source = f"oci:{busybox_layout}:latest"
        good, bad = f"{USER}:{PASSWORD}", f"{USER}:wrong"
        skopeo("copy", "--dest-tls-verify=false", "--dest-creds", good, source, name)
        skopeo("copy", "--src-tls-verify=false", "--src-creds", good, name, f"oci:{tmp_path / 'back'}:1")
        with pytest.raises(AssertionError, match=r"(?i)unauthorized|invalid username"):
            skopeo("copy", "--src-tls-verify=false", "--src-creds", bad, name, f"oci:{tmp_path / 'no'}:1")
        schemes = {record.headers.get("authorization") for record in registry.requests}
        assert ("Bearer" in schemes) == with_tokens


@needs("skopeo")
def test_skopeo_waits_and_retries_when_told_to(
    registry: Registry, busybox_layout: Path, tmp_path: Path
) -> None:
    name = f"docker://{registry.address}/busybox:1"
    skopeo("copy", "--dest-tls-verify=false", f"oci:{busybox_layout}:latest", name)
    registry.inject(Fault(Status(429, retry_after=1), path="/blobs/", count=1))
    skopeo("copy", "--src-tls-verify=false", name, f"oci:{tmp_path / 'back'}:1")
    assert 429 in [record.status for record in registry.requests]


@pytest.fixture
def podman() -> Iterator[list[str]]:
    """podman on a store of its own, in a directory short enough for it (it wants 50 characters at most)."""
    with tempfile.TemporaryDirectory(prefix="pcp-", dir="/tmp") as directory:
        base = ["podman", "--root", f"{directory}/root", "--runroot", f"{directory}/run"]
        base += ["--storage-driver", "vfs", "--events-backend", "none", "--cgroup-manager", "cgroupfs"]
        base += ["--tmpdir", f"{directory}/tmp"]
        yield base
        run([*base, "rmi", "--all", "--force"])


@needs("root", "podman", "skopeo")
@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_podman_pushes_and_pulls(
    registry: Registry, busybox_layout: Path, podman: list[str], form: str
) -> None:
    name = f"{registry.address}/team/busybox:1"
    image_id = run([*podman, "pull", "--quiet", f"oci:{busybox_layout}:latest"]).strip()
    run([*podman, "push", "--quiet", "--tls-verify=false", "--format", form, image_id, f"docker://{name}"])
    run([*podman, "rmi", "--force", image_id])
    pulled = run([*podman, "pull", "--quiet", "--tls-verify=false", f"docker://{name}"]).strip()
    found = json.loads(run([*podman, "inspect", pulled]))[0]
    assert name in found["RepoTags"]
    assert len(found["RootFS"]["Layers"]) == 2


@needs("root", "podman")
def test_podman_pushes_an_index_and_its_images(
    registry: Registry, busybox_layout: Path, tmp_path: Path, podman: list[str]
) -> None:
    arm = images.oci_layout(
        tmp_path / "arm", [images.tar_with({"srv/arch": b"arm64\n"})], architecture="arm64"
    )
    run([*podman, "manifest", "create", "both"])
    for layout in (busybox_layout, arm):
        run([*podman, "manifest", "add", "both", f"oci:{layout}:latest"])
    run(
        [
            *podman,
            "manifest",
            "push",
            "--all",
            "--tls-verify=false",
            "both",
            f"docker://{registry.address}/both:1",
        ]
    )
    index = httpx.get(f"{registry.url}/v2/both/manifests/1").json()
    assert sorted(each["platform"]["architecture"] for each in index["manifests"]) == ["amd64", "arm64"]
    run([*podman, "manifest", "rm", "both"])


@needs("root", "podman")
def test_podman_logs_in_and_uses_what_it_stored(
    busybox_layout: Path, tmp_path: Path, podman: list[str]
) -> None:
    with Registry(auth={USER: PASSWORD}, token_auth=True) as registry:
        authfile = ["--authfile", str(tmp_path / "auth.json"), "--tls-verify=false"]
        run([*podman, "login", *authfile, "-u", USER, "-p", PASSWORD, registry.address])
        image_id = run([*podman, "pull", "--quiet", f"oci:{busybox_layout}:latest"]).strip()
        run([*podman, "push", "--quiet", *authfile, image_id, f"docker://{registry.address}/a:1"])
        run([*podman, "pull", "--quiet", *authfile, f"docker://{registry.address}/a:1"])
