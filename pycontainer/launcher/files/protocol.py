"""What jobs of this package tell the caller while they work."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Report"]

Report = Callable[..., None]
"""report(message, descriptors): descriptors, if any, are the caller's from then on."""
