"""Reading stored blobs so that what disk corruption changed is noticed before it is used up."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from pycontainer.errors import DigestMismatch
from pycontainer.oci import Descriptor, Hasher

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["VerifyingReader"]


class VerifyingReader(io.RawIOBase):
    """A blob's bytes; reading on to the end raises DigestMismatch if they are not what was stored.

    Seeking back to the beginning starts the check anew; seeking anywhere else gives it up.
    """

    def __init__(self, fd: int, descriptor: Descriptor, source: str) -> None:
        super().__init__()
        self._fd = fd
        self._descriptor = descriptor
        self._source = source
        self._hasher: Hasher | None = Hasher.like(descriptor.digest)

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """The descriptor; what is read through it is not checked."""
        return self._fd

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer. Raises: DigestMismatch at the end of a blob that changed."""
        view = memoryview(buffer).cast("B")
        count = os.readv(self._fd, [view])
        if self._hasher is not None:
            if count:
                self._hasher.update(view[:count])
                if self._hasher.size > self._descriptor.size:
                    self._mismatch()
            elif len(view):
                self._hasher.check(self._descriptor.digest, self._descriptor.size, self._source)
        return count

    def _mismatch(self) -> None:
        raise DigestMismatch(f"{self._descriptor.size} bytes", "more", self._source)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; see the class for what it means to the check."""
        position = os.lseek(self._fd, offset, whence)
        if position == 0:
            self._hasher = Hasher.like(self._descriptor.digest)
        elif self._hasher is None or position != self._hasher.size:
            self._hasher = None
        return position

    def close(self) -> None:
        """Close the descriptor; idempotent."""
        if not self.closed:
            os.close(self._fd)
        super().close()
