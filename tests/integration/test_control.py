"""The control socket of a monitor: whom it answers, and what it withstands."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer import errors
from pycontainer.launcher import Channel, ask
from pycontainer.launcher.control import connect
from tests.support.needs import needs

pytestmark = [needs("root", "overlay")]

FOREVER = ["sleep", "1000"]


@pytest.fixture
def box(engine: pc.Engine, busybox: pc.Image) -> pc.Container:
    made = pc.Container.create(busybox, FOREVER, engine=engine)
    made.start()
    return made


def ping(box: pc.Container) -> dict[str, object]:
    return ask(str(box._directory), {"op": "ping"})


def test_a_container_that_has_just_started_is_waited_for(box: pc.Container) -> None:
    assert ping(box)["id"] == box.id
    mode = os.stat(box._directory / "control").st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    box.stop(timeout=0)
    assert not (box._directory / "control").exists()
    box.remove()


def test_what_does_not_run_cannot_be_asked(engine: pc.Engine, busybox: pc.Image) -> None:
    made = pc.Container.create(busybox, FOREVER, engine=engine)
    with pytest.raises(errors.WrongState, match="does not run"):
        ping(made)
    made.start()
    made.stop(timeout=0)
    with pytest.raises(errors.WrongState, match="does not run"):
        ping(made)
    made.remove()


def test_paths_longer_than_a_sockets_address(tmp_path: Path, busybox_layout: Path) -> None:
    with pc.Engine(tmp_path / ("d" * 120) / "store") as engine:
        image = pc.Image.load(busybox_layout, engine=engine)[0]
        with pc.Container(image, FOREVER, engine=engine) as box:
            assert ping(box)["id"] == box.id
            held = os.open(box._directory, os.O_PATH)
            assert ask(held, {"op": "ping"})["id"] == box.id
            os.close(held)


def test_an_unknown_operation_is_an_error_and_no_end(box: pc.Container) -> None:
    with pytest.raises(errors.InvalidInput, match="knows no operation 'explode'"):
        ask(str(box._directory), {"op": "explode"})
    assert ping(box)
    box.remove(force=True)


@pytest.mark.parametrize(
    "sent",
    [b"\xff" * 64, b"\x05\0\0\0\0\0\0\0hello", b"\x02\0\0\0\0\0\0\0[]", b"\x08\0", b""],
    ids=["too long", "no JSON", "no object", "half a header", "nothing"],
)
def test_who_sends_no_message_is_dropped_and_harms_nobody(box: pc.Container, sent: bytes) -> None:
    channel = connect(str(box._directory))
    channel.sock.sendall(sent)
    channel.sock.shutdown(socket.SHUT_WR)
    assert channel.sock.recv(1) == b""
    channel.close()
    assert ping(box)
    box.remove(force=True)


def test_more_connections_than_it_serves_wait_until_one_is_closed(box: pc.Container) -> None:
    open_ones = [connect(str(box._directory)) for _ in range(256)]
    for channel in open_ones:
        channel.send({"op": "ping"})
        assert channel.receive(10)
    late = connect(str(box._directory))
    late.send({"op": "ping"})
    with pytest.raises(errors.DeadlineExceeded):
        late.receive(0.1)
    open_ones.pop().close()
    assert late.receive(10)
    for channel in [*open_ones, late]:
        channel.close()
    assert ping(box)
    box.remove(force=True)


def test_descriptors_nobody_asked_for_are_closed(box: pc.Container) -> None:
    reader, writer = os.pipe()
    channel: Channel = connect(str(box._directory))
    channel.send({"op": "ping"}, [writer])
    assert channel.receive(10)
    os.close(writer)
    channel.close()
    assert ping(box)
    assert os.read(reader, 1) == b"", "the monitor has kept it open"
    os.close(reader)
    box.remove(force=True)
