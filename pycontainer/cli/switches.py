"""What a switch may be given, and a flag that was given what it cannot have."""

from __future__ import annotations

__all__ = ["FALSE", "TRUE", "BadFlag"]

TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
"""As Docker's parser takes it (Go, strconv.ParseBool)."""


class BadFlag(Exception):
    """A flag with a value it cannot have."""

    def __init__(self, message: str, flag: str) -> None:
        super().__init__(message)
        self.flag = flag
