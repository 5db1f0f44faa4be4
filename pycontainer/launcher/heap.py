"""Keeping the memory that forked processes share with the helper shared."""

from __future__ import annotations

__all__ = ["fill_holes"]

_LARGEST = 512  # bytes of what the interpreter's own allocator serves (Objects/obmalloc.c)
_STEP = 16
_POOL = 16384 - 48  # bytes of blocks that lie side by side, less their header
_EMPTY = bytes.__basicsize__

_kept: list[bytes] = []


def fill_holes() -> None:
    """Take the free places between the objects that live, for good; once, when all is imported.

    What a forked process makes then lies together in fresh pages. Else each little object would fill a hole
    that imports left, in a page of its own, which is copied for that: 170 KiB in each monitor. Takes 2 ms.
    """
    for size in range((_EMPTY + _STEP - 1) & -_STEP, _LARGEST + 1, _STEP):
        beside, last = 0, 0
        enough = _POOL // size - 2
        while beside < enough:
            _kept.append(bytes(size - _EMPTY))
            at = id(_kept[-1])
            beside = beside + 1 if at == last + size else 0
            last = at
        del _kept[-beside:]  # a fresh pool: to be used by who comes
