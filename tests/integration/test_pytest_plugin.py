"""The plugin of pytest, as users' projects have it: each test runs a small one in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer import testing
from tests.support.stores import await_condition, check_running

pytestmark = pytest.mark.needs("root", "overlay")

WEB = """
import os, time, urllib.request
import pytest
import pycontainer as pc
from pycontainer import testing

SERVE = ["sh", "-c", "mkdir -p /www /data; echo serving $NAME; exec httpd -f -p 80 -h /www"]
web = pc.services.Service(image="busybox", port=80, command=SERVE, url="http://{host}:{port}/")

def seed(started):
    started.container.exec(["sh", "-c", "echo seed >> /www/index.html; echo seed >> /data/rows"]).check()
    with open(os.environ["NOTES"], "a") as notes:
        print("prepared", file=notes)

def get(url):
    return urllib.request.urlopen(url, timeout=30).read().decode()
"""

# Those that happen to be installed here cost more than all the rest.
_FEW = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
_PLUGINS = ("-ppycontainer",)

Result = subprocess.CompletedProcess[str]


class Project:
    """A directory of tests, and the engine on the store that they use."""

    def __init__(self, path: Path, engine: pc.Engine) -> None:
        self.path, self.engine = path, engine
        self.notes = path / "notes"
        self.notes.touch()
        (path / "pytest.ini").write_text(f"[pytest]\npycontainer_root = {engine.root}\n")

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.path / f"{name}.py").write_text(textwrap.dedent(text))

    def command(self, *arguments: str, prefix: Sequence[str] = ()) -> dict[str, object]:
        return {
            "args": [
                *prefix,
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-rA",
                "-pno:cacheprovider",
                *_PLUGINS,
                *arguments,
            ],
            "cwd": self.path,
            "env": {
                "PATH": os.environ["PATH"],
                "NOTES": str(self.notes),
                **_FEW,
            },
            "text": True,
        }

    def run(self, *arguments: str, prefix: Sequence[str] = ()) -> Result:
        return subprocess.run(**self.command(*arguments, prefix=prefix), capture_output=True, timeout=100)  # type: ignore[call-overload,no-any-return]

    def left(self) -> list[str]:
        """What there is in the store beside its image."""
        engine = self.engine
        found = [*pc.Container.list(all=True, engine=engine), *pc.Volume.list(engine=engine)]
        found += [each for each in pc.Network.list(engine=engine) if each.name.startswith("test-")]
        found += [each for each in pc.Image.list(engine=engine) if each.name != "busybox:latest"]
        places = engine.root / "testing"
        return [*map(repr, found), *(os.listdir(places) if places.is_dir() else ())]


@pytest.fixture
def project(tmp_path: Path, engine: pc.Engine) -> Iterator[Project]:
    made = Project(tmp_path, engine)
    yield made
    assert made.left() == []
    check_running(engine)


def passed(result: Result, **outcomes: int) -> None:
    """The run's last line says these outcomes, and no others."""
    last = result.stdout.splitlines()[-1]
    said = {word.rstrip(","): int(number) for number, word in _pairs(last.split(" in ")[0].split())}
    assert said == outcomes, result.stdout + result.stderr


def _pairs(words: list[str]) -> list[tuple[str, str]]:
    return list(zip(words[::2], words[1::2], strict=True))


def test_declared_fixtures_are_what_they_depend_on_and_go_in_order(project: Project) -> None:
    project.write(
        conftest=WEB
        + """
net = testing.network()
files = testing.volume()
box = testing.container(
    "busybox", ["sleep", "1000"], network=lambda net: net, volumes=lambda files: {files: "/files"}
)
site = testing.container(web, scope="module", prepare=seed, env={"NAME": "me"})
client = testing.container(
    "busybox", ["sleep", "1000"], env=lambda site: {"URL": site.inner_url}, network=lambda net: net
)
stack = testing.containers(one=web, two=web, scope="module")
built = testing.image(context=None, dockerfile="FROM busybox\\nRUN echo built > /built")
mirror = testing.registry()
""",
        test_it="""
        import pytest
        from conftest import get

        def test_box(box, net, files):
            assert list(box.ips) == [net.name]
            box.exec(["touch", "/files/here"]).check()
            assert (files.path / "here").exists()

        def test_site(site, client):
            assert get(site.url) == "seed\\n"
            assert client.exec(["sh", "-c", "echo $URL"]).text == f"http://{site.container.name}:80/\\n"

        def test_stack(stack):
            assert stack.one.port != stack.two.port

        @pytest.mark.anyio
        @pytest.mark.parametrize("anyio_backend", ["asyncio"])
        async def test_async(site):
            assert get(site.url) == "seed\\n"

        def test_factory(container_factory, built, mirror):
            network = container_factory.network()
            box = container_factory(built, ["sleep", "1000"], network=network)
            assert box.exec(["cat", "/built"]).text == "built\\n"
            again = container_factory(pc_services_web(), name="named")
            assert again.container.name == "named"
            built.push(f"{mirror.address}/built:1")

        def pc_services_web():
            from conftest import web
            return web
        """,
    )
    passed(project.run("-panyio"), passed=5)
    pc.prune_build_cache(all=True, engine=project.engine)


