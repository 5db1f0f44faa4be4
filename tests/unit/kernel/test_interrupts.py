"""Waits of a thread end when its interrupt is set, once, and cost nothing without one."""

from __future__ import annotations

import os
import select
import threading

import pytest

from pycontainer.kernel import interrupts
from pycontainer.kernel.interrupts import Interrupt, Interrupted


def test_without_an_interrupt_it_is_the_kernels_own() -> None:
    assert type(interrupts.poll()) is type(select.poll())
    with interrupts.calling(lambda: pytest.fail("nobody sets one")):
        pass


def test_a_wait_ends_when_it_is_set_by_another_thread() -> None:
    interrupt = Interrupt()
    with interrupt.entered():
        poller = interrupts.poll()
        threading.Timer(0.05, interrupt.set).start()
        with pytest.raises(Interrupted):
            poller.poll(20_000)
    interrupt.close()


def test_it_is_raised_once_and_what_cleans_up_waits_as_ever() -> None:
    reader, writer = os.pipe()
    interrupt = Interrupt()
    interrupt.set()
    with interrupt.entered():
        poller = interrupts.poll()
        poller.register(reader, select.POLLIN)
        with pytest.raises(Interrupted):
            poller.poll()
        assert poller.poll(0) == []
        assert interrupts.poll().poll(0) == []
        os.write(writer, b"x")
        assert poller.poll() == [(reader, select.POLLIN)]
    interrupt.close()
    os.close(reader)
    os.close(writer)


def test_what_is_ready_does_not_hide_it() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"x")
    interrupt = Interrupt()
    with interrupt.entered():
        poller = interrupts.poll()
        poller.register(reader, select.POLLIN)
        assert poller.poll() == [(reader, select.POLLIN)]
        interrupt.set()
        with pytest.raises(Interrupted):
            poller.poll()
    interrupt.close()
    os.close(reader)
    os.close(writer)


def test_functions_are_called_while_they_are_asked_for() -> None:
    called: list[str] = []
    interrupt = Interrupt()
    with interrupt.entered():
        with interrupts.calling(lambda: called.append("before")):
            pass
        with interrupts.calling(lambda: called.append("during")):
            interrupt.set()
            interrupt.set()
        with interrupts.calling(lambda: called.append("late")):
            pass
    interrupt.close()
    interrupt.close()
    assert called == ["during", "late"]


def test_it_is_its_threads_own() -> None:
    interrupt = Interrupt()
    interrupt.set()
    found: list[object] = []
    with interrupt.entered():
        thread = threading.Thread(target=lambda: found.append(interrupts.poll().poll(0)))
        thread.start()
        thread.join()
    interrupt.close()
    assert found == [[]]
