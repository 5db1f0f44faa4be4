"""Applications from compose files: brought up, changed, killed in the middle, and taken down."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import pycontainer as pc
from pycontainer.cli.app import app as command_line
from pycontainer.cli.session import Session
from pycontainer.compose import watching
from pycontainer.compose.watching import WatchEvent
from pycontainer.errors import ContainerFailed, InvalidImage, InvalidInput, NotFound, NotReady
from tests.support.needs import needs
from tests.support.patience import patient

pytestmark = needs("root", "overlay")

APP = """
name: app
services:
  web:
    image: busybox
    init: true
    stop_signal: SIGKILL
    command: sh -c "cat /run/secrets/*; httpd -f -p 80 -h /srv/page"
    ports: ["127.0.0.1::80"]
    volumes: ["data:/data", /scratch, "./src:/src"]
    secrets: [token, {source: file, target: own, uid: "1000", mode: 0400}]
    configs: [{source: page, target: /srv/page/index.html}]
    depends_on:
      db: {condition: service_healthy, restart: true}
      job: {condition: service_completed_successfully}
  db:
    image: busybox
    stop_signal: SIGKILL
    command: sh -c "touch /ready; exec sleep 1000"
    healthcheck: {test: "test -e /ready", interval: 50ms, retries: 100}
  job:
    image: busybox
    command: sh -c "echo done > /data/job"
    volumes: ["data:/data"]
volumes: {data: }
secrets: {token: {environment: TOKEN}, file: {file: ./secret}}
configs: {page: {content: "hello from ${WHO:-nobody}\\n"}}
"""
FILE = "application/vnd.docker.compose.file+yaml"
SLEEPER = "image: busybox, stop_signal: SIGKILL, command: sleep 1000"


@pytest.fixture
def directory(tmp_path: Path, engine: pc.Engine) -> Iterator[Path]:
    """A place for files, and nothing of a project left behind."""
    (tmp_path / "compose.yaml").write_text(APP)
    (tmp_path / "secret").write_text("from a file\n")
    yield tmp_path
    left = [each.name for each in pc.Network.list(engine=engine) if each.name != "bridge"]
    left += [each.name for each in pc.Volume.list(engine=engine)]
    for container in pc.Container.list(all=True, engine=engine):
        container.remove(force=True, volumes=True)
    for network in pc.Network.list(engine=engine):
        if network.name != "bridge":
            network.remove()
    for volume in pc.Volume.list(engine=engine):
        volume.remove()
    assert left == []


@pytest.fixture
def registry(directory: Path, engine: pc.Engine) -> Iterator[pc.Registry]:
    """A registry, and no connection to it left."""
    with pc.Registry(directory / "registry") as made:
        yield made
        engine.registries.close()


def session(engine: pc.Engine) -> Session:
    """A call of the command line that works with this engine."""
    made = Session()
    made.engine = engine
    return made


def caller(directory: Path, engine: pc.Engine) -> Callable[..., str]:
    """Calls `pycontainer compose` with a directory's compose.yaml, and gives what it printed."""

    def call(*words: str, code: int = 0) -> str:
        arguments = ["compose", "-f", str(directory / "compose.yaml"), *words]
        done = CliRunner().invoke(command_line, arguments, obj=session(engine), standalone_mode=False)
        outcome = done.return_value if isinstance(done.return_value, int) else done.exit_code
        assert outcome == code, (done.output, done.exception)
        return str(done.exception) if done.exception is not None else done.stdout

    return call


def opened(directory: Path, engine: pc.Engine, *texts: str, **options: Any) -> pc.Compose:
    """The application of a text, with others on top of it; of compose.yaml without one."""
    paths = [directory / "compose.yaml"] if not texts else []
    for number, text in enumerate(texts):
        paths.append(directory / f"{number}.yaml")
        paths[-1].write_text(text)
    options.setdefault("env", {"TOKEN": "hush\n"})
    return pc.Compose(paths, engine=engine, **options)


def facts(app: pc.Compose) -> dict[str, tuple[str, object]]:
    """Which containers run, and since when; jobs run again each time."""
    return {
        each.name: (each.id, each.started_at)
        for each in app.containers
        if each.state == "running" and "job" not in each.name
    }


