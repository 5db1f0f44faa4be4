"""A build from its options to its image."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from attrs import evolve

from pycontainer.build import (
    BuildEvent,
    Built,
    FileSource,
    OnBuildEvent,
    Plan,
    Rules,
    Solved,
    expanded,
    parse,
    plan,
    proxy_environment,
    solve,
)
from pycontainer.checkpoints import reached
from pycontainer.engine.attestations import attestation
from pycontainer.engine.building.cacheimages import CachePlace, export_cache, import_cache, with_keys
from pycontainer.engine.building.contexts import Opened, open_context, open_named
from pycontainer.engine.building.documents import stored_view
from pycontainer.engine.building.options import EPOCH_ARG, BuildRequest, epoch_of, understood
from pycontainer.engine.building.outputs import write_output
from pycontainer.engine.building.progress import shown_build
from pycontainer.engine.building.provenance import PROVENANCE, image_purl, predicate
from pycontainer.engine.building.scratch import scratch
from pycontainer.engine.building.worker import EngineWorker
from pycontainer.engine.events import emit_image
from pycontainer.engine.images import Image
from pycontainer.engine.inventories import SPDX, spdx_document
from pycontainer.engine.pulling import import_view
from pycontainer.errors import DockerfileError, PycontainerError
from pycontainer.image import ImageView, Layout
from pycontainer.oci import Descriptor, Digest, ImageConfig, Index, Platform, encode, mediatype
from pycontainer.patterns import PatternMatcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pycontainer.build import BuildWarning
    from pycontainer.engine.engine import Engine
    from pycontainer.store import Lease

__all__ = ["KILL_POINTS", "build", "check"]

KILL_POINTS = (
    "build.target.built",  # all layers are there, no image is
    "build.image.recorded",
)

_IMAGE, _LAYOUT = "docker-image://", "oci-layout://"
Attested = tuple[Descriptor, tuple[Digest, ...]]


def build(
    engine: Engine,
    context: Any,
    *,
    dockerfile: str | os.PathLike[str] | bytes | None,
    progress: OnBuildEvent | str | None,
    **options: Any,
) -> Image:
    """See Image.build."""
    with shown_build(progress or engine.config.progress) as on_event:
        request = understood(on_event=on_event, **options)
        with ExitStack() as cleanup:
            lease = cleanup.enter_context(engine.store.lease("build an image"))
            place = cleanup.enter_context(scratch(engine))
            worker = cleanup.enter_context(EngineWorker(engine, request, lease, place))
            opened, contexts = _contexts(worker, request, context, dockerfile)
            request = _dated(request, opened, contexts)
            worker.use_epoch(request.epoch)
            begun, given = worker.now(), dict(worker.materials)
            views: list[ImageView] = []
            attested: list[Attested] = []
            base_layers: set[Digest] = set()
            layers: dict[str, list[Path]] = {}
            for platform in request.platforms:
                worker.materials = dict(given)
                worker.imported = import_cache(worker, request.cache_from, platform)
                with_layouts = {**contexts, **_in_layouts(engine, lease, request, platform)}
                solved = _solved(worker, evolve(request, platforms=(platform,)), opened, with_layouts)
                built = solved.target
                base_layers |= {layer.descriptor.digest for layer in built.layers[: built.from_base]}
                layers[str(platform)] = engine.store.lower_dirs([layer.snapshot for layer in built.layers])
                reached("build.target.built")
                view = _assembled(engine, worker, request, built)
                views.append(view)
                attested += _attested(worker, request, opened, view, solved, begun)
                for cache in request.cache_to:
                    if cache.kind != "inline":
                        _exported(worker, cache, built, platform)
            image, target = _recorded(engine, request, views, attested, lease)
            reached("build.image.recorded")
            for output in request.outputs:
                write_output(worker, image, output, target, frozenset(base_layers), layers)
        names = ", ".join(tag.familiar for tag in request.tags)
        worker.tell(BuildEvent(action="finished", digest=image.id, message=names))
    emit_image(engine, "build", image.id, request.tags[0].familiar if request.tags else "")
    return image


def check(
    engine: Engine,
    context: Any,
    dockerfile: str | os.PathLike[str] | bytes | None,
    request: BuildRequest,
) -> tuple[BuildWarning, ...]:
    """See Image.check."""
    with ExitStack() as cleanup:
        lease = cleanup.enter_context(engine.store.lease("check a Dockerfile"))
        place = cleanup.enter_context(scratch(engine))
        worker = cleanup.enter_context(EngineWorker(engine, request, lease, place))
        opened, contexts = _contexts(worker, request, context, dockerfile)
        contexts |= _in_layouts(engine, lease, request, request.platforms[0])
        planned, _ = expanded(_planned(request, opened, contexts, is_whole=True), contexts, worker.config)
        return planned.checks.warnings


def _exported(worker: EngineWorker, cache: CachePlace, built: Built, platform: Platform) -> None:
    try:
        export_cache(worker, cache, built.layers, worker.steps, platform)
    except PycontainerError as error:
        if not cache.ignores_errors:
            raise
        worker.warn(f"the cache was not written to {cache.place}: {error}")


def _contexts(
    worker: EngineWorker,
    request: BuildRequest,
    context: Any,
    dockerfile: str | os.PathLike[str] | bytes | None,
) -> tuple[Opened, dict[str, FileSource | str]]:
    opened = open_context(worker, context, dockerfile)
    contexts: dict[str, FileSource | str] = {"": opened.source}
    for name, value in request.contexts.items():
        if isinstance(value, str) and value.startswith((_IMAGE, _LAYOUT)):
            contexts[name] = value.removeprefix(_IMAGE)
        else:
            contexts[name] = open_named(worker, name, value)
    return opened, contexts


def _in_layouts(
    engine: Engine, lease: Lease, request: BuildRequest, platform: Platform
) -> dict[str, FileSource | str]:
    """The contexts that are images of OCI layouts, by their ids: "oci-layout://PATH[:NAME][@DIGEST]".

    Raises: NotFound, InvalidImage, DigestMismatch.
    """
    found: dict[str, FileSource | str] = {}
    for name, value in request.contexts.items():
        if isinstance(value, str) and value.startswith(_LAYOUT):
            place, _, digest = value.removeprefix(_LAYOUT).partition("@")
            above, slash, last = place.rpartition("/")
            last, _, tag = last.partition(":")
            view = Layout(f"{above}{slash}{last}").view(digest or tag or None, platform)
            found[name] = import_view(engine, view, (), lease).id
    return found


def _dated(request: BuildRequest, opened: Opened, contexts: Mapping[str, FileSource | str]) -> BuildRequest:
    """The request with the SOURCE_DATE_EPOCH that the Dockerfile's global ARG gives, if nothing else does."""
    if request.epoch is not None or EPOCH_ARG not in opened.text:
        return request
    try:
        planned = _planned(request, opened, contexts)
    except DockerfileError:
        return request  # the build itself says what is wrong
    return evolve(request, epoch=epoch_of(planned.global_args.get(EPOCH_ARG, "")))


