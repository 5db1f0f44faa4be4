"""The engine as what executes a build's steps: see build.Worker.

Theory of operation. A step writes into a directory beside the snapshots, on an overlay over those below it,
or a container does, whose own directory is taken over. A job reads that once, as the layer's tar: so the
step's digest is known, its blob is written, and the directory is renamed among the snapshots. Nothing is
unpacked again, and nothing that a kill leaves half done has a name.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from pycontainer.build import (
    Base,
    BuildEvent,
    CopyPart,
    CopyStep,
    FileSource,
    GivenUp,
    Layer,
    RunStep,
    shown_url,
)
from pycontainer.checkpoints import reached
from pycontainer.engine.building.cacheimages import Imported
from pycontainer.engine.building.documents import stored_view
from pycontainer.engine.building.downloads import Downloads
from pycontainer.engine.building.failing import FailedStep
from pycontainer.engine.building.git import clone_git
from pycontainer.engine.building.provenance import Material
from pycontainer.engine.building.running import Caches, Ran, run_step
from pycontainer.engine.building.scratch import writing
from pycontainer.engine.images import Image, ready
from pycontainer.engine.pulling import import_view
from pycontainer.errors import Conflict, ContainerFailed, DeadlineExceeded, HelperDied, InUse, NotFound
from pycontainer.image import LayerWriter
from pycontainer.oci import Descriptor, Digest, ImageConfig, Platform, Reference, mediatype, sha256
from pycontainer.store import BuildRecord, LayerToUnpack, SnapshotKey, codec_path

if TYPE_CHECKING:
    from pycontainer.engine.building.options import BuildRequest
    from pycontainer.engine.engine import Engine
    from pycontainer.store import Lease, NewLayer

__all__ = ["KILL_POINTS", "EngineWorker"]

KILL_POINTS = (
    "build.run.created",  # a container is there, its program is not
    "build.run.ended",  # the program has ended, its files are still the container's
    "build.files.written",  # a COPY's files are there, in no layer yet
    "build.layer.read",  # a layer's tar is read
    "build.layer.stored",  # its blob is there
    "build.step.kept",  # the cache knows it
)

_PIPE_SIZE = 1 << 20
_CHUNK = 1 << 20
_TICK_S = 0.2
_NO_BLOB = Digest("")


class EngineWorker:
    """One build's worker. A context manager: what it made only for the build goes with the block.

    Attributes: engine, network, limits (run options of every RUN), caches, stop (set to give up), imported
    (layers that are elsewhere), steps (what this build has made or taken from a cache, by key), materials
    (what it took from elsewhere, by URI).
    """

    def __init__(self, engine: Engine, request: BuildRequest, lease: Lease, scratch: Path) -> None:
        self.engine = engine
        self.network: str = request.network
        self.limits: dict[str, Any] = dict(request.limits)
        self.stop: threading.Event = threading.Event()
        self.imported: Imported = Imported()
        self.steps: dict[str, Layer] = {}
        self.materials: dict[str, Material] = {}
        self._downloads = Downloads(engine.store.root / "builds/downloads")
        self.caches: Caches = Caches(engine.store.root / "builds/caches", self)
        self._request = request
        self._lease = lease
        self._scratch = scratch
        self._cleanup = ExitStack()
        self._guard = threading.Lock()
        self._known: dict[SnapshotKey, tuple[Digest, Descriptor]] = {}
        self._numbers = iter(range(1 << 30))

    def __enter__(self) -> EngineWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def use_epoch(self, epoch: int | None) -> None:
        """Bound all times by this one, which the Dockerfile gave."""
        self._request = evolve(self._request, epoch=epoch)

    # -- images and the cache ----------------------------------------------------------------------

    def base(self, reference: str, platform: Platform) -> Base:
        """See build.Worker."""
        image = ready(self.engine, self._image(reference, platform), reference)
        record = image._record
        view = image.view
        layers = []
        for descriptor, diff_id, layer in zip(view.layers, view.diff_ids, record.layers, strict=True):
            self._lease.protect(descriptor.digest)
            self._lease.protect_snapshot(layer.snapshot)
            plain = mediatype.as_oci_layer(descriptor.media_type)
            found = Layer(
                diff_id=diff_id,
                descriptor=Descriptor(media_type=plain, digest=descriptor.digest, size=descriptor.size),
                snapshot=layer.snapshot,
            )
            layers.append(self._noted(found))
        if not self.engine.store.is_unpacked(record):
            raise NotFound(f"image {reference} was removed meanwhile; build again")
        self._note(Material.of_image(reference, platform, image.digest))
        return Base(config=view.config, layers=tuple(layers), digest=view.descriptor.digest)

    def config(self, reference: str, platform: Platform) -> ImageConfig:
        """The configuration of an image, which need not be here. Raises: NotFound, RegistryError."""
        try:
            return Image.get(reference, platform=str(platform), engine=self.engine).config
        except NotFound:
            if reference.startswith("sha256:"):
                raise
        return self.engine.registries.resolve(Reference.parse(reference), platform).config

    def _note(self, material: Material) -> None:
        with self._guard:
            self.materials[material.uri] = material

    def _image(self, reference: str, platform: Platform) -> Image:
        wanted = str(platform)
        if reference.startswith("sha256:"):
            return Image.get(reference, engine=self.engine)  # an id: it is that image, for whatever machine
        if self._request.pull != "always":
            try:
                return Image.get(reference, platform=wanted, engine=self.engine)
            except NotFound:
                if self._request.pull == "never":
                    raise
        return Image.pull(
            reference,
            platform=wanted,
            engine=self.engine,
            on_event=lambda event: self.tell(BuildEvent(action="transfer", progress=event)),
        )

    def cached(self, key: str) -> Layer | None:
        """See build.Worker."""
        record = self.engine.store.state.builds.get(key)
        found = None if record is None else self._usable(record)
        if found is None and (brought := self.imported.brought(self, key)) is not None:
            found = self.keep(key, brought, "imported", replaces=True)
        return self._used(key, found)

    def _used(self, key: str, layer: Layer | None) -> Layer | None:
        if layer is not None:
            with self._guard:
                self.steps[key] = layer
        return layer

    def unpacked(self, descriptor: Descriptor, diff_id: Digest) -> SnapshotKey:
        """The layer of a blob that is here, as a snapshot. Raises: InvalidImage, DigestMismatch."""
        layer = LayerToUnpack(descriptor=descriptor, diff_id=diff_id)
        return self.engine.store.unpack([layer], lease=self._lease)[0]

    def _usable(self, record: BuildRecord) -> Layer | None:
        store = self.engine.store
        # Protected first, then looked for: the collector takes it before, or never.
        self._lease.protect_snapshot(record.snapshot)
        if record.digest:
            self._lease.protect(record.digest)
        if not store.snapshots.has(record.snapshot):
            return None
        if record.digest and not store.content.has(record.digest):
            return None
        return self._noted(
            Layer(
                diff_id=record.diff_id,
                descriptor=Descriptor(media_type=record.media_type, digest=record.digest, size=record.size),
                snapshot=record.snapshot,
                created=record.created,
            )
        )

    @contextmanager
    def executing(self, key: str) -> Iterator[None]:
        """See build.Worker."""
        with ExitStack() as cleanup:
            while True:
                try:
                    cleanup.enter_context(self.engine.store.container_lock(f"build-{_digits(key)}", _TICK_S))
                    break
                except DeadlineExceeded:
                    if self.stop.is_set():
                        raise GivenUp("the build was given up") from None
            yield

    def keep(self, key: str, layer: Layer, description: str, *, replaces: bool = False) -> Layer:
        """See build.Worker."""
        builds = self.engine.store.state.builds
        record = BuildRecord(
            key=key,
            diff_id=layer.diff_id,
            digest=layer.descriptor.digest,
            media_type=layer.descriptor.media_type,
            size=layer.descriptor.size,
            snapshot=layer.snapshot,
            created=layer.created,
            description=description,
        )
        kept = None if replaces else self._usable(builds.put(record))
        if kept is None:
            # What was there is broken, or not wanted: this is what counts from now on.
            builds.replace(record)
            kept = self._usable(record)
        reached("build.step.kept")
        made = kept or layer
        self._used(key, made)
        return made

    def _noted(self, layer: Layer) -> Layer:
        with self._guard:
            self._known[layer.snapshot] = (layer.diff_id, layer.descriptor)
        return layer

    def diff_ids(self, below: Sequence[SnapshotKey]) -> tuple[Digest, ...]:
        """Digests of layers that this build has seen."""
        with self._guard:
            return tuple(self._known[key][0] for key in below)

    def descriptors(self, below: Sequence[SnapshotKey]) -> tuple[Descriptor, ...]:
        """Blobs of layers that this build has seen."""
        with self._guard:
            return tuple(self._known[key][1] for key in below)

    # -- files -------------------------------------------------------------------------------------

    def checksum(self, part: CopyPart) -> str:
        """See build.Worker."""
        source = self._with_files(part.source)
        key = ""
        if source.snapshots:
            subject = repr(
                (source.identity, part.patterns, part.excludes, part.parents, part.source.is_plain)
            )
            key = sha256(subject.encode())
            if (known := self.engine.store.state.builds.sum(key)) is not None:
                return known
        params: dict[str, Any] = {
            "source": {},
            "patterns": part.patterns,
            "excludes": part.excludes,
            "parents": part.parents,
            "is_plain": source.is_plain,
        }
        with ExitStack() as cleanup:
            fds = self._described(source, params["source"], [])
            if source.table:
                params["table"] = source.table
                fds.append(self._tables(cleanup))
            told = self.job("build_checksum", params, fds)
        if key:
            self.engine.store.state.builds.keep_sum(key, told["digest"])
        return str(told["digest"])

    def _kinds(self, part: CopyPart) -> list[str]:
        params: dict[str, Any] = {"source": {}, "patterns": part.patterns, "is_plain": True}
        fds = self._described(part.source, params["source"], [])
        return list(self.job("build_checksum", params, fds)["kinds"])

    def _tables(self, cleanup: ExitStack) -> int:
        directory = self.engine.store.root / "builds/contexts"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        cleanup.callback(os.close, fd)
        return fd

    def _with_files(self, source: FileSource) -> FileSource:
        """The source; an empty directory for a stage of nothing, which has no layers to mount."""
        if source.snapshots or source.directory >= 0:
            return source
        return self.opened(self.new_place(), source.name)

    def _described(self, source: FileSource, into: dict[str, Any], fds: list[int]) -> list[int]:
        """What a job is told of a source."""
        into["ignore"] = source.ignore
        if source.directory >= 0:
            into["fd"] = len(fds)
            return [*fds, source.directory]
        into["layers"] = self._layers(source.snapshots)
        return fds

    def _layers(self, snapshots: Sequence[SnapshotKey]) -> list[str]:
        return [str(path) for path in self.engine.store.lower_dirs(snapshots)]

    def copy(self, step: CopyStep) -> Layer:
        """See build.Worker."""
        with self.engine.store.new_layer(step.below, self._lease) as layer:
            self._copy(step, layer.upper, layer.work)
            reached("build.files.written")
            return self._sealed(layer)

    def _copy(self, step: CopyStep, upper: Path, work: Path) -> None:
        params: dict[str, Any] = {
            "upper": str(upper),
            "work": str(work),
            "lower": self._layers(step.below),
            "sources": [],
            "destination": step.destination,
            "chown": step.chown,
            "mode": step.mode,
            "epoch": self._request.epoch,
            "codec_path": codec_path(),
        }
        fds: list[int] = []
        for part in step.parts:
            described: dict[str, Any] = {
                "patterns": part.patterns,
                "excludes": part.excludes,
                "parents": part.parents,
                "is_plain": part.source.is_plain,
                "unpacks": part.unpacks,
            }
            fds = self._described(self._with_files(part.source), described, fds)
            params["sources"].append(described)
        self.job("build_copy", params, fds)

    def make_directory(self, below: tuple[SnapshotKey, ...], path: str, user: str) -> Layer:
        """See build.Worker."""
        with self.engine.store.new_layer(below, self._lease) as layer:
            params = {
                "upper": str(layer.upper),
                "work": str(layer.work),
                "lower": self._layers(below),
                "path": path,
                "user": user,
                "epoch": self._request.epoch,
            }
            self.job("build_directory", params, [])
            return self._sealed(layer)

    def run(self, step: RunStep, on_output: Callable[[str, bytes], None]) -> Layer:
        """See build.Worker."""
        with self.engine.store.new_layer(step.below, self._lease) as layer:
            with run_step(self, step, on_output, self.stop) as ran:
                layer.adopt(ran.upper)
                return self._sealed(layer, ran.stubs)

    def failed(self, step: RunStep, ran: Ran, error: ContainerFailed) -> None:
        """Show a failed step to whoever asked for that."""
        if self._request.on_failure is None:
            return
        with self.engine.store.new_layer(step.below, self._lease) as layer:
            layer.adopt(ran.upper)
            made = self._sealed(layer, ran.stubs)
        config = evolve(
            step.config,
            config=evolve(
                step.config.config,
                env=tuple(f"{name}={value}" for name, value in step.env.items()),
                working_dir=step.workdir,
                entrypoint=None,
                cmd=step.argv,
                volumes=(),
                healthcheck=None,
            ),
            diff_ids=(*self.diff_ids(step.below), made.diff_id),
            history=(),
            created=made.created,
        )
        view = stored_view(
            self.engine, config, (*self.descriptors(step.below), made.descriptor), annotations={}
        )
        image = Image(self.engine, import_view(self.engine, view, (), self._lease))
        try:
            self._request.on_failure(
                FailedStep(
                    image=image,
                    command=step.argv,
                    exit_code=error.exit_code,
                    log_tail=error.stdout.decode(errors="replace"),
                )
            )
        finally:
            with suppress(InUse, NotFound):
                image.remove()

    def _sealed(self, layer: NewLayer, stubs: Sequence[str] = ()) -> Layer:
        """Read what a step wrote, store its blob, and make it a snapshot."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        with ExitStack() as cleanup:
            cleanup.callback(os.close, reader)
            try:
                upper = os.open(layer.upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                cleanup.callback(os.close, upper)
                params = {"stubs": list(stubs), "epoch": self._request.epoch}
                job = cleanup.enter_context(self.engine.helper.submit("build_layer", params, [upper, writer]))
            finally:
                os.close(writer)
            out = cleanup.enter_context(LayerWriter(self._request.compression))
            while data := self._read(reader):
                out.write(data)
            told = job.result()
            written = out.store(self.engine.store.content)
            reached("build.layer.stored")
        if written.diff_id != told["diff_id"]:
            raise HelperDied("the layer was cut off; build again", job="build_layer")
        key = layer.commit(written.diff_id, size=told["content_size"], entries=told["entries"])
        return self._noted(
            Layer(diff_id=written.diff_id, descriptor=written.descriptor, snapshot=key, created=self.now())
        )

    def _read(self, fd: int) -> bytes:
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        while not poller.poll(_TICK_S * 1000):
            if self.stop.is_set():
                raise GivenUp("the build was given up")
        return os.read(fd, _CHUNK)

    def now(self) -> str:
        """The time that is written down of what is made now, RFC 3339."""
        epoch = self._request.epoch
        moment = datetime.now(UTC) if epoch is None else datetime.fromtimestamp(epoch, UTC)
        return moment.isoformat().replace("+00:00", "Z")

    def job(self, name: str, params: Mapping[str, Any], fds: Sequence[int]) -> dict[str, Any]:
        """Have a job done. Raises: GivenUp; what the job raises."""
        with self.engine.helper.submit(name, dict(params), fds) as job:
            while True:
                try:
                    return job.result(_TICK_S)
                except DeadlineExceeded:
                    if self.stop.is_set():
                        raise GivenUp("the build was given up") from None

    # -- what mounts need --------------------------------------------------------------------------

    def missing(self, below: Sequence[SnapshotKey], targets: Sequence[str]) -> list[str]:
        """What is not there yet of the places where something is to be mounted, parents first."""
        if not targets:
            return []
        params = {"layers": self._layers(below), "targets": list(targets)}
        return list(self.job("build_missing", params, [])["paths"])

    def materialised(self, source: FileSource, path: str) -> tuple[Sequence[SnapshotKey], str, bool]:
        """Layers that show a source's files and nothing else, the path in them without links, and whether it
        is a directory.
        """
        if source.snapshots:
            params = {"layers": self._layers(source.snapshots), "path": path or "/"}
            told = self.job("build_locate", params, [])
            return source.snapshots, told["path"], told["is_directory"]
        if source.directory < 0:
            return (self.empty(),), "", True
        part = CopyPart(source=source, patterns=(path or "/",))
        key = sha256(f"files {self.checksum(part)}".encode())
        found = self.cached(key)
        if found is None:
            with self.executing(key):
                found = self.cached(key) or self.keep(key, self._filled(key, part), "files to mount")
        # A file has a name there, a directory's content lies there itself.
        names = os.listdir(self.engine.store.snapshots.path(found.snapshot))
        return (found.snapshot,), names[0], names[0] == "tree"

    def _filled(self, key: str, part: CopyPart) -> Layer:
        """A layer of files that is only mounted: no image has it, so no blob."""
        with self.engine.store.new_layer((), self._lease) as layer:
            before = self.checksum(part)
            name = "/tree/" if self._kinds(part) == ["dir"] else "/file"
            self._copy(CopyStep(below=(), parts=(part,), destination=name), layer.upper, layer.work)
            if self.checksum(part) != before:
                raise _changing(part)
            return self._unsent(layer, sha256(f"mounted {key}".encode()))

    def _unsent(self, layer: NewLayer, diff_id: Digest) -> Layer:
        snapshot = layer.commit(diff_id, size=0, entries=0)
        nothing = Descriptor(media_type="", digest=_NO_BLOB, size=0)
        return Layer(diff_id=diff_id, descriptor=nothing, snapshot=snapshot, created=self.now())

    def empty(self) -> SnapshotKey:
        """A layer with nothing in it."""
        key = sha256(b"an empty directory")
        found = self.cached(key)
        if found is None:
            with self.engine.store.new_layer((), self._lease) as layer:
                found = self.keep(key, self._unsent(layer, key), "an empty directory")
        return found.snapshot

    def fill(self, place: Path, source: FileSource, path: str) -> None:
        """Copy what a source has at a path into an empty directory."""
        work = place.with_name(place.name + "-work")
        self._copy(
            CopyStep(below=(), parts=(CopyPart(source=source, patterns=(path or "/",)),), destination="/"),
            place,
            work,
        )

    def secret(self, name: str) -> bytes | None:
        """What a secret says, None if it was not given."""
        return self._request.secrets.get(name)

    def agent(self, name: str) -> str | None:
        """The socket of an ssh agent, None if it was not given."""
        return self._request.agents.get(name or "default")

    # -- files from elsewhere ----------------------------------------------------------------------

    def inline(self, files: Mapping[str, str], *, mode: int = 0o644) -> FileSource:
        """See build.Worker."""
        place = self.new_place()
        for name, content in files.items():
            path = place / os.path.basename(name)
            with writing(path):
                path.write_bytes(os.fsencode(content))
                path.chmod(mode)
                if self._request.epoch is not None:
                    os.utime(path, (self._request.epoch, self._request.epoch))
        return self.opened(place, "the Dockerfile")

    def download(self, url: str, checksum: str) -> FileSource:
        """See build.Worker."""
        return self.opened(self.fetched(url, checksum).parent, shown_url(url))

    def fetched(self, url: str, checksum: str) -> Path:
        """A file from the network, in a directory of its own."""
        place = self.new_place()
        with writing(place):
            found = self._downloads.fetch(url, place, checksum, self.stop)
        self._note(Material.of_file(shown_url(url), found.digest))
        return found.file

    def clone(self, url: str, checksum: str, *, keep_git_dir: bool) -> FileSource:
        """See build.Worker."""
        found = clone_git(url, self.new_place(), checksum, keep_git_dir=keep_git_dir, stop=self.stop)
        self._note(Material.of_commit(shown_url(url), found.commit))
        return self.opened(found.directory, shown_url(url))

    def new_place(self) -> Path:
        """An empty directory that goes with the build."""
        with self._guard:
            place = self._scratch / str(next(self._numbers))
        place.mkdir()
        place.chmod(0o755)  # it is what the root of a context looks like
        return place

    def opened(self, place: Path, name: str, **more: Any) -> FileSource:
        """A directory of the host as a source of files, open as long as the build."""
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._cleanup.callback(os.close, fd)
        return evolve(FileSource(name=name, directory=fd, is_plain=True), **more)

    def warn(self, message: str) -> None:
        """Tell of what is only doubtful."""
        self.tell(BuildEvent(action="warning", message=message))

    def tell(self, event: BuildEvent) -> None:
        """See build.Worker."""
        if self._request.on_event is not None:
            self._request.on_event(event)


def _digits(key: str) -> str:
    return key.rpartition(":")[2]


def _changing(part: CopyPart) -> Exception:
    return Conflict(f"{part.source.name} changes while it is read; build again when nothing changes it")
