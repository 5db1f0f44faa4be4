"""Text of others on a human's terminal: no character of it commands that."""

from __future__ import annotations

__all__ = ["printable"]

_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}


def printable(text: str) -> str:
    """The text with control characters written as \\x1b.

    Images, registries and processes say what they like, and a terminal obeys escape sequences, those of one
    byte (C1) too. Source: ECMA-48, 5.2 and 5.3.
    """
    return text if text.isprintable() else text.translate(_ESCAPED)