def test_each_test_has_a_copy_of_what_was_prepared_once(project: Project) -> None:
    project.write(
        conftest=WEB
        + """
site = testing.container(web, fork=True, prepare=seed, volumes=["/data", "rows:/rows"], env={"NAME": "x"})
""",
        test_it="""
        import pytest
        from conftest import get

        @pytest.mark.parametrize("number", range(3))
        def test_copy(site, number):
            rows = site.container.path / "data" / "rows"
            assert (get(site.url), rows.read_text()) == ("seed\\n", "seed\\n")
            site.container.exec(["sh", "-c", "echo more >> /data/rows; echo more >> /www/index.html"]).check()
            assert (get(site.url), rows.read_text()) == ("seed\\nmore\\n", "seed\\nmore\\n")
        """,
    )
    passed(project.run(), passed=3)
    assert project.notes.read_text() == "prepared\n"
    pc.Volume.get("rows", engine=project.engine).remove()


def test_workers_share_one_container_and_one_preparation(project: Project) -> None:
    project.write(
        conftest=WEB
        + """
shared = testing.container(web, scope="session", share=True, prepare=seed)
copy = testing.container(web, fork=True, prepare=seed, env={"NAME": "copy"})
""",
        test_it="""
        import os, time
        import pytest
        from conftest import get

        def meet(name):
            # Both workers are here at the same time.
            with open(os.environ["NOTES"] + name, "a") as met:
                print(os.getpid(), file=met)
            while len(set(open(os.environ["NOTES"] + name).read().split())) < 2:
                time.sleep(0.01)

        @pytest.mark.parametrize("number", range(2))
        def test_shared(shared, copy, number):
            assert get(shared.url) == get(copy.url) == "seed\\n"
            with open(os.environ["NOTES"], "a") as notes:
                print(shared.container.id, file=notes)
            meet("met")
        """,
    )
    passed(project.run("-pxdist", "-n2", "--dist=load"), passed=2)
    notes = project.notes.read_text().split()
    assert notes.count("prepared") == 2  # one of each
    assert len(set(notes) - {"prepared"}) == 1


def test_later_runs_find_what_is_reused_until_it_is_declared_otherwise(project: Project) -> None:
    declared = """
kept = testing.container(web, scope="session", reuse=True, prepare=seed, env={"NAME": "one"})
copy = testing.container(web, fork=True, reuse=True, prepare=seed)
"""
    test = """
        import os
        from conftest import get

        def test_kept(kept, copy):
            assert get(kept.url) == get(copy.url) == "seed\\n"
            with open(os.environ["NOTES"], "a") as notes:
                print(kept.container.id, file=notes)
        """
    project.write(conftest=WEB + declared, test_it=test)
    for _ in range(2):
        passed(project.run(), passed=1)
    notes = project.notes.read_text().split()
    assert notes.count("prepared") == 2
    assert len(set(notes)) == 2

    project.write(conftest=WEB + declared.replace("one", "two"), test_it=test)
    passed(project.run("--pycontainer-reuse=end"), passed=1)
    notes = project.notes.read_text().split()
    assert notes.count("prepared") == 3  # the copy's original was not declared otherwise
    assert len(set(notes)) == 3


def test_the_report_of_a_failed_test_has_the_output_of_its_containers_alone(project: Project) -> None:
    project.write(
        conftest=WEB
        + """
site = testing.container(web, env={"NAME": "mine"})
other = testing.container(web, scope="session", env={"NAME": "other"})
broken = testing.container("busybox", ["sh", "-c", "echo why >&2; exit 3"], wait=pc.wait.port(80))
""",
        test_it="""
        def test_before(other): pass
        def test_fails(site): assert False
        def test_never_ready(broken): pass
        def test_no_program(container_factory): container_factory("busybox", ["nosuch"])
        def test_by_factory(container_factory):
            box = container_factory("busybox", ["sh", "-c", "echo from the factory; sleep 1000"],
                                    wait=__import__("pycontainer").wait.log("factory"))
            assert False
        """,
    )
    said = project.run()
    passed(said, failed=3, passed=1, error=1)
    assert re.search(r"fixture broken is declared in \S*conftest\.py:\d+", said.stdout)
    assert 'exec: "nosuch": executable file not found' in said.stdout
    assert "in launch" not in said.stdout, "a user's mistake is not told in our frames"
    assert "def await_ready" not in said.stdout
    assert "(site, running)" in said.stdout
    assert "serving mine" in said.stdout
    assert "serving other" not in said.stdout
    assert "from the factory" in said.stdout
    assert "exited with code 3" in said.stdout or "exit code 3" in said.stdout
    assert "why" in said.stdout


