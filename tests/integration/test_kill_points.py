"""Kill points: SIGKILL at every named step of pull, create, start, stop, remove, run and push.

For each step there is one case per victim: the process that reaches the step, the caller, the helper.
A caller that survives repeats what failed. Then another process opens the store, lists, repeats the
verb and empties the store; what is left then is a leak. Steps are read from the source: a new one is
tested at once, and one that no process comes to fails its test.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer.errors import NotFound, WrongState
from pycontainer.ocicli import creating
from pycontainer.testing import killpoints
from tests.support import stores
from tests.support.needs import needs

pytestmark = needs("root", "overlay")

SETUP = """
import pycontainer as pc
from pycontainer import checkpoints
from pycontainer.errors import PycontainerError
engine = pc.Engine({root!r})
engine.store
engine.helper.start()
def attempt(work):
    try:
        return work()
    except PycontainerError as error:
        print(type(error).__name__, error, flush=True)
    checkpoints.arm(None)
    return work()
def box():
    return pc.Container.get("box", engine=engine)
def create(command=("sleep", "1000"), **options):
    return pc.Container.create("busybox", list(command), name="box", memory="64m", engine=engine, **options)
"""

NETWORKED = """
from contextlib import suppress
from pycontainer.errors import AlreadyExists, NotFound
def network(name):
    with suppress(AlreadyExists):
        pc.Network.create(name, engine=engine)
    return pc.Network.get(name, engine=engine)
def life():
    app, other = network('app'), network('other')
    with suppress(NotFound):
        box().remove(force=True)
    create(network='app', ports={80: None}).start()
    other.connect(box())
    other.disconnect(box())
    box().remove(force=True)
    app.remove()
    other.remove()
"""
"""The life of a container on networks, which can be begun anew wherever it was cut."""

SCRIPTS = {
    "pull": ("", "attempt(lambda: pc.Image.pull({reference!r}, engine=engine))\nengine.store.sync()"),
    "create": ("", "attempt(create)"),
    "start": ("create()", "attempt(lambda: box().start())"),
    "stop": ("create()", "box().start()\nattempt(lambda: box().stop(timeout=0))"),
    "run": ("", "attempt(lambda: pc.run('busybox', ['true'], memory='64m', engine=engine))"),
    "remove": (
        "create()",
        """
box().start()
attempt(lambda: box().remove(force=True))
attempt(lambda: [image.remove() for image in pc.Image.list(engine=engine)])
attempt(lambda: engine.store.collect_garbage())
""",
    ),
    "exec": ("create()", "box().start()\nattempt(lambda: box().exec(['sh', '-c', {tree!r}]))"),
    "pause": ("create()", "box().start()\nattempt(lambda: box().pause())"),
    "update": ("create()", "box().start()\nattempt(lambda: box().update(pids_limit=9))"),
    "restart": (
        "create(['sh', '-c', 'exit 3'], restart='on-failure:1')",
        "box().start()\nattempt(lambda: box().wait(timeout=30))",
    ),
    "health": (
        "create(health_cmd='true', health_interval=0.05)",
        """
def check():
    if box().state != "running":
        box().start()
    box().wait_until(pc.wait.healthy())
attempt(check)
""",
    ),
    "detach": ("owned = create(owned=True)", "owned.start()\nattempt(lambda: box().detach())"),
    "partition": (
        """
pc.Network.create('app', engine=engine)
for name in ('box', 'peer'):
    pc.Container.create('busybox', ['sleep', '1000'], name=name, network='app', engine=engine).start()
""",
        "attempt(lambda: pc.Network.get('app', engine=engine).partition('box', 'peer')).heal()",
    ),
    "impairment": (
        """
pc.Network.create('app', engine=engine)
for name in ('box', 'peer'):
    pc.Container.create('busybox', ['sleep', '1000'], name=name, network='app', engine=engine).start()
""",
        "fault = attempt(lambda: box().disconnect())\nattempt(fault.heal)",
    ),
    "network": (NETWORKED, "attempt(life)"),
    "volume": (
        "from contextlib import suppress",
        """
