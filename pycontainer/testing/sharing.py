"""One thing for several processes: made by the first that needs it, removed by the last.

Theory of operation. Whoever uses the thing holds a shared lock on a file that names it; making, finding and
removing take turns by a second, exclusive one. Who can lock the file exclusively in its turn is the last.
The kernel drops the locks of who is killed, and the file names a thing only once that is whole.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from typing import Generic, TypeVar

from pycontainer.engine import Engine
from pycontainer.testing import marks

__all__ = ["Shared"]

T = TypeVar("T")


class Shared(Generic[T]):
    """A use of the thing with this key in this store, from its making until `release`.

    find: gives the thing of a name that was noted, or None when it is not there any more. make: removes what
    is left of an attempt, and makes it: its name, and the thing. remove: ends it.
    """

    def __init__(
        self,
        engine: Engine,
        key: str,
        *,
        find: Callable[[str], T | None],
        make: Callable[[], tuple[str, T]],
        remove: Callable[[T], None],
    ) -> None:
        self._engine, self._key, self._remove = engine, key, remove
        with marks.lock(engine, key):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._opened = os.open(marks.place(engine, key), flags, 0o600)
            try:
                fcntl.flock(self._opened, fcntl.LOCK_SH)  # exclusive ones are taken in turn only
                noted = os.pread(self._opened, marks.NOTED_BYTES, 0).decode(errors="replace")
                found = find(noted) if noted else None
                if found is None:
                    os.ftruncate(self._opened, 0)
                    name, found = make()
                    os.pwrite(self._opened, name.encode(), 0)
            except BaseException:
                os.close(self._opened)
                raise
            self.thing: T = found

    def release(self, *, keeps: bool = False) -> None:
        """Use it no longer; the last one removes it. keeps: it stays, for those that come."""
        try:
            if not keeps:
                with marks.lock(self._engine, self._key):
                    self._end_if_last()
        finally:
            os.close(self._opened)

    def _end_if_last(self) -> None:
        try:
            fcntl.flock(self._opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # others use it
        self._remove(self.thing)
        os.unlink(marks.place(self._engine, self._key))
