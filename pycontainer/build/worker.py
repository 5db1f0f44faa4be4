"""What a build needs of an engine, which implements it: images, a place to execute steps, a cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from attrs import Factory, frozen

from pycontainer.build.events import BuildEvent
from pycontainer.errors import PycontainerError
from pycontainer.oci import Descriptor, Digest, ImageConfig, Platform
from pycontainer.store import SnapshotKey

__all__ = ["Base", "CopyPart", "CopyStep", "FileSource", "GivenUp", "Layer", "RunMount", "RunStep", "Worker"]


class GivenUp(PycontainerError):
    """A step was given up because another one failed, or the build was interrupted."""


@frozen(kw_only=True)
class Layer:
    """A layer in the store. created: when it was made, RFC 3339."""

    diff_id: Digest
    descriptor: Descriptor
    snapshot: SnapshotKey
    created: str = ""


@frozen(kw_only=True)
class Base:
    """An image to build on, unpacked. digest: of its manifest."""

    config: ImageConfig
    layers: tuple[Layer, ...]
    digest: str


@frozen(kw_only=True)
class FileSource:
    """Where files are taken from: a directory of the host by descriptor, or the layers of a stage.

    name: what it is called in messages. ignore: what of it is not there. is_plain: owners do not count, all
    is root's. table: the name under which checksums of its files are kept, "" for none. identity: of layers.
    """

    name: str
    directory: int = -1
    snapshots: tuple[SnapshotKey, ...] = ()
    ignore: tuple[str, ...] = ()
    is_plain: bool = False
    table: str = ""
    identity: str = ""


@frozen(kw_only=True)
class CopyPart:
    """What a COPY or ADD takes of one source. unpacks: "never", "local" (archives are), "always"."""

    source: FileSource
    patterns: tuple[str, ...]
    excludes: tuple[str, ...] = ()
    parents: bool = False
    unpacks: str = "never"


@frozen(kw_only=True)
class CopyStep:
    """Files to be copied onto layers.

    destination: absolute, with a slash at its end where it has to be a directory. chown: as written. mode:
    bits, or (who, operator, permissions) of chmod(1), or None.
    """

    below: tuple[SnapshotKey, ...]
    parts: tuple[CopyPart, ...]
    destination: str
    chown: str = ""
    mode: int | tuple[tuple[str, str, str], ...] | None = None


@frozen(kw_only=True)
class RunMount:
    """One mount of a RUN, its source found.

    kind: bind, cache, tmpfs, secret or ssh. source: of a bind, or what a new cache begins with; path: in
    that. id: of a cache, secret or agent.
    """

    kind: str
    target: str
    source: FileSource | None = None
    path: str = ""
    id: str = ""
    sharing: str = "shared"
    is_read_only: bool = False
    is_required: bool = False
    size_bytes: int = 0
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    env: str = ""


@frozen(kw_only=True)
class RunStep:
    """A program to be run on layers. files: small ones to show it, by path, executable."""

    below: tuple[SnapshotKey, ...]
    config: ImageConfig
    argv: tuple[str, ...]
    env: Mapping[str, str]
    hidden_env: Mapping[str, str] = Factory(dict)
    user: str = ""
    workdir: str = "/"
    network: str = "default"
    security: str = "sandbox"
    devices: tuple[tuple[str, bool], ...] = ()
    mounts: tuple[RunMount, ...] = ()
    files: Mapping[str, str] = Factory(dict)


class Worker(Protocol):
    """Executes steps. Thread-safe; every method may block, and raises PycontainerError."""

    def base(self, reference: str, platform: Platform) -> Base:
        """An image by name, pulled if it is not here."""
        ...

    def cached(self, key: str) -> Layer | None:
        """What the step of this key made, if all of it is here still."""
        ...

    def executing(self, key: str) -> AbstractContextManager[None]:
        """Keep other builds, of any process, from executing the step of this key."""
        ...

    def keep(self, key: str, layer: Layer, description: str, *, replaces: bool = False) -> Layer:
        """Put a step's layer into the cache, unless one is there already; gives what is there now."""
        ...

    def checksum(self, part: CopyPart) -> str:
        """The checksum of what a part takes. Raises: NotFound naming a source."""
        ...

    def copy(self, step: CopyStep) -> Layer:
        """Copy files."""
        ...

    def make_directory(self, below: tuple[SnapshotKey, ...], path: str, user: str) -> Layer:
        """Make a directory where it is missing, whose new parts are the user's."""
        ...

    def run(self, step: RunStep, on_output: Callable[[str, bytes], None]) -> Layer:
        """Run a program. Raises: ContainerFailed with its exit code."""
        ...

    def download(self, url: str, checksum: str) -> FileSource:
        """A file from the network, in a directory of its own."""
        ...

    def clone(self, url: str, checksum: str, *, keep_git_dir: bool) -> FileSource:
        """The files of a git repository's commit."""
        ...

    def inline(self, files: Mapping[str, str]) -> FileSource:
        """Files whose content was given, in a directory of their own."""
        ...

    def tell(self, event: BuildEvent) -> None:
        """Pass an event on."""
        ...
