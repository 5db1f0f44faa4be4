"""Several transfers at once: the first error ends them all, and no thread outlives the call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from pycontainer.kernel import interrupts
from pycontainer.registry.cancel import Cancellation, Cancelled

__all__ = ["run_all"]

T = TypeVar("T")


def run_all(
    items: Iterable[T],
    work: Callable[[T], None],
    workers: int,
    on_done: Callable[[T], None] | None = None,
    group: Cancellation | None = None,
) -> None:
    """Call `work` for every item on up to `workers` threads.

    `on_done` is called on the caller's thread, in the order of completion. If anything raises, there or
    in a worker or here (KeyboardInterrupt), the other transfers are cancelled and waited for, and the
    first error is raised. `group` lets another thread do the same from outside, which raises Cancelled.
    """
    todo = list(items)
    if not todo:
        return
    group = group or Cancellation()

    def in_group(item: T) -> None:
        with group.entered():
            group.check()
            work(item)

    running: dict[Future[None], T] = {}
    with (
        interrupts.calling(group.cancel),
        ThreadPoolExecutor(min(workers, len(todo)), thread_name_prefix="pycontainer-transfer") as pool,
    ):
        try:
            running.update({pool.submit(in_group, item): item for item in todo})
            while running:
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                # A cancelled one is the consequence of another's error, which is the one to raise.
                for future in sorted(finished, key=_was_cancelled):
                    future.result()
                    item = running.pop(future)
                    if on_done is not None:
                        on_done(item)
        except BaseException:
            group.cancel()
            for future in running:
                future.cancel()
            raise


def _was_cancelled(future: Future[None]) -> bool:
    return isinstance(future.exception(), Cancelled)
