"""Waiting for what a container comes to, without asking again and again."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable

import pycontainer as pc
from pycontainer.kernel import inotify


def await_that(box: pc.Container, is_so: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait until it is so, looking whenever the monitor has written something."""
    deadline = time.monotonic() + timeout_s
    with inotify.Watch(os.fsencode(box._directory)) as watch:
        poller = select.poll()
        poller.register(watch, select.POLLIN)
        while not is_so():
            left_s = deadline - time.monotonic()
            has_changed = left_s > 0 and poller.poll(left_s * 1000)
            assert has_changed, f"it did not come to that: {box.inspect()['State']}"
            watch.drain()
