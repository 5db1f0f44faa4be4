"""What registries warn of in the Warning headers of their answers, each told once.

Source: OCI distribution-spec, "Warnings": code 299, agent "-", a quoted text of 4096 bytes at most.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable

from pycontainer.registry.redact import printable

__all__ = ["Notices"]

LARGEST_TEXT = 4096
MOST = 100  # of all registries together; a server that makes up new ones is not listened to for ever
_HEADER = re.compile(r'299 - "((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")


class Notices:
    """Warnings as they come, until somebody takes them; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: set[tuple[str, str]] = set()
        self._waiting: list[str] = []

    def note(self, host: str, headers: Iterable[str]) -> None:
        """Look through the Warning headers of one answer of a registry."""
        for header in headers:
            found = _HEADER.fullmatch(header.strip()) if len(header) <= LARGEST_TEXT + 100 else None
            text = _ESCAPE.sub(r"\1", found[1]) if found else ""
            with self._lock:
                if text and len(text) <= LARGEST_TEXT and (host, text) not in self._seen:
                    if len(self._seen) < MOST:
                        self._seen.add((host, text))
                        self._waiting.append(f"{host} warns: {printable(text, LARGEST_TEXT)}")

    def take(self) -> list[str]:
        """Those nobody has taken yet."""
        with self._lock:
            taken, self._waiting = self._waiting, []
        return taken
