"""Applications from compose files: brought up, changed, killed in the middle, and taken down."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

import pycontainer as pc
from pycontainer.cli.commands.compose import command
from pycontainer.errors import ContainerFailed, NotFound, NotReady
from tests.support.needs import needs

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


def test_an_application_comes_up_stays_as_it_is_changes_and_goes(directory: Path, engine: pc.Engine) -> None:
    app = opened(directory, engine).up(wait=True)
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

    app.up()
    assert facts(app) == first, "what is as it should be is left alone"

    app.up(scale={"db": 2})
    assert {name: fact for name, fact in facts(app).items() if name != "app-db-2"} == first
    app["db"].scale(1)
    assert facts(app) == first

    app["web"].exec(["touch", "/scratch/kept"]).check()
    changed = opened(directory, engine, APP, "services: {web: {environment: {X: 1}}}").up()
    second = facts(changed)
    assert second["app-db-1"] == first["app-db-1"]
    assert second["app-web-1"][0] != first["app-web-1"][0]
    assert changed["web"].exec(["cat", "/scratch/kept"]).exit_code == 0, "anonymous volumes come along"

    seen = pc.Compose.get("app", engine=engine)
    assert [each.name for each in seen.containers] == [each.name for each in app.containers]
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

    def call(*words: str, code: int = 0) -> str:
        arguments = ["-f", str(directory / "compose.yaml"), *words]
        done = CliRunner().invoke(command, arguments, obj=SimpleNamespace(engine=engine))
        assert done.exit_code == code, (done.output, done.exception)
        return done.stdout

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
    done = CliRunner().invoke(command, ["-p", "app", "down"], obj=SimpleNamespace(engine=engine))
    assert "app-web-1  Removed" in done.stderr, "it is known without its file"
