"""Letting containers go on that a commit froze whose process was killed before it could."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from pycontainer.engine.state import observe
from pycontainer.launcher import freezer, status

__all__ = ["thaw", "thaw_abandoned"]


def thaw_abandoned(containers: Path) -> None:
    """Look through the directory of all containers."""
    for name in os.listdir(containers):
        if os.path.exists(containers / name / status.COMMITTING):
            thaw(containers / name)


def thaw(directory: Path) -> None:
    """Let a container go on, unless the commit that froze it is still at work, or none did."""
    with suppress(FileNotFoundError):
        mark = os.open(directory / status.COMMITTING, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            freezer.thaw(observe(directory).freeze)
            os.unlink(directory / status.COMMITTING)
        except BlockingIOError:
            pass
        finally:
            os.close(mark)