def planned(app: pc.Compose, *words: str, **options: Any) -> list[str]:
    """What a verb would do, in words."""
    return [f"{each.action} {each.kind} {each.name}" for each in app.plan(*words, **options)]


def test_an_application_comes_up_stays_as_it_is_changes_and_goes(directory: Path, engine: pc.Engine) -> None:
    app = opened(directory, engine)
    services = ("db", "job", "web")
    assert planned(app, "up") == [
        "create network app_default",
        "create volume app_data",
        *(f"{action} container app-{name}-1" for name in services for action in ("create", "start")),
    ]
    assert planned(app, "down") == planned(app, "stop") == []
    app.up(wait=True)
    app["web"].container.wait_until(pc.wait.port(80))
    first = facts(app)
    assert [each.name for each in app.containers] == ["app-db-1", "app-job-1", "app-web-1"]
    assert app["web"].exec(["wget", "-qO-", "http://web/"]).text == "hello from nobody\n"
    assert app["web"].exec(["cat", "/data/job"]).text == "done\n"
    assert app.services["web"].container.http(80).get("/").text == "hello from nobody\n"
    assert app.port("web", 80).host_address == "127.0.0.1"
    assert [line.text for line in app.logs("web")] == ["from a file", "hush"]
    assert app["web"].exec(["stat", "-c", "%u %a", "/run/secrets/own"]).text == "1000 400\n"
    assert (directory / "src").is_dir()

    assert planned(app, "up") == ["start container app-job-1"], "it ran once, and has ended"
    app.up()
    assert facts(app) == first, "what is as it should be is left alone"

    app.up(scale={"db": 2})
    assert {name: fact for name, fact in facts(app).items() if name != "app-db-2"} == first
    app["db"].scale(1)
    assert facts(app) == first

    app["web"].exec(["touch", "/scratch/kept"]).check()
    changed = opened(directory, engine, APP, "services: {web: {environment: {X: 1}}}")
    whole = planned(changed, "up", scale={"db": 2})
    assert {"recreate container app-web-1", "create container app-db-2"} < {*whole}
    assert "create container app-web-1" not in whole
    assert facts(app) == first, "nothing was done"
    assert "recreate container app-db-1" in planned(app, "up", "web", always_recreate_deps=True)
    changed.up()
    second = facts(changed)
    assert second["app-db-1"] == first["app-db-1"]
    assert second["app-web-1"][0] != first["app-web-1"][0]
    assert changed["web"].exec(["cat", "/scratch/kept"]).exit_code == 0, "anonymous volumes come along"

    seen = pc.Compose.get("app", engine=engine)
    assert [each.name for each in seen.containers] == [each.name for each in app.containers]
    assert planned(seen, "down", volumes=True)[-2:] == [
        "remove network app_default",
        "remove volume app_data",
    ]
    assert planned(seen, "restart", "web") == ["restart container app-web-1"]
    with pytest.raises(InvalidInput, match="nothing is planned for 'dance'; give one of up, down"):
        seen.plan("dance")
    seen.down()
    assert pc.Volume.get("app_data", engine=engine).in_use_by == []
    with pytest.raises(NotFound):
        pc.Compose.get("app", engine=engine)
    pc.Volume.prune(all=True, engine=engine)


def test_a_with_block_takes_everything_down_also_after_an_error(directory: Path, engine: pc.Engine) -> None:
    def work() -> None:
        with opened(directory, engine, remove_volumes=True) as app:
            health = app["db"].container.health
            assert health is not None
            raise ValueError(health.status)

    with pytest.raises(ValueError, match="healthy"):
        work()
    assert pc.Container.list(all=True, engine=engine) == []


@pytest.mark.parametrize(
    ("dependency", "condition", "error"),
    [
        ("command: sh -c 'echo why; exit 3'", "service_completed_successfully", ContainerFailed),
        ("command: sleep 1000, healthcheck: {test: 'false', interval: 20ms, retries: 2}", "service_healthy",
         NotReady),
        ("command: sleep 1000, healthcheck: {test: NONE, disable: true}", "service_healthy", NotReady),
    ],
)  # fmt: skip
def test_what_waits_for_a_failure_is_not_started(
    directory: Path, engine: pc.Engine, dependency: str, condition: str, error: type[Exception]
) -> None:
    text = f"""
name: app
services:
  web: {{{SLEEPER}, depends_on: {{db: {{condition: {condition}}}}}}}
  lax: {{{SLEEPER}, depends_on: {{db: {{condition: {condition}, required: false}}}}}}
  db: {{image: busybox, stop_signal: SIGKILL, {dependency}}}
"""
    app = opened(directory, engine, text)
    with pytest.raises(error) as caught:
        app.up("web")
    assert "service web waits for it" in caught.value.__notes__
    assert app["web"].container.state == "created"
    app.up("lax")
    assert app["lax"].container.state == "running"
    assert "does without db" in app.warnings[-1]
    app.down()


