"""Unpacking the layers of an image: in parallel, while they download, once per layer and machine.

Theory of operation. Each layer has a thread that waits for its blob (complete or growing), takes the
layer's lock, and has a helper job write the files into a place nobody sees. A layer that names all the
parents of its entries and links only to itself is the same in every image: it is keyed by its DiffID.
One that is not is applied again on top of the layers below, when these are there, and keyed by its
ChainID. The job hashes the uncompressed tar; only if that is the DiffID which the image's configuration
promises is the layer renamed into view.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from pycontainer.checkpoints import reached
from pycontainer.errors import DeadlineExceeded, DigestMismatch, PycontainerError, TransferFailed
from pycontainer.image import OnEvent, Progress
from pycontainer.launcher import Helper, Job
from pycontainer.oci import Descriptor, Digest, chain_ids
from pycontainer.store.content import ContentStore
from pycontainer.store.ingest import Followed
from pycontainer.store.layout import Layout
from pycontainer.store.leases import Lease
from pycontainer.store.locks import FileLock
from pycontainer.store.records import LayerRecord, SnapshotKey
from pycontainer.store.snapshots import Preparation, Snapshotter, direct_key, is_stacked, stacked_key
from pycontainer.store.statedb import StateDB
from pycontainer.values import Value

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["KILL_POINTS", "LayerToUnpack", "Unpacker"]

KILL_POINTS = (
    "unpack.layer.prepared",  # an empty place, the layer's lock is held
    "unpack.layer.extracted",  # files are there and match, nothing is visible
    "unpack.layer.recorded",  # its row is there, nothing is visible
    "unpack.layer.committed",
)

# A transfer that broke off is tried again by its owner; so long a layer waits for the next attempt.
_RETRY_WAIT_S = 60.0
_MAX_ATTEMPTS = 5


@frozen(kw_only=True, eq=False, repr=False)
class LayerToUnpack(Value):
    """A layer's blob, and the digest of its tar by the image's configuration."""

    descriptor: Descriptor
    diff_id: Digest


class _Stopped(PycontainerError):
    """This layer was given up because another one failed."""


class Unpacker:
    """Unpacks into one store. Thread-safe; a limit of jobs holds for all its calls together.

    limits: of one layer, see layers.Limits; the defaults are generous.
    """

    def __init__(
        self,
        layout: Layout,
        db: StateDB,
        content: ContentStore,
        snapshots: Snapshotter,
        helper: Helper,
        limits: dict[str, int] | None = None,
    ) -> None:
        self._layout = layout
        self._db = db
        self._content = content
        self._snapshots = snapshots
        self._helper = helper
        self._limits = dict(limits or {})
        self._slots = threading.BoundedSemaphore(len(os.sched_getaffinity(0)))

    def unpack(
        self,
        layers: Sequence[LayerToUnpack],
        *,
        lease: Lease,
        on_event: OnEvent | None = None,
        follow: bool = False,
        stop: threading.Event | None = None,
    ) -> list[SnapshotKey]:
        """The keys of the layers, bottom first, unpacking what is missing.

        follow: wait for blobs that are still downloading and unpack them as they grow; without it a
        missing blob is NotFound. stop: set it to give up, for instance when the download failed.
        Raises: InvalidImage, DigestMismatch, NotFound, KernelError; nothing of the layer is left then.
        """
        if not layers:
            return []
        run = _Run(self, layers, lease, on_event or _ignore, follow, stop or threading.Event())
        return run.keys()

    def fresh(
        self, layer: LayerToUnpack, key: SnapshotKey, below: Sequence[SnapshotKey], lease: Lease
    ) -> Preparation:
        """A layer unpacked once more, beside the one that may be there; to be committed or abandoned.

        Needs the layer's lock. Raises: as `unpack`.
        """
        run = _Run(self, [layer], lease, _ignore, False, threading.Event())
        prepared = self._snapshots.prepare(key)
        directories = [prepared.fs]
        job = "unpack"
        if is_stacked(key):
            job, directories = (
                "unpack_stacked",
                [prepared.fs, prepared.work, *self._snapshots.lower_dirs(below)],
            )
        try:
            with self._slots, run._blob(layer, job) as followed:
                result = run._run(job, {}, followed, directories)
            _check_diff_id(layer, result["diff_id"])
        except BaseException as error:
            _with_note(error, lambda: self._snapshots.abandon(prepared))
            raise
        return prepared


class _Run:
    """One call of Unpacker.unpack."""

    def __init__(
        self,
        owner: Unpacker,
        layers: Sequence[LayerToUnpack],
        lease: Lease,
        on_event: OnEvent,
        follow: bool,
        stop: threading.Event,
    ) -> None:
        self._owner = owner
        self._layers = layers
        self._lease = lease
        self._on_event = on_event
        self._follow = follow
        self._outer_stop = stop
        self._failed = threading.Event()

    def keys(self) -> list[SnapshotKey]:
        """Unpack; see Unpacker.unpack."""
        chains = chain_ids(layer.diff_id for layer in self._layers)
        ready = [self._existing(layer, chain) for layer, chain in zip(self._layers, chains, strict=True)]
        missing = {
            layer.diff_id: (layer, index == 0)
            for index, layer in reversed(list(enumerate(self._layers)))
            if ready[index] is None
        }
        if not missing:
            return [key for key in ready if key is not None]
        from concurrent.futures import ThreadPoolExecutor  # 5 ms that only those pay who unpack

        futures: dict[Digest, Future[SnapshotKey | None]] = {}
        with ThreadPoolExecutor(len(missing), thread_name_prefix="pycontainer-unpack") as pool:
            try:
                # The largest first: it decides when the last one is done.
                by_size = sorted(missing.items(), key=lambda item: -item[1][0].descriptor.size)
                for diff_id, (layer, is_bottom) in by_size:
                    futures[diff_id] = pool.submit(self._guarded, self._direct, layer, is_bottom)
                return self._settle(chains, ready, futures)
            except BaseException:
                self._failed.set()
                raise

    def _settle(
        self,
        chains: Sequence[Digest],
        ready: Sequence[SnapshotKey | None],
        futures: dict[Digest, Future[SnapshotKey | None]],
    ) -> list[SnapshotKey]:
        keys: list[SnapshotKey] = []
        for layer, chain, existing in zip(self._layers, chains, ready, strict=True):
            key = existing
            if key is None:
                key = self._outcome(futures, layer.diff_id) or self._stacked(layer, chain, keys)
            keys.append(key)
        return keys

    def _outcome(
        self, futures: dict[Digest, Future[SnapshotKey | None]], diff_id: Digest
    ) -> SnapshotKey | None:
        try:
            return futures[diff_id].result()
        except _Stopped:
            # Not the cause: the layer that failed first says why.
            for future in futures.values():
                error = future.exception()
                if error is not None and not isinstance(error, _Stopped):
                    raise error from None
            raise TransferFailed("unpacking was given up, because the transfer ended") from None

    def _guarded(
        self, work: Callable[[LayerToUnpack, bool], SnapshotKey | None], layer: LayerToUnpack, is_bottom: bool
    ) -> SnapshotKey | None:
        try:
            return work(layer, is_bottom)
        except BaseException:
            self._failed.set()
            raise

    def _should_stop(self) -> bool:
        return self._failed.is_set() or self._outer_stop.is_set()

    def _existing(self, layer: LayerToUnpack, chain: Digest) -> SnapshotKey | None:
        for key in (direct_key(layer.diff_id), stacked_key(chain)):
            # Protected first, then looked for: the collector takes it before, or never.
            self._lease.protect_snapshot(key)
            if self._owner._snapshots.has(key):
                self._say("exists", layer)
                return key
        return None

    def _direct(self, layer: LayerToUnpack, is_bottom: bool) -> SnapshotKey | None:
        """Unpack a layer for itself; None if it needs those below."""
        key = direct_key(layer.diff_id)
        params = {"stop_if_not_self_contained": True} if not is_bottom else {}
        return self._once(layer, key, "unpack", params, lambda made: [made.fs])

    def _stacked(self, layer: LayerToUnpack, chain: Digest, below: Sequence[SnapshotKey]) -> SnapshotKey:
        """Unpack a layer on top of those below it."""
        key = stacked_key(chain)
        lower = self._owner._snapshots.lower_dirs(below)
        done = self._once(layer, key, "unpack_stacked", {}, lambda made: [made.fs, made.work, *lower])
        assert done is not None
        return done

    def _once(
        self,
        layer: LayerToUnpack,
        key: SnapshotKey,
        job: str,
        params: dict[str, Any],
        directories: Callable[[Preparation], list[Path]],
    ) -> SnapshotKey | None:
        """Unpack under the layer's lock, unless another thread or process has just done so."""
        owner = self._owner
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            self._await_blob(layer, job, None if attempt == 1 else _RETRY_WAIT_S)
            with FileLock(owner._layout.layer_locks / key).held(remove=True):
                if owner._snapshots.has(key):
                    self._say("exists", layer)
                    return key
                with owner._slots:
                    try:
                        return self._into_place(layer, key, job, params, directories)
                    except TransferFailed:
                        if not self._follow or attempt == _MAX_ATTEMPTS or self._should_stop():
                            raise
        raise AssertionError("unreachable")

    def _await_blob(self, layer: LayerToUnpack, job: str, timeout_s: float | None) -> None:
        """Wait without any lock until there is something to unpack."""
        if self._follow:
            self._followed(layer, job, timeout_s).close()

    def _into_place(
        self,
        layer: LayerToUnpack,
        key: SnapshotKey,
        job: str,
        params: dict[str, Any],
        directories: Callable[[Preparation], list[Path]],
    ) -> SnapshotKey | None:
        owner = self._owner
        with self._blob(layer, job) as followed:
            prepared = owner._snapshots.prepare(key)
            try:
                reached("unpack.layer.prepared")
                self._say("unpacking", layer)
                result = self._run(job, params, followed, directories(prepared))
                if not result["is_self_contained"] and params.get("stop_if_not_self_contained"):
                    owner._snapshots.abandon(prepared)
                    return None
                _check_diff_id(layer, result["diff_id"])
                reached("unpack.layer.extracted")
                size, entries = int(result["content_size"]), int(result["entries"])
                owner._db.layers.put(LayerRecord(key=key, diff_id=layer.diff_id, size=size, entries=entries))
                reached("unpack.layer.recorded")
                owner._snapshots.commit(prepared)
            except BaseException as error:
                _with_note(error, lambda: owner._snapshots.abandon(prepared))
                raise
        reached("unpack.layer.committed")
        self._say("unpacked", layer, size)
        return key

    def _blob(self, layer: LayerToUnpack, job: str) -> Followed:
        if not self._follow:
            return Followed(self._owner._content.open_fd(layer.descriptor.digest), None)
        return self._followed(layer, job, None)

    def _followed(self, layer: LayerToUnpack, job: str, timeout_s: float | None) -> Followed:
        followed = self._owner._content.follow(
            layer.descriptor.digest,
            # On top of other layers a tar is applied entry by entry only when it is known to be right.
            accept_growing=job == "unpack",
            stop=self._should_stop,
            timeout_s=timeout_s,
        )
        if followed is None:
            raise _Stopped(f"layer {layer.diff_id} was given up")
        return followed

    def _run(
        self, job: str, params: dict[str, Any], followed: Followed, directories: Sequence[Path]
    ) -> dict[str, Any]:
        """Run the helper job, ending it early when another layer fails."""
        opened = [os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for path in directories]
        fds = [
            followed.blob_fd,
            *([followed.progress_fd] if followed.progress_fd is not None else []),
            *opened,
        ]
        all_params = {"codec_path": codec_path(), "limits": self._owner._limits, **params}
        try:
            with self._owner._helper.submit(job, all_params, fds) as running:
                return self._wait(running)
        finally:
            for fd in opened:
                os.close(fd)

    def _wait(self, running: Job) -> dict[str, Any]:
        while True:
            try:
                return running.result(0.25)
            except DeadlineExceeded:
                if self._should_stop():
                    raise _Stopped(f"job {running.name} was given up") from None

    def _say(self, action: Any, layer: LayerToUnpack, done: int = 0) -> None:
        self._on_event(Progress(action=action, digest=layer.descriptor.digest, done_bytes=done))


def codec_path() -> list[str]:
    """Directories from which a job may import decompressors."""
    found: dict[str, None] = {}
    for name in ("isal", "backports"):
        spec = find_spec(name)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            found[os.path.dirname(location)] = None
    return list(found)


def _check_diff_id(layer: LayerToUnpack, found: str) -> None:
    if found != layer.diff_id:
        raise DigestMismatch(layer.diff_id, found, f"tar of layer {layer.descriptor.digest}")


def _ignore(event: Progress) -> None:
    """Nobody wants events."""


def _with_note(error: BaseException, cleanup: Callable[[], None]) -> None:
    """Clean up; a failure of that is noted, the first error stays the error."""
    try:
        cleanup()
    except (PycontainerError, OSError) as second:
        error.add_note(f"cleaning up failed too: {second}")
