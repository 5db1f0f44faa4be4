"""An OCI image layout: a directory with `oci-layout`, `index.json` and `blobs/<algorithm>/<hex>`.

What is read may come from strangers: blobs are opened without following links, must be regular files,
and everything that is interpreted is verified first. What is written appears whole or not at all.
Source: OCI image-spec, image-layout.md.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from attrs import evolve

from pycontainer.checkpoints import reached
from pycontainer.errors import AlreadyExists, DeadlineExceeded, DigestMismatch, InvalidImage, NotFound
from pycontainer.image.contents import Contents, Target
from pycontainer.image.hashed import read_verified
from pycontainer.image.names import named_entries, names_annotations, names_of
from pycontainer.image.view import ImageView, copy_blob
from pycontainer.oci import (
    Descriptor,
    Digest,
    Hasher,
    Index,
    Platform,
    Reference,
    choose,
    decode_manifest,
    encode,
    mediatype,
    parse_digest,
    split_digest,
)

__all__ = ["INDEX_FILE", "KILL_POINTS", "LAYOUT_FILE", "LAYOUT_MARK", "Layout", "check_layout_mark"]

LAYOUT_FILE: Final = "oci-layout"
INDEX_FILE: Final = "index.json"
LAYOUT_MARK: Final = b'{"imageLayoutVersion":"1.0.0"}'
KILL_POINTS: Final = (
    "layout.mark.written",  # a new layout has neither an index nor a place for blobs
    "layout.blob.written",  # a blob is complete under another name
    "layout.file.written",  # the index, or the mark, is
)
INDEX_LIMIT = 16 << 20
COPY_SIZE = 1 << 20
_POLL_S = 0.02
_PARTIAL = ".ingest-"


def check_layout_mark(data: bytes) -> None:
    """Refuse an `oci-layout` file of another version than 1.

    Raises: InvalidImage.
    """
    try:
        version = json.loads(data).get("imageLayoutVersion")
    except (ValueError, AttributeError, RecursionError):
        version = None
    if not isinstance(version, str) or not version.startswith("1."):
        raise InvalidImage(f"{LAYOUT_FILE}: image layout version {str(version)[:80]!r} is not 1.0.0")


class Layout:
    """One layout directory: a source and a sink of blobs, and an index of named images.

    Several threads and processes may use one at once.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """Open an existing layout.

        Raises: NotFound, InvalidImage.
        """
        self.root: Path = Path(root)
        check_layout_mark(self._read_file(LAYOUT_FILE, 4096))

    @classmethod
    def create(cls, root: str | os.PathLike[str]) -> Layout:
        """Make an empty layout at `root`, or open the one that is there.

        Raises: AlreadyExists if there is something else.
        """
        path = Path(root)
        path.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            if not (path / LAYOUT_FILE).exists():
                if {entry.name for entry in path.iterdir()} - {_scratch(path / LAYOUT_FILE).name}:
                    raise AlreadyExists(
                        f"{path} is not empty and not an image layout; choose another directory"
                    )
                # First of all, for whoever finds what a killed process began.
                _replace(path / LAYOUT_FILE, LAYOUT_MARK)
            reached("layout.mark.written")
            layout = cls(path)
            if not (path / INDEX_FILE).exists():
                _replace(path / INDEX_FILE, encode(Index()))
            (path / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        return layout

    @property
    def index(self) -> Index:
        """The index as it is on disk now."""
        index = decode_manifest(
            self._read_file(INDEX_FILE, INDEX_LIMIT), mediatype.OCI_INDEX, limit_bytes=INDEX_LIMIT
        )
        assert isinstance(index, Index)  # the media type says so
        return index

    def view(self, name: str | Reference | None = None, platform: Platform | None = None) -> ImageView:
        """The image of that name (a reference, a `ref.name` annotation or a digest), or the only one.

        Raises: NotFound listing the names there are.
        """
        entries = named_entries(self.index.manifests, name, str(self.root))
        if len({entry.digest for entry in entries}) == 1:
            return ImageView.load(self, entries[0], platform)
        # One name, several manifests: an index per platform without an index document of its own.
        return ImageView.load(self, choose(Index(manifests=entries), platform or Platform.host()), platform)

    def add(self, what: ImageView | Target, names: Iterable[Reference] = ()) -> None:
        """Copy an image, or an index with all it lists, here and list it in the index, under each name.

        Names move from older images.
        """
        if isinstance(what, ImageView):
            what.copy_to(self)
        else:
            contents = Contents(what)
            for blob in contents.blobs.values():
                copy_blob(what.source, self, blob)
            for document in contents.manifests:
                self.put(document.content)
        self.name(what.descriptor, names)

    def name(self, target: Descriptor, names: Iterable[Reference] = ()) -> None:
        """List a manifest or an index that is here, under each name; names move from older images."""
        names = list(names)
        with _locked(self.root):
            index = self.index
            taken = {str(name) for name in names}
            kept = [entry for entry in index.manifests if not taken & {str(name) for name in names_of(entry)}]
            if not names:
                kept = [entry for entry in kept if entry.digest != target.digest]
            entries = names_annotations(target, names, full_ref_name=True)
            updated = evolve(index, media_type=mediatype.OCI_INDEX, manifests=(*kept, *entries))
            _replace(self.root / INDEX_FILE, encode(updated))
            self._sweep()

    # BlobSource

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """See BlobSource; a blob whose size differs from the descriptor's is refused at once."""
        file = self._open_file(self._blob_path(descriptor.digest), f"blob {descriptor.digest}")
        size = os.fstat(file.fileno()).st_size
        if size != descriptor.size:
            file.close()
            raise DigestMismatch(f"{descriptor.size} bytes", f"{size} bytes", f"blob {descriptor.digest}")
        return file

    def read(self, descriptor: Descriptor, limit: int) -> bytes:
        """See BlobSource."""
        return read_verified(self, descriptor, limit, "blob")

    # BlobSink

    def has(self, digest: Digest) -> bool:
        """See BlobSink."""
        return self._blob_path(digest).is_file()

    @contextmanager
    def ingest(
        self, descriptor: Descriptor, *, timeout_s: float | None = None
    ) -> Iterator[FileIngest | None]:
        """See BlobSink."""
        final = self._blob_path(descriptor.digest)
        final.parent.mkdir(parents=True, exist_ok=True)
        partial = self.root / f"{_PARTIAL}{split_digest(descriptor.digest)[1]}"
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.has(descriptor.digest):
            fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            with open(fd, "r+b", buffering=0) as file:
                _lock(fd, deadline, descriptor.digest)
                if _is_same_file(fd, partial):  # else its writer has committed or dropped it meanwhile
                    yield FileIngest(file, partial, final, descriptor)
                    return
        yield None

    def put(self, data: bytes) -> Digest:
        """See BlobSink."""
        described = Descriptor.of(data, "application/octet-stream")
        with self.ingest(described) as ingest:
            if ingest is not None:
                ingest.restart()
                ingest.write(data)
                ingest.commit()
        return described.digest

    def _sweep(self) -> None:
        """Remove the parts of blobs that killed writers left; a live one holds a lock on its own."""
        for partial in self.root.glob(f"{_PARTIAL}*"):
            try:
                fd = os.open(partial, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError:
                continue  # not ours, or another one has just removed it
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # A writer that waits for the lock finds that the name is another file's, and begins anew.
                if stat.S_ISREG(os.fstat(fd).st_mode) and _is_same_file(fd, partial):
                    partial.unlink(missing_ok=True)
            except OSError:
                continue
            finally:
                os.close(fd)

    def _blob_path(self, digest: Digest) -> Path:
        algorithm, digits = split_digest(parse_digest(digest))
        return self.root / "blobs" / algorithm / digits

    def _read_file(self, name: str, limit: int) -> bytes:
        with self._open_file(self.root / name, name) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise InvalidImage(f"{self.root / name} is above the limit of {limit} bytes")
        return data

    def _open_file(self, path: Path, what: str) -> BinaryIO:
        try:
            # O_NONBLOCK: a FIFO in place of the file must not block us.
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            raise NotFound(f"{what} is missing in image layout {self.root}") from None
        except OSError as error:
            raise InvalidImage(
                f"{what} in image layout {self.root} cannot be read: {error.strerror}"
            ) from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise InvalidImage(f"{what} in image layout {self.root} is not a regular file")
        return open(fd, "rb")


class FileIngest:
    """One blob being written into a file that is renamed when it is complete and verified."""

    def __init__(self, file: BinaryIO, partial: Path, final: Path, descriptor: Descriptor) -> None:
        self._file = file
        self._partial = partial
        self._final = final
        self._descriptor = descriptor
        self._hasher = Hasher.like(descriptor.digest)
        while chunk := file.read(COPY_SIZE):
            self._hasher.update(chunk)
        if self.offset > descriptor.size:
            self.restart()

    @property
    def offset(self) -> int:
        """See Ingest."""
        return self._hasher.size

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """See Ingest."""
        view = memoryview(chunk)
        if self.offset + len(view) > self._descriptor.size:
            self.restart()
            raise DigestMismatch(f"{self._descriptor.size} bytes", "more", f"blob {self._descriptor.digest}")
        self._hasher.update(view)
        while view:
            view = view[self._file.write(view) :]

    def restart(self) -> None:
        """See Ingest."""
        self._file.seek(0)
        self._file.truncate(0)
        self._hasher = Hasher.like(self._descriptor.digest)

    def commit(self) -> None:
        """See Ingest."""
        try:
            self._hasher.check(
                self._descriptor.digest, self._descriptor.size, f"blob {self._descriptor.digest}"
            )
        except DigestMismatch:
            self._partial.unlink(missing_ok=True)
            raise
        os.fsync(self._file.fileno())
        reached("layout.blob.written")
        self._partial.rename(self._final)


def _lock(fd: int, deadline: float | None, digest: Digest) -> None:
    if deadline is None:
        fcntl.flock(fd, fcntl.LOCK_EX)
        return
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise DeadlineExceeded(f"another writer still holds blob {digest}") from None
            time.sleep(_POLL_S)


def _is_same_file(fd: int, path: Path) -> bool:
    try:
        named = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    opened = os.fstat(fd)
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _replace(path: Path, data: bytes) -> None:
    """Write a small file so that readers see the old content or the new, also after a crash.

    Who calls it has the layout's lock, so that what a killed process left can be removed.
    """
    scratch = _scratch(path)
    scratch.unlink(missing_ok=True)
    try:
        with open(scratch, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        reached("layout.file.written")
        scratch.rename(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _scratch(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")
