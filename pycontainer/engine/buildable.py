"""`Image.build`, the verb; what it does is in `engine.building`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO

from pycontainer.engine.engine import Engine, current_engine

if TYPE_CHECKING:
    from pycontainer.build import BuildWarning, OnBuildEvent
    from pycontainer.engine.building import OnFailure
    from pycontainer.engine.images import Image

__all__ = ["Buildable"]


class Buildable:
    """What images come from a Dockerfile, or a single step of one, by."""

    def run(
        self,
        command: Sequence[str] | str,
        *,
        mounts: Sequence[str] = (),
        secrets: Mapping[str, Any] | None = None,
        ssh: bool | str | Mapping[str, str | None] | Sequence[str] = False,
        contexts: Mapping[str, Any] | None = None,
        no_cache: bool = False,
        network: str = "default",
        compression: str = "gzip",
        progress: OnBuildEvent | str | None = None,
        on_failure: OnFailure | None = None,
        timeout: float | str | timedelta | None = None,
        **limits: Any,
    ) -> Image:
        """The image with one more layer: what a program changes that is run in it, as a Dockerfile's RUN.

        command: words, or a line for the image's shell. It runs as the image's user, in its directory, with
        its environment. mounts: as RUN --mount takes them: "type=cache,target=/root/.cache". The rest as in
        build, with which it shares the cache: what was run on the same layers in the same way is not run
        again.

        Image.get("debian").run(["apt-get", "update"]).cmd(["bash"]).tag("mine")
        Raises: BuildError with exit code and the end of the output; as build.
        """
        from typing import cast

        from pycontainer.engine.building import run_on

        return run_on(
            cast("Image", self),
            command,
            mounts,
            secrets=secrets,
            ssh=ssh,
            contexts=contexts,
            no_cache=no_cache,
            network=network,
            compression=compression,
            progress=progress,
            on_failure=on_failure,
            timeout=timeout,
            **limits,
        )

    @classmethod
    def build(
        cls,
        context: str | os.PathLike[str] | bytes | BinaryIO | Mapping[str, Any] | None = ".",
        *,
        dockerfile: str | os.PathLike[str] | bytes | None = None,
        target: str | None = None,
        build_args: Mapping[str, str | None] | None = None,
        tags: Sequence[str] = (),
        platform: str | None = None,
        platforms: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        secrets: Mapping[str, Any] | None = None,
        ssh: bool | str | Mapping[str, str | None] | Sequence[str] = False,
        contexts: Mapping[str, Any] | None = None,
        no_cache: bool | Sequence[str] = False,
        cache_from: Sequence[str | Mapping[str, str]] | str | Mapping[str, str] = (),
        cache_to: Sequence[str | Mapping[str, str]] | str | Mapping[str, str] = (),
        pull: bool | str = False,
        network: str = "default",
        allow: Sequence[str] = (),
        compression: str = "gzip",
        outputs: Sequence[str | Mapping[str, Any]] | str | Mapping[str, Any] = (),
        provenance: bool | str | Mapping[str, str] = False,
        sbom: bool = False,
        progress: OnBuildEvent | str | None = None,
        on_failure: OnFailure | None = None,
        timeout: float | str | timedelta | None = None,
        engine: Engine | None = None,
        **limits: Any,
    ) -> Image:
        """Build an image from a Dockerfile and give it names.

        context: a directory; a tar (path, bytes or stream; gz, bz2, xz, zst or plain); a dict of relative
        path to bytes, text or Path; the URL of a tar or of a git repository; None for no files. A stream or
        bytes that are no tar are the Dockerfile. .dockerignore counts, and before it DOCKERFILE.dockerignore.

        dockerfile: its text, or its path: relative in the context, absolute on this host.

        target: the stage to build; default the last.

        platforms: build for each of them, and give the names to an index of all; the image returned is this
        host's, or the first. RUN for another machine needs its emulator (binfmt_misc).

        build_args: values for ARG; None takes the caller's own variable. SOURCE_DATE_EPOCH among them, in
        the environment, or of a global ARG, bounds all times: then equal inputs give equal digests.

        secrets: by id bytes, text, a Path or {"env": NAME}. They are in no layer, history, key or log.

        ssh: True for the caller's agent, or sockets by id, for `RUN --mount=type=ssh`.

        contexts: further ones by name, each as a context, "docker-image://NAME" (or scratch), or
        "oci-layout://PATH[:NAME][@DIGEST]", whose image is kept in the store without a name.

        no_cache: nothing is taken from the cache, or nothing of these stages. pull: True looks for newer base
        images, "never" for none that is not here.

        cache_from, cache_to: caches beside the store's: "type=registry,ref=NAME" (or just NAME),
        "type=local,src=DIR" and dest=DIR, to export also "type=inline" into the image itself; mode=max
        exports the steps of all stages.

        network: of every RUN: none, host or a network's name; by default the bridge. allow: what RUNs may ask
        for: network.host, security.insecure. limits: options of `run` for every RUN, as memory, cpus,
        extra_hosts.

        outputs: what to do with the image besides, as "type=registry", "type=local,dest=DIR" (or just DIR),
        "type=tar,dest=FILE", "type=oci,dest=FILE" (with tar=false an OCI layout), "type=docker,dest=FILE".
        compression=zstd,compression-level=9 is for layers that are pushed or in an oci archive, of those that
        the base image has with force-compression=true only. push-by-digest=true pushes no tag.
        annotations: of the manifest; as "index:KEY" and "manifest-descriptor:KEY" of the index that there is
        of several platforms or with attestations, and of its entries.

        provenance: True to attest how the image was built (SLSA v1); "max" (or "mode=max,builder-id=URL")
        tells build arguments, names of secrets and the Dockerfile, too. sbom: attest what software it
        contains (SPDX 2.3, of dpkg, apk, rpm, Python, npm, Java and Go). Both go into the index that
        then lists the image; `attestations` reads them back.

        progress: a callable for each BuildEvent (from several threads), "plain", "rich", "auto" or "off".
        on_failure: called with a FailedStep when a RUN fails, which opens a container in the failed state.
        timeout: seconds for the steps; then what runs is killed, and DeadlineExceeded raised.

        What was built until an error stays cached. Raises: DockerfileError with file and line; BuildError
        with the failed step, its exit code and the end of its output; NotFound, InvalidInput, Unsupported,
        RegistryError.
        """
        from pycontainer.engine.building import build

        return build(
            engine or current_engine(),
            context,
            dockerfile=dockerfile,
            progress=progress,
            build_args=build_args,
            target=target,
            platform=platform,
            platforms=platforms,
            tags=tags,
            labels=labels,
            annotations=annotations,
            secrets=secrets,
            ssh=ssh,
            contexts=contexts,
            no_cache=no_cache,
            cache_from=cache_from,
            cache_to=cache_to,
            pull=pull,
            network=network,
            allow=allow,
            limits=limits,
            compression=compression,
            outputs=outputs,
            provenance=provenance,
            sbom=sbom,
            on_failure=on_failure,
            timeout=timeout,
        )

    @classmethod
    def check(
        cls,
        context: str | os.PathLike[str] | bytes | BinaryIO | Mapping[str, Any] | None = ".",
        *,
        dockerfile: str | os.PathLike[str] | bytes | None = None,
        target: str | None = None,
        build_args: Mapping[str, str | None] | None = None,
        platform: str | None = None,
        contexts: Mapping[str, Any] | None = None,
        engine: Engine | None = None,
    ) -> tuple[BuildWarning, ...]:
        """What BuildKit's build checks find in a Dockerfile, as `docker build --check`; nothing is built.

        All stages are looked at, also those the target does not need. The options are those of build. Of base
        images only the configuration is asked for, which comes from the registry where the store has none.
        Raises: DockerfileError, with `warnings`, for what is wrong, and for any finding where the file says
        `check=error=true`; NotFound, InvalidInput, RegistryError.
        """
        from pycontainer.engine.building import check, understood_check

        request = understood_check(build_args=build_args, target=target, platform=platform, contexts=contexts)
        return check(engine or current_engine(), context, dockerfile, request)