def _solved(
    worker: EngineWorker, request: BuildRequest, opened: Opened, contexts: dict[str, FileSource | str]
) -> Solved:
    rules = Rules(
        filename=opened.filename,
        epoch=request.epoch,
        ignores_cache=request.ignores_cache,
        uncached=request.uncached,
        proxies=proxy_environment(request.build_args),
        entitlements=request.allow,
        run_inputs={
            "network": request.network,
            "hosts": request.limits.get("extra_hosts"),
        },
    )
    try:
        planned = _planned(request, opened, contexts)
        return solve(planned, worker, rules, contexts, worker.stop, request.timeout_s)
    except DockerfileError as error:
        for found in error.warnings:
            worker.tell(BuildEvent.of_warning(found))
        raise


def _planned(
    request: BuildRequest, opened: Opened, contexts: Mapping[str, FileSource | str], *, is_whole: bool = False
) -> Plan:
    return plan(
        parse(opened.text, opened.filename),
        target=request.target,
        build_args=request.build_args,
        target_platform=request.platforms[0],
        contexts=[name for name in contexts if name],
        ignored=PatternMatcher(opened.source.ignore),
        all_stages=is_whole,
    )


def _attested(
    worker: EngineWorker, request: BuildRequest, opened: Opened, view: ImageView, solved: Solved, begun: str
) -> list[Attested]:
    """What is to be attested of one platform's image."""
    predicates: list[tuple[str, Mapping[str, Any]]] = []
    if request.has_sbom:
        predicates += [(SPDX, document) for document in _inventories(worker, request, opened, view, solved)]
    if request.provenance is not None:
        made = predicate(
            request.provenance,
            request,
            context=opened.url,
            filename=opened.filename,
            dockerfile=opened.text,
            materials=worker.materials.values(),
            times=None if request.epoch is not None else (begun, worker.now()),
        )
        predicates.append((PROVENANCE, made))
    if not predicates:
        return []
    names = [image_purl(str(tag), view.platform) for tag in request.tags]
    return [attestation(worker.engine.store.content, view.descriptor, names, predicates)]


