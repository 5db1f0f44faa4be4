"""One engine: a store, a helper process and a registry client, owned by the process that made it."""

from __future__ import annotations

import functools
import hashlib
import os
import select
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from contextvars import ContextVar, Token
from pathlib import Path
from typing import TYPE_CHECKING, final

from attrs import evolve
from cachetools import LRUCache

from pycontainer.engine.config import EngineConfig, users_root
from pycontainer.engine.netsweeping import sweep as sweep_networks
from pycontainer.errors import PycontainerError, WrongState
from pycontainer.launcher import Helper

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container
    from pycontainer.engine.events import EventWriter
    from pycontainer.engine.netahead import Ahead
    from pycontainer.engine.recipes import Recipe
    from pycontainer.image import ImageView
    from pycontainer.registry import RegistryClient
    from pycontainer.runtime import HostFacts
    from pycontainer.store import Damage, ImageRecord, Store
    from pycontainer.trust import SignaturePolicy

__all__ = ["Engine", "close_last", "current_engine", "kept_ahead", "use_helper"]

_entered: ContextVar[Engine | None] = ContextVar("pycontainer_engine", default=None)
_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
_default: Engine | None = None
_default_lock = threading.Lock()


@final
class Engine:
    """A container engine over one directory. Several may live in one process, and many processes may
    share a directory.

    root: directory of the store; default as EngineConfig.from_environment() says.
    python: interpreter of the helper process, where sys.executable is none.
    registry: how registries are reached. policy: which images may be pulled and run, a SignaturePolicy or the
    path of a policy.json. lock: path of a LockFile, whose digests count. progress: "auto", "plain" or "off".
    cgroup_manager: who makes the containers' cgroups: "cgroupfs" (the default), this library itself, or
    "systemd", asked over D-Bus for one transient, delegated scope each; see EngineConfig.

    As a context manager it is the engine that `run`, `Image` and `Container` use in that block (and in
    the tasks started from it), and it is closed at the end. Nothing is started before it is needed.
    Thread-safe.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        python: str | None = None,
        registry: object | None = None,
        policy: SignaturePolicy | str | Path | None = None,
        lock: str | Path | None = None,
        progress: str | None = None,
        cgroup_manager: str | None = None,
    ) -> None:
        given = {
            "python": python,
            "registry": registry,
            "progress": progress,
            "cgroup_manager": cgroup_manager,
        }
        changes: dict[str, object] = {name: value for name, value in given.items() if value is not None}
        if policy is not None:
            changes["policy"] = _policy(policy)
        if lock is not None:
            changes["lock"] = Path(lock).absolute()
        if root is not None:
            changes["root"] = Path(root).absolute()
        self.config: EngineConfig = evolve(EngineConfig.from_environment(), **changes)  # type: ignore[arg-type]
        self._lock = threading.RLock()
        self._helper: Helper | None = None
        self._store: Store | None = None
        self._client: RegistryClient | None = None
        self._host: HostFacts | None = None
        self._event_writer: EventWriter | None = None
        self._owned: dict[str, Container] = {}
        self._lifeline: tuple[int, int] | None = None
        self._networks_ahead: Ahead | None = None
        self._recipes: LRUCache[str, Recipe] = LRUCache(256)
        self._views: LRUCache[str, ImageView] = LRUCache(256)
        self._closed = False
        self._tokens: list[Token[Engine | None]] = []
        _engines.add(self)

    @property
    def root(self) -> Path:
        """Directory of the store."""
        return self.config.root

    @property
    def helper(self) -> Helper:
        """The client of this engine's helper process."""
        with self._lock:
            self._check_open()
            if self._helper is None:
                self._helper = Helper(python=self.config.python)
            return self._helper

    @property
    def store(self) -> Store:
        """The store, opened (and repaired) on first use."""
        with self._lock:
            self._check_open()
            if self._store is None:
                from pycontainer.engine.events import tell_repaired
                from pycontainer.engine.thawing import thaw_abandoned
                from pycontainer.store import Store

                self._store = Store(self.config.root, self.helper)
                tell_repaired(self, self._store.repaired)
                self.sweep_cgroups()
                thaw_abandoned(self._store.container_dir(""))
                if os.path.isdir(self._store.root / "builds"):
                    from pycontainer.engine.building import sweep as sweep_builds  # only with builds

                    sweep_builds(self)
                if os.path.isdir(self._store.root / "volumes"):
                    from pycontainer.engine.volumes import sweep as sweep_volumes  # only with volumes

                    sweep_volumes(self)
                repaired = self._store.repaired
                sweep_networks(self, is_forced=bool(repaired.exited or repaired.forgotten))
            return self._store

    @property
    def policy(self) -> SignaturePolicy | None:
        """Which images may be pulled and run; None is any."""
        return self.config.policy

    @property
    def registries(self) -> RegistryClient:
        """The client of registries."""
        with self._lock:
            self._check_open()
            if self._client is None:
                from pycontainer.registry import RegistryClient, RegistryConfig

                self._client = RegistryClient(
                    self.config.registry or RegistryConfig.from_environment(os.environ)
                )
            return self._client

    def recipe(self, key: str, make: Callable[[], Recipe]) -> Recipe:
        """The recipe kept under a key, made if there is none; see engine.recipes."""
        with self._lock:
            found = self._recipes.get(key)
            if found is None:
                found = self._recipes[key] = make()
            return found

    @property
    def event_writer(self) -> EventWriter:
        """Where this engine tells what happens; see engine.events."""
        with self._lock:
            if self._event_writer is None:
                from pycontainer.engine.events import EventWriter

                self._event_writer = EventWriter(str(self.store.events_dir))
            return self._event_writer

    @property
    def host(self) -> HostFacts:
        """What this host can do, found out once."""
        with self._lock:
            if self._host is None:
                from pycontainer.runtime import HostFacts

                self._host = HostFacts.detect()
            return self._host

    def systemd_unit(self, *names: str) -> str:
        """The text of a systemd service that starts this store's containers again after a reboot.

        names: only these; see Container.returning. Raises NotFound, InvalidOption for one that does not
        return.
        """
        from pycontainer.engine.booting import systemd_unit

        return systemd_unit(self, names)

    def check(self, *, repair: bool = False) -> tuple[Damage, ...]:
        """What in the store is not as it was when it came: blobs and unpacked layers, every byte read.

        repair: remove damaged blobs, so that the next pull or load brings them again, and unpack damaged
        layers anew, unless a running container uses them. Takes as long as pulling and unpacking all images
        from a disk. Gives nothing where all is well; safe beside any other use. Raises: KernelError.
        """
        return self.store.check(repair=repair)

    @functools.cached_property
    def store_tag(self) -> str:
        """What tells this store's cgroups from those of another one on the same host."""
        return hashlib.sha256(os.fsencode(os.path.realpath(self.root))).hexdigest()[:12]

    def sweep_cgroups(self) -> None:
        """Remove the cgroups of containers whose monitor was killed, and what still runs in them."""
        from pycontainer.engine.state import monitor_locked_out
        from pycontainer.runtime import cgroups

        layout = self.host.cgroups
        for home in cgroups.homes(self.store_tag, layout):
            found = cgroups.leftovers(home, layout)
            cgroups.sweep(
                home, found, layout, lambda name: monitor_locked_out(self.store.container_dir(name))
            )

    def forget_container(self, container_id: str) -> None:
        """Remove a container that does not run from the store, and what a killed monitor left of it."""
        from pycontainer.engine import events
        from pycontainer.engine.state import await_start, monitor_locked_out
        from pycontainer.runtime import cgroups

        directory = self.store.container_dir(container_id)
        await_start(directory)
        with monitor_locked_out(directory) as has_no_monitor:
            if has_no_monitor:
                for home in cgroups.homes(self.store_tag, self.host.cgroups):
                    cgroups.sweep(home, [container_id], self.host.cgroups, lambda _: nullcontext(True))
            record = self.store.state.containers.get(container_id)
            if record is not None and record.options.get("egress"):
                from pycontainer.engine import egress  # containers without a policy do without

                egress.forget(self, record)
            has_volumes = bool(self.store.state.volumes.of_container(container_id))
            is_told = record is not None and record.owner is None
            if record is not None and is_told and directory.is_dir():
                # One that removes itself was told of by its monitor already, if that is at it.
                is_told = record.auto_remove and (
                    not has_no_monitor or events.is_told(self, container_id, "destroy")
                )
            if self.store.remove_container(container_id) and record is not None and not is_told:
                events.emit_container(self, "destroy", record)
            if has_volumes:
                from pycontainer.engine.volumes import sweep  # containers without volumes do without

                sweep(self)

    def image_view(self, record: ImageRecord) -> ImageView:
        """The documents of an image in this store, kept in memory."""
        with self._lock:
            view = self._views.get(record.manifest_digest)
        if view is None:
            view = self._load_view(record)
            with self._lock:
                self._views[record.manifest_digest] = view
        return view

    def _load_view(self, record: ImageRecord) -> ImageView:
        from pycontainer.image import ImageView
        from pycontainer.oci import Descriptor

        content = self.store.content
        size = content.size(record.manifest_digest)
        return ImageView.load(content, Descriptor(digest=record.manifest_digest, size=size, media_type=""))

    def close(self, timeout_s: float = 30.0) -> None:
        """Stop what this engine owns and end its helper; idempotent. Detached containers go on."""
        self._close(timeout_s, process_ends=False)

    def _close(self, timeout_s: float, *, process_ends: bool) -> None:
        with self._lock:
            if self._closed:
                return
            owned = list(self._owned.values())
        self._forget_execs()
        deadline = time.monotonic() + timeout_s
        for container in owned:
            container._end_owned()
        self._await_monitors(deadline)
        self._forget_default_network()
        with self._lock:
            self._closed = True
            if self._networks_ahead is not None:
                self._networks_ahead.close()
            if self._client is not None:
                self._client.close()
            if self._store is not None:
                self._store.close(process_ends=process_ends)
            if self._event_writer is not None:
                self._event_writer.close()
            if self._helper is not None:
                self._helper.close(max(0.1, deadline - time.monotonic()))

    def _forget_execs(self, *, is_child: bool = False) -> None:
        execs = sys.modules.get("pycontainer.engine.execs")  # without it there were none
        if execs is not None:
            execs.forget_all(self, is_child=is_child)

    @property
    def networks_ahead(self) -> Ahead:
        """The network namespaces that are made ahead of the starts that need them."""
        from pycontainer.engine.netahead import Ahead  # containers without networks do without

        with self._lock:
            if self._networks_ahead is None:
                self._networks_ahead = Ahead()
            return self._networks_ahead

    def _forget_default_network(self) -> None:
        """An engine that had a directory of its own is to leave nothing on the host.

        The network of the user's usual one stays for the next program, as Docker's does.
        """
        if self._store is None or self.root == users_root() or not self._store.state.networks.list():
            return
        from pycontainer.engine.networks import forget_default

        try:
            forget_default(self)
        except PycontainerError:
            return  # it stays for the next engine on this directory, as after a kill

    def own(self, container: Container) -> None:
        """Remove the container when this engine closes."""
        with self._lock:
            self._owned[container.id] = container

    def disown(self, container_id: str) -> None:
        """The container is gone, or no longer this engine's."""
        with self._lock:
            self._owned.pop(container_id, None)

    @property
    def lifeline(self) -> int:
        """The writing end of a pipe that every monitor of an owned container holds until it ends.

        So close() can wait until the last of them has tidied up, at the cost of two descriptors.
        """
        with self._lock:
            if self._lifeline is None:
                self._lifeline = os.pipe2(os.O_CLOEXEC)
            return self._lifeline[1]

    def _await_monitors(self, deadline: float) -> None:
        with self._lock:
            lifeline, self._lifeline = self._lifeline, None
        if lifeline is None:
            return
        reader, writer = lifeline
        os.close(writer)
        poller = select.poll()
        poller.register(reader, select.POLLHUP)
        # Out of time, the tidying goes on without us, and whoever opens the store next completes it.
        poller.poll(max(0.0, deadline - time.monotonic()) * 1000)
        os.close(reader)

    def _forget_parent(self) -> None:
        """In a forked child: what the parent owns is the parent's."""
        self._lock = threading.RLock()
        self._forget_execs(is_child=True)
        self._owned = {}
        writer, self._event_writer = self._event_writer, None
        if writer is not None:
            writer.close()  # its descriptor has one offset in both processes
        lifeline, self._lifeline = self._lifeline, None
        for fd in lifeline or ():
            os.close(fd)
        if self._networks_ahead is not None:
            self._networks_ahead.leave_to_parent()

    def _check_open(self) -> None:
        if self._closed:
            raise WrongState(
                f"the engine on {self.root} is closed", verb="use", state="closed", allowed=("open",)
            )

    def __enter__(self) -> Engine:
        self._check_open()
        self._tokens.append(_entered.set(self))
        return self

    def __exit__(self, *_: object) -> None:
        _entered.reset(self._tokens.pop())
        if not self._tokens:
            self.close()

    def __repr__(self) -> str:
        return f"Engine(root={str(self.root)!r}{', closed' if self._closed else ''})"


