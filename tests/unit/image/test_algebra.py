"""Images made from images: layers, settings, another base, fewer layers."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pycontainer.errors import InvalidImage, InvalidInput
from pycontainer.image import (
    File,
    Files,
    ImageView,
    Layout,
    MergedTree,
    Symlink,
    Tree,
    add_files,
    copy_tar,
    derived,
    from_files,
    keep,
    rebased,
    recompressed,
    scratch,
    settings,
    squashed,
    validate_image,
    write_layer,
)
from pycontainer.layers import detect, open_decoder
from pycontainer.oci import ContainerConfig, Descriptor, History, Platform, encode, mediatype

MakeTar = Callable[..., bytes]


def added(layout: Layout, view: ImageView, files: Files, **more: str) -> ImageView:
    tree = Tree(MergedTree.of(view))
    add_files(tree, files)
    layer = write_layer(layout, tree.write, more.get("compression", "gzip"))
    return derived(view, layer=layer, step=History(created_by="add"))


def with_tar(layout: Layout, view: ImageView, tar: bytes) -> ImageView:
    return derived(view, layer=copy_tar(layout, tar, "gzip"), step=History(created_by="tar"))


def members(layout: Layout, layer: Descriptor) -> dict[str, tarfile.TarInfo]:
    with layout.open(layer) as blob:
        head = blob.read(6)
        decoder = open_decoder(detect(head), blob, head=head)
        tar = b"".join(iter(lambda: decoder.read(1 << 20), b""))
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return {member.name: member for member in opened.getmembers()}


def link(kind: bytes, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


def directory(mode: int = 0o755) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.mode = tarfile.DIRTYPE, mode
    return info


class TestLayers:
    def test_files_go_where_links_of_the_base_lead_and_parents_stay_as_they_are(self, layout: Layout) -> None:
        base = from_files(
            layout,
            {
                "usr/bin/old": "x",
                "bin": Symlink("usr/bin"),
                "tmp": File(is_directory=True, mode=0o1777, uid=5),
            },
        )
        view = added(layout, base, {"/bin/new": "#!x", "tmp/file": "y", "srv/deep/file": "z"})
        found = members(layout, view.layers[1])
        assert list(found) == [
            "srv",
            "srv/deep",
            "srv/deep/file",
            "tmp",
            "tmp/file",
            "usr",
            "usr/bin",
            "usr/bin/new",
        ]
        assert (found["tmp"].mode, found["tmp"].uid) == (0o1777, 5)

    def test_a_directory_is_merged_and_keeps_what_is_there(self, layout: Layout, tmp_path: Path) -> None:
        base = from_files(
            layout, {"usr/bin/old": "x", "bin": Symlink("usr/bin"), "etc": File(is_directory=True)}
        )
        (tmp_path / "src" / "bin").mkdir(parents=True)
        (tmp_path / "src" / "own").mkdir(mode=0o750)
        (tmp_path / "src" / "bin" / "new").write_text("n")
        os.link(tmp_path / "src" / "bin" / "new", tmp_path / "src" / "own" / "same")
        tree = Tree(MergedTree.of(base))
        tree.add_directory(tmp_path / "src", owner=(7, 8))
        view = derived(base, layer=write_layer(layout, tree.write, "gzip"), step=History())
        found = members(layout, view.layers[1])
        assert list(found) == ["own", "own/same", "usr", "usr/bin", "usr/bin/new"]
        assert found["own/same"].linkname == "usr/bin/new" or found["usr/bin/new"].linkname == "own/same"
        assert {(found[name].uid, found[name].gid) for name in ("own", "usr/bin/new")} == {(7, 8)}
        assert found["own"].mode == 0o750

    def test_a_directory_can_be_put_below_a_path(self, layout: Layout, tmp_path: Path) -> None:
        (tmp_path / "src").mkdir()
        (tmp_path / "src" / "file").write_text("n")
        tree = Tree()
        tree.add_directory(tmp_path / "src", b"opt/app")
        view = derived(scratch(layout), layer=write_layer(layout, tree.write, "gzip"), step=History())
        assert list(members(layout, view.layers[0])) == ["opt", "opt/app", "opt/app/file"]

    @pytest.mark.parametrize(
        "files", [{"etc": "x"}, {"etc/motd/below": "x"}, {"../x": "y"}, {"a/.wh.b": "y"}]
    )
    def test_what_would_break_the_base_is_refused(
        self, layout: Layout, view: ImageView, files: Files
    ) -> None:
        with pytest.raises(InvalidInput):
            added(layout, view, files)

    def test_the_same_steps_give_the_same_digests(self, layout: Layout) -> None:
        def make() -> ImageView:
            view = added(layout, scratch(layout, Platform.parse("linux/arm64")), {"b": "1", "a": "2"})
            config, told = settings.with_env(view.config.config, {"A": "1"})
            return derived(view, config=config, step=History(created_by=told, empty_layer=True))

        first, second = make(), make()
        assert first.descriptor == second.descriptor
        assert str(first.platform) == "linux/arm64"
        keep(first, layout)
        assert validate_image(layout, first.descriptor) == []

    def test_a_base_without_history_gets_one_that_counts(self, layout: Layout) -> None:
        base = from_files(layout, {"a": "b"})
        from attrs import evolve

        bare = evolve(base.config, history=())
        config = Descriptor.of(encode(bare), mediatype.OCI_CONFIG)
        stripped = ImageView(encode(evolve(base.manifest, config=config)), encode(bare), layout)
        view = added(layout, stripped, {"c": "d"})
        keep(view, layout)
        assert validate_image(layout, view.descriptor) == []

    def test_a_docker_manifest_stays_one_unless_a_layer_is_zstd(self, layout: Layout) -> None:
        from attrs import evolve

        oci = from_files(layout, {"a": "b"})
        manifest = evolve(
            oci.manifest,
            media_type=mediatype.DOCKER_MANIFEST,
            config=evolve(oci.manifest.config, media_type=mediatype.DOCKER_CONFIG),
            layers=(evolve(oci.layers[0], media_type=mediatype.DOCKER_LAYER_GZIP),),
        )
        base = ImageView(encode(manifest), oci.config_bytes, layout)
        docker = added(layout, base, {"c": "d"})
        assert docker.manifest.media_type == mediatype.DOCKER_MANIFEST
        assert {layer.media_type for layer in docker.layers} == {mediatype.DOCKER_LAYER_GZIP}
        zstd = added(layout, base, {"c": "d"}, compression="zstd")
        assert zstd.manifest.media_type == mediatype.OCI_MANIFEST
        assert [layer.media_type for layer in zstd.layers] == [
            mediatype.OCI_LAYER_GZIP,
            mediatype.OCI_LAYER_ZSTD,
        ]
        assert zstd.manifest.config.media_type == mediatype.OCI_CONFIG


class TestSettings:
    def test_each_changes_its_own_part(self) -> None:
        config = ContainerConfig(env=("A=1", "B=2"), cmd=("old",), working_dir="/srv")
        config, _ = settings.with_env(config, {"A": None, "C": "3"})
        config, _ = settings.with_entrypoint(config, ["run"])
        assert (config.env, config.entrypoint, config.cmd) == (("B=2", "C=3"), ("run",), None)
        config, _ = settings.with_cmd(config, ["x"])
        config, _ = settings.with_user(config, 1000)
        config, _ = settings.with_workdir(config, "app")
        config, _ = settings.with_labels(config, {"k": "v"})
        config, _ = settings.with_ports(config, [80, "53/udp", "8000-8001"])
        config, _ = settings.with_volumes(config, ["/data"])
        config, told = settings.with_stop_signal(config, "SIGINT")
        config, _ = settings.with_healthcheck(config, ["true"], {"interval": "1m"}, 2)
        assert (config.cmd, config.user, config.working_dir, config.labels) == (
            ("x",),
            "1000",
            "/srv/app",
            {"k": "v"},
        )
        assert config.exposed_ports == ("80/tcp", "53/udp", "8000/tcp", "8001/tcp")
        assert (config.volumes, config.stop_signal, told) == (("/data",), "SIGINT", "STOPSIGNAL SIGINT")
        assert config.healthcheck is not None
        assert (config.healthcheck.test, config.healthcheck.interval_ns) == (("CMD", "true"), 60 * 10**9)

    @pytest.mark.parametrize(
        ("setting", "value"),
        [
            ("with_env", {"A=B": "1"}),
            ("with_env", {"A": "x\0y"}),
            ("with_ports", [0]),
            ("with_ports", ["80/xtp"]),
            ("with_volumes", ["data"]),
            ("with_stop_signal", "SIGNOPE"),
            ("with_user", "a b"),
            ("with_workdir", ""),
        ],
    )
    def test_what_cannot_be_is_refused(self, setting: str, value: object) -> None:
        with pytest.raises(InvalidInput):
            getattr(settings, setting)(ContainerConfig(), value)

    def test_one_string_is_no_list_of_words(self) -> None:
        with pytest.raises(TypeError, match="give a list"):
            settings.with_cmd(ContainerConfig(), "echo hi")


class TestRebase:
    def base(self, layout: Layout, version: str, **config: object) -> ImageView:
        return from_files(
            layout,
            {"etc/version": version},
            config=ContainerConfig(**config),  # type: ignore[arg-type]
        )

    def test_layers_and_defaults_of_the_base_change_and_the_own_stay(self, layout: Layout) -> None:
        old = self.base(
            layout, "1", env=("PATH=/a", "V=1", "GONE=1"), cmd=("sh",), user="u", labels={"b": "1"}
        )
        new = self.base(
            layout, "2", env=("PATH=/b", "V=2", "NEW=1"), cmd=("bash",), user="w", labels={"b": "2"}
        )
        view = added(layout, old, {"app": "x"})
        config, _ = settings.with_env(view.config.config, {"V": "mine", "GONE": None, "OWN": "1"})
        config, _ = settings.with_user(config, "me")
        view = derived(view, config=config, step=History(created_by="ENV", empty_layer=True))
        made = rebased(view, old, new)
        assert made.layers == (new.layers[0], view.layers[1])
        assert dict(entry.split("=") for entry in made.config.config.env) == {
            "PATH": "/b", "V": "mine", "NEW": "1", "OWN": "1",
        }  # fmt: skip
        assert (made.config.config.user, made.config.config.cmd) == ("me", ("bash",))
        assert made.config.config.labels == {"b": "2"}
        keep(made, layout)
        assert validate_image(layout, made.descriptor) == []
        assert [step.created_by for step in made.config.history] == ["from files", "add", "ENV"]

    def test_an_own_entrypoint_gets_no_command_of_the_new_base(self, layout: Layout) -> None:
        old, new = self.base(layout, "1"), self.base(layout, "2", cmd=("bash",))
        config, _ = settings.with_entrypoint(old.config.config, ["/app"])
        made = rebased(derived(added(layout, old, {"a": "b"}), config=config), old, new)
        assert (made.config.config.entrypoint, made.config.config.cmd) == (("/app",), None)

    def test_another_base_and_another_platform_are_refused(self, layout: Layout) -> None:
        old, new = self.base(layout, "1"), self.base(layout, "2")
        view = added(layout, old, {"a": "b"})
        with pytest.raises(InvalidInput, match="does not begin"):
            rebased(view, new, old)
        with pytest.raises(InvalidInput, match="for linux/"):
            rebased(view, old, derived(new, platform=Platform.parse("linux/s390x")))


class TestSquash:
    def test_the_result_is_what_the_layers_together_show(self, layout: Layout, make_tar: MakeTar) -> None:
        view = scratch(layout)
        for layer in (
            {
                "a": directory(0o700),
                "a/one": b"1",
                "a/two": b"2",
                "a/hard": link(tarfile.LNKTYPE, "a/one"),
                "link": link(tarfile.SYMTYPE, "a"),
                "gone": directory(),
                "gone/x": b"x",
                "kept": directory(),
                "kept/low": b"low",
            },
            {
                "a/.wh.one": b"",
                "link/three": b"3",
                ".wh.gone": b"",
                "kept/new": b"new",
                "kept/.wh..wh..opq": b"",
            },
            {
                "a": directory(0o711),
                "a/two": b"22",
                "d": directory(),
                "d/hard": link(tarfile.LNKTYPE, "a/hard"),
            },
        ):
            view = with_tar(layout, view, make_tar(layer))
        made = squashed(layout, view)
        keep(made, layout)
        assert validate_image(layout, made.descriptor) == []
        [layer] = made.layers
        found = members(layout, layer)
        assert sorted(found) == ["a", "a/hard", "a/three", "a/two", "d", "d/hard", "kept", "kept/new", "link"]
        assert found["a"].mode == 0o711
        assert found["d/hard"].type == tarfile.LNKTYPE
        with layout.open(layer) as blob, tarfile.open(fileobj=blob, mode="r:gz") as tar:
            contents = {
                name: tar.extractfile(name).read() for name in ("a/hard", "a/two", "a/three", "d/hard")
            }  # type: ignore[union-attr]
        assert contents == {"a/hard": b"1", "a/two": b"22", "a/three": b"3", "d/hard": b"1"}

    def test_onto_a_base_only_what_differs_from_it_is_in_the_layer(
        self, layout: Layout, make_tar: MakeTar
    ) -> None:
        base = with_tar(
            layout,
            scratch(layout),
            make_tar(
                {
                    "a": directory(0o711),
                    "a/gone": b"1",
                    "a/kept": b"2",
                    "dir": directory(),
                    "dir/x": b"3",
                    "old": directory(),
                    "old/y": b"4",
                    "one": b"5",
                    "two": link(tarfile.LNKTYPE, "one"),
                }
            ),
        )
        view = with_tar(layout, base, make_tar({"a/.wh.gone": b"", "a/passing": b"", ".wh.old": b""}))
        view = with_tar(
            layout,
            view,
            make_tar(
                {"a/.wh.passing": b"", "dir": b"a file", "new": b"6", "three": link(tarfile.LNKTYPE, "one")}
            ),
        )
        made = squashed(layout, view, base=base)
        assert made.layers[:-1] == base.layers
        found = members(layout, made.layers[-1])
        assert sorted(found) == [".wh.old", "a", "a/.wh.gone", "dir", "new", "one", "three", "two"]
        assert (found["a"].mode, found["dir"].isfile()) == (0o711, True)
        assert [name for name in ("one", "two", "three") if found[name].islnk()] == ["two", "three"]
        whole = squashed(layout, view)
        assert sorted(members(layout, squashed(layout, made).layers[0])) == sorted(
            members(layout, whole.layers[0])
        )
        assert [step.empty_layer for step in made.config.history].count(False) == 2
        assert squashed(layout, view, base=view) == view
        with pytest.raises(InvalidInput, match="does not begin"):
            squashed(layout, base, base=view)

    def test_what_one_layer_adds_below_a_directory_it_removes_stays(
        self, layout: Layout, make_tar: MakeTar
    ) -> None:
        view = with_tar(layout, scratch(layout), make_tar({"d": directory(), "d/old": b"o"}))
        view = with_tar(layout, view, make_tar({"d/new": b"n", ".wh.d": b""}))
        assert sorted(members(layout, squashed(layout, view).layers[0])) == ["d", "d/new"]

    @pytest.mark.parametrize(
        "layer",
        [
            {"../x": b"y"},
            {"hard": link(tarfile.LNKTYPE, "nothing")},
            {"hard": link(tarfile.LNKTYPE, "../../etc/passwd")},
            {"a": link(tarfile.SYMTYPE, "b"), "b": link(tarfile.SYMTYPE, "a"), "a/x": b""},
            {"file": b"", "file/below": b""},
            {"/".join("d" * 300): b""},
        ],
        ids=["upwards", "no target", "target outside", "circle", "below a file", "deep"],
    )
    def test_a_hostile_layer_is_an_ordinary_error(
        self, layout: Layout, make_tar: MakeTar, layer: dict[str, bytes]
    ) -> None:
        view = with_tar(layout, from_files(layout, {"x": "y"}), make_tar(layer))
        with pytest.raises(InvalidImage):
            squashed(layout, view)

    def test_what_a_tree_costs_in_memory_is_bounded(
        self, layout: Layout, make_tar: MakeTar, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        view = with_tar(layout, from_files(layout, {"x": "y"}), make_tar({"long" * 20: b""}))
        monkeypatch.setattr("pycontainer.image.merged.MAX_TEXT_BYTES", 50)
        with pytest.raises(InvalidImage, match="more than 50 bytes of names"):
            squashed(layout, view)

    def test_links_never_lead_out_of_the_tree(self, layout: Layout, make_tar: MakeTar) -> None:
        view = with_tar(layout, scratch(layout), make_tar({"up": link(tarfile.SYMTYPE, "../../../../etc")}))
        view = with_tar(layout, view, make_tar({"up/file": b"x"}))
        assert sorted(members(layout, squashed(layout, view).layers[0])) == ["etc", "etc/file", "up"]


class TestRecompress:
    def test_the_image_stays_the_same_in_another_compression(self, layout: Layout) -> None:
        view = added(layout, from_files(layout, {"a": "b" * 1000}), {"c": "d" * 1000})
        made = recompressed(layout, view, "zstd:9")
        assert made.id == view.id
        assert {layer.media_type for layer in made.layers} == {mediatype.OCI_LAYER_ZSTD}
        keep(made, layout)
        assert validate_image(layout, made.descriptor) == []
        assert recompressed(layout, made, "zstd") is made
        assert recompressed(layout, view, "zstd:9").descriptor == made.descriptor
