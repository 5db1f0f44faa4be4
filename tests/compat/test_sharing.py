"""Signatures, accounts and indexes exchanged with skopeo and openssl, through Debian's docker-registry."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import pycontainer as pc
from pycontainer import errors
from pycontainer.image import Documents
from pycontainer.oci import Manifest, Reference, encode, mediatype
from pycontainer.registry import RegistryClient, RegistryConfig
from pycontainer.trust import SIGNATURE_ANNOTATION, SIMPLE_SIGNING
from tests.compat.test_docker_registry import PASSWORD, USER, running
from tests.support.needs import needs

pytestmark = needs("root", "docker-registry", "skopeo")
KEY = pc.SigningKey.generate()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    yield from running(tmp_path)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[pc.Engine]:
    with pc.Engine(tmp_path / "store", progress="off") as made:
        yield made


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return KEY.save(tmp_path / "cosign", "secret")


def run(*command: str | Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def image(engine: pc.Engine, architecture: str = "amd64") -> pc.Image:
    return pc.Image.scratch(f"linux/{architecture}", engine=engine).add({"arch": architecture})


@needs("openssl")
def test_openssl_verifies_what_we_signed_where_cosign_would_look_for_it(
    engine: pc.Engine, address: str, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    name = f"{address}/team/app:1"
    image(engine).push(name)
    digest = pc.sign(name, KEY, engine=engine)
    home = f"{address}/team/app:{digest.replace(':', '-')}.sig"
    manifest = json.loads(run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{home}"))
    [layer] = manifest["layers"]
    assert layer["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json"
    out = tmp_path / "out"
    run("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", f"docker://{home}", f"dir:{out}")
    payload = out / layer["digest"].partition(":")[2]
    signature = base64.b64decode(layer["annotations"]["dev.cosignproject.cosign/signature"])
    (tmp_path / "signature").write_bytes(signature)
    run("openssl", "dgst", "-sha256", "-verify", keys[1], "-signature", tmp_path / "signature", payload)
    assert json.loads(payload.read_text())["critical"] == {
        "identity": {"docker-reference": f"{address}/team/app"},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }


@needs("openssl")
def test_we_verify_what_openssl_signed_with_a_key_of_its_own(
    engine: pc.Engine, address: str, tmp_path: Path
) -> None:
    name = f"{address}/team/theirs:1"
    image(engine).push(name)
    digest = pc.RemoteImage(name, engine=engine).digest
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", tmp_path / "key")
    run("openssl", "ec", "-in", tmp_path / "key", "-pubout", "-out", tmp_path / "pub")
    critical = {
        "identity": {"docker-reference": f"{address}/team/theirs"},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }
    (tmp_path / "payload").write_text(json.dumps({"critical": critical, "optional": None}, indent=1))
    run(
        "openssl",
        "dgst",
        "-sha256",
        "-sign",
        tmp_path / "key",
        "-out",
        tmp_path / "sig",
        tmp_path / "payload",
    )
    annotation = {SIGNATURE_ANNOTATION: base64.b64encode((tmp_path / "sig").read_bytes()).decode()}
    documents = Documents()
    layer = attrs.evolve(documents.add(tmp_path / "payload", SIMPLE_SIGNING), annotations=annotation)
    manifest = Manifest(config=documents.add(b"{}", mediatype.OCI_CONFIG), layers=(layer,))
    home = Reference.parse(f"{address}/team/theirs:{digest.replace(':', '-')}.sig")
    engine.registries.push(home, documents, documents.add(encode(manifest), mediatype.OCI_MANIFEST))
    pc.verify(name, tmp_path / "pub", engine=engine)
    policy = {
        "default": [{"type": "reject"}],
        "transports": {
            "docker": {f"{address}/team": [{"type": "sigstoreSigned", "keyPath": str(tmp_path / "pub")}]}
        },
    }
    (tmp_path / "policy.json").write_text(json.dumps(policy))
    with pc.Engine(tmp_path / "strict", policy=tmp_path / "policy.json") as strict:
        image(engine).push(f"{address}/other:1")
        with pytest.raises(errors.UntrustedImage, match="rejects"):
            pc.Image.pull(f"{address}/other:1", engine=strict)


def test_an_index_by_hand_and_its_copies_are_skopeos(engine: pc.Engine, address: str, tmp_path: Path) -> None:
    name = f"{address}/team/multi:1"
    digest = pc.ImageIndex(engine=engine).add(image(engine)).add(image(engine, "arm64")).push(name)
    raw = json.loads(run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"))
    assert [each["platform"]["architecture"] for each in raw["manifests"]] == ["amd64", "arm64"]
    pc.copy(name, f"oci-archive:{tmp_path / 'x.tar'}:{name}", engine=engine)
    copied = f"{address}/team/copied:1"
    run(
        "skopeo",
        "--insecure-policy",
        "copy",
        "--all",
        "--dest-tls-verify=false",
        f"oci-archive:{tmp_path / 'x.tar'}",
        f"docker://{copied}",
    )
    assert pc.RemoteImage(copied, engine=engine).digest == digest
    ours = pc.RemoteImage(name, engine=engine).inspect("linux/arm64")
    theirs = json.loads(
        run("skopeo", "inspect", "--override-arch=arm64", "--tls-verify=false", f"docker://{name}")
    )
    for key in ("Name", "Architecture", "Os", "Layers", "Created"):
        assert ours[key] == theirs[key]


def test_every_compression_is_read_by_skopeo(engine: pc.Engine, address: str, tmp_path: Path) -> None:
    content = pc.Image.scratch(engine=engine).add({"numbers": "\n".join(map(str, range(1_000_000)))})
    for compression in ("gzip:1", "zstd:3", "plain"):
        name = f"{address}/compressed/app:{compression.replace(':', '-')}"
        content.push(name, compression=compression)
        target = tmp_path / compression
        run(
            "skopeo",
            "--insecure-policy",
            "copy",
            "--src-tls-verify=false",
            "--dest-decompress",
            f"docker://{name}",
            f"dir:{target}",
        )
        layer = content.view.diff_ids[0].partition(":")[2]
        assert (target / layer).exists(), "the uncompressed layer is another one"


def test_skopeo_uses_the_account_that_we_logged_in_with(tmp_path: Path) -> None:
    (tmp_path / "guarded").mkdir()
    for address in running(tmp_path / "guarded", auth=True):
        file = tmp_path / "auth" / "auth.json"
        config = RegistryConfig(login_file=file, auth_files=(file,), certs_dirs=())
        with RegistryClient(config) as client:
            with pytest.raises(errors.AuthDenied):
                client.login(address, pc.Credentials(username=USER, password="wrong"))
            client.login(address, pc.Credentials(username=USER, password=PASSWORD))
            assert run("skopeo", "login", f"--authfile={file}", "--get-login", address).strip() == USER
            assert client.logout(address)
        with pytest.raises(RuntimeError, match="not logged in"):
            run("skopeo", "login", f"--authfile={file}", "--get-login", address)


def test_referrers_and_artifacts_work_where_there_is_no_api_for_them(engine: pc.Engine, address: str) -> None:
    name = f"{address}/team/app:2"
    image(engine).push(name)
    pc.Artifact.attach(name, {"sbom": "{}"}, artifact_type="application/spdx+json", engine=engine)
    pc.sign(name, KEY, as_referrer=True, engine=engine)
    remote = pc.RemoteImage(name, engine=engine)
    assert [entry.artifact_type for entry in remote.referrers("application/spdx+json")] == [
        "application/spdx+json"
    ]
    pc.verify(name, KEY.public_key, engine=engine)
