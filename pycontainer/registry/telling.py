"""What is told of one blob's way while it is transferred."""

from __future__ import annotations

import time

from pycontainer.image import Action, OnEvent, Progress
from pycontainer.oci import Descriptor, Reference

__all__ = ["Teller"]

_GAP_S = 0.1
"""A renderer draws no faster."""


class Teller:
    """Tells of one blob. on_event: called with each event; None tells nobody."""

    def __init__(self, reference: Reference, descriptor: Descriptor, on_event: OnEvent | None) -> None:
        self._reference = reference
        self._descriptor = descriptor
        self._on_event = on_event
        self._next_s = 0.0

    def tell(self, action: Action, done_bytes: int, message: str = "") -> None:
        """Tell that it has come so far."""
        if self._on_event is not None:
            self._on_event(
                Progress(
                    action=action,
                    reference=self._reference.familiar,
                    digest=self._descriptor.digest,
                    done_bytes=done_bytes,
                    total_bytes=self._descriptor.size,
                    message=message,
                )
            )

    def tell_rarely(self, action: Action, done_bytes: int) -> None:
        """The same, unless something was told a moment ago."""
        now = time.monotonic()
        if now >= self._next_s:
            self._next_s = now + _GAP_S
            self.tell(action, done_bytes)
