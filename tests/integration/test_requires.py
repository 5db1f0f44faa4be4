"""Containers that are started after others, because they require them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import pycontainer as pc
from pycontainer import errors

pytestmark = pytest.mark.needs("root", "overlay")


@pytest.fixture(autouse=True)
def tidy(engine: pc.Engine) -> Iterator[None]:
    """Remove what a test has made, those that others require last."""
    yield
    for box in pc.Container.list(all=True, engine=engine):
        box.remove(force=True)


FOREVER = ["sleep", "1000"]


def test_what_a_container_requires_is_started_first_with_what_that_requires(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    db = pc.Container.create(busybox, FOREVER, name="db", engine=engine)
    app = pc.Container.create(busybox, FOREVER, name="app", requires=["db"], engine=engine)
    web = pc.Container.create(busybox, FOREVER, name="web", requires="app", engine=engine)
    web.start()
    assert {box.state for box in (db, app, web)} == {"running"}
    order = [box.started_at for box in (db, app, web)]
    assert all(order)
    assert order == sorted(order, key=str)


def test_one_that_runs_already_is_left_alone(engine: pc.Engine, busybox: pc.Image) -> None:
    with pc.Container(busybox, FOREVER, name="db", engine=engine) as db:
        pid = db.pid
        seen = pc.run(busybox, ["echo", "after"], requires={"db": "started"}, engine=engine)
        assert (seen.text, db.pid) == ("after\n", pid)


def test_it_is_waited_for_until_the_other_is_healthy(engine: pc.Engine, busybox: pc.Image) -> None:
    db = pc.Container.create(
        busybox,
        ["sh", "-c", "sleep 0.3; touch /up; exec sleep 1000"],
        name="db",
        health_cmd="test -e /up",
        health_interval=0.05,
        health_retries=1000,
        engine=engine,
    )
    with pc.Container(busybox, FOREVER, requires=["db:healthy"], engine=engine):
        assert db.health is not None
        assert db.health.status == "healthy"


def test_it_is_waited_for_until_the_other_has_done_its_work_and_that_is_done_once(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    migrate = pc.Container.create(
        busybox, ["sh", "-c", "sleep 0.2; echo done"], name="migrate", engine=engine
    )
    app = pc.Container.create(busybox, FOREVER, name="app", requires=["migrate:completed"], engine=engine)
    app.start()
    assert (migrate.exit_code, migrate.logs().text()) == (0, "done\n")
    ended = migrate.finished_at
    app.restart(timeout=0)
    assert migrate.finished_at == ended


def test_one_whose_work_fails_keeps_it_from_starting_and_says_why(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    pc.Container.create(busybox, ["sh", "-c", "echo no table; exit 3"], name="migrate", engine=engine)
    app = pc.Container.create(busybox, FOREVER, name="app", requires=["migrate:completed"], engine=engine)
    with pytest.raises(errors.ContainerFailed, match="migrate ended with 3 and was to complete") as caught:
        app.start()
    assert (caught.value.exit_code, caught.value.stderr) == (3, b"no table\n")
    assert caught.value.__notes__ == ["container app requires migrate:completed"]
    assert app.state == "created"


def test_one_without_a_health_check_cannot_be_waited_for(engine: pc.Engine, busybox: pc.Image) -> None:
    pc.Container.create(busybox, FOREVER, name="db", engine=engine)
    app = pc.Container.create(busybox, FOREVER, name="app", requires=["db:healthy"], engine=engine)
    with pytest.raises(errors.NotReady, match="health"):
        app.start()


def test_what_does_not_exist_is_named_when_it_is_made_and_when_it_is_started(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    with pytest.raises(errors.NotFound, match=r"requires='db'.*no container 'db'; create that one first"):
        pc.Container.create(busybox, FOREVER, requires=["db"], engine=engine)
    db = pc.Container.create(busybox, FOREVER, name="db", engine=engine)
    app = pc.Container.create(busybox, FOREVER, name="app", requires=["db"], engine=engine)
    db.remove()
    with pytest.raises(errors.NotFound, match=r"container app has requires='db'"):
        app.start()


def test_a_circle_is_named_and_nothing_of_it_is_started(engine: pc.Engine, busybox: pc.Image) -> None:
    first = pc.Container.create(busybox, FOREVER, name="a", engine=engine)
    b = pc.Container.create(busybox, FOREVER, name="b", requires=["a"], engine=engine)
    first.remove()
    a = pc.Container.create(busybox, FOREVER, name="a", requires=["b"], engine=engine)
    with pytest.raises(errors.InvalidOption, match="wait for each other: a -> b -> a"):
        a.start()
    assert (a.state, b.state) == ("created", "created")


def test_many_are_started_in_order_and_stopped_in_the_opposite_one(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    trap = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"]
    pc.Container.create(busybox, trap, name="db", init=True, engine=engine)
    pc.Container.create(busybox, trap, name="app", init=True, requires=["db"], engine=engine)
    started = pc.Container.start_all(["app", "db"], engine=engine)
    assert [box.name for box in started] == ["db", "app"]
    pc.Container.stop_all(["db", "app"], engine=engine)
    ended = {box.name: box.finished_at for box in started}
    assert ended["app"] is not None
    assert ended["db"] is not None
    assert ended["app"] < ended["db"]


@pytest.mark.parametrize("wanted", ["db:ready", "../db", {"db": "now"}, 7, [""]])
def test_what_is_no_requirement_is_refused(engine: pc.Engine, busybox: pc.Image, wanted: object) -> None:
    with pytest.raises(errors.InvalidOption, match="requires"):
        pc.Container.create(busybox, FOREVER, requires=wanted, engine=engine)  # type: ignore[arg-type]


def test_several_processes_start_the_same_ones_once(engine: pc.Engine, busybox: pc.Image) -> None:
    db = pc.Container.create(busybox, FOREVER, name="db", engine=engine)
    boxes = [
        pc.Container.create(busybox, FOREVER, name=f"app{number}", requires=["db"], engine=engine)
        for number in range(4)
    ]
    children = []
    for box in boxes:
        child = os.fork()
        if child == 0:
            try:
                with pc.Engine(engine.root) as own:
                    pc.Container.get(box.id, engine=own).start()
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0, 0]
    assert {box.state for box in (db, *boxes)} == {"running"}
    assert [event.action for event in db.events()].count("start") == 1
