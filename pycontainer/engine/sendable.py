"""Images on their way out: pushed to registries, saved to archives, alone or with other platforms."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

from pycontainer.engine.algebra import ImageAlgebra
from pycontainer.engine.events import emit_image
from pycontainer.errors import InvalidInput
from pycontainer.oci import Platform, Reference

if TYPE_CHECKING:
    from pycontainer.engine.images import Image
    from pycontainer.image import ImageView, OnEvent, Target
    from pycontainer.oci import Digest

__all__ = ["Sendable"]

ArchiveFormat = Literal["oci-layout", "oci-archive", "docker-archive"]


class Sendable(ImageAlgebra):
    """The methods of `Image` that send it elsewhere."""

    if TYPE_CHECKING:

        @property
        def id(self) -> str: ...

        @property
        def name(self) -> str: ...

        @property
        def tags(self) -> tuple[str, ...]: ...

    def push(
        self,
        reference: str | None = None,
        *,
        platform: str | None = None,
        compression: str | None = None,
        on_event: OnEvent | None = None,
    ) -> str:
        """Upload it and return its digest there.

        An image that is one of several platforms, all of which are here, is uploaded with these and what
        attests them, as an index. platform: only the image for this one.
        reference: where to; default its first tag. What the registry has is not sent again. compression: of
        its layers, as `recompress` takes it; each is compressed once, and kept for the next time.
        Raises: BadReference, AuthDenied, RegistryError; InvalidInput for an image without a name; NotFound
        for a platform that is not here.
        """
        if reference is None and not self.tags:
            raise InvalidInput(f"image {self.name} has no name to push it by; pass a reference")
        from pycontainer.engine.progress import events_shown  # only for transfers

        whole = self._whole(platform, compression)
        target = Reference.parse(reference or self.name)
        own = [Reference.parse(tag) for tag in self.tags]
        siblings = [name.path for name in own if name.domain == target.domain and name.path != target.path]
        with self._engine.store.lease(f"push {target}"), events_shown(self._engine, on_event) as show:
            digest = self._engine.registries.push(
                target,
                self._engine.store.content,
                whole.descriptor,
                on_event=show,
                mount_from=siblings,
            )
        emit_image(self._engine, "push", target.familiar, target.familiar_repository)
        return digest

    def save(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        *,
        format: ArchiveFormat = "docker-archive",
        platform: str | None = None,
        compression: str | None = None,
    ) -> None:
        """Write it with its names to a directory ("oci-layout"), a file or a stream.

        "docker-archive" is what `docker load` and podman take, "oci-archive" what podman and skopeo do.
        platform: as in push; a docker-archive has one platform always. compression: of its layers, as in
        push; a docker-archive has them uncompressed always.
        """
        self.save_all([self], target, format=format, platform=platform, compression=compression)

    @staticmethod
    def save_all(
        images: Sequence[Sendable],
        target: str | os.PathLike[str] | BinaryIO,
        *,
        format: ArchiveFormat = "docker-archive",
        platform: str | None = None,
        compression: str | None = None,
    ) -> None:
        """Write several images of one engine with their names, as `save` does; blobs are there once."""
        from pycontainer.image import Layout, write_docker_archive, write_oci_archive

        if not images:
            raise InvalidInput("no image to save")
        engine = images[0]._engine
        with engine.store.lease(f"save {len(images)} images"):
            names = [tuple(map(Reference.parse, image.tags)) for image in images]
            if format == "docker-archive":
                views = [image._of_platform(platform)._variant(compression) for image in images]
                write_docker_archive(target, zip(views, names, strict=True))
            elif format == "oci-archive":
                found = [image._whole(platform, compression) for image in images]
                write_oci_archive(target, zip(found, names, strict=True))
            elif format == "oci-layout":
                if not isinstance(target, (str, os.PathLike)):
                    raise InvalidInput("an oci-layout is a directory; give its path")
                layout = Layout.create(target)
                for image, own in zip(images, names, strict=True):
                    layout.add(image._whole(platform, compression), own)
            else:
                raise InvalidInput(f"format {format!r}: give oci-layout, oci-archive or docker-archive")
        for image in images:
            emit_image(engine, "save", image.id)

    def _of_platform(self, platform: str | None) -> Image:
        """The image for a platform among those that share its name."""
        if platform is None:
            return cast("Image", self)
        from pycontainer.engine.platforms import of_platform

        record = of_platform(self._engine, self._record, Platform.parse(platform))
        return cast("Image", type(self)(self._engine, record))

    def _whole(self, platform: str | None, compression: str | None, kept: Collection[Digest] = ()) -> Target:
        """The index of several platforms that are all here, or the manifest of one; see push.

        kept: layers whose compression stays what it is.
        """
        from pycontainer.engine.platforms import recompressed_index, whole_index
        from pycontainer.image import Target

        content = self._engine.store.content
        index = whole_index(self._engine, self._stored) if platform is None and self._stored else None
        if index is None:
            return Target.of(self._of_platform(platform)._variant(compression, kept))
        if compression is not None:
            return Target(content, recompressed_index(self._engine, self._record, compression, kept))
        return Target(content, index)

    def _variant(self, compression: str | None, kept: Collection[Digest] = ()) -> ImageView:
        """Its documents in the store, with layers compressed so; kept with the image for the next time."""
        if compression is None:
            return self._documents_kept()
        if self._stored is None:
            made = cast("Image", self).recompress(compression, force=":" in compression)
            self._pin = made._pin
            return made._documents_kept()
        from pycontainer.engine.attached import recompressed_once

        return recompressed_once(self._engine, self._record, compression, kept)
