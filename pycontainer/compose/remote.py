"""Compose files of other hosts, by `include` and as files of a project: artifacts of registries, and git.

They are fetched into the store, to a directory of their digest or commit, so relative paths in them lead to
what came with them, and the directory that gives a project its name is called as they are. Which digest or
commit that is now is asked each time; what is there is not fetched again, and goes when nobody has used it
for a month. What they hold is a stranger's: names that lead out of that directory are refused.
Source: docker/compose, pkg/remote (oci.go, git.go) and internal/oci/push.go.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pycontainer.build import is_git, shown_url
from pycontainer.compose.loading import MAX_FILES
from pycontainer.compose.places import OCI
from pycontainer.compose.yamlfile import MAX_BYTES
from pycontainer.engine import Artifact, clone_git, commit_of_git
from pycontainer.errors import InvalidImage, NotFound, Unsupported

if TYPE_CHECKING:
    from pycontainer.engine import Engine

__all__ = ["ARTIFACT_TYPE", "ENV_NAME", "ENV_TYPE", "EXTENDS", "FILE_NAME", "FILE_TYPE", "Remote"]

ARTIFACT_TYPE: Final = "application/vnd.docker.compose.project"
FILE_TYPE: Final = "application/vnd.docker.compose.file+yaml"
ENV_TYPE: Final = "application/vnd.docker.compose.envfile"
FILE_NAME: Final = "com.docker.compose.file"
ENV_NAME: Final = "com.docker.compose.envfile"
EXTENDS: Final = "com.docker.compose.extends"
_SCRATCH = ".new-"
_MAX_ARTIFACT = 4 * MAX_BYTES
"""Of compose files alone no more than MAX_BYTES is taken."""
_ABANDONED_S = 86400.0
"""Longer than any transfer takes."""
_KEPT_S = 30 * 86400.0


class Remote:
    """Fetches what is named, each name once. engine: gives that whose store and registries are used."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._get_engine = engine
        self._found: dict[str, Path] = {}

    def __call__(self, place: str) -> Path:
        """The compose file of this host that a place stands for.

        Raises: NotFound, AuthDenied, RegistryError, TransferFailed; InvalidImage for an artifact that is no
        project; Unsupported.
        """
        if place not in self._found:
            if place.startswith(OCI):
                self._found[place] = self._of_artifact(place.removeprefix(OCI).removeprefix("//"))
            elif is_git(place):
                self._found[place] = self._of_git(place)
            else:
                raise Unsupported(
                    f"{shown_url(place)} is neither in a registry (oci://…) nor in a git repository",
                    "fetch it first, and name the copy",
                )
        return self._found[place]

    @property
    def _engine(self) -> Engine:
        return self._get_engine()  # none is opened for files of this host

    @property
    def _root(self) -> Path:
        return self._engine.store.root / "compose" / "remote"

    def _place(self, *parts: str) -> Path:
        return self._root / hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def _of_artifact(self, reference: str) -> Path:
        artifact = Artifact(reference, engine=self._engine)
        if artifact.artifact_type != ARTIFACT_TYPE:
            raise InvalidImage(f"{reference} is no compose project, but {artifact.artifact_type}")
        name = reference.rpartition("/")[2].partition("@")[0].partition(":")[0]
        place = self._place(artifact.digest) / name
        if not place.is_dir():
            with _scratch(self._root) as scratch:
                for file, content in _files_of(artifact).items():
                    (scratch / file).write_bytes(content)
                _move(scratch, place)
        _note_use(place)
        return place / "compose.yaml"

    def _of_git(self, url: str) -> Path:
        repository, _, fragment = url.partition("#")
        ref, _, below = fragment.partition(":")
        wanted = f"{repository}#{ref}" if ref else repository
        stop = threading.Event()
        with _scratch(self._root) as scratch:
            commit = commit_of_git(wanted, scratch, stop=stop)
            place = self._place(repository, commit or "") / _name_of(repository)
            if not place.is_dir():
                found = clone_git(wanted, scratch, "", keep_git_dir=False, stop=stop)
                place = self._place(repository, found.commit) / _name_of(repository)
                if not place.is_dir():
                    _move(found.directory, place)
        _note_use(place)
        return _file_below(place, below, shown_url(url))


def _name_of(repository: str) -> str:
    """What the directory of a git repository is called."""
    name = repository.rstrip("/").rpartition("/")[2].removesuffix(".git")
    return name if name not in ("", ".", "..") else "app"


def _files_of(artifact: Artifact) -> dict[str, bytes]:
    """What an artifact holds, by the names it is written under; all compose files are one, as documents."""
    files = [each for each in artifact.files if each.media_type in (FILE_TYPE, ENV_TYPE)]
    if len(files) > MAX_FILES or sum(each.size_bytes for each in files) > _MAX_ARTIFACT:
        raise InvalidImage(
            f"{artifact.reference} holds more than a compose project may: "
            f"{MAX_FILES} files of {_MAX_ARTIFACT >> 20} MiB together"
        )
    found: dict[str, bytes] = {}
    for each in files:
        if each.media_type == FILE_TYPE:
            name = "compose.yaml"
            if EXTENDS in each.annotations:
                name = _plain(each.annotations.get(FILE_NAME, ""), artifact)
            content = artifact.read(each.digest)
            found[name] = found[name] + b"\n---\n" + content if name in found else content
        else:
            found[_plain(each.annotations.get(ENV_NAME, ""), artifact)] = artifact.read(each.digest)
    if "compose.yaml" not in found:
        raise InvalidImage(f"{artifact.reference} holds no compose file")
    return found


def _plain(name: str, artifact: Artifact) -> str:
    if name in ("", ".", "..") or "/" in name or "\0" in name or len(name) > 255:
        raise InvalidImage(f"{artifact.reference}: file {name[:200]!r} is no plain name")
    return name


def _file_below(root: Path, below: str, shown: str) -> Path:
    """The compose file of a path in a repository: itself, or in a directory; no link is followed."""
    names = [part for part in below.split("/") if part not in ("", ".")]
    if ".." not in names:
        for tried in ([], ["compose.yaml"], ["compose.yml"], ["docker-compose.yaml"], ["docker-compose.yml"]):
            place = root
            for name in (*names, *tried):
                place /= name
                if place.is_symlink():
                    break
            else:
                if place.is_file():
                    return place
    raise NotFound(f"{shown}: there is no compose file {below or 'compose.yaml'} in the repository")


@contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    """A directory for what is not yet whole; what killed processes left, and what nobody uses, is removed."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in root.iterdir():
        kept_s = _ABANDONED_S if left.name.startswith(_SCRATCH) else _KEPT_S
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > kept_s:
                # Under another name no process takes a half of it for the whole.
                gone = root / f"{_SCRATCH}{left.name[-32:]}"
                left.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(dir=root, prefix=_SCRATCH))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _note_use(place: Path) -> None:
    """Have what is used stay."""
    with suppress(FileNotFoundError):
        os.utime(place.parent)


def _move(scratch: Path, place: Path) -> None:
    """Have a directory where it belongs, whole; another process may have been faster."""
    place.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        os.rename(scratch, place)
    except OSError:
        if not place.is_dir():
            raise