def test_nothing_stays_of_a_run_that_is_killed(project: Project) -> None:
    project.write(
        conftest=WEB
        + """
net = testing.network()
box = testing.container("busybox", ["sleep", "1000"], network=lambda net: net)
copy = testing.container(web, fork=True, prepare=seed)
shared = testing.container(web, scope="session", share=True)
""",
        test_it="""
        import os, time

        def test_waits(box, copy, shared):
            with open(os.environ["NOTES"], "a") as notes:
                print("waits", file=notes)
            time.sleep(1000)

        def test_next(net): pass
        """,
    )
    running = subprocess.Popen(**project.command(), stdout=subprocess.DEVNULL)  # type: ignore[call-overload]
    await_condition(lambda: "waits" in project.notes.read_text(), 60)
    running.send_signal(signal.SIGKILL)
    running.wait()
    await_condition(lambda: pc.Container.list(engine=project.engine) == [])
    assert project.left() != []
    passed(project.run("-k", "next"), passed=1, deselected=1)


def test_nothing_stays_of_a_run_that_is_interrupted(project: Project) -> None:
    project.write(
        conftest=WEB + "\ncopy = testing.container(web, fork=True)\nnet = testing.network(scope='session')\n",
        test_it="""
        def test_interrupted(copy, net): raise KeyboardInterrupt
        """,
    )
    assert project.run().returncode == pytest.ExitCode.INTERRUPTED


def test_a_marked_test_runs_in_an_image(project: Project) -> None:
    project.write(
        conftest="""
        import pytest
        from pathlib import Path

        @pytest.fixture
        def where():
            return Path("/bin/busybox").exists(), Path("/work").exists()
        """,
        helper="""
        def branch(value):
            if value:
                return "inside"
            return "outside"
        """,
        test_it="""
        import os, subprocess, sys
        import pytest
        from helper import branch

        inside = pytest.mark.in_container("busybox", env={"GIVEN": "5"}, memory="256m")

        @pytest.fixture(scope="module", autouse=True)
        def of_the_module():
            yield

        @inside
        @pytest.mark.parametrize("text", ["a b::c"])
        def test_passes(where, tmp_path, text):
            assert where == (True, False)
            assert os.environ["GIVEN"] == "5"
            assert subprocess.run(["uname"], capture_output=True, text=True).stdout == "Linux\\n"
            (tmp_path / "file").write_text(branch(text))

        def test_between(): assert not os.path.exists("/.pycontainer")

        @inside
        def test_fails():
            print("said inside")
            assert branch(1) == "other"

        @inside
        def test_skips(): pytest.skip("for a reason")

        @inside
        def test_dies(): os._exit(7)

        @pytest.mark.in_container("busybox", python="python3")
        def test_no_python(): pass

        @inside
        def test_makes_containers(container_factory): pass
        """,
        test_later="def test_later(): pass",
    )
    said = project.run()
    passed(said, passed=3, failed=2, skipped=1, errors=2)
    for text in (
        "where no containers can be made",
        "said inside",
        "assert 'inside' == 'other'",
        "ended with exit code 7",
        "for a reason",
        "python3",
    ):
        assert text in said.stdout


def test_what_a_container_says_of_other_tests_is_not_believed(project: Project) -> None:
    passes = '{"report": {"$report_type": "TestReport", "nodeid": "test_it.py::test_other", "when": "%s",'
    passes += ' "outcome": "passed", "location": ["x", 1, "y"], "longrepr": null}}'
    phases = [passes % phase for phase in ("setup", "call", "teardown")]
    liars = {
        "another": phases,
        "garbage": [*phases, "{]", "7"],
        "kinds": [*phases, phases[0].replace("TestReport", "CollectReport"), '{"report": {"when": "call"}}'],
        "sections": [*phases[:2], phases[2].replace('"longrepr"', '"sections": [7], "longrepr"')],
        "coverage": [*phases, '{"lines": {"test_it.py": [1, 2]}}'],
        "silent": [],
    }
    tests = "import pytest\ndef test_other(): assert False\n"
    for name, lines in liars.items():
        script = project.path / f"{name}.sh"
        script.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
        script.chmod(0o755)
        tests += f"@pytest.mark.in_container('busybox', python='{script}')\ndef test_{name}(): pass\n"
    project.write(test_it=tests)
    said = project.run()
    passed(said, failed=1, passed=5, errors=4)
    assert "FAILED test_it.py::test_other" in said.stdout
    for name in ("another", "coverage"):
        assert f"PASSED test_it.py::test_{name}" in said.stdout


