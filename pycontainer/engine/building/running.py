"""RUN: a program in a container like any other, whose writable layer becomes the step's."""

from __future__ import annotations

import fcntl
import hashlib
import os
import posixpath
import secrets
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from pycontainer.build import GivenUp, RunMount, RunStep
from pycontainer.checkpoints import reached
from pycontainer.engine.building.documents import stored_view
from pycontainer.engine.building.emulation import check_machine
from pycontainer.engine.images import Image
from pycontainer.engine.launching import create, launch
from pycontainer.engine.logfiles import Reader
from pycontainer.engine.ownership import this_process
from pycontainer.engine.recipes import unshared_recipe
from pycontainer.engine.state import await_tidied
from pycontainer.errors import ContainerFailed, DeadlineExceeded, LaunchError, NotFound
from pycontainer.kernel import inotify
from pycontainer.options import MountPoint, parse_run_options
from pycontainer.store import ImageLayer, ImageRecord

if TYPE_CHECKING:
    from pycontainer.engine.building.worker import EngineWorker
    from pycontainer.engine.engine import Engine
    from pycontainer.launcher import Job
    from pycontainer.options import RunOptions

__all__ = ["Caches", "Ran", "run_step"]

HOSTNAME = "buildkitsandbox"  # a random one would make every build another image
_TICK_S = 0.2
_TAIL_BYTES = 1 << 14
_FULL_BYTES = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_AGENT = "/run/buildkit/ssh_agent.{number}"


@attrs.frozen(kw_only=True)
class Ran:
    """Where the container wrote, to be taken over before the block ends. stubs: places of mounts, to be
    removed.
    """

    upper: Path
    stubs: tuple[str, ...]


@contextmanager
def run_step(
    worker: EngineWorker, step: RunStep, on_output: Callable[[str, bytes], None], stop: threading.Event
) -> Iterator[Ran]:
    """Run the program to its end. Raises: ContainerFailed, LaunchError, GivenUp."""
    engine = worker.engine
    check_machine(step.config)
    with ExitStack() as cleanup:
        prepared = _Prepared(worker, step, cleanup, stop)
        options = _options(worker, step, prepared)
        image = _ground(engine, step, worker)
        record, made = create(engine, image, options, owner=this_process(), is_step=True)
        if hidden := {**step.hidden_env, **prepared.env}:
            # Only now: what is recorded of a container lies on the disk.
            options = attrs.evolve(options, env={**(options.env or {}), **hidden})
            made = unshared_recipe(engine, record.id, options, image.config)
        cleanup.callback(engine.forget_container, record.id)
        directory = engine.store.container_dir(record.id)
        stubs = worker.missing(step.below, [*prepared.targets, *prepared.secret_files])
        reached("build.run.created")
        job = launch(
            engine,
            record,
            options,
            image.config,
            is_owned=True,
            made=made,
            secret_files=prepared.secret_files,
            is_volatile=True,
        )
        tail: deque[bytes] = deque()
        try:
            exited = _followed(job, directory, on_output, tail, stop)
        finally:
            # Lets go of the container: its monitor kills what still runs.
            job.close()
            with suppress(DeadlineExceeded, FileNotFoundError):
                await_tidied(directory)
        reached("build.run.ended")
        ran = Ran(upper=directory / "upper", stubs=tuple(stubs))
        if exited["exit_code"] != 0:
            error = ContainerFailed(
                _why(exited, directory), exit_code=exited["exit_code"], stdout=b"".join(tail)[-_TAIL_BYTES:]
            )
            worker.failed(step, ran, error)
            raise error
        yield ran


def _why(exited: Mapping[str, Any], directory: Path) -> str:
    if exited.get("oom_killed"):
        return f"it was killed for want of memory (exit code {exited['exit_code']})"
    told = f"it ended with exit code {exited['exit_code']}"
    disk = os.statvfs(directory)
    if disk.f_bavail * disk.f_frsize < _FULL_BYTES:
        # Its own words are lost then: the log lies there, too.
        told += f"; the file system of {directory} is full, make room with prune_build_cache"
    return told


