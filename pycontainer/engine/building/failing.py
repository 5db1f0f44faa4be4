"""A step that failed, as somebody who looks for the cause finds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container
    from pycontainer.engine.images import Image

__all__ = ["FailedStep", "OnFailure"]


@frozen(kw_only=True)
class FailedStep:
    """What a failed RUN left behind: an image with all it wrote until then, which goes when the hook returns
    unless a container uses it.

    Attributes: image; command (what was run); exit_code; log_tail (the end of what it wrote). Secrets, caches
    and other mounts of the step are not in the image.
    """

    image: Image
    command: tuple[str, ...]
    exit_code: int
    log_tail: str

    def container(self, command: Sequence[str] | str = ("sleep", "infinity"), **options: Any) -> Container:
        """A running container in the failed state, with the step's environment, user and directory.

        options: those of Container.create; owned=True has it end with this process. The caller removes it.
        """
        from pycontainer.engine.containers import Container

        made = Container.create(self.image, command, engine=self.image._engine, **options)
        made.start()
        return made


OnFailure = Callable[[FailedStep], None]
