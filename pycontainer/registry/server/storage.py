"""The server's directory: blobs by digest, and per repository the links that make them visible.

Layout below the root:
    registry.json                                       marks the directory as ours
    lock                                                held with flock while a server owns the directory
    blobs/ALGORITHM/HEX                                 content of blobs and manifests, immutable
    uploads/ID                                          uploads under way; emptied at open
    repositories/NAME/_blobs/ALGORITHM-HEX              empty: this blob is visible here
    repositories/NAME/_manifests/ALGORITHM-HEX          the media type: this manifest is visible here
    repositories/NAME/_tags/TAG                         the digest the tag names
The links are read once, at open, into an index in memory, which answers everything; every change goes to
the disk first. Content without a link is removed when the last link goes, or at open after a crash.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from pycontainer.checkpoints import reached
from pycontainer.errors import InUse, InvalidInput
from pycontainer.registry.server import documents, grammar
from pycontainer.registry.server.documents import Document
from pycontainer.registry.server.refusals import Refusal

_MARKER: Final = "registry.json"
_VERSION: Final = 1


@attrs.frozen(kw_only=True)
class Manifest:
    """A stored manifest: its exact bytes and the type it was pushed as."""

    digest: str
    media_type: str
    content: bytes


@attrs.define
class _Repository:
    path: Path
    blobs: set[str] = attrs.Factory(set)
    manifests: dict[str, str] = attrs.Factory(dict)
    tags: dict[str, str] = attrs.Factory(dict)
    # subject digest → referring manifest's digest → its descriptor
    referrers: dict[str, dict[str, dict[str, Any]]] = attrs.Factory(dict)


def _file_name(digest: str) -> str:
    return digest.replace(":", "-")


def _digest_from(file_name: str) -> str | None:
    digest = file_name.replace("-", ":")
    return digest if grammar.is_digest(digest) else None


class Storage:
    """Everything the server keeps. Thread-safe; one process at a time (flock).

    durable: flush blobs and links to the disk before they become visible; off for throw-away directories.
    Raises: InUse when another server holds the directory, InvalidInput when it holds something else.
    """

    def __init__(self, root: Path, *, durable: bool) -> None:
        self.root = root
        self._durable = durable
        self._mutex = threading.Lock()
        self._links: Counter[str] = Counter()
        self._repositories: dict[str, _Repository] = {}
        self._lock_fd = self._claim()
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the directory up. Idempotent."""
        fd, self._lock_fd = self._lock_fd, -1
        if fd >= 0:
            os.close(fd)

    # -- opening ------------------------------------------------------------------------------------

    def _claim(self) -> int:
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        marker = self.root / _MARKER
        if not marker.exists() and any(name.name != "lock" for name in self.root.iterdir()):
            raise InvalidInput(f"{self.root} is neither empty nor a registry's directory; give another root")
        fd = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._check_version(marker)
        except BlockingIOError as error:
            os.close(fd)
            raise InUse(
                f"{self.root} is served by another registry; close that one or give another root"
            ) from error
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _check_version(self, marker: Path) -> None:
        if not marker.exists():
            self._write(marker, json.dumps({"version": _VERSION}).encode())
            return
        try:
            version = json.loads(marker.read_bytes())["version"]
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput(f"{marker} is damaged; give another root") from error
        if version != _VERSION:
            raise InvalidInput(f"{self.root} has layout {version!r}, this release reads {_VERSION}")

    def _load(self) -> None:
        for name in ("blobs/sha256", "blobs/sha512", "uploads", "repositories"):
            (self.root / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in (self.root / "uploads").iterdir():
            leftover.unlink()
        top = self.root / "repositories"
        for directory, children, _files in os.walk(top):
            name = os.path.relpath(directory, top)
            if any(child.startswith("_") for child in children) and grammar.is_repository(name):
                self._load_repository(name)
            children[:] = [child for child in children if not child.startswith("_")]
        self._remove_unlinked()

    def _load_repository(self, name: str) -> None:
        repository = self._repository(name)
        for digest, _link in self._present(repository.path / "_blobs"):
            repository.blobs.add(digest)
            self._links[digest] += 1
        for digest, link in self._present(repository.path / "_manifests"):
            repository.manifests[digest] = link.read_bytes().decode("ascii", "replace")
            self._links[digest] += 1
            content = self._blob_path(digest).read_bytes()
            try:
                self._index_referrer(repository, digest, content, documents.read(content, None))
            except Refusal:
                continue  # Written by a release with other rules; it can be pulled, it refers to nothing.
        for tag in (repository.path / "_tags").iterdir():
            digest = tag.read_bytes().decode("ascii", "replace")
            if digest in repository.manifests and grammar.is_tag(tag.name):
                repository.tags[tag.name] = digest
            else:
                tag.unlink()

    def _present(self, links: Path) -> Iterator[tuple[str, Path]]:
        """The links whose content exists; the others, and half-written ones, are removed."""
        for link in list(links.iterdir()):
            digest = _digest_from(link.name)
            if digest is not None and self._blob_path(digest).is_file():
                yield digest, link
            else:
                link.unlink()

    def _remove_unlinked(self) -> None:
        for algorithm in ("sha256", "sha512"):
            for blob in (self.root / "blobs" / algorithm).iterdir():
                if not self._links[f"{algorithm}:{blob.name}"]:
                    blob.unlink()
        self._links = +self._links

    # -- paths and files ----------------------------------------------------------------------------

    def _blob_path(self, digest: str) -> Path:
        algorithm, _, encoded = grammar.digest(digest).partition(":")
        return self.root / "blobs" / algorithm / encoded

    def upload_path(self, upload_id: str) -> Path:
        """Where the bytes of an upload under way are."""
        if not grammar.is_upload_id(upload_id):
            raise Refusal(404, "BLOB_UPLOAD_UNKNOWN", "no such upload")
        return self.root / "uploads" / upload_id

    def _repository(self, name: str) -> _Repository:
        found = self._repositories.get(name)
        if found is None:
            path = self.root / "repositories" / grammar.repository(name)
            for part in ("_blobs", "_manifests", "_tags"):
                (path / part).mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self._repositories[name] = _Repository(path)
        return found

    def _write(self, path: Path, content: bytes) -> None:
        """Write a small file so that a reader or a crash sees the old or the new one, whole."""
        # "." begins no tag, digest or repository, so a left-over is recognised at the next open.
        temporary = path.with_name(f".{path.name}.tmp")
        with open(temporary, "wb") as stream:
            stream.write(content)
            if self._durable:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(temporary, path)

    # -- blobs --------------------------------------------------------------------------------------

    def blob_size(self, name: str, digest: str) -> int | None:
        """Bytes of a blob visible in the repository, or None."""
        with self._mutex:
            if not self._sees(name, digest):
                return None
            return self._blob_path(digest).stat().st_size

    def announced_size(self, name: str, digest: str) -> int | None:
        """What the repository's manifests say of the size of a blob, whether it is here or not."""
        with self._mutex:
            repository = self._repositories.get(name)
            manifests = [] if repository is None else list(repository.manifests)
        for manifest in manifests:
            found = self.manifest(name, manifest)
            size = None if found is None else documents.announced_size(found.content, digest)
            if size is not None:
                return size
        return None

    def open_blob(self, name: str, digest: str) -> int | None:
        """A read-only descriptor of a blob visible in the repository, or None."""
        with self._mutex:
            if not self._sees(name, digest):
                return None
            return os.open(self._blob_path(digest), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def _sees(self, name: str, digest: str) -> bool:
        repository = self._repositories.get(name)
        return repository is not None and digest in repository.blobs

    def commit(self, name: str, digest: str, upload: Path) -> None:
        """Move an upload whose digest was verified into place and make it visible in the repository."""
        if self._durable:
            with open(upload, "rb") as stream:
                os.fsync(stream.fileno())
        reached("registry.upload.verified")
        with self._mutex:
            target = self._blob_path(digest)
            if self._links[digest]:
                upload.unlink()
            else:
                os.replace(upload, target)
            reached("registry.blob.committed")
            self._link_blob(self._repository(name), digest)

    def mount(self, name: str, digest: str, source: str | None) -> bool:
        """Make a blob of another repository (of any, when source is None) visible here, if there is one."""
        with self._mutex:
            names = list(self._repositories) if source is None else [source]
            if not any(self._sees(each, digest) for each in names):
                return False
            self._link_blob(self._repository(name), digest)
            return True

    def _link_blob(self, repository: _Repository, digest: str) -> None:
        if digest not in repository.blobs:
            self._write(repository.path / "_blobs" / _file_name(digest), b"")
            repository.blobs.add(digest)
            self._links[digest] += 1

    def delete_blob(self, name: str, digest: str) -> bool:
        """Make a blob invisible in the repository; False when it was not there."""
        with self._mutex:
            if not self._sees(name, digest):
                return False
            repository = self._repositories[name]
            (repository.path / "_blobs" / _file_name(digest)).unlink()
            repository.blobs.discard(digest)
            self._unlink_content(digest)
            return True

    def _unlink_content(self, digest: str) -> None:
        self._links[digest] -= 1
        if self._links[digest] <= 0:
            del self._links[digest]
            self._blob_path(digest).unlink(missing_ok=True)

    # -- manifests and tags -------------------------------------------------------------------------

    def missing(self, name: str, document: Document) -> str | None:
        """The first digest a manifest refers to that the repository does not have."""
        with self._mutex:
            repository = self._repositories.get(name)
            blobs = repository.blobs if repository else set()
            manifests = repository.manifests if repository else {}
            for digest in document.blobs:
                if digest not in blobs:
                    return digest
            return next((digest for digest in document.manifests if digest not in manifests), None)

    def put_manifest(
        self, name: str, digest: str, content: bytes, document: Document, tag: str | None
    ) -> None:
        """Store a checked manifest under its digest and, if given, name it with a tag."""
        with self._mutex:
            repository = self._repository(name)
            if not self._links[digest]:
                self._write(self._blob_path(digest), content)
            link = repository.path / "_manifests" / _file_name(digest)
            if repository.manifests.get(digest) != document.media_type:
                self._write(link, document.media_type.encode())
                self._links[digest] += digest not in repository.manifests
                repository.manifests[digest] = document.media_type
            self._index_referrer(repository, digest, content, document)
            reached("registry.manifest.stored")
            if tag is not None:
                self._write(repository.path / "_tags" / tag, digest.encode())
                repository.tags[tag] = digest

    @staticmethod
    def _index_referrer(repository: _Repository, digest: str, content: bytes, document: Document) -> None:
        if document.subject is None:
            return
        descriptor: dict[str, Any] = {
            "mediaType": document.media_type,
            "digest": digest,
            "size": len(content),
        }
        if document.artifact_type:
            descriptor["artifactType"] = document.artifact_type
        if document.annotations:
            descriptor["annotations"] = document.annotations
        repository.referrers.setdefault(document.subject, {})[digest] = descriptor

    def manifest(self, name: str, reference: str) -> Manifest | None:
        """The manifest a tag or a digest names in the repository."""
        with self._mutex:
            repository = self._repositories.get(name)
            if repository is None:
                return None
            digest = repository.tags.get(reference, reference)
            media_type = repository.manifests.get(digest)
            if media_type is None:
                return None
            content = self._blob_path(digest).read_bytes()
        return Manifest(digest=digest, media_type=media_type, content=content)

    def delete_manifest(self, name: str, digest: str) -> bool:
        """Remove a manifest and the tags that name it; False when it was not there."""
        with self._mutex:
            repository = self._repositories.get(name)
            if repository is None or digest not in repository.manifests:
                return False
            for tag in [tag for tag, named in repository.tags.items() if named == digest]:
                (repository.path / "_tags" / tag).unlink()
                del repository.tags[tag]
            (repository.path / "_manifests" / _file_name(digest)).unlink()
            del repository.manifests[digest]
            for referring in repository.referrers.values():
                referring.pop(digest, None)
            self._unlink_content(digest)
            return True

    def delete_tag(self, name: str, tag: str) -> bool:
        """Remove a tag; its manifest stays. False when there was no such tag."""
        with self._mutex:
            repository = self._repositories.get(name)
            if repository is None or tag not in repository.tags:
                return False
            (repository.path / "_tags" / tag).unlink()
            del repository.tags[tag]
            return True

    # -- listing ------------------------------------------------------------------------------------

    def repositories(self) -> list[str]:
        """The names of all repositories, sorted."""
        with self._mutex:
            return sorted(self._repositories)

    def tags(self, name: str) -> list[str] | None:
        """The tags of a repository in the specification's order; None when there is no such repository."""
        with self._mutex:
            repository = self._repositories.get(name)
            return None if repository is None else sorted(repository.tags, key=lambda tag: (tag.lower(), tag))

    def referrers(self, name: str, subject: str) -> list[dict[str, Any]]:
        """Descriptors of the manifests in the repository whose subject is that digest, sorted by digest."""
        with self._mutex:
            repository = self._repositories.get(name)
            found = {} if repository is None else repository.referrers.get(subject, {})
            return [found[digest] for digest in sorted(found)]