def _followed(
    job: Job,
    directory: Path,
    on_output: Callable[[str, bytes], None],
    tail: deque[bytes],
    stop: threading.Event,
) -> dict[str, Any]:
    reader = Reader(directory / "log")
    kept = 0

    def pass_on() -> None:
        nonlocal kept
        for piece in reader.available():
            on_output("stdout" if piece.stream == 1 else "stderr", piece.content)
            tail.append(piece.content)
            kept += len(piece.content)
            while kept - len(tail[0]) > _TAIL_BYTES:
                kept -= len(tail.popleft())

    try:
        with inotify.Watch(os.fsencode(directory)) as watch:
            poller = select.poll()
            poller.register(watch, select.POLLIN)
            poller.register(job, select.POLLIN)
            while True:
                ready = {fd for fd, _ in poller.poll(_TICK_S * 1000)}
                if stop.is_set():
                    raise GivenUp("the build was given up")
                watch.drain()
                pass_on()
                if job.fileno() not in ready:
                    continue
                message = job.receive()
                if message is None:
                    raise LaunchError(
                        "the container's monitor was killed, and the container with it", step="monitor"
                    )
                pass_on()
                return message
    finally:
        reader.close()


def _ground(engine: Engine, step: RunStep, worker: EngineWorker) -> Image:
    """The layers below as an image, which no name and no row has."""
    # What the image would have a container do besides is not for a step.
    config = attrs.evolve(
        step.config,
        config=attrs.evolve(
            step.config.config, entrypoint=None, cmd=None, volumes=(), healthcheck=None, labels={}, env=()
        ),
        history=(),
        created="",
        diff_ids=worker.diff_ids(step.below),
    )
    layers = worker.descriptors(step.below)
    view = stored_view(engine, config, layers, annotations={})
    return Image(
        engine,
        ImageRecord(
            id=view.id,
            manifest_digest=view.descriptor.digest,
            target_digest=view.descriptor.digest,
            platform="",
            size=0,
            created_at=time.time(),
            layers=tuple(
                ImageLayer(digest=layer.digest, diff_id=diff_id, snapshot=key)
                for layer, diff_id, key in zip(layers, config.diff_ids, step.below, strict=True)
            ),
        ),
    )


def _options(worker: EngineWorker, step: RunStep, prepared: _Prepared) -> RunOptions:
    asked: dict[str, Any] = {
        "command": list(step.argv),
        "env": dict(step.env),
        "workdir": step.workdir or "/",
        "hostname": HOSTNAME,
        "name": f"build-{secrets.token_hex(6)}",
        **worker.limits,
    }
    if step.user:
        asked["user"] = step.user
    network = worker.network if step.network == "default" else step.network
    # Unlike other containers: nearly every Dockerfile fetches something.
    asked["network"] = "bridge" if network == "default" else network
    if step.security == "insecure":
        asked["privileged"] = True
    if step.devices:
        asked["devices"] = [name for name, _ in step.devices]
    options = parse_run_options(**asked)
    return attrs.evolve(options, mounts=tuple(prepared.points)) if prepared.points else options


class _Prepared:
    """The mounts of a step, their sources held open while it runs.

    Attributes: points, targets, secret_files, env (what they add).
    """

    def __init__(
        self, worker: EngineWorker, step: RunStep, cleanup: ExitStack, stop: threading.Event
    ) -> None:
        self.points: list[MountPoint] = []
        self.targets: list[str] = []
        self.secret_files: dict[str, tuple[str, int, int, int]] = {}
        self.env: dict[str, str] = {}
        self._worker = worker
        self._cleanup = cleanup
        self._stop = stop
        self._agents = 0
        makers = {
            "bind": self._bind,
            "cache": self._cache,
            "tmpfs": self._tmpfs,
            "secret": self._secret,
            "ssh": self._ssh,
        }
        # Caches are locked in one order by everybody, so that no two builds wait for each other.
        for mount in sorted(step.mounts, key=lambda mount: (mount.kind == "cache", mount.id)):
            makers[mount.kind](mount)
        if step.files:
            self._script(step.files)

    def _add(self, point: MountPoint) -> None:
        self.points.append(point)
        self.targets.append(point.target)

    def _bind(self, mount: RunMount) -> None:
        assert mount.source is not None
        snapshots, path, is_directory = self._worker.materialised(mount.source, mount.path)
        # What is written to it is nobody's: it goes with the container.
        is_copied = is_directory and not mount.is_read_only
        self._add(
            MountPoint(
                kind="image",
                target=mount.target,
                source=mount.source.name,
                snapshots=tuple(snapshots),
                subpath=path,
                is_readonly=not is_copied,
                is_copied=is_copied,
            )
        )

    def _cache(self, mount: RunMount) -> None:
        fd = self._worker.caches.open(mount, self._cleanup, self._stop)
        self._add(
            MountPoint(
                kind="bind",
                target=mount.target,
                source=f"/proc/self/fd/{fd}",
                is_readonly=mount.is_read_only,
                recursion="disabled",
            )
        )

    def _tmpfs(self, mount: RunMount) -> None:
        words = [f"size={mount.size_bytes}"] if mount.size_bytes else []
        if mount.mode is not None:
            words.append(f"mode={mount.mode:o}")
        self._add(MountPoint(kind="tmpfs", target=mount.target, words=tuple(words)))

    def _secret(self, mount: RunMount) -> None:
        content = self._worker.secret(mount.id)
        if content is None:
            if mount.is_required:
                raise NotFound(
                    f"secret {mount.id!r} is required, and not given; pass secrets={{{mount.id!r}: ...}}"
                )
            return
        if mount.env:
            self.env[mount.env] = os.fsdecode(content)
        if mount.target:
            mode = 0o400 if mount.mode is None else mount.mode
            self.secret_files[mount.target] = (os.fsdecode(content), mode, mount.uid, mount.gid)

    def _ssh(self, mount: RunMount) -> None:
        path = self._worker.agent(mount.id)
        if path is None:
            if mount.is_required:
                raise NotFound(
                    f"ssh agent {mount.id!r} is required, and not given; pass ssh={{{mount.id!r}: socket}}"
                )
            return
        target = mount.target or _AGENT.format(number=self._agents)
        self._agents += 1
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        self._cleanup.callback(os.close, fd)
        self.env.setdefault("SSH_AUTH_SOCK", target)
        self._add(MountPoint(kind="bind", target=target, source=f"/proc/self/fd/{fd}", recursion="disabled"))

    def _script(self, files: Mapping[str, str]) -> None:
        by_directory: dict[str, dict[str, str]] = {}
        for path, content in files.items():
            above, name = posixpath.split(path)
            by_directory.setdefault(above, {})[name] = content
        for above, contents in by_directory.items():
            source = self._worker.inline(contents, mode=0o755)
            self._add(
                MountPoint(
                    kind="bind",
                    target=above,
                    source=f"/proc/self/fd/{source.directory}",
                    is_readonly=True,
                    recursion="disabled",
                )
            )