def life():
    with suppress(pc.errors.NotFound):
        box().remove(force=True, volumes=True)
    create(volumes={{'data': '/srv'}}).start()
    box().remove(force=True)
    with suppress(pc.errors.NotFound):
        pc.Volume.get('twin', engine=engine).remove()
    data = pc.Volume.get('data', engine=engine)
    data.clone('twin').remove()
    for old in data.snapshots:
        old.remove()
    data.snapshot('before').restore()
    pc.Volume.get('data', engine=engine).remove()
attempt(life)
""",
    ),
    "build": (
        "",
        """
text = 'FROM busybox\\nCOPY f /f\\nRUN --mount=type=cache,target=/c cat /f > /g\\n'
options = dict(dockerfile=text, tags=['built'], network='none', engine=engine)
attempt(lambda: pc.Image.build({{'f': 'built'}}, **options))
""",
    ),
    "push": ("", "attempt(lambda: pc.Image.get('busybox', engine=engine).push({reference!r}))"),
    "transfer": ("", "attempt(lambda: pc.copy({reference!r}, 'store:copied', engine=engine))"),
}

TREE = "setsid sh -c 'sleep 0.654 & wait' & (setsid sleep 0.654 &) & wait"
"""A shell command whose processes leave their parent, group and session."""

OF_FILES = {  # test_applying.py, test_commit.py, test_copying.py
    *killpoints.names("apply"),
    *killpoints.names("commit"),
    *killpoints.names("copy"),
}
OF_BUILD = {*killpoints.names("build")}
IN_MONITOR = set(killpoints.names(within="launcher")) - OF_FILES - OF_BUILD
IN_JOBS = set(killpoints.names(within="layers"))
OF_OTHER_VERBS = {
    step for verb in ("exec", "update", "restart", "health", "detach") for step in killpoints.names(verb)
}
OF_RUN = {"remove.files.removed"}  # of containers that go by themselves
OF_DETACHED = {"start.keeper.told"}  # of containers that nobody waits for
TESTED_ELSEWHERE = {
    "unpack.slot.inflated",  # tests/integration/test_layers.py; that process may signal no other
    *killpoints.names("registry"),  # tests/unit/registry_server/test_lifecycle.py
    *killpoints.names("diff"),  # test_commit.py, which it is a part of
    *killpoints.names("layout"),  # tests/unit/image/test_written_whole.py
    *killpoints.names("save"),  # the same
    *killpoints.names("compose"),  # tests/integration/test_compose.py
    *OF_FILES,
    *creating.CHECKPOINTS,  # tests/integration/test_ocicli.py
}

STEPS = {
    "pull": sorted({*killpoints.names("pull"), *killpoints.names("unpack")} - TESTED_ELSEWHERE),
    "create": sorted({*killpoints.names("create")} - TESTED_ELSEWHERE),
    "start": killpoints.names("start"),
    "stop": killpoints.names("stop"),
    "run": sorted(IN_MONITOR - OF_OTHER_VERBS - OF_DETACHED),
    "restart": killpoints.names("restart"),
    "health": killpoints.names("health"),
    "detach": killpoints.names("detach"),
    "exec": killpoints.names("exec"),
    "remove": sorted({*killpoints.names("remove"), *killpoints.names("collect")} - OF_RUN),
    "pause": killpoints.names("pause"),
    "update": killpoints.names("update"),
    "partition": killpoints.names("partition"),
    "impairment": killpoints.names("impairment"),
    "network": killpoints.names("network"),
    "volume": killpoints.names("volume"),
    "build": sorted(OF_BUILD),
    "push": killpoints.names("push"),
    "transfer": killpoints.names("transfer"),
}


def victims(verb: str, step: str) -> list[str]:
    if verb in ("push", "transfer"):
        return ["caller"]  # there is no other process
    if verb == "build" and step not in ("build.run.created", "build.layer.read"):
        return ["caller"]  # the helper is of no account at the others
    return ["caller", "helper", "reacher"] if step in IN_MONITOR | IN_JOBS else ["caller", "helper"]


CASES = [
    pytest.param(verb, step, victim, id=f"{verb}-{step}-{victim}")
    for verb, steps in STEPS.items()
    for step in steps
    for victim in victims(verb, step)
]


def test_every_step_belongs_to_a_verb() -> None:
    tested = {step for steps in STEPS.values() for step in steps}
    assert set(killpoints.names()) == tested | TESTED_ELSEWHERE


def test_every_listed_step_is_marked_in_the_source() -> None:
    package = Path(pc.__file__).parent
    marked = set(killpoints.names())
    for path in sorted(package.rglob("*.py")):
        if "KILL_POINTS" in (text := path.read_text()) or "CHECKPOINTS" in text:
            module = import_module(".".join(path.relative_to(package.parent).with_suffix("").parts))
            listed = getattr(module, "KILL_POINTS", None) or getattr(module, "CHECKPOINTS", ())
            assert set(listed) <= marked, path


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, busybox_layout: Path) -> Path:
    """A store with busybox in it, to be copied."""
    root = tmp_path_factory.mktemp("template") / "store"
    with pc.Engine(root) as engine:
        pc.Image.load(busybox_layout, engine=engine)[0].tag("busybox:latest")
        engine.store.sync()
    return root


@pytest.fixture(scope="module")
def content(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry's content: busybox."""
    root = tmp_path_factory.mktemp("registry")
    with pc.Registry(root) as made, pc.Engine(template) as engine:
        pc.Image.get("busybox", engine=engine).push(f"{made.address}/busybox:1")
    return root