def test_coverage_comes_back_from_the_image(project: Project) -> None:
    project.write(
        helper="""
        def branch(value):
            if value:
                return 1
            return 2
        """,
        test_it="""
        import pytest
        from helper import branch

        @pytest.mark.in_container("busybox")
        def test_inside(): branch(1)
        """,
    )
    command = project.command("test_it.py")
    command["args"] = [
        sys.executable,
        "-m",
        "coverage",
        "run",
        "--branch",
        "--include=helper.py",
        "-m",
        "pytest",
        "-q",
    ]
    subprocess.run(**command, check=True, capture_output=True, timeout=100)  # type: ignore[call-overload]
    shown = [sys.executable, "-m", "coverage", "report", "-m"]
    text = subprocess.run(
        shown, cwd=project.path, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert "helper.py" in text
    assert text.split("helper.py")[1].split("\n")[0].split()[-1] == "5"  # the line that was not reached


@pytest.mark.needs("setpriv")
def test_it_skips_with_the_doctors_reason_or_fails_where_containers_are_required(project: Project) -> None:
    project.write(
        conftest="""
        from pycontainer import testing
        box = testing.container("busybox", ["sleep", "1000"])
        """,
        test_it="""
        import pytest
        def test_box(box): pass
        @pytest.mark.in_container("busybox")
        def test_inside(): pass
        """,
    )
    poorer = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    skipped = project.run(prefix=poorer)
    passed(skipped, skipped=2)
    assert "no containers on this host: " in skipped.stdout
    assert "CAP_SYS_ADMIN" in skipped.stdout
    required = project.run("-opycontainer_required=true", prefix=poorer)
    passed(required, errors=2)
    assert required.stdout.count("no containers on this host: ") >= 2


def test_a_plugin_that_is_not_used_imports_nothing_of_the_engine(project: Project) -> None:
    project.write(
        test_it="""
        import sys
        def test_nothing():
            ours = {name for name in sys.modules if name.startswith("pycontainer")}
            assert ours == {
                "pycontainer", "pycontainer.integrations", "pycontainer.integrations.pytest_plugin",
            }
        """
    )
    passed(project.run(), passed=1)


def test_without_pytest_several_start_at_once_or_none(engine: pc.Engine, busybox: pc.Image) -> None:
    serve = pc.services.Service(image=busybox, port=80, command=["httpd", "-f"], url="{host}:{port}")
    fails = pc.services.Service(image=busybox, port=80, command=["false"], url="")
    with testing.ContainerFactory(engine) as factory:
        one, two = factory.together(serve, serve)
        assert one.port != two.port
        with pytest.raises(pc.errors.NotReady):
            factory.together(serve, fails)
        assert {each.id for each in pc.Container.list(engine=engine)} == {one.container.id, two.container.id}
    with (
        pc.Engine(engine.root) as other,
        serve.run(engine=other) as running,
        serve.run(engine=other) as second,
    ):
        assert running.url != second.url


def test_a_service_tells_its_clients_the_port_it_was_given(engine: pc.Engine, busybox: pc.Image) -> None:
    service = pc.services.Service(
        image=busybox,
        port=80,
        command=["httpd", "-f"],
        url="{host}:{port}",
        advertised={"WHERE": "{host}:{port} {name}"},
        options={"name": "told"},
    )
    with service.run(engine=engine) as running:
        assert running.container.exec(["sh", "-c", "echo $WHERE"]).text == f"{running.url} told\n"
        with testing.Template.of(running) as template:
            copy = template.fork()
            assert copy.container.exec(["sh", "-c", "echo $WHERE"]).text.startswith(copy.url)
            copy.container.remove(force=True)
    assert pc.Container.list(all=True, engine=engine) == []


REGISTRY = """
version: 0.1
storage: {filesystem: {rootdirectory: /registry}}
http: {addr: ':5000'}
"""


@pytest.mark.needs("docker-registry")
def test_the_reference_registry_is_a_service_that_images_are_pushed_to(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    own = pc.Image.from_host(
        ["docker-registry"], files={"etc/config.yml": REGISTRY}, tags=["registry:own"],
        entrypoint=["docker-registry", "serve", "/etc/config.yml"], engine=engine,
    )  # fmt: skip
    with pc.services.registry("registry:own").run(engine=engine) as running:
        name = f"{running.url}/team/box:1"
        digest = busybox.push(name)
        assert pc.RemoteImage(name, engine=engine).digest == digest
        engine.registries.close()
    own.remove(force=True)
