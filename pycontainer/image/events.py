"""Progress of pulls, pushes and unpacking, as typed events.

One flat event type serves every long image operation, so that a renderer needs no knowledge of
who sends it. Events may come from several threads; each is immutable and stands alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import attrs

from pycontainer.values import Value

__all__ = ["ACTIONS", "Action", "OnEvent", "Progress"]

Action: TypeAlias = Literal[
    "resolving",  # a reference is being looked up; done when "resolved" follows
    "resolved",
    "waiting",  # the blob is queued, or another process is transferring it
    "downloading",
    "verifying",
    "downloaded",
    "exists",  # already here, or already in the registry; nothing is transferred
    "skipped",  # left out on purpose (a foreign layer)
    "retrying",  # a transfer broke off and starts again; message says why
    "unpacking",
    "unpacked",
    "uploading",
    "uploaded",
    "mounted",  # taken over from another repository of the same registry
    "warning",  # the registry warns of something; message says what
    "done",  # the whole operation
]
ACTIONS: tuple[str, ...] = get_args(Action)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Progress(Value):
    """One step of a transfer or of unpacking.

    action: what happens; see `Action`.
    reference: the image as the user named it, or "".
    digest: the blob, layer or manifest it is about, or "" when it is about the whole image.
    done_bytes, total_bytes: how far it is; total_bytes is None when nobody knows.
    message: one line for a human, or "". Never holds credentials.
    """

    action: Action
    reference: str = ""
    digest: str = ""
    done_bytes: int = 0
    total_bytes: int | None = None
    message: str = ""


OnEvent: TypeAlias = Callable[[Progress], None]
