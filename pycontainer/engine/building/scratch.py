"""Directories of builds that are under way: each is locked by its build, and swept when that was killed."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pycontainer.errors import KernelError

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine

__all__ = ["scratch", "sweep", "writing"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _home(engine: Engine) -> Path:
    return engine.store.root / "builds/scratch"


@contextmanager
def scratch(engine: Engine) -> Iterator[Path]:
    """A directory for what a build has beside the store; gone after the block."""
    home = _home(engine)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = home / secrets.token_hex(8)
    place.mkdir(mode=0o700)
    lock = os.open(place, _DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield place
    finally:
        engine.store.remove_tree(place)
        os.close(lock)


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Have what goes wrong with files below a place be KernelErrors that name them."""
    try:
        yield
    except KernelError:
        raise
    except OSError as error:
        raise KernelError(error.errno or 0, "write", os.fspath(error.filename or place)) from error


def sweep(engine: Engine) -> None:
    """Remove what killed builds left."""
    try:
        names = os.listdir(_home(engine))
    except FileNotFoundError:
        return
    for name in names:
        try:
            lock = os.open(_home(engine) / name, _DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            engine.store.remove_tree(_home(engine) / name)
        finally:
            os.close(lock)
