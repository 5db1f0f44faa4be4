"""The part of `Container` that is about its files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, cast

if TYPE_CHECKING:
    from pycontainer.engine.changed import Change
    from pycontainer.engine.containers import Container
    from pycontainer.engine.copying import Copied
    from pycontainer.engine.files import Attend, OnMessage
    from pycontainer.engine.images import Image
    from pycontainer.engine.paths import ContainerPath

__all__ = ["FileMethods"]


class FileMethods:
    """What can be done with the files of a container, whether it runs or not."""

    __slots__ = ()

    @property
    def _whole(self) -> Container:
        return cast("Container", self)

    @property
    def path(self) -> ContainerPath:
        """Its root directory, as a path to begin with: `c.path / "etc" / "hosts"`."""
        from pycontainer.engine.paths import ContainerPath

        return ContainerPath(self._whole)

    def _run_job(
        self,
        job: str,
        params: Mapping[str, Any],
        fds: Sequence[int] = (),
        *,
        deadline: float | None,
        on_message: OnMessage | None = None,
        attend: Attend | None = None,
    ) -> dict[str, Any]:
        from pycontainer.engine.files import run_job

        return run_job(self._whole, job, params, fds, deadline=deadline, on_message=on_message, attend=attend)

    def copy_to(
        self,
        src: str | os.PathLike[str] | bytes | BinaryIO,
        dst: str | ContainerPath,
        *,
        archive: bool = False,
        follow_link: bool = False,
        timeout: float | str | timedelta | None = None,
    ) -> Copied:
        """Copy a file or directory of the host into it, by the rules of `docker cp`; or unpack a tar there.

        src: a path; "dir/." means what is in the directory. Or a tar, compressed or not, as bytes or a
        stream, for which dst has to be a directory; each of its files keeps its own owner. dst: a path in
        the container. archive: keep user and group ids, which otherwise become root's. follow_link: copy
        what a link src points to. timeout: seconds.
        Raises: NotFound; Conflict where a directory and a file would replace each other; KernelError, with
        every file either the old one or the new one, whole; InvalidImage for a tar that is none.
        """
        from pycontainer.engine import copying

        return copying.copy_to(
            self._whole, src, dst, archive=archive, follow_link=follow_link, timeout=timeout
        )

    def copy_from(
        self,
        src: str | ContainerPath,
        dst: str | os.PathLike[str] | BinaryIO,
        *,
        archive: bool = False,
        follow_link: bool = False,
        timeout: float | str | timedelta | None = None,
    ) -> Copied:
        """Copy a file or directory out of it, to a path of the host or as a tar to a stream.

        As copy_to the other way round. Without archive the copies are the caller's, and what gives powers
        stays behind: set-id bits, file capabilities, devices; nothing is ever written outside dst.
        """
        from pycontainer.engine import copying

        return copying.copy_from(
            self._whole, src, dst, archive=archive, follow_link=follow_link, timeout=timeout
        )

    def export(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        *,
        timeout: float | str | timedelta | None = None,
    ) -> Copied:
        """Write its whole root as a tar to a file or stream, without what is mounted in it."""
        from pycontainer.engine import copying
        from pycontainer.engine.events import emit_container

        done = copying.export(self, target, timeout=timeout)
        emit_container(self._whole._engine, "export", self._whole._current)
        return done

    def diff(
        self, mount: str | None = None, *, timeout: float | str | timedelta | None = 60.0
    ) -> list[Change]:
        """What it added, changed and deleted of its image's files, sorted by path. timeout: seconds.

        mount: the target of one of its mounts with mode=cow: what it changed there, of what is there now.
        Raises: InvalidInput when it has none there.
        """
        from pycontainer.engine import changed

        return changed.diff(self._whole, mount, timeout)

    def apply(
        self, mount: str, *, archive: bool = False, timeout: float | str | timedelta | None = None
    ) -> Copied:
        """Carry what it changed in a mount with mode=cow over to the host's directory: what `diff` tells.

        Files are replaced, each at once, directories changed, and what it deleted is deleted; owners,
        modes, attributes, times and hard links are the container's. Afterwards its changes are none. Without
        room for all new files nothing is changed; what is interrupted is completed by doing it again. What
        the host has changed meanwhile of the same files is lost. It must not run.
        mount: the target. archive: keep what gives powers, and otherwise stays behind: set-id bits,
        capabilities, devices (named in `skipped`). timeout: seconds.
        Raises: WrongState while it runs; InvalidInput without such a mount; Conflict when something is
        mounted on what is to be replaced; KernelError, DeadlineExceeded.
        """
        from pycontainer.engine import applying

        return applying.apply(self._whole, mount, archive=archive, timeout=timeout)

    def commit(
        self,
        name: str | None = None,
        *,
        author: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        pause: bool = True,
        compression: str = "gzip",
        timeout: float | str | timedelta | None = None,
    ) -> Image:
        """Make an image of its image and what it changed, configured as it was run.

        name: as "app:1". changes: Dockerfile instructions (CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK,
        LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR). pause: stop it meanwhile, so that the image is of
        one moment. compression: of the layer, as for `Image.push`. timeout: seconds. What is mounted in it is
        not part of it.
        Raises: BadReference, InvalidInput, KernelError, DeadlineExceeded.
        """
        from pycontainer.engine import committing

        return committing.commit(
            self._whole,
            name,
            author=author,
            message=message,
            changes=changes,
            pause=pause,
            compression=compression,
            timeout=timeout,
        )
