"""Digests pinned in a file: what a tag stood for when it was written, whatever its registry says later."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, final

from attrs import frozen

from pycontainer.engine.engine import Engine, current_engine
from pycontainer.errors import BadReference, NotFound
from pycontainer.oci import Digest, Reference
from pycontainer.trust import read_lock, write_lock

if TYPE_CHECKING:
    from pycontainer.registry import RegistryClient

__all__ = ["LockFile", "Moved", "pinned"]


@frozen(kw_only=True)
class Moved:
    """A name whose registry says something else than the file. found: "" where it has the name no longer."""

    name: str
    pinned: str
    found: str


@final
class LockFile:
    """A file such as `containers.lock`, read anew each time. Engine(lock="containers.lock") obeys it.

    Raises (in every method): InvalidInput for a file that is broken; BadReference; RegistryError.
    """

    def __init__(self, path: str | os.PathLike[str], *, engine: Engine | None = None) -> None:
        self.path: Path = Path(path)
        self._engine = engine

    @property
    def images(self) -> Mapping[str, str]:
        """The pinned digests by whole name; none if the file does not exist."""
        return {str(name): digest for name, digest in self._read().items()}

    def add(self, *names: str) -> LockFile:
        """Pin what these names stand for now; names that are pinned stay as they are.

        Raises: NotFound for a name its registry does not have, and then the file is as it was.
        """
        return self._resolve(names, self._read(), keeps=True)

    def update(self, *names: str) -> LockFile:
        """Pin anew what these names stand for now, or all that are in the file."""
        known = self._read()
        return self._resolve(names or tuple(str(name) for name in known), known, keeps=False)

    def remove(self, *names: str) -> LockFile:
        """Drop names. Raises: NotFound for one that is not in the file."""
        unwanted = [_name(name) for name in names]
        with self._changed() as known:
            for reference in unwanted:
                if known.pop(reference, None) is None:
                    raise NotFound(f"{reference.familiar} is not in {self.path}")
        return self

    def verify(self) -> tuple[Moved, ...]:
        """The names that stand for something else in their registries than in the file; none if all is well.

        What is pinned can be pulled all the same, for as long as the registry keeps it.
        """
        client = self._client()
        moved = []
        for name, digest in self._read().items():
            try:
                found = client.describe(name).digest
            except NotFound:
                found = Digest("")
            if found != digest:
                moved.append(Moved(name=str(name), pinned=digest, found=found))
        return tuple(moved)

    def _resolve(self, names: tuple[str, ...], known: dict[Reference, Digest], *, keeps: bool) -> LockFile:
        client = self._client()
        wanted = [name for name in map(_name, names) if not (keeps and name in known)]
        found = {name: client.describe(name).digest for name in wanted}
        with self._changed() as current:
            current.update(found)
        return self

    @contextmanager
    def _changed(self) -> Iterator[dict[Reference, Digest]]:
        """What the file pins, written when the block ends well; programs that change it take turns."""
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)  # held for as long as a small file takes to be written
            known = self._read()
            yield known
            write_lock(self.path, known)
        finally:
            os.close(folder)

    def _read(self) -> dict[Reference, Digest]:
        try:
            return read_lock(self.path)
        except NotFound:
            return {}

    def _client(self) -> RegistryClient:
        return (self._engine or current_engine()).registries

    def __repr__(self) -> str:
        return f"LockFile({str(self.path)!r})"


def pinned(engine: Engine, reference: Reference) -> Reference:
    """The name with the digest that the engine's lock file has for it; as it is if the engine has none.

    Raises: NotFound for a name that the file does not pin. A digest in the name decides itself.
    """
    if engine.config.lock is None or reference.digest is not None:
        return reference
    known = read_lock(engine.config.lock)
    if reference not in known:
        raise NotFound(
            f"{reference.familiar} is not pinned in {engine.config.lock}; add it with LockFile(...).add"
        )
    return reference.with_digest(known[reference])


def _name(text: str) -> Reference:
    reference = Reference.parse(text)
    if reference.digest is not None:
        raise BadReference(f"{text!r} has a digest, which needs no pinning; leave it out")
    return reference