class Caches:
    """Directories of the store for RUN --mount=type=cache, by their id.

    Theory of operation. builds/caches/<digest of the id>/<number>/data is one instance; its lock is held
    shared by those who share it, exclusively by one that wants it locked or private. A private one takes the
    first instance that nobody has. "making" beside the data is locked by whoever makes that, in a directory
    of its own until it is whole.
    """

    def __init__(self, directory: Path, worker: EngineWorker) -> None:
        self._directory = directory
        self._worker = worker

    def open(self, mount: RunMount, cleanup: ExitStack, stop: threading.Event) -> int:
        """A descriptor of the directory, and its lock, until the cleanup."""
        home = self._directory / hashlib.sha256(mount.id.encode()).hexdigest()[:32]
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = 0
        while True:
            instance = home / str(number)
            instance.mkdir(mode=0o700, exist_ok=True)
            lock = os.open(instance, _DIRECTORY)
            try:
                taken = self._locked(lock, mount.sharing, stop)
            except BaseException:
                os.close(lock)
                raise
            if taken:
                break
            os.close(lock)
            number += 1
        cleanup.callback(os.close, lock)
        self._ensure(instance, lock, mount, stop)
        os.utime(lock)  # when it was last used
        fd = os.open("data", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=lock)
        cleanup.callback(os.close, fd)
        return fd

    def _locked(self, lock: int, sharing: str, stop: threading.Event) -> bool:
        wanted = fcntl.LOCK_SH if sharing == "shared" else fcntl.LOCK_EX
        while True:
            try:
                fcntl.flock(lock, wanted | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if sharing == "private":
                    return False
                if stop.wait(_TICK_S / 4):
                    raise GivenUp("the build was given up") from None

    def _ensure(self, instance: Path, lock: int, mount: RunMount, stop: threading.Event) -> None:
        if (instance / "data").is_dir():
            return
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        making = os.open("making", flags, 0o600, dir_fd=lock)
        try:
            self._locked(making, "locked", stop)
            # An empty directory would be replaced without a word, under those who have it open.
            if not (instance / "data").is_dir():
                self._make(instance, lock, mount)
        finally:
            os.close(making)

    def _make(self, instance: Path, lock: int, mount: RunMount) -> None:
        for left in instance.glob("begun-*"):
            self._worker.engine.store.remove_tree(left)  # its maker was killed
        begun = instance / f"begun-{secrets.token_hex(4)}"
        begun.mkdir(mode=0o755)
        if mount.source is not None:
            self._worker.fill(begun, mount.source, mount.path)
        fd = os.open(begun.name, _DIRECTORY, dir_fd=lock)
        try:
            if mount.uid or mount.gid:
                os.fchown(fd, mount.uid, mount.gid)
            os.fchmod(fd, 0o755 if mount.mode is None else mount.mode)
        finally:
            os.close(fd)
        os.rename(begun, instance / "data")
