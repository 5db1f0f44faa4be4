"""Deleting trees: out of sight by a rename, which is instant and whole; then for good, in helper jobs.

What a crash leaves in trash/ is deleted by whoever empties it next.
"""

from __future__ import annotations

import os
import secrets
import select
from collections.abc import Sequence
from pathlib import Path

from pycontainer.checkpoints import reached
from pycontainer.launcher import Helper, Job, trees
from pycontainer.store.layout import Layout

__all__ = ["KILL_POINTS", "Trash"]

KILL_POINTS = (
    "remove.tree.renamed",  # out of sight, still on disk
    "remove.tree.deleted",
)

# Deleting is bound by the file system's journal; more than two at once gain nothing.
_PARALLEL = 2

_SMALL = 64  # entries; a container that wrote nothing has about ten


class Trash:
    """Trees on their way out. Thread-safe."""

    def __init__(self, layout: Layout, helper: Helper) -> None:
        self._directory = layout.trash
        self._helper = helper

    def set_aside(self, path: Path) -> str | None:
        """Take a tree out of sight; gives its name in the trash, None if there was nothing."""
        name = secrets.token_hex(8)
        try:
            os.rename(path, self._directory / name)
        except FileNotFoundError:
            return None
        reached("remove.tree.renamed")
        return name

    def remove(self, path: Path) -> None:
        """Take a tree out of sight and delete it; missing is done.

        Raises: KernelError for what cannot be deleted.
        """
        name = self.set_aside(path)
        if name is not None and not self._deleted_here(name):
            self._delete([name])

    def _deleted_here(self, name: str) -> bool:
        """Delete a tree if it has few entries, which costs less here than in a helper job."""
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if _count(directory, name, _SMALL) >= _SMALL:
                return False
            trees.remove(directory, name)
        except PermissionError:
            # Files of other users of our user namespace: only the helper may delete these.
            return False
        finally:
            os.close(directory)
        return True

    def names(self) -> list[str]:
        """What lies in the trash."""
        return os.listdir(self._directory)

    def empty(self, names: Sequence[str] | None = None) -> None:
        """Delete what is in the trash, or some of it; several processes may do so at once."""
        self._delete(self.names() if names is None else names)

    def _delete(self, names: Sequence[str]) -> None:
        if not names:
            return
        waiting = list(names)
        running: dict[int, Job] = {}
        poller = select.poll()
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            while waiting or running:
                while waiting and len(running) < _PARALLEL:
                    job = self._helper.submit("remove_tree", {"name": waiting.pop()}, [directory])
                    running[job.fileno()] = job
                    poller.register(job.fileno(), select.POLLIN)
                for fd, _ in poller.poll():
                    poller.unregister(fd)
                    with running.pop(fd) as ended:
                        ended.result()
                    reached("remove.tree.deleted")
        finally:
            for job in running.values():
                job.close()
            os.close(directory)


def _count(parent: int, name: str, limit: int) -> int:
    """Entries of a tree, counted as far as the limit."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except NotADirectoryError:
        return 1
    except FileNotFoundError:
        return 0  # the container's monitor deletes it as well
    count = 1
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                if count >= limit:
                    break
                is_directory = entry.is_dir(follow_symlinks=False)
                count += _count(fd, entry.name, limit - count) if is_directory else 1
    finally:
        os.close(fd)
    return count