_by_root: dict[Path, Engine] = {}


def engine_on(root: Path) -> Engine:
    """The current engine if it works on this directory, else this process's one for it."""
    current = current_engine()
    if current.root == root:
        return current
    with _default_lock:
        engine = _by_root.get(root)
        if engine is None or engine._closed:
            import atexit

            engine = _by_root[root] = Engine(root)
            atexit.register(engine.close)
        return engine


def _policy(given: SignaturePolicy | str | Path) -> SignaturePolicy:
    from pycontainer.trust import SignaturePolicy

    return given if isinstance(given, SignaturePolicy) else SignaturePolicy.load(given)


def current_engine() -> Engine:
    """The engine of the innermost `with Engine(...)` block, else this process's default one.

    The default engine is made on first use and closed when the interpreter ends.
    """
    global _default
    entered = _entered.get()
    if entered is not None:
        return entered
    with _default_lock:
        if _default is None or _default._closed:
            import atexit

            _default = Engine()
            atexit.register(_default.close)
        return _default


def use_helper(engine: Engine, helper: Helper) -> None:
    """Give a new engine a helper that was begun before it was made; it is the engine's to close."""
    assert engine._helper is None
    engine._helper = helper


def close_last(engine: Engine, timeout_s: float = 30.0) -> None:
    """Close an engine whose process ends right afterwards: what that closes by itself is left to it."""
    engine._close(timeout_s, process_ends=True)


def kept_ahead() -> list[int]:
    """Descriptors in which this process's engines keep network namespaces for starts to come."""
    kept = [engine._networks_ahead for engine in list(_engines)]
    return [each.fileno for each in kept if each is not None and each.fileno >= 0]


def _forget_in_child() -> None:
    global _default_lock
    _default_lock = threading.Lock()
    for engine in list(_engines):
        engine._forget_parent()


os.register_at_fork(after_in_child=_forget_in_child)
