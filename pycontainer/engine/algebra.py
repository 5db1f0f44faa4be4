"""Images made from images, in Python alone: `Image.scratch().add({...}).env(A="1").entrypoint([...])`.

Theory of operation. Each method gives another image and changes none. Layers are written to the store at
once, so that files of the host are read when they are named; a pin, which images made from each other share,
keeps them from collection for as long as one of these is alive. What else an image is lies in memory until
someone needs it in the store: to name, run, push or save it. Nothing is unpacked and nothing is run, so none
of it needs privilege.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from pycontainer.errors import InvalidInput

if TYPE_CHECKING:
    from datetime import timedelta

    from pycontainer.engine.engine import Engine
    from pycontainer.engine.images import Image
    from pycontainer.image import Files, ImageView, WrittenLayer
    from pycontainer.store import ImageRecord, Lease

__all__ = ["ImageAlgebra", "Pin"]


class Pin:
    """Keeps blobs of unnamed images, until nobody has it any more."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        weakref.finalize(self, lease.release)

    def keep(self, view: ImageView) -> None:
        """Keep the blobs of an image."""
        for blob in (*view.blobs, view.descriptor):
            self._lease.protect(blob.digest)


class ImageAlgebra:
    """The methods of `Image` that give other images. Equal input gives equal digests, on every host."""

    _engine: Engine
    _stored: ImageRecord | None
    _made: ImageView | None
    _pin: Pin | None

    def __init__(self, engine: Engine, record: ImageRecord | None) -> None:
        self._engine = engine
        self._stored = record
        self._made = None
        self._pin = None

    @property
    def view(self) -> ImageView:
        """Its documents and blobs."""
        if self._made is not None:
            return self._made
        return self._engine.image_view(self._record)

    @property
    def _record(self) -> ImageRecord:
        if self._stored is None:
            assert self._made is not None  # an image has one of the two
            from pycontainer.engine.pulling import record_view  # only for what is made in Python

            self._stored = record_view(self._engine, self._made)
            self._pin = None  # the record keeps what it needs
        return self._stored

    def _documents_kept(self) -> ImageView:
        """Its view, with the documents in the store for as long as this object lives."""
        from pycontainer.image import keep

        view = self.view
        if self._stored is None:
            self._pin = self._pin or Pin(self._engine.store.pin("images not yet named"))
            self._pin.keep(view)
            keep(view, self._engine.store.content)
        return view

    # -- layers ----------------------------------------------------------------------------------

    def add(self, files: Files, *, compression: str = "gzip") -> Image:
        """The image with a layer of these files: path in the image to content, as in from_host.

        Directories that the image has keep their owner and mode, and links to directories are followed,
        as Dockerfile's COPY does. compression: "gzip", "zstd" or "plain", or with a level as "zstd:19".
        Raises: InvalidInput for a path that is not inside the image, or a file in place of a directory.
        """
        from pycontainer.image import MergedTree, Tree, add_files, write_layer

        tree = Tree(MergedTree.of(self.view))
        add_files(tree, files)
        return self._with_layer(
            lambda blobs: write_layer(blobs, tree.write, compression), f"add {' '.join(sorted(files))}"
        )

    def add_layer(
        self,
        source: str | os.PathLike[str] | bytes | BinaryIO,
        *,
        to: str = "/",
        owner: tuple[int, int] | None = None,
        compression: str = "gzip",
    ) -> Image:
        """The image with one more layer: what is below a directory, or a layer's tar.

        source: a directory, whose content is put below `to` as `add` does it, with owners (or all as `owner`,
        uid and gid), modes, times, links and attributes; or a tar, compressed or not: a path, the bytes or a
        stream, whose bytes are the layer as they are, whiteouts included.
        Raises: InvalidImage for a broken tar; InvalidInput; OSError.
        """
        from pycontainer.image import MergedTree, Tree, copy_tar, write_layer

        if isinstance(source, (str, os.PathLike)) and os.path.isdir(source):
            tree = Tree(MergedTree.of(self.view))
            below = os.fsencode(to).strip(b"/")
            tree.add_directory(source, tree.resolve(below, follow=True) if below else b"", owner)
            return self._with_layer(lambda blobs: write_layer(blobs, tree.write, compression), f"add {to}")
        if to != "/" or owner is not None:
            raise InvalidInput(
                "a tar says itself where its files go and whose they are; leave to and owner out"
            )
        return self._with_layer(lambda blobs: copy_tar(blobs, source, compression), "add layer")

    def rebase(self, base: Image, *, old: Image | None = None) -> Image:
        """The image on another base: the layers of `old` are replaced by those of `base`.

        old: the base it was made on; default is what its annotation org.opencontainers.image.base.digest
        names, if that is in the store. Environment, labels, ports, volumes and commands that it has from the
        old base become those of the new one; what it set itself stays. Its own layers are not looked into:
        what in them belongs to files of the old base (a list of packages, say) is as it was.
        Raises: InvalidInput if it does not begin with that base's layers; NotFound.
        """
        from pycontainer.image import rebased

        with self._engine.store.lease(f"rebase {self.view.id}"):
            if base._engine.root != self._engine.root:
                base.view.copy_to(self._engine.store.content)
            return self._derive(rebased(self.view, (old or self._annotated_base()).view, base.view))

    def squash(self, *, base: Image | None = None, compression: str = "gzip") -> Image:
        """The image with one layer that has what all of its layers together show, and nothing they hide.

        base: the image it was made on, whose layers stay as they are, shared with others.
        Raises: InvalidInput if it does not begin with that one's layers.
        """
        from pycontainer.image import squashed

        below = None if base is None else base.view
        with self._engine.store.lease(f"squash {self.view.id}"):
            return self._derive(squashed(self._engine.store.content, self.view, compression, base=below))

    def recompress(self, compression: str, *, force: bool = False) -> Image:
        """The image with its layers compressed otherwise; its id and all it contains stay.

        compression: "gzip", "zstd" or "plain", or with a level as "zstd:19" (1 to 9 and 1 to 22). Layers that
        have that kind already are left alone; force does them again. The bytes depend on content, kind and
        level only.
        """
        from pycontainer.image import recompressed

        with self._engine.store.lease(f"recompress {self.view.id}"):
            made = recompressed(self._engine.store.content, self.view, compression, force=force)
            return self._derive(made)

    # -- settings --------------------------------------------------------------------------------

    def env(self, variables: Mapping[str, str | None] | None = None, /, **more: str | None) -> Image:
        """The image with these environment variables; None removes one."""
        return self._set("with_env", {**(variables or {}), **more})

    def entrypoint(self, words: Sequence[str] | None) -> Image:
        """The image with this program, and without the arguments (cmd) that were those of the one before."""
        return self._set("with_entrypoint", words)

    def cmd(self, words: Sequence[str] | None) -> Image:
        """The image with this command, which is the entrypoint's arguments where there is one."""
        return self._set("with_cmd", words)

    def user(self, user: str | int) -> Image:
        """The image that runs as this user, by name or number, with a group after a colon."""
        return self._set("with_user", user)

    def workdir(self, path: str) -> Image:
        """The image with this working directory; a relative one is below the one it has."""
        return self._set("with_workdir", path)

    def label(self, labels: Mapping[str, str] | None = None, /, **more: str) -> Image:
        """The image with these labels beside its own."""
        return self._set("with_labels", {**(labels or {}), **more})

    def expose(self, *ports: int | str) -> Image:
        """The image with these ports, as 80, "53/udp" or "8000-8010"."""
        return self._set("with_ports", ports)

    def volume(self, *paths: str) -> Image:
        """The image whose containers keep these directories in volumes."""
        return self._set("with_volumes", paths)

    def stop_signal(self, signal: str | int) -> Image:
        """The image whose program ends by this signal."""
        return self._set("with_stop_signal", signal)

    def healthcheck(
        self,
        test: Sequence[str] | str | None,
        *,
        interval: float | str | timedelta | None = None,
        timeout: float | str | timedelta | None = None,
        start_period: float | str | timedelta | None = None,
        start_interval: float | str | timedelta | None = None,
        retries: int = 0,
    ) -> Image:
        """The image with this health check: words, or a line for the shell; None switches it off.

        Times in seconds or as "30s"; what is left out has Docker's default.
        """
        times = {
            "interval": interval,
            "timeout": timeout,
            "start_period": start_period,
            "start_interval": start_interval,
        }
        return self._set("with_healthcheck", test, times, retries)

    def annotate(self, annotations: Mapping[str, str] | None = None, /, **more: str) -> Image:
        """The image with these annotations in its manifest, beside those it has."""
        from pycontainer.image import derived

        view = self.view
        return self._derive(
            derived(view, annotations={**view.manifest.annotations, **(annotations or {}), **more})
        )

    def for_platform(self, platform: str) -> Image:
        """The image that says it is for this platform, as "linux/arm64"; its files are what they are."""
        from pycontainer.image import derived
        from pycontainer.oci import Platform

        return self._derive(derived(self.view, platform=Platform.parse(platform)))

    # -- how -------------------------------------------------------------------------------------

    def _set(self, setting: str, *values: Any) -> Image:
        from pycontainer.image import derived, settings

        view = self.view
        config, told = getattr(settings, setting)(view.config.config, *values)
        return self._derive(derived(view, config=config, step=self._step(told, empty_layer=True)))

    def _with_layer(self, write: Any, told: str) -> Image:
        from pycontainer.image import derived

        with self._engine.store.lease("write a layer"):
            layer: WrittenLayer = write(self._engine.store.content)
            return self._derive(derived(self.view, layer=layer, step=self._step(told)))

    def _step(self, told: str, *, empty_layer: bool = False) -> Any:
        from pycontainer.image import EPOCH
        from pycontainer.oci import History

        created = self.view.config.created or EPOCH
        return History(created=created, created_by=told, empty_layer=empty_layer)

    def _derive(self, view: ImageView) -> Image:
        made = cast("Image", type(self)(self._engine, None))
        made._made = view
        made._pin = self._pin or Pin(self._engine.store.pin("images not yet named"))
        made._pin.keep(view)
        return made

    def _annotated_base(self) -> Image:
        from pycontainer.engine.images import Image

        digest = self.view.manifest.annotations.get("org.opencontainers.image.base.digest")
        for image in Image.list(engine=self._engine):
            if digest and digest in (image.digest, image.manifest_digest):
                return image
        raise InvalidInput(f"image {self.view.id} does not tell the base it was made on; pass old=")