KILLED = """
import sys
import pycontainer as pc
from pycontainer import checkpoints
engine = pc.Engine(sys.argv[1])
app = pc.Compose(sys.argv[3:], env={"TOKEN": "hush\\n"}, engine=engine)
checkpoints.arm(sys.argv[2])
app.up()
"""


@pytest.mark.parametrize(
    "point", ["compose.create.created", "compose.recreate.created", "compose.recreate.removed"]
)
def test_the_next_process_goes_on_where_one_was_killed(
    directory: Path, engine: pc.Engine, point: str
) -> None:
    text = f"""
name: app
services:
  web:
    {{{SLEEPER}, volumes: [/scratch], secrets: [token], networks: {{default: {{ipv4_address: 10.213.0.9}}}}}}
networks: {{default: {{ipam: {{config: [{{subnet: 10.213.0.0/24}}]}}}}}}
secrets: {{token: {{environment: TOKEN}}}}
"""
    change = "services: {web: {labels: {changed: yes}}}"
    changed = opened(directory, engine, text, change)
    if "recreate" in point:
        app = opened(directory, engine, text).up()
        app["web"].exec(["touch", "/scratch/kept"]).check()
    program = [
        sys.executable,
        "-c",
        KILLED,
        str(engine.root),
        point,
        str(directory / "0.yaml"),
        str(directory / "1.yaml"),
    ]
    opened(directory, engine, text, change)
    assert subprocess.run(program, capture_output=True, timeout=100).returncode == -9
    changed.up()
    box = changed["web"].container
    assert [each.name for each in changed.containers] == ["app-web-1"] == [box.name]
    assert (box.state, box.labels["changed"], box.ip) == ("running", "yes", "10.213.0.9")
    assert box.exec(["cat", "/run/secrets/token"]).text == "hush\n"
    if "recreate" in point:
        assert box.exec(["cat", "/scratch/kept"]).exit_code == 0
    before = facts(changed)
    changed.up()
    assert facts(changed) == before
    changed.down(volumes=True)


def test_containers_of_a_with_block_end_with_its_process(directory: Path, engine: pc.Engine) -> None:
    opened(directory, engine, f"name: app\nservices: {{web: {{{SLEEPER}}}}}")
    program = (
        "import sys, os, signal\nimport pycontainer as pc\n"
        "with pc.Compose(sys.argv[2], engine=pc.Engine(sys.argv[1])) as app:\n"
        "    print(app['web'].container.state, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(engine.root), str(directory / "0.yaml")],
        capture_output=True,
        timeout=100,
    )
    assert done.stdout == b"running\n"
    app = opened(directory, engine, f"name: app\nservices: {{web: {{{SLEEPER}}}}}")
    assert app.containers == []
    app.up()
    app.down()


def test_who_shares_a_namespace_follows_the_one_it_belongs_to(directory: Path, engine: pc.Engine) -> None:
    text = f"""
name: app
services:
  net: {{{SLEEPER}}}
  side: {{{SLEEPER}, network_mode: 'service:net'}}
  apart: {{{SLEEPER}}}
"""
    app = opened(directory, engine, text).up()
    before = facts(app)
    assert _address(app["side"]) == app["net"].container.ip
    app = opened(directory, engine, text, "services: {net: {hostname: other}}").up()
    after = facts(app)
    assert after["app-side-1"][0] == before["app-side-1"][0], "it is restarted, not made anew"
    assert _address(app["side"]) == app["net"].container.ip
    assert after["app-apart-1"] == before["app-apart-1"]
    app.restart("net")
    assert _address(app["side"]) == app["net"].container.ip
    app.down()


