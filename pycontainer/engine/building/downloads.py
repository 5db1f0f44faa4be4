"""Files by URL, kept for the next build: fetched again only if the server says that they have changed.

Theory of operation. Each URL has a directory in the store, which whoever fetches it has locked: a file named
by the digest of its content, and a note of that, of its time, and of what the server calls this version
(ETag, Last-Modified). The note is replaced when the file is whole. Builds get links to the file.
Source: RFC 9110, sections 8.8 and 13; moby/buildkit, source/http.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from pycontainer.build import GivenUp, shown_url, url_name
from pycontainer.errors import DigestMismatch, InvalidInput, NotFound, TransferFailed

__all__ = ["Downloaded", "Downloads"]

MAX_BYTES = 64 << 30
_CHUNK = 1 << 16
_TIMEOUT_S = 60.0
_TICK_S = 0.05
_ALGORITHMS = ("sha256", "sha384", "sha512")
_NOTE = "note.json"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@frozen(kw_only=True)
class Downloaded:
    """A file, and the digest of its content."""

    file: Path
    digest: str


@frozen(kw_only=True)
class _Kept:
    """What is known of the file that is kept. digest: sha256; modified: its time, seconds since 1970."""

    digest: str
    etag: str = ""
    last_modified: str = ""
    modified: float = 0.0

    @property
    def conditions(self) -> dict[str, str]:
        found = {"if-none-match": self.etag, "if-modified-since": "" if self.etag else self.last_modified}
        return {name: value for name, value in found.items() if value}


class Downloads:
    """The files that builds took from the network. directory: where they are kept."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def fetch(self, url: str, place: Path, checksum: str, stop: threading.Event) -> Downloaded:
        """Put a file into a directory, under its name; its mode is 0600, its time what the server says.

        checksum: its digest, "" for any; what is kept of that digest is not asked for again.
        Raises: NotFound, TransferFailed, DigestMismatch, InvalidInput; GivenUp.
        """
        algorithm, _, digits = checksum.partition(":")
        if checksum and (algorithm not in _ALGORITHMS or not digits):
            raise InvalidInput(f"checksum {checksum!r}: give sha256: and 64 hexadecimal digits")
        home = self._directory / hashlib.sha256(url.encode(errors="surrogatepass")).hexdigest()[:32]
        with _locked(home, stop):
            kept = _kept(home)
            if kept is None or not checksum or _digest(home / kept.digest, algorithm) != checksum:
                kept = _asked(url, home, kept, stop)
                if checksum and (found := _digest(home / kept.digest, algorithm)) != checksum:
                    raise DigestMismatch(checksum, found, shown_url(url))
            os.utime(home)  # when it was last used
            target = place / url_name(url)
            os.link(home / kept.digest, target)
            return Downloaded(file=target, digest=f"sha256:{kept.digest}")


@contextmanager
def _locked(home: Path, stop: threading.Event) -> Iterator[None]:
    while True:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            lock = os.open(home, _DIRECTORY)
        except FileNotFoundError:
            continue  # pruned just now
        try:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_same(lock, home):
                    yield
                    return
        finally:
            os.close(lock)
        if stop.wait(_TICK_S):
            raise GivenUp("the build was given up")


def _is_same(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _kept(home: Path) -> _Kept | None:
    try:
        found = _Kept(**json.loads((home / _NOTE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return found if (home / found.digest).is_file() else None


def _digest(file: Path, algorithm: str) -> str:
    if algorithm == "sha256":
        return f"sha256:{file.name}"
    with open(file, "rb") as content:
        return f"{algorithm}:{hashlib.file_digest(content, algorithm).hexdigest()}"


def _asked(url: str, home: Path, kept: _Kept | None, stop: threading.Event) -> _Kept:
    """What the server has now. kept: what it may say that is still the same."""
    import httpx  # only builds that fetch need it

    shown = shown_url(url)
    headers = {"accept-encoding": "identity", **(kept.conditions if kept else {})}
    try:
        with (
            httpx.Client(follow_redirects=True, timeout=_TIMEOUT_S, max_redirects=10) as client,
            client.stream("GET", url, headers=headers) as answer,
        ):
            if answer.status_code == 304 and kept is not None:
                return kept
            if answer.status_code == 404:
                raise NotFound(f"{shown}: the server has no such file")
            if answer.status_code != 200:
                raise TransferFailed(f"{shown}: the server answered {answer.status_code}")
            return _written(answer, home, shown, stop)
    except httpx.HTTPError as error:
        raise TransferFailed(f"{shown}: {error}") from error
    except httpx.InvalidURL as error:
        raise InvalidInput(f"{shown}: {error}") from None


def _written(answer: Any, home: Path, shown: str, stop: threading.Event) -> _Kept:
    partial = home / "partial"
    partial.unlink(missing_ok=True)  # of one that was killed
    hasher, size = hashlib.sha256(), 0
    with open(partial, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        for piece in answer.iter_raw(_CHUNK):
            size += len(piece)
            if size > MAX_BYTES or stop.is_set():
                raise TransferFailed(f"{shown}: given up after {size} bytes", is_temporary=False)
            hasher.update(piece)
            file.write(piece)
    last_modified = answer.headers.get("last-modified", "")
    try:
        moment = parsedate_to_datetime(last_modified).timestamp()
    except (ValueError, TypeError):
        moment = 0.0
    made = _Kept(
        digest=hasher.hexdigest(),
        etag=answer.headers.get("etag", ""),
        last_modified=last_modified,
        modified=moment,
    )
    os.utime(partial, (moment, moment))
    os.rename(partial, home / made.digest)
    note = home / f"{_NOTE}.new"
    note.write_text(json.dumps(asdict(made)))
    os.rename(note, home / _NOTE)
    for other in home.iterdir():
        if other.name not in (made.digest, _NOTE):
            other.unlink(missing_ok=True)
    return made
