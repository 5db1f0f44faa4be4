"""What a build tells while it goes on, as typed events."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

from attrs import frozen

from pycontainer.image import Progress

if TYPE_CHECKING:
    from pycontainer.build.dockerfile import BuildWarning

__all__ = ["BuildAction", "BuildEvent", "OnBuildEvent"]

BuildAction: TypeAlias = Literal[
    "started",  # a step begins to be executed
    "cached",  # a step is not executed: what it makes is known
    "output",  # a step's program wrote something
    "done",  # a step was executed
    "failed",
    "warning",  # a build check found something
    "transfer",  # an image is pulled or pushed; progress says how far it is
    "exporting",  # the image is put together
    "finished",
]


@frozen(kw_only=True)
class BuildEvent:
    """One event; it may come from several threads, and stands alone.

    action: what happens. step: the step as people read it ("[build 2/5] RUN make"), "" for the whole build.
    stage: the stage's name. lines: first and last line in the Dockerfile, (0, 0) for none. output, stream:
    what was written, and to what ("stdout" or "stderr"). seconds: how long the step took. digest: of the
    layer or image that was made. message: one line for a human. progress: of a transfer. Holds no secret that
    the build was given.
    """

    action: BuildAction
    step: str = ""
    stage: str = ""
    lines: tuple[int, int] = (0, 0)
    output: bytes = b""
    stream: str = ""
    seconds: float = 0.0
    digest: str = ""
    message: str = ""
    progress: Progress | None = None

    @classmethod
    def of_warning(cls, found: BuildWarning) -> BuildEvent:
        """The event that tells what a build check found."""
        lines = found.lines
        message = f"{found.rule}: {found.message}"
        return cls(action="warning", message=message, lines=(lines.first, lines.last))


OnBuildEvent: TypeAlias = Callable[[BuildEvent], None]
