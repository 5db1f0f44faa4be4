"""The same layers through umoci and GNU tar give the same tree, entry by entry."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pycontainer.image import (
    ImageView,
    Layout,
    MergedTree,
    Tree,
    add_files,
    derived,
    keep,
    squashed,
    write_layer,
)
from pycontainer.layers import Entry
from pycontainer.oci import History, Reference
from tests.support.layers import describe, directory, file, merged, run_job, tar, unpack, unpack_stacked

pytestmark = [pytest.mark.needs("root", "overlay"), pytest.mark.compat]

LOWER = tar(
    directory(b".", mode=0o755),
    directory(b"etc", mode=0o750, gid=6, mtime_ns=10**9),
    file(b"etc/conf", b"lower", uid=3, mtime_ns=2 * 10**9),
    directory(b"bin"),
    file(b"bin/su", mode=0o4755, gid=7, xattrs={b"user.note": b"x"}),
    Entry(b"bin/twin", "hardlink", linkname=b"bin/su"),
    Entry(b"sh", "symlink", 0o777, uid=9, linkname=b"/bin/su"),
    directory(b"usr"),
    directory(b"usr/lib", mode=0o2755, gid=50),
    file(b"usr/lib/a"),
    Entry(b"lib", "symlink", linkname=b"usr/lib"),
    directory(b"old"),
    file(b"old/x"),
    directory(b"old/deep"),
    file(b"old/deep/y"),
    Entry(b"fifo", "fifo", 0o600),
    Entry(b"null", "char", 0o666, devmajor=1, devminor=3),
    directory(b"n" * 100 + b"/" + b"m" * 150),
)
SELF_CONTAINED = tar(
    directory(b"etc", mode=0o700),
    file(b"etc/conf", b"upper"),
    file(b"etc/new", mode=0o2711, uid=5),
    Entry(b".wh.sh"),
    directory(b"old"),
    Entry(b"old/.wh..wh..opq"),
    file(b"old/z"),
    directory(b"usr"),
    directory(b"usr/lib"),
    Entry(b"usr/lib/.wh.a"),
    file(b"fifo", b"now a file"),
    Entry(b"bin", "symlink", linkname=b"usr/bin"),
)
DEPENDENT = tar(
    file(b"etc/unlisted", b"1"), Entry(b"linked", "hardlink", linkname=b"usr/lib/a"), Entry(b"old/.wh.deep")
)


def write_image(layout: Path, layers: list[bytes]) -> None:
    """An OCI layout with one image made of these tars."""
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {
            "mediaType": f"application/vnd.oci.image.{media_type}",
            "digest": f"sha256:{digest}",
            "size": len(data),
        }

    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    manifest = {
        "schemaVersion": 2,
        "config": put(json.dumps(config).encode(), "config.v1+json"),
        "layers": [put(gzip.compress(layer, mtime=0), "layer.v1.tar+gzip") for layer in layers],
    }
    described = put(json.dumps(manifest).encode(), "manifest.v1+json")
    described["annotations"] = {"org.opencontainers.image.ref.name": "tag"}
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}))


@pytest.mark.needs("umoci")
@pytest.mark.parametrize(
    "layers",
    [[LOWER], [LOWER, SELF_CONTAINED], [LOWER, DEPENDENT], [LOWER, DEPENDENT, SELF_CONTAINED]],
    ids=["one", "self-contained", "dependent", "three"],
)
def test_umoci_unpacks_the_same_tree(tmp_path: Path, layers: list[bytes]) -> None:
    write_image(tmp_path / "layout", layers)
    command = ["umoci", "unpack", "--image", f"{tmp_path}/layout:tag", str(tmp_path / "bundle")]
    subprocess.run(command, check=True, capture_output=True)
    stack: list[Path] = []
    for index, layer in enumerate(layers):
        target = tmp_path / f"layer{index}"
        if (
            not stack
            or unpack(layer, tmp_path / f"try{index}", stop_if_not_self_contained=True)["is_self_contained"]
        ):
            unpack(layer, target)
        else:
            unpack_stacked(layer, target, stack)
        stack.insert(0, target)
    ours = merged(stack, tmp_path / "view")
    theirs = describe(tmp_path / "bundle" / "rootfs")
    theirs.pop(".")
    assert sorted(ours) == sorted(theirs)
    for path, entry in theirs.items():
        # A directory's time is the layer's where it lists it; else each engine touches it in its own order.
        is_directory = entry[0].startswith("0o40")
        assert (*ours[path][:4], *ours[path][5:]) == (*entry[:4], *entry[5:]), path
        assert is_directory or ours[path][4] == entry[4], path


@pytest.mark.needs("tar")
@pytest.mark.parametrize(
    ("form", "is_sparse"),
    [(form, is_sparse) for form in ("gnu", "posix", "oldgnu") for is_sparse in (False, True)]
    + [("ustar", False)],
)
def test_gnu_tar_makes_and_unpacks_the_same_tree(tmp_path: Path, form: str, is_sparse: bool) -> None:
    source, theirs, ours = (tmp_path / name for name in ("source", "theirs", "ours"))
    unpack(LOWER, source)
    if form == "ustar":
        subprocess.run(
            ["find", source, "-mindepth", "1", "-name", "nn*", "-delete", "-o", "-name", "mm*", "-delete"],
            check=True,
        )
    with (source / "holes").open("wb") as out:
        for offset in range(0, 40 << 20, 4 << 20):
            out.seek(offset)
            out.write(b"data")
    for path in source.rglob("*"):
        os.utime(path, (5, 5), follow_symlinks=False)
    options = [
        "--numeric-owner",
        f"--format={form}",
        *(["--xattrs"] if form == "posix" else []),
        *(["-S"] if is_sparse else []),
    ]
    subprocess.run(["tar", "-C", source, *options, "-cf", tmp_path / "made.tar", "."], check=True)
    theirs.mkdir()
    ours.mkdir()
    subprocess.run(
        ["tar", "-C", theirs, "--numeric-owner", "--xattrs", "-xpf", tmp_path / "made.tar"], check=True
    )
    run_job("unpack", {}, [tmp_path / "made.tar", ours])
    assert describe(ours) == describe(theirs)
    assert not is_sparse or (ours / "holes").stat().st_blocks < 1000


@pytest.mark.needs("umoci", "tar")
def test_others_read_the_tar_of_a_directory(tmp_path: Path) -> None:
    unpack(LOWER, tmp_path / "source")
    with (tmp_path / "source" / "holes").open("wb") as out:
        out.seek(10 << 20)
        out.write(b"data")
    with (tmp_path / "diff.tar").open("wb") as out:
        run_job("diff", {}, [tmp_path / "source", out.fileno()])
    (tmp_path / "gnu").mkdir()
    subprocess.run(["tar", "-C", tmp_path / "gnu", "--xattrs", "-xpf", tmp_path / "diff.tar"], check=True)
    write_image(tmp_path / "layout", [(tmp_path / "diff.tar").read_bytes()])
    command = ["umoci", "unpack", "--image", f"{tmp_path}/layout:tag", str(tmp_path / "bundle")]
    subprocess.run(command, check=True, capture_output=True)
    expected = describe(tmp_path / "source")
    assert describe(tmp_path / "gnu") == expected
    assert describe(tmp_path / "bundle" / "rootfs") == expected


@pytest.mark.needs("umoci")
def test_one_squashed_layer_is_the_tree_that_umoci_makes_of_all(tmp_path: Path) -> None:
    write_image(tmp_path / "layout", [LOWER, DEPENDENT, SELF_CONTAINED])
    command = ["umoci", "unpack", "--image", f"{tmp_path}/layout:tag", str(tmp_path / "bundle")]
    subprocess.run(command, check=True, capture_output=True)
    layout = Layout(tmp_path / "layout")
    [layer] = squashed(layout, layout.view("tag")).layers
    with layout.open(layer) as blob:
        assert unpack(gzip.decompress(blob.read()), tmp_path / "ours")
    ours, theirs = describe(tmp_path / "ours"), describe(tmp_path / "bundle" / "rootfs")
    assert sorted(ours) == sorted(theirs)
    for path, entry in theirs.items():
        # A directory's time is that of its last listing; umoci touches it once more.
        assert (*ours[path][:4], *ours[path][5:]) == (*entry[:4], *entry[5:]), path
        assert entry[0].startswith("0o40") or ours[path][4] == entry[4], path


@pytest.mark.needs("umoci")
def test_files_added_to_a_base_land_where_umoci_puts_them(tmp_path: Path) -> None:
    write_image(tmp_path / "layout", [LOWER])
    layout = Layout(tmp_path / "layout")
    base = layout.view("tag")
    before = describe(_unpacked(tmp_path, "tag", "before"))
    tree = Tree(MergedTree.of(base))
    add_files(tree, {"lib/b": "through a link", "etc/new": "x", "fresh/deep/c": "y"})
    layer = write_layer(layout, tree.write, "gzip")
    layout.add(_kept(layout, derived(base, layer=layer, step=History())), [Reference.parse("made:1")])
    after = describe(_unpacked(tmp_path, "docker.io/library/made:1", "after"))
    assert set(after) - set(before) == {"usr/lib/b", "etc/new", "fresh", "fresh/deep", "fresh/deep/c"}
    for path, entry in before.items():
        assert after[path][:4] == entry[:4], path


def _kept(layout: Layout, view: ImageView) -> ImageView:
    keep(view, layout)
    return view


def _unpacked(folder: Path, name: str, target: str) -> Path:
    command = ["umoci", "unpack", "--image", f"{folder}/layout:{name}", str(folder / target)]
    subprocess.run(command, check=True, capture_output=True)
    return folder / target / "rootfs"
