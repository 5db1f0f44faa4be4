"""Small images and the tars around them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pycontainer.image import ImageView, Layout, from_files
from pycontainer.oci import ContainerConfig, sha256

Member = bytes | tarfile.TarInfo


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty image layout."""
    return Layout.create(tmp_path / "layout")


@pytest.fixture
def view(layout: Layout) -> ImageView:
    """An image of one file."""
    return from_files(layout, {"/etc/motd": "hello\n"}, config=ContainerConfig(cmd=("cat", "/etc/motd")))


@pytest.fixture
def make_tar() -> Callable[..., bytes]:
    """A tar of members given by name: content, or a whole header for a link or node."""

    def make(members: Mapping[str, Member] | list[tuple[str, Member]]) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, member in members.items() if isinstance(members, Mapping) else members:
                if isinstance(member, tarfile.TarInfo):
                    member.name = name
                    tar.addfile(member)
                else:
                    info = tarfile.TarInfo(name)
                    info.size = len(member)
                    tar.addfile(info, io.BytesIO(member))
        return out.getvalue()

    return make


@pytest.fixture
def docker_members(make_tar: Callable[..., bytes]) -> Callable[..., dict[str, bytes]]:
    """The members of a docker-archive as classic Docker writes it, one file per layer."""

    def make(*layers: bytes, tags: list[str] | None = None, **config: object) -> dict[str, bytes]:
        layers = layers or (make_tar({"etc/motd": b"hello\n"}),)
        document = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [sha256(layer) for layer in layers]},
            **config,
        }
        config_bytes = json.dumps(document).encode()
        config_name = sha256(config_bytes)[7:] + ".json"
        members = {f"layer{i}/layer.tar": layer for i, layer in enumerate(layers)}
        listed = [{"Config": config_name, "RepoTags": tags or ["app:1"], "Layers": list(members)}]
        return {**members, config_name: config_bytes, "manifest.json": json.dumps(listed).encode()}

    return make