def _inventories(
    worker: EngineWorker, request: BuildRequest, opened: Opened, view: ImageView, solved: Solved
) -> Iterator[Mapping[str, Any]]:
    """The software of the image, and of the stages and the context that are to be scanned, too."""
    store = worker.engine.store
    name = request.tags[0].familiar if request.tags else view.id
    stages = {"": solved.target, **solved.scanned}
    places = {
        title: store.lower_dirs([each.snapshot for each in made.layers]) for title, made in stages.items()
    }
    if solved.scans_context:
        snapshots, path, _ = worker.materialised(opened.source, "")
        places["context"] = [place / path for place in store.lower_dirs(snapshots)]
    for title, layers in places.items():
        yield spdx_document(
            worker.engine,
            layers,
            name=f"{name} ({title})" if title else name,
            digest=view.descriptor.digest,
            created=view.config.created,
            with_locks=title == "context",
        )


def _recorded(
    engine: Engine,
    request: BuildRequest,
    views: Sequence[ImageView],
    attested: Sequence[Attested],
    lease: Lease,
) -> tuple[Image, Descriptor]:
    """The image in the store, and what its names stand for: of several, or with attestations, an index."""
    host = Platform.host().normalized().architecture
    main = next((view for view in views if view.config.architecture == host), views[0])
    record = import_view(engine, main, request.tags, lease)
    if len(views) == 1 and not attested:
        return Image(engine, record), main.descriptor
    told = dict(request.annotations.descriptor)
    entries = [evolve(view.descriptor, annotations={**view.descriptor.annotations, **told}) for view in views]
    listed = (*entries, *(entry for entry, _ in attested))
    index = encode(Index(manifests=listed, annotations=dict(request.annotations.index)))
    digest = engine.store.content.put(index)
    others = {blob.digest for view in views for blob in (*view.blobs, view.descriptor)}
    others.update(digest for _, digests in attested for digest in digests)
    record = engine.store.state.images.put(
        evolve(record, target_digest=digest, blobs=tuple(sorted(others - record.digests))),
        [str(tag) for tag in request.tags],
    )
    return Image(engine, record), Descriptor.of(index, mediatype.OCI_INDEX)


def _assembled(engine: Engine, worker: EngineWorker, request: BuildRequest, built: Built) -> ImageView:
    """The image's documents, in the store."""
    worker.tell(BuildEvent(action="exporting"))
    created = built.config.created or worker.now()
    config: ImageConfig = evolve(
        built.config,
        created=created,
        history=tuple(evolve(step, created=step.created or created) for step in built.config.history),
        config=evolve(built.config.config, labels={**built.config.config.labels, **request.labels}),
    )
    if any(cache.kind == "inline" for cache in request.cache_to):
        config = with_keys(config, built.layers, worker.steps)
    descriptors = [layer.descriptor for layer in built.layers]
    return stored_view(engine, config, descriptors, annotations=request.annotations.manifest)
