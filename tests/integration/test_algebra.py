"""Images made from images in Python alone, and what runs of them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pycontainer as pc
from pycontainer import errors
from tests.integration.test_images import stored_files

pytestmark = pytest.mark.needs("root", "overlay")


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[pc.Engine]:
    with pc.Engine(tmp_path / "fresh") as made:
        yield made


def test_files_and_settings_on_a_base_run(engine: pc.Engine, busybox: pc.Image) -> None:
    made = busybox.add({"/srv/app/hello": "#!/bin/sh\necho $GREETING $@\n"}).env(GREETING="hi")
    made = made.workdir("/srv/app").entrypoint(["./hello"]).cmd(["there"])
    result = pc.run(made, engine=engine)
    assert result.text == "hi there\n"
    assert busybox.config.config.entrypoint != ("./hello",)
    made.remove()


def test_an_image_from_nothing_is_the_same_everywhere(engine: pc.Engine, fresh: pc.Engine) -> None:
    def make(on: pc.Engine) -> pc.Image:
        image = pc.Image.scratch("linux/arm64", engine=on).add({"etc/motd": "x"})
        return image.label(a="b").expose(80).user("1:1").volume("/data").stop_signal("SIGINT").annotate(k="v")

    first, second = make(engine), make(fresh)
    assert first.id == second.id
    assert (first.manifest_digest, first.platform) == (second.manifest_digest, "linux/arm64")


def test_what_nobody_named_leaves_nothing_behind(fresh: pc.Engine) -> None:
    image = pc.Image.scratch(engine=fresh).add({"a": "1"}).env(A="1")
    assert pc.Image.list(engine=fresh) == []
    pc.Image.prune(engine=fresh)
    kept = image.env(B="2").tag("kept:1")
    image.env(C="3").tag("other:1").remove("other:1")
    assert len(kept.view.layers) == 1
    kept.remove("kept:1")
    del image, kept
    gc.collect()
    pc.Image.prune(all=True, engine=fresh)
    fresh.store.collect_garbage()
    assert stored_files(fresh.root) == []


def test_a_step_is_run_in_the_image_and_shares_the_cache_of_builds(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    actions: list[str] = []
    options: dict[str, Any] = {"network": "none", "progress": lambda event: actions.append(event.action)}
    made = busybox.env(NAME="the step").user("web").workdir("/home/web")
    image = made.run("echo $NAME > said; id -un >> said", **options).run(
        ["sh", "-c", "cat /given /c/x 2>/dev/null; echo '\\ \"\n$' > '/home/web/odd name'"],
        mounts=["type=bind,from=files,source=given,target=/given", "type=cache,target=/c,uid=1000"],
        contexts={"files": {"given": "1"}},
        **options,
    )
    assert pc.run(image, ["sh", "-c", "cat said odd*"], engine=engine).text == 'the step\nweb\n\\ "\n$\n'
    assert image.config.config.user == "web"
    assert [step.created_by for step in image.history()][-2:-1] == [
        "RUN /bin/sh -c echo $NAME > said; id -un >> said # buildkit"
    ]
    assert actions.count("cached") == 0
    again = made.run("echo $NAME > said; id -un >> said", **options)
    assert actions.count("cached") == 1
    assert again.view.diff_ids == image.view.diff_ids[:-1]
    with pytest.raises(errors.BuildError) as caught:
        made.run(["sh", "-c", "echo no; exit 3"], **options)
    assert (caught.value.exit_code, caught.value.log_tail) == (3, "no\n")
    for wrong in ({"mounts": ["type=tmpfs, target=/x"]}, {"contexts": {"base": {}}}):
        with pytest.raises(errors.InvalidOption):
            made.run("true", **wrong)


def test_a_step_leaves_triggers_to_builds(engine: pc.Engine, busybox: pc.Image) -> None:
    text = "FROM busybox\nONBUILD RUN exit 1\n"
    image = pc.Image.build(None, dockerfile=text, engine=engine).run("echo 1 > /one", network="none")
    assert image.config.config.on_build == ("RUN exit 1",)
    assert pc.run(image, ["cat", "/one"], engine=engine).text == "1\n"


def test_a_squashed_image_shows_the_same_files(engine: pc.Engine, busybox: pc.Image) -> None:
    made = busybox.add({"/srv/new": "n"}).squash()
    assert len(made.view.layers) == 1
    assert pc.run(made, ["cat", "/srv/greeting", "/srv/new"], engine=engine).text.endswith("layer\nn")
    made.remove()


def test_a_rebased_image_runs_on_the_new_base(engine: pc.Engine, busybox: pc.Image) -> None:
    old, new = busybox.env(V="1"), busybox.add({"/srv/patched": "yes"}).env(V="2")
    image = old.add({"/srv/app": "mine"})
    made = image.rebase(new, old=old)
    assert (
        pc.run(made, ["sh", "-c", "cat /srv/patched /srv/app; echo $V"], engine=engine).text == "yesmine2\n"
    )
    with pytest.raises(errors.InvalidInput, match="pass old="):
        image.rebase(new)
    made.remove()


def test_pushing_in_another_compression_compresses_once(
    engine: pc.Engine, busybox: pc.Image, fresh: pc.Engine
) -> None:
    with pc.Registry() as registry:
        reference = f"{registry.address}/tests/zstd:1"
        digest = busybox.push(reference, compression="zstd:4")
        count = len(registry.requests)
        assert busybox.push(reference, compression="zstd:4") == digest != busybox.manifest_digest
        assert {request.method for request in registry.requests[count:]} == {"HEAD", "PUT"}
        assert not any("/blobs/uploads" in request.path for request in registry.requests[count:])
        pulled = pc.Image.pull(reference, engine=fresh)
        assert pulled.id == busybox.id
        assert {layer.media_type.rpartition("+")[2] for layer in pulled.view.layers} == {"zstd"}
        assert pc.run(pulled, ["true"], engine=fresh).exit_code == 0
        engine.registries.close()
        fresh.registries.close()


def test_what_was_compressed_for_a_push_goes_with_the_image(fresh: pc.Engine) -> None:
    image = pc.Image.scratch(engine=fresh).add({"a": "1"}).tag("app:1")
    with pc.Registry() as registry:
        image.push(f"{registry.address}/app:1", compression="zstd:5")
        fresh.registries.close()
    assert len(stored_files(fresh.root)) == 5  # two manifests, two layers, one configuration
    image.remove()
    assert stored_files(fresh.root) == []


def test_an_image_that_was_never_unpacked_can_be_mounted(engine: pc.Engine, busybox: pc.Image) -> None:
    data = pc.Image.scratch(engine=engine).add({"file": "content"}).tag("data:1")
    mount = {"type": "image", "source": "data:1", "target": "/data"}
    assert pc.run(busybox, ["cat", "/data/file"], mounts=[mount], engine=engine).text == "content"
    data.remove()


def test_a_tar_is_imported_for_a_platform_and_in_a_compression(engine: pc.Engine) -> None:
    image = pc.Image.from_tar(bytes(1024), platform="linux/arm64", compression="zstd", engine=engine)
    assert image.platform == "linux/arm64"
    assert [layer.media_type.rpartition("+")[2] for layer in image.view.layers] == ["zstd"]
    image.remove()