def pull(engine: pc.Engine, reference: str) -> None:
    image = pc.Image.pull(reference, engine=engine)
    assert pc.run(image, ["cat", "/srv/greeting"], engine=engine).text == "hello from the second layer\n"


def create(engine: pc.Engine, reference: str) -> None:
    if "box" not in {container.name for container in pc.Container.list(all=True, engine=engine)}:
        pc.Container.create("busybox", ["sleep", "1000"], name="box", engine=engine)
    start(engine, reference)


def start(engine: pc.Engine, reference: str) -> None:
    box = pc.Container.get("box", engine=engine)
    with suppress(WrongState):  # the killed caller's start may still come to its end, before or meanwhile
        box.start()
    assert box.state == "running"
    box.stop(timeout=0)
    assert box.state == "exited"


def stop(engine: pc.Engine, reference: str) -> None:
    box = pc.Container.get("box", engine=engine)
    box.stop(timeout=0)
    assert (box.state, box.exit_code) == ("exited", 137)


def run(engine: pc.Engine, reference: str) -> None:
    assert pc.run("busybox", ["echo", "hi"], engine=engine).text == "hi\n"


def exec(engine: pc.Engine, reference: str) -> None:
    box = pc.Container.get("box", engine=engine)
    assert box.exec(["echo", "hi"]).text == "hi\n"
    # Repaired by then is what a killed parent left; the parent of a killed caller's ends it by itself.
    deadline = time.monotonic() + 20
    while (left := [found.args for found in box.execs if found.is_running]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left == []
    listed = box.exec(["ps", "-o", "args"]).text
    assert "0.654" not in listed, listed
    box.stop(timeout=0)


def remove(engine: pc.Engine, reference: str) -> None:
    for container in pc.Container.list(all=True, engine=engine):
        container.remove(force=True)
    for image in pc.Image.list(engine=engine):
        image.remove()


def pause(engine: pc.Engine, reference: str) -> None:
    box = pc.Container.get("box", engine=engine)
    assert box.state == "paused"  # frozen by a process that is gone, and still anybody's to let go
    box.unpause()
    assert box.exec(["echo", "hi"]).text == "hi\n"
    box.stop(timeout=0)


def update(engine: pc.Engine, reference: str) -> None:
    box = pc.Container.get("box", engine=engine)
    box.update(pids_limit=10)
    with suppress(WrongState):
        box.start()  # its monitor was killed, and it with it
    assert box.inspect()["HostConfig"]["PidsLimit"] == 10
    assert (
        box.exec(
            ["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11; do sleep 9 >/dev/null 2>&1 & done"]
        ).exit_code
        != 0
    )
    box.stop(timeout=0)


def restart(engine: pc.Engine, reference: str) -> None:
    box = pc.Container.get("box", engine=engine)
    with suppress(WrongState):  # its monitor lives, and starts it by itself
        box.start()
    assert box.wait(timeout=30) == 3
    assert (box.state, box.restart_count) == ("exited", 1)


def health(engine: pc.Engine, reference: str) -> None:
    box = pc.Container.get("box", engine=engine)
    with suppress(WrongState):
        box.start()
    box.wait_until(pc.wait.healthy())
    box.stop(timeout=0)


def detach(engine: pc.Engine, reference: str) -> None:
    with suppress(NotFound):  # its monitor, not told yet that it is another's, removes it after its owner
        box = pc.Container.get("box", engine=engine)
        assert engine.store.state.containers.find("box").owner is None
        box.stop(timeout=0)


def partition(engine: pc.Engine, reference: str) -> None:
    box, network = pc.Container.get("box", engine=engine), pc.Network.get("app", engine=engine)
    is_reached = ["ping", "-c", "1", "-W", "1", "peer"]
    assert box.exec(is_reached).exit_code == 0  # what the killed process cut is whole again
    with network.partition("box", "peer"):
        assert box.exec(is_reached).exit_code != 0
    for container in network.containers:
        container.remove(force=True)
    network.remove()


def impairment(engine: pc.Engine, reference: str) -> None:
    box, network = pc.Container.get("box", engine=engine), pc.Network.get("app", engine=engine)
    is_reached = ["ping", "-c", "4", "-W", "1", "peer"]
    assert box.exec(is_reached).exit_code == 0  # what the killed process pulled is plugged in again
    with box.disconnect():
        assert box.exec(["ping", "-c", "1", "-W", "1", "peer"]).exit_code != 0
    for container in network.containers:
        container.remove(force=True)
    network.remove()


def volume(engine: pc.Engine, reference: str) -> None:
    known = {found.name for found in pc.Volume.list(engine=engine)}
    if "twin" in known:
        assert (pc.Volume.get("twin", engine=engine).path / "greeting").exists(), "a clone is not whole"
    if "data" in known:
        for kept_files in (data := pc.Volume.get("data", engine=engine)).snapshots:
            copy = kept_files.clone("copy")
            assert (copy.path / "greeting").exists(), "a snapshot is not whole"
            copy.remove()
            assert (data.path / "greeting").exists(), "neither the old files nor the new"
    kept = engine.store.root / "volumes"
    assert {place.name for place in kept.iterdir()} <= known if kept.exists() else not known
    for container in pc.Container.list(all=True, engine=engine):
        container.remove(force=True, volumes=True)
    with pc.Container("busybox", ["sleep", "1000"], volumes={"data": "/srv"}, engine=engine) as box:
        # Whole, however often it was begun.
        assert box.exec(["cat", "/srv/greeting"]).text == "hello from the second layer\n"
    for found in pc.Volume.list(engine=engine):
        found.remove()
    assert list(kept.iterdir()) == []


def network(engine: pc.Engine, reference: str) -> None:
    bridges = {f"pc-{made.id[:10]}" for made in pc.Network.list(engine=engine)}
    notes = {
        place.parent.name: place.read_text().strip() for place in Path("/sys/class/net").glob("pc-*/ifalias")
    }
    # Opening the store deleted what was left of networks that are not there.
    assert {name for name, note in notes.items() if note.endswith(engine.store_tag)} <= bridges
    made = {network.name: network for network in pc.Network.list(engine=engine)}
    for name in {"app", "other"} - made.keys():
        made[name] = pc.Network.create(name, engine=engine)
    with suppress(NotFound):
        pc.Container.get("box", engine=engine).remove(force=True)
    box = pc.Container.create(
        "busybox", ["sleep", "1000"], name="box", network="app", ports={80: None}, engine=engine
    )
    box.start()
    made["other"].connect(box)
    assert [*box.ips] == ["app", "other"]
    assert box.exec(["ping", "-c", "1", "-W", "5", made["other"].gateways[0]]).exit_code == 0
    box.remove(force=True)
    for network in made.values():
        network.remove()
    assert pc.Network.list(engine=engine) == []


def build(engine: pc.Engine, reference: str) -> None:
    text = "FROM busybox\nCOPY f /f\nRUN --mount=type=cache,target=/c cat /f > /g\n"
    assert list((engine.store.root / "builds/scratch").iterdir()) == []
    image = pc.Image.build({"f": "built"}, dockerfile=text, tags=["built"], network="none", engine=engine)
    assert pc.run(image, ["cat", "/g"], engine=engine).text == "built"
    pc.prune_build_cache(all=True, engine=engine)


def push(engine: pc.Engine, reference: str) -> None:
    digest = pc.Image.get("busybox", engine=engine).push(reference)
    with pc.Engine(engine.root.with_name("other")) as other:
        assert pc.Image.pull(reference, engine=other).manifest_digest == digest


def transfer(engine: pc.Engine, reference: str) -> None:
    digest = pc.copy(reference, "store:copied", engine=engine)
    image = pc.Image.get("copied", engine=engine)
    assert image.manifest_digest == digest
    assert pc.run(image, ["true"], engine=engine).exit_code == 0


REPEAT: dict[str, Callable[[pc.Engine, str], None]] = {
    "pull": pull,
    "create": create,
    "start": start,
    "stop": stop,
    "run": run,
    "exec": exec,
    "remove": remove,
    "pause": pause,
    "update": update,
    "restart": restart,
    "health": health,
    "detach": detach,
    "partition": partition,
    "impairment": impairment,
    "network": network,
    "volume": volume,
    "build": build,
    "push": push,
    "transfer": transfer,
}


@pytest.mark.parametrize(("verb", "step", "victim"), CASES)
def test_after_a_kill_another_process_finds_order_and_repeats(
    tmp_path: Path, template: Path, content: Path, verb: str, step: str, victim: str
) -> None:
    root = tmp_path / "store"
    if verb != "pull":
        subprocess.run(["cp", "-a", template, root], check=True)
    # A registry keeps what a push leaves half-done, so that each has one of its own.
    with pc.Registry(None if verb == "push" else content) as registry:
        check_kill(root, f"{registry.address}/busybox:1", verb, step, victim)


def check_kill(root: Path, reference: str, verb: str, step: str, victim: str) -> None:
    setup, script = SCRIPTS[verb]
    outcome = killpoints.run_killed(
        script.format(reference=reference, tree=TREE) + "\nengine.close()",
        step,
        victim=victim,  # type: ignore[arg-type]
        setup=SETUP.format(root=str(root)) + setup,
        settle_s=10,
    )
    assert outcome.was_reached, f"no process came to {step}: {outcome.stdout}{outcome.stderr}"
    assert outcome.exit_code in (0, -9), outcome.stderr
    with pc.Engine(root) as engine:
        stores.check_whole(engine)
        REPEAT[verb](engine, reference)
    stores.await_monitors(root)
    with pc.Engine(root) as engine:
        stores.check_whole(engine)
        stores.check_running(engine)
        stores.check_tidy(engine)
        stores.empty(engine)


def test_a_signature_that_was_cut_off_is_made_again(tmp_path: Path, template: Path) -> None:
    root = tmp_path / "store"
    subprocess.run(["cp", "-a", template, root], check=True)
    key = pc.SigningKey.generate()
    private, public = key.save(tmp_path / "cosign", "secret")
    with pc.Registry() as registry:
        reference = f"{registry.address}/signed:1"
        with pc.Engine(root) as engine:
            pc.Image.get("busybox", engine=engine).push(reference)
        outcome = killpoints.run_killed(
            f"pc.sign({reference!r}, pc.SigningKey.load({str(private)!r}, 'secret'), engine=engine)",
            "push.manifest.uploaded",
            victim="caller",
            setup=SETUP.format(root=str(root)),
            settle_s=10,
        )
        assert outcome.was_reached, outcome.stderr
        with pc.Engine(root) as engine:
            digest = pc.sign(reference, key, engine=engine)
            verified = pc.verify(reference, public, engine=engine)
            assert verified.digest == digest
            assert len(verified.notes) == 1
