"""Comparison, hash and repr of frozen data, once for all its classes.

attrs makes these methods for each class anew, which takes half of the time that a class takes. What every
command imports inherits them instead: `@frozen(eq=False, repr=False) class Name(Value)`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import attrs

__all__ = ["Value"]


class Value:
    """What attrs itself would give a frozen class, by its fields and what they say of eq and repr."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _compared(type(self)))

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in _compared(type(self))))

    def __repr__(self) -> str:
        cls = type(self)
        shown = (f"{name}={getattr(self, name)!r}" for name in _shown(cls))
        return f"{cls.__qualname__.rpartition('>.')[2]}({', '.join(shown)})"


_compared: Callable[[type], tuple[str, ...]] = functools.cache(
    lambda cls: tuple(field.name for field in attrs.fields(cls) if field.eq)
)
_shown: Callable[[type], tuple[str, ...]] = functools.cache(
    lambda cls: tuple(field.name for field in attrs.fields(cls) if field.repr)
)