def _address(service: pc.ComposeService) -> str:
    return service.exec(["ip", "-4", "-o", "addr", "show", "eth0"]).text.split()[3].partition("/")[0]


def test_networks_that_change_are_made_anew_and_services_that_go_are_orphans(
    directory: Path, engine: pc.Engine
) -> None:
    hook = "post_start: [{command: touch /hooked}]"
    text = f"name: app\nservices: {{web: {{{SLEEPER}}}, old: {{{SLEEPER}, {hook}}}}}"
    app = opened(directory, engine, text).up()
    assert app["old"].exec(["ls", "/hooked"]).exit_code == 0
    less = f"name: app\nservices: {{web: {{{SLEEPER}}}}}\nnetworks: {{default: {{internal: true}}}}"
    app = opened(directory, engine, less)
    app.up(remove_orphans=True)
    assert [each.name for each in app.containers] == ["app-web-1"]
    assert pc.Network.get("app_default", engine=engine).is_internal
    app.down()


def test_several_that_bring_up_the_same_at_once_make_it_once(directory: Path, engine: pc.Engine) -> None:
    text = f"name: app\nservices: {{web: {{{SLEEPER}, scale: 2}}, db: {{{SLEEPER}}}}}"
    apps = [opened(directory, engine, text) for _ in range(3)]
    threads = [threading.Thread(target=app.up) for app in apps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [(each.name, each.state) for each in apps[0].containers] == [
        ("app-db-1", "running"), ("app-web-1", "running"), ("app-web-2", "running"),
    ]  # fmt: skip
    apps[0].down()


def test_what_others_are_to_have_made_is_asked_for_first_and_left_alone(
    directory: Path, engine: pc.Engine
) -> None:
    text = f"""
name: app
services: {{web: {{{SLEEPER}, volumes: ['theirs:/d'], networks: [default, out]}}}}
volumes: {{theirs: {{external: true}}}}
networks: {{out: {{external: true, name: outer}}}}
"""
    app = opened(directory, engine, text)
    with pytest.raises(NotFound, match="network outer is external"):
        app.up()
    assert [each.name for each in pc.Network.list(engine=engine) if each.name != "bridge"] == []
    with pc.Network.create("outer", engine=engine):
        with pytest.raises(NotFound, match="volume theirs is external"):
            app.up()
        volume = pc.Volume.create("theirs", engine=engine)
        app.up()
        assert set(app["web"].container.ips) == {"app_default", "outer"}
        app.down(volumes=True)
        volume.remove()


def test_images_are_built_and_one_off_containers_run(directory: Path, engine: pc.Engine) -> None:
    text = f"""
name: app
services:
  tool:
    build: {{dockerfile_inline: "FROM busybox\\nARG WHO\\nRUN echo $$WHO > /who", args: {{WHO: me}}}}
    command: cat /who
    depends_on: {{db: {{condition: service_healthy}}}}
    profiles: [tools]
  db: {{{SLEEPER}, healthcheck: {{test: "true", interval: 50ms}}}}
"""
    app = opened(directory, engine, text)
    assert app.run("tool").text == "me\n"
    health = app["db"].container.health
    assert health is not None
    assert health.status == "healthy"
    result = app.run("tool", ["sh", "-c", "cat; echo $X; exit 3"], input=b"typed\n", env={"X": "x"})
    assert (result.exit_code, result.text) == (3, "typed\nx\n")
    assert pc.Image.get("app-tool", engine=engine).config.config.labels["com.docker.compose.project"] == "app"
    foreign = pc.Container.create("app-tool", engine=engine)
    assert [each.name for each in app.containers] == ["app-db-1"], "an image makes nobody a member"
    foreign.remove()
    app.down(images="local")
    with pytest.raises(NotFound):
        pc.Image.get("app-tool", engine=engine)
    pc.prune_build_cache(engine=engine)


def test_output_is_followed_and_left_without_a_trace(directory: Path, engine: pc.Engine) -> None:
    text = """
name: app
services:
  a: {image: busybox, stop_signal: SIGKILL, command: sh -c 'echo from a; exec sleep 1000'}
  b: {image: busybox, command: sh -c 'echo from b >&2'}
"""
    app = opened(directory, engine, text).up()
    threads = threading.active_count()
    ended: list[str] = []
    lines = app.logs(follow=True, on_end=lambda each: ended.append(each.name))
    found = {(line.source, line.stream, line.text) for line in islice(lines, 2)}
    assert found == {("a-1", "stdout", "from a"), ("b-1", "stderr", "from b")}
    lines.close()  # type: ignore[attr-defined]
    assert threading.active_count() == threads
    (line,) = app.logs("b", follow=True, on_end=lambda each: ended.append(each.name))
    assert line.text == "from b"
    assert ended[-1] == "app-b-1"
    app.down()


def test_the_commands_do_what_those_of_docker_do(
    directory: Path, engine: pc.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "compose.yaml").write_text("""
name: app
services:
  web: {image: busybox, stop_signal: SIGKILL, command: "sh -c 'echo hi; exec sleep 1000'"}
  db: {image: busybox, command: 'true'}
""")

    call = caller(directory, engine)
    call("config", "-q")
    assert call("config", "--services") == "web\ndb\n"
    call("up", "-d")
    pc.Container.get("app-db-1", engine=engine).wait(60)
    (document,) = map(json.loads, call("ps", "--format", "json").splitlines())
    assert (document["Name"], document["Service"], document["State"]) == ("app-web-1", "web", "running")
    assert call("ps", "-a", "--services") == "web\ndb\n"
    assert call("logs") == "web-1  | hi\n"
    assert call("ls", "-a").split()[-4:-1] == ["app", "exited(1),", "running(1)"]
    output = call("up", "--abort-on-container-exit", "--no-color")
    assert output == "", "what ran before is not shown"
    assert call("ps", "-q") == ""
    call("start", "web")
    call("stop", "web")
    assert call("ps", "-q") == ""
    call("start", "web")
    call("restart", "web")
    call("port", "web", "80", code=1)
    call("up", "-d", "nope", code=1)
    environment = {"PYCONTAINER_ROOT": str(engine.root), "PATH": "/usr/bin:/bin"}
    compose = [sys.executable, "-m", "pycontainer", "compose", "-f", str(directory / "compose.yaml")]
    program = [*compose, "up", "--force-recreate", "web"]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"web-1  | hi\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert call("ps", "-q") == ""
    call("start", "web")
    for words, expected in ((("exec", "-T", "-e", "X=5", "web"), 3), (("run", "--rm", "-T", "web"), 3)):
        program = [*compose, *words, "sh", "-c", "cat; echo $X; exit 3"]
        done = subprocess.run(program, input=b"typed\n", capture_output=True, env=environment, timeout=100)
        assert (done.returncode, done.stdout.split()[:1]) == (expected, [b"typed"])
    monkeypatch.chdir("/")
    done = CliRunner().invoke(command_line, ["compose", "-p", "app", "down"], obj=session(engine))
    assert "app-web-1  Removed" in done.stderr, "it is known without its file"


def test_up_watches_files_beside_showing_the_output(directory: Path, engine: pc.Engine) -> None:
    (directory / "page").write_text("first")
    (directory / "compose.yaml").write_text("""
name: app
services:
  web:
    image: busybox
    init: true
    stop_signal: SIGKILL
    command: sh -c "cat /srv/page; echo; exec sleep 1000"
    develop: {watch: [{path: ./page, action: sync+restart, target: /srv/page}]}
""")
    command = [sys.executable, "-m", "pycontainer", "--root", str(engine.root)]
    command += ["compose", "-f", str(directory / "compose.yaml"), "up", "--watch", "--no-log-prefix"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        assert up.stderr is not None
        while "Watch enabled" not in up.stderr.readline():
            pass
        is_seen = threading.Event()

        def change() -> None:  # again and again: it is said before what is there has been looked at
            number = 0
            while not is_seen.wait(0.5):
                number += 1
                (directory / "page").write_text(f"page {number}")

        changing = threading.Thread(target=change)
        changing.start()
        while not up.stdout.readline().startswith("page"):
            pass
        is_seen.set()
        changing.join()
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 130
    assert [each.state for each in pc.Compose.get("app", engine=engine).containers] == ["exited"]
    pc.Compose.get("app", engine=engine).down()


def test_the_commands_about_single_containers_are_those_of_containers(
    directory: Path, engine: pc.Engine
) -> None:
    (directory / "compose.yaml").write_text("""
name: app
services:
  web: {image: busybox, stop_signal: SIGKILL, command: sleep 1000, volumes: ["data:/d"]}
  job: {image: busybox, command: sh -c "exit 3", profiles: [later]}
volumes: {data: }
""")
    call = caller(directory, engine)
    assert len(call("config", "--hash", "web").split()[1]) == 64
    assert call("config", "--no-interpolate", "--services") == "web\njob\n"
    assert json.loads(call("config", "--format", "json", "web"))["volumes"] == {"data": {"name": "app_data"}}
    assert call("version", "--short") == f"{pc.__version__}\n"
    began = datetime.now(UTC).isoformat()
    call("--dry-run", "up", "-d")
    assert "goes not with run" in call("--dry-run", "run", "web", code=1)
    call("create", "--scale", "web=2", "web")
    web = opened(directory, engine)["web"]
    assert [each.state for each in web.containers] == ["created", "created"]
    call("start", "--wait", "web")
    for words in ("down", "kill", "pause", "rm -s", "restart", "stop", "scale web=1", "create"):
        call("--dry-run", *words.split())
    assert [each.state for each in web.containers] == ["running", "running"]
    (directory / "here").write_text("from here")
    call("cp", str(directory / "here"), "web:/tmp/there")
    assert [each.exec(["cat", "/tmp/there"]).text for each in web.containers] == ["from here"] * 2
    call("cp", "--index", "2", "web:/tmp/there", str(directory / "back"))
    assert (directory / "back").read_text() == "from here"
    call("cp", "/a", "/b", code=1)
    top = [line.split() for line in call("top").splitlines()]
    assert [row[:3] for row in top] == [["SERVICE", "#", "UID"], ["web", "1", "root"], ["web", "2", "root"]]
    (row, _) = call("images").splitlines()[1:]
    assert row.split()[:3] == ["app-web-1", "busybox", "latest"]
    assert json.loads(call("images", "--format", "json"))[1]["ContainerName"] == "app-web-2"
    assert call("volumes", "-q") == "app_data\n"
    assert call("volumes", "-q", "web") == "app_data\n"
    assert "app-web-2" in call("stats", "--no-stream", "--format", "{{.Name}}")
    image = call("commit", "-c", "CMD true", "--index", "2", "web", "kept:1").strip()
    assert pc.Image.get("kept:1", engine=engine).id == image
    call("export", "-o", str(directory / "tree.tar"), "web")
    with tarfile.open(directory / "tree.tar") as tree:
        assert tree.getmember("tmp/there").size == len("from here")
    call("pause", "web")
    assert [each.state for each in web.containers] == ["paused", "paused"]
    call("unpause", "web")
    call("scale", "web=1")
    assert [each.name for each in web.containers] == ["app-web-1"]
    call("kill", "-s", "KILL", "web")
    assert call("wait", "web", code=137) == 'container "app-web-1" exited with status code 137\n'
    call("rm", "-f")
    assert web.containers == []
    call("--profile", "later", "up", "-d", "job")
    assert call("wait", "job", code=3) == 'container "app-job-1" exited with status code 3\n'
    assert "app-job-1" in call("attach", "--no-stdin", "job", code=1), "it has ended"
    lines = call("events", "--json", "--since", began, "--until", datetime.now(UTC).isoformat(), "web")
    found = [json.loads(line) for line in lines.splitlines()]
    assert {each["service"] for each in found} == {"web"}
    assert {"create", "start", "pause", "kill", "die", "destroy"} <= {each["action"] for each in found}
    assert "container die" in call("events", "--since", began, "--until", datetime.now(UTC).isoformat())
    pc.Image.get("kept:1", engine=engine).remove()
    call("down", "-v")


def test_applications_go_through_registries_and_are_included_from_there(
    directory: Path, engine: pc.Engine, busybox: pc.Image, registry: pc.Registry
) -> None:
    name = f"{registry.address}/team/tool:1"
    (directory / "compose.yaml").write_text(f"""
services:
  tool:
    image: {name}
    command: echo ${{WHO:-nobody}}
    pull_policy: every_1h
    build: {{dockerfile_inline: "FROM busybox\\nRUN echo built > /made"}}
""")
    call = caller(directory, engine)
    call("build", "-q")
    call("push", "-q", "tool")
    digest = pc.Image.get(name, engine=engine).digest
    published = f"{registry.address}/team/app:1"
    assert published in call("publish", "--resolve-image-digests", published)
    call("down", "--rmi", "all")
    (directory / "compose.yaml").write_text(f"include: ['oci://{published}']")
    assert call("config", "--images") == f"{name}@{digest}\n"
    call("pull", "-q")
    with pc.Compose(f"oci://{published}", env={"WHO": "me"}, engine=engine) as app:
        assert app.name == "app"
        assert [line.text for line in app.logs("tool", follow=True)] == ["me"]
    (directory / "own.env").write_text("A=b")
    (directory / "compose.yaml").write_text("services: {a: {image: x, env_file: own.env}}")
    assert "env_file" in str(call("publish", published, code=1))
    pc.Image.get(f"{name}@{digest}", engine=engine).remove(force=True)
    pc.prune_build_cache(engine=engine)


def test_artifacts_of_strangers_write_nothing_elsewhere(engine: pc.Engine, registry: pc.Registry) -> None:
    place = f"{registry.address}/evil:1"
    env, absolute = "application/vnd.docker.compose.envfile", {"com.docker.compose.file": "/etc/f"}
    for kind, notes, error in (
        (env, {"com.docker.compose.envfile": "../../f"}, "../../f"),
        (env, {}, "plain name"),
        (FILE, {"com.docker.compose.extends": "true", **absolute}, "/etc/f"),
        ("text/plain", {}, "no compose file"),
    ):
        pc.Artifact.push(
            place,
            {"f": "services: {}"},
            artifact_type="application/vnd.docker.compose.project",
            media_types={"f": kind},
            file_annotations={"f": notes},
            engine=engine,
        )
        with pytest.raises(InvalidImage, match=error):
            pc.Compose(f"oci://{place}", engine=engine)
    assert [path for path in engine.root.rglob("f") if "merged" not in str(path)] == []
    pc.Artifact.push(place, {"f": "services: {}"}, engine=engine)
    with pytest.raises(InvalidImage, match="no compose project"):
        pc.Compose(f"oci://{place}", engine=engine)
    for contents in ({"big": b"#" * (9 << 20)}, {str(number): b"{}" for number in range(300)}):
        pc.Artifact.push(
            place,
            contents,
            artifact_type="application/vnd.docker.compose.project",
            media_types=dict.fromkeys(contents, FILE),
            engine=engine,
        )
        with pytest.raises(InvalidImage, match="more than a compose project may"):
            pc.Compose(f"oci://{place}", engine=engine)


def test_files_of_equal_content_are_published_and_images_that_are_not_are_told(
    directory: Path, engine: pc.Engine, registry: pc.Registry
) -> None:
    for name in ("a.yaml", "b.yaml"):
        (directory / name).write_text(f"services: {{a: {{image: '{registry.address}/team/not-here'}}}}")
    place = f"{registry.address}/team/twice:1"
    app = pc.Compose([directory / "a.yaml", directory / "b.yaml"], engine=engine)
    app.publish(place)
    assert any("service a: " in warning and "not-here" in warning for warning in app.warnings)
    assert list(pc.Compose(f"oci://{place}", engine=engine).project.services) == ["a"]


@needs("git")
def test_files_of_git_repositories_are_included_with_what_is_beside_them(
    directory: Path, engine: pc.Engine
) -> None:
    work = directory / "work"
    (work / "part").mkdir(parents=True)
    (work / "compose.yaml").write_text("services: {a: {image: busybox, env_file: own.env}}")
    (work / "own.env").write_text("FROM=git")
    (work / "part/other.yaml").write_text("services: {b: {image: busybox, command: echo part}}")
    (work / "away.yaml").symlink_to("/etc/hostname")
    for words in (
        ("init", "-q", "-b", "main"),
        ("add", "."),
        ("-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "-m", "1"),
        ("clone", "-q", "--bare", ".", str(directory / "web/app.git")),
        ("-C", str(directory / "web/app.git"), "update-server-info"),
    ):
        subprocess.run(["git", "-C", str(work), *words], check=True)
    handler = partial(SilentHandler, directory=str(directory / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/app.git"
            app = opened(directory, engine, f"include: ['{url}', '{url}#main:part/other.yaml']")
            assert app.project.services["a"].environment == {"FROM": "git"}
            assert app.project.services["b"].keys["command"] == ["echo", "part"]
            assert pc.Compose(url, engine=engine).name == "app"
            for below in ("#main:away.yaml", "#main:../../etc/hostname", "#main:nothing"):
                with pytest.raises(NotFound):
                    pc.Compose(f"{url}{below}", engine=engine)
        finally:
            server.shutdown()
            thread.join()
    assert list((engine.root / "compose/remote").glob(".*")) == []


class SilentHandler(SimpleHTTPRequestHandler):
    """Serves files, and tells nobody."""

    def log_message(self, *_: object) -> None:
        pass


def test_a_registry_is_asked_again_when_an_image_has_become_too_old(
    directory: Path, engine: pc.Engine, busybox: pc.Image, registry: pc.Registry
) -> None:
    name = f"{registry.address}/app:1"
    busybox.label({"number": "one"}).push(name)
    app = opened(directory, engine, f"name: app\nservices: {{a: {{image: '{name}', pull_policy: daily}}}}")
    app.up(start=False)
    busybox.label({"number": "two"}).push(name)
    app.up(start=False)
    assert pc.Image.get(name, engine=engine).config.config.labels["number"] == "one"
    app = opened(directory, engine, f"name: app\nservices: {{a: {{image: '{name}', pull_policy: every_0s}}}}")
    app.up(start=False)
    assert pc.Image.get(name, engine=engine).config.config.labels["number"] == "two"
    app.down(images="all")
    pc.Image.prune(engine=engine)


def soon(events: Iterator[WatchEvent]) -> WatchEvent:
    """The next event; one that is lost fails the test instead of holding it up."""
    found: list[WatchEvent] = []
    thread = threading.Thread(target=lambda: found.append(next(events)), daemon=True)
    thread.start()
    thread.join(patient(60))
    assert found, "no event came"
    return found[0]


def test_files_that_change_are_brought_into_what_runs(directory: Path, engine: pc.Engine) -> None:
    (directory / "src").mkdir()
    (directory / "src/first").write_text("1")
    app = opened(
        directory,
        engine,
        f"""
name: app
services:
  web:
    {SLEEPER.replace(", ", chr(10) + "    ")}
    develop:
      watch:
        - {{path: ./src, action: sync+exec, target: /srv/app, ignore: ["*.log"], initial_sync: true,
           exec: {{command: sh -c 'ls /srv/app > /seen'}}}}
        - {{path: ./settings, action: restart}}
""",
    ).up()
    box = app["web"].container
    events = app.watch()
    assert soon(events).action == "sync+exec"
    assert box.exec(["cat", "/seen"]).text == "first\n"
    (directory / "src/left.log").write_text("ignored")
    (directory / "src/new/deep").mkdir(parents=True)
    (directory / "src/new/deep/file").write_text("2")
    (directory / "src/first").unlink()
    changed: set[str] = set()
    while len(changed) < 2:
        event = soon(events)
        assert event.error == ""
        changed |= {Path(path).name for path in event.paths}
    assert changed == {"first", "file"}
    assert box.exec(["find", "/srv/app", "-type", "f"]).text == "/srv/app/new/deep/file\n"
    (directory / "src/new/deep/file").unlink()
    (directory / "src/new/deep").rmdir()
    (directory / "src/new").rmdir()
    (directory / "src/new").write_text("3")
    (directory / "src/link").symlink_to("/tmp")
    while "link" not in {Path(path).name for path in event.paths}:
        event = soon(events)
        assert event.error == ""
    assert box.exec(["cat", "/srv/app/new"]).text == "3"
    assert box.exec(["readlink", "/srv/app/link"]).text == "/tmp\n"
    (directory / "src/link").unlink()
    (directory / "src/link").write_text("4")
    assert soon(events).error == ""
    assert box.exec(["cat", "/srv/app/link"]).text == "4"
    rule = watching._rules(app.project, ())[0]
    watching._sync(box, rule, {f"{rule.root}/a-gone": True, f"{rule.root}/new": True})
    begun = box.started_at
    (directory / "settings").write_text("x")
    event = soon(events)
    assert (event.action, event.service) == ("restart", "web")
    assert box.started_at != begun
    events.close()  # type: ignore[attr-defined]
    app.down()
