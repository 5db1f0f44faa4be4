"""`pycontainer` as a program: real commands over one store, each with an engine of its own.

Those that are watched, killed or looked at beside others are processes; the rest runs in this one, which
spares the time of their imports.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainer as pc
from tests.support.cli import CommandLine, interruptible

pytestmark = pytest.mark.needs("root", "overlay")

NOWHERE = ("--network", "none")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, busybox_layout: Path) -> CommandLine:
    """A store with busybox in it."""
    home = tmp_path_factory.mktemp("home")
    root = home / "store"
    with pc.Engine(root) as engine:
        pc.Image.load(busybox_layout, engine=engine)[0].tag("busybox:latest")
    return CommandLine(root, home)


@pytest.fixture
def cli(made: CommandLine) -> Iterator[CommandLine]:
    """The command line; what a test leaves is removed."""
    with interruptible():
        yield made
    left = made("ps", "-aq").split()
    if left:
        made("rm", "-f", "-v", *left)


# -- run --------------------------------------------------------------------------------------------


def test_run_gives_output_errors_and_code_of_the_program(cli: CommandLine) -> None:
    script = "cat; echo told >&2; [ -t 1 ] || exit 3"
    done = cli.apart("run", "--rm", "-i", *NOWHERE, "busybox", "sh", "-c", script, input=b"typed\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"typed\n", b"told\n")
    assert cli("ps", "-aq") == ""


def test_a_run_may_take_its_image_along(cli: CommandLine) -> None:
    name = cli("create", *NOWHERE, "busybox", "true").strip()
    cli("commit", name, "gone:1")
    assert cli("run", "--rmi", *NOWHERE, "gone:1", "echo", "ran") == "ran\n"
    assert "gone" not in cli("images")


def test_a_run_imports_no_more_than_it_needs(cli: CommandLine) -> None:
    program = (
        "import sys; from pycontainer.cli import invoke; invoke(sys.argv[1:])\n"
        "unwanted = {'click', 'httpx', 'pyroute2', 'rich', 'ssl', 'http', 'asyncio'}\n"
        "print(*sorted(unwanted & {name.partition('.')[0] for name in sys.modules}))\n"
        "print(sum(name.startswith('pycontainer') for name in sys.modules))"
    )
    command = [sys.executable, "-c", program, "run", "--rm", "busybox", "true"]
    cli("run", "--rm", "busybox", "true")  # which makes what the next one finds
    done = subprocess.run(command, capture_output=True, env=cli.env, check=True, text=True)
    unwanted, ours = done.stdout.splitlines()
    assert unwanted == ""
    assert int(ours) <= 190  # half a millisecond each


def test_the_default_network_of_the_users_own_store_stays(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(cli.env["PYCONTAINER_ROOT"])
    with pc.Engine(root) as engine:
        tag = engine.store_tag

    def bridges() -> list[str]:
        cli("run", "--rm", "busybox", "true")
        notes = [Path("/sys/class/net", name, "ifalias") for name in os.listdir("/sys/class/net")]
        return [str(note) for note in notes if note.exists() and tag in note.read_text()]

    monkeypatch.setattr("pycontainer.engine.engine.users_root", lambda: root)
    assert len(bridges()) == 1
    monkeypatch.undo()
    assert bridges() == []


@pytest.mark.parametrize(
    ("code", "words", "told"),
    [
        (125, ["--memory", "1", "busybox", "true"], "pycontainer: "),
        (126, ["busybox", "/etc/passwd"], "permission denied"),
        (127, ["busybox", "nosuch"], '"nosuch"'),
    ],
)
def test_run_ends_with_dockers_codes(cli: CommandLine, code: int, words: list[str], told: str) -> None:
    out, err = cli.both("run", "--rm", *NOWHERE, *words, code=code)
    assert out == ""
    assert told in err
    assert "Traceback" not in err


def test_options_of_run_reach_the_container(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("FROM_FILE=1\n")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "file").write_text("shared\n")
    cidfile = tmp_path / "cid"
    out = cli(
        *("run", "--name", "box", "--hostname", "inside", "-w", "/tmp", "-u", "web", "-e", "A=1"),
        *("--env-file", str(tmp_path / "env"), "-v", f"{tmp_path}/shared:/shared:ro", "-m", "64m"),
        *("--tmpfs", "/scratch:size=1m", "--label", "tier=front", "--cidfile", str(cidfile), *NOWHERE),
        *("--entrypoint", "sh", "busybox", "-c"),
        "hostname; pwd; id -un; echo $A $FROM_FILE; cat /shared/file; touch /shared/x 2>&1 | tail -c 22",
    )
    assert out.splitlines() == ["inside", "/tmp", "web", "1 1", "shared", "Read-only file system"]
    form = '{{.Name}} {{.HostConfig.Memory}} {{index .Config.Labels "tier"}} {{.State.ExitCode}}'
    assert cli("inspect", "-f", form, cidfile.read_text()) == "/box 67108864 front 0\n"


def test_a_signal_to_run_goes_to_the_container(cli: CommandLine) -> None:
    script = "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    with cli.popen("run", "--rm", *NOWHERE, "busybox", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == b"got\n"
    assert process.returncode == 9


def test_a_container_outlives_run_though_that_is_killed(cli: CommandLine) -> None:
    command = ("run", "--rm", "--name", "box", *NOWHERE, "busybox", "sh", "-c", "echo ready; sleep 60")
    with cli.popen(*command) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.kill()
    assert cli("ps", "--format", "{{.Names}} {{.State}}") == "box running\n"
    assert cli("stop", "-t", "0", "box") == "box\n"
    assert cli("ps", "-aq") == ""


# -- a container that runs in the background -----------------------------------------------------------


def test_a_container_is_steered_from_one_process_after_the_other(cli: CommandLine) -> None:
    script = "trap 'echo bye; exit 7' TERM; echo begun; while :; do sleep 0.1; done"
    full_id = cli("run", "-d", "--name", "box", *NOWHERE, "busybox", "sh", "-c", script).strip()
    assert len(full_id) == 64
    with cli.popen("logs", "-f", "box") as follower, cli.popen("wait", "box") as waiter:
        assert follower.stdout is not None
        assert follower.stdout.readline() == b"begun\n"
        assert cli("ps", "--no-trunc", "--format", "{{.ID}}|{{.Image}}|{{.Command}}") == (
            f"{full_id}|busybox|{json.dumps('sh -c ' + script)}\n"
        )
        assert cli("exec", "-e", "A=1", "box", "sh", "-c", "echo $A; exit 5", code=5) == "1\n"
        assert "/nosuch" in cli.both("exec", "-w", "/nosuch", "box", "true", code=126)[1]
        assert cli("pause", "box") == "box\n"
        assert "(Paused)" in cli("ps", "--filter", "status=paused", "--format", "{{.Status}}")
        assert cli("unpause", "box") == "box\n"
        assert cli("update", "--memory", "48m", "box") == "box\n"
        assert cli("rename", "box", "other") == ""
        assert cli("top", "other", "-o", "pid,comm").splitlines()[0].split() == ["PID", "COMMAND"]
        looked = json.loads(cli("stats", "--no-stream", "--format", "json", "other"))
        assert (looked["Name"], looked["MemUsage"].partition(" / ")[2]) == ("other", "48MiB")
        assert cli("stop", "other") == "other\n"
        assert follower.stdout.read() == b"bye\n"
        assert waiter.communicate()[0] == b"7\n"
    assert cli("ps", "-q") == ""
    assert cli("ps", "-a", "--format", "{{.Names}} {{.Status}}").startswith("other Exited (7) ")
    assert cli("logs", "--tail", "1", "--timestamps", "other").endswith("Z bye\n")
    actions = cli(
        "events",
        "--since",
        "10m",
        "--until",
        "0s",
        "--filter",
        f"container={full_id}",
        "--format",
        "{{.Action}}",
    )
    told = {"create", "start", "pause", "unpause", "update", "rename", "top", "kill", "die", "stop"}
    assert told <= set(actions.split())
    assert cli("rm", "other") == "other\n"


def test_start_attaches_and_ends_with_the_programs_code(cli: CommandLine) -> None:
    cli("create", "-i", "--name", "box", *NOWHERE, "busybox", "sh", "-c", "read line; echo got $line; exit 4")
    assert cli("start", "-ai", "box", code=4, input=b"this\n") == "got this\n"
    assert cli("wait", "box") == "4\n"


# -- files and images ------------------------------------------------------------------------------------


def test_files_are_copied_compared_exported_and_committed(cli: CommandLine, tmp_path: Path) -> None:
    cli("create", "--name", "box", *NOWHERE, "busybox", "true")
    (tmp_path / "in").write_text("content\n")
    cli("cp", str(tmp_path / "in"), "box:/srv/out")
    assert cli("diff", "box") == "C /srv\nA /srv/out\n"
    cli("cp", "box:/srv/out", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "content\n"
    with tarfile.open(fileobj=io.BytesIO(cli.bytes("cp", "box:/srv", "-"))) as tar:
        assert "srv/out" in tar.getnames()
    tar_bytes = cli.bytes("export", "box")
    with tarfile.open(fileobj=io.BytesIO(tar_bytes)) as tar:
        assert "srv/out" in tar.getnames()
    image_id = cli("commit", "-m", "said", "-c", "CMD cat /srv/out", "box", "made:1").strip()
    assert cli("run", "--rm", *NOWHERE, "made:1") == "content\n"
    assert cli("history", "--format", "{{.Comment}}", "made:1").splitlines()[0] == "said"
    imported = cli("import", "-c", 'CMD ["cat", "/srv/out"]', "-", "flat:1", input=tar_bytes).strip()
    assert cli("run", "--rm", *NOWHERE, "flat:1") == "content\n"
    assert cli("images", "--no-trunc", "--format", "{{.ID}}", "made:1") == f"{image_id}\n"

    archive = cli.bytes("save", "made:1")
    assert cli("rm", "box") == "box\n"
    assert cli("tag", "made:1", "also:1") == ""
    assert cli("rmi", "made:1") == "Untagged: made:1\n"
    assert cli("rmi", "also:1", "flat:1") == (
        f"Untagged: also:1\nDeleted: {image_id}\nUntagged: flat:1\nDeleted: {imported}\n"
    )
    assert cli("load", input=archive) == "Loaded image: made:1\n"
    cli("untag", "made:1")
    assert cli("image", "prune", "-f").startswith(f"Deleted Images:\ndeleted: {image_id}\n")


def test_platforms_of_an_image_are_listed_and_removed(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    both = ("--platform", "linux/amd64,linux/arm64")
    own = cli("build", "-q", *both, "-t", "both:1", str(tmp_path)).strip()
    rows = [line.split() for line in cli("images", "--tree", "both").splitlines()]
    assert [row[:2] for row in rows[1:]] == [
        ["both:1", own[7:19]],
        ["├─", "linux/amd64"],
        ["└─", "linux/arm64"],
    ]
    assert rows[0] == ["IMAGE", "ID", "DISK", "USAGE", "EXTRA"]
    assert "tree" in cli.both("images", "--tree", "-q", code=125)[1]
    assert cli("rmi", "--platform", "linux/arm64", "both:1").startswith("Deleted: sha256:")
    assert "linux/arm64" not in cli("images", "--tree", "both")
    assert "there are: linux/amd64" in cli.both("rmi", "--platform", "linux/arm64", "both:1", code=1)[1]
    assert cli("rmi", "both:1") == f"Untagged: both:1\nDeleted: {own}\n"


def test_a_dockerfile_is_asked_without_being_built(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM nowhere.invalid/none AS base\n# what it is made by\nARG MAKER=1\n"
        "RUN --mount=type=secret,id=token,required true\nFROM base\nRUN echo ${MAKER}\n"
    )
    targets = cli("build", "--call=targets", str(tmp_path)).splitlines()
    assert [line.split() for line in targets] == [["TARGET", "DESCRIPTION"], ["base"], ["(default)"]]
    outline = json.loads(cli("build", "--call", "outline,format=json", str(tmp_path)))
    assert [(each["name"], each["value"]) for each in outline["args"]] == [("MAKER", "1")]
    assert outline["secrets"] == [{"name": "token", "required": True}]
    assert "--call" in cli.both("build", "--call=build,format=json", str(tmp_path), code=125)[1]
    (tmp_path / "Dockerfile").write_text("FROM busybox\nCOPY . /srv\n")
    assert cli("build", "--check", str(tmp_path)) == "Check complete, no warnings found.\n"
    # What shows when variables are put in, and what the context leaves out.
    (tmp_path / "Dockerfile").write_text(
        "# check=experimental=CopyIgnoredFile\nFROM busybox\nCOPY left /srv\nWORKDIR ${NOWHERE}x\n"
    )
    (tmp_path / "left").touch()
    (tmp_path / ".dockerignore").write_text("left\n")
    told = json.loads(cli("build", "--call=check,format=json", str(tmp_path), code=1))["warnings"]
    assert {each["ruleName"] for each in told} == {"CopyIgnoredFile", "UndefinedVar", "WorkdirRelativePath"}
    (tmp_path / "Dockerfile").write_text("# check=error=true\nFROM busybox\nWORKDIR here\n")
    out, err = cli.both("build", "--check", str(tmp_path), code=1)
    assert "WARNING: WorkdirRelativePath" in out
    out, err = cli.both(
        "build", "--call=check", "-f", "-", str(tmp_path), code=1, input=b"FROM scratch as X\n"
    )
    assert "WARNING: StageNameCasing - https://docs.docker.com/" in out
    assert "   1 | >>> FROM scratch as X\n" in out
    assert "have been found!" in err
    assert "--call" in cli.both("build", "--call=nosuch", str(tmp_path), code=125)[1]


def test_what_only_a_daemon_needs_is_accepted_or_refused_with_the_reason(cli: CommandLine) -> None:
    certificates = [f"--tls{name}=/x.pem" for name in ("cacert", "cert", "key")]
    assert cli("--tls", "--tlsverify=false", *certificates, "context", "show") == "default\n"
    assert "this machine only" in cli.both("context", "create", "far", code=1)[1]


def test_images_go_to_a_registry_and_back(cli: CommandLine) -> None:
    with pc.Registry() as registry:
        name = f"{registry.address}/team/busybox:1"
        cli("tag", "busybox", name)
        assert cli("push", name).startswith("1: digest: sha256:")
        assert cli("manifest", "create", f"{registry.address}/team/busybox:all", name)
        digest = cli("manifest", "push", "--purge", f"{registry.address}/team/busybox:all").strip()
        assert digest.startswith("sha256:")
        index = json.loads(cli("manifest", "inspect", f"{registry.address}/team/busybox:all"))
        assert [each["platform"]["os"] for each in index["manifests"]] == ["linux"]
        cli("rmi", name)
        out = cli("pull", name)
        assert f"Status: Downloaded newer image for {name}\n{name}\n" in out
        assert cli("pull", "-q", name) == f"{name}\n"
        assert f"{registry.address}/team/busybox" in cli("search", f"{registry.address}/busy")
        cli("rmi", name)
        out, err = cli.both("run", "--rm", "-q", *NOWHERE, name, "echo", "pulled")
        assert (out, err) == ("pulled\n", "")
        cli("rmi", name)


def test_an_account_is_kept_until_logout(cli: CommandLine) -> None:
    with pc.Registry(auth={"ann": "secret"}) as registry:
        login = ("login", "-u", "ann", "--password-stdin", registry.address)
        name = f"{registry.address}/busybox:1"
        cli("tag", "busybox", name)
        assert "secret" not in cli.both(*login, code=1, input=b"not secret\n")[1]
        cli("push", name, code=1)
        assert cli(*login, input=b"secret\n") == "Login Succeeded\n"
        cli("push", name)
        assert cli("logout", registry.address) == f"Removing login credentials for {registry.address}\n"
        assert cli("logout", registry.address) == f"Not logged in to {registry.address}\n"
        cli("push", name, code=1)
        cli("rmi", name)


def test_an_image_is_built_and_its_cache_forgotten(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content\n")
    (tmp_path / "Other").write_text(
        "FROM busybox\nARG WHAT\nCOPY file /file\nRUN --network=none echo $WHAT >>/file\n"
    )
    words = ("-t", "built:1", "-f", str(tmp_path / "Other"), "--build-arg", "WHAT=more", str(tmp_path))
    out, err = cli.both("build", "--progress", "plain", *words)
    image_id = out.strip()
    assert "RUN" in err
    assert cli("run", "--rm", *NOWHERE, "built:1", "cat", "/file") == "content\nmore\n"
    assert cli.both("build", "-q", *words) == (f"{image_id}\n", "")
    out, err = cli.both("build", "--progress=rawjson", *words)
    told = [vertex for line in err.splitlines() for vertex in json.loads(line).get("vertexes", ())]
    assert [vertex["cached"] for vertex in told if "RUN" in vertex["name"]] == [True]
    assert "completed" in told[-1]
    assert out == f"{image_id}\n"
    (tmp_path / "Other").write_text("FROM busybox\nRUN --network=none exit 3\n")
    assert "Other:2" in cli.both("build", *words[2:4], str(tmp_path), code=1)[1]
    cli("rmi", "built:1")
    assert cli("builder", "prune", "-af").startswith("Total: ")


# -- networks and volumes ----------------------------------------------------------------------------------


def test_containers_find_each_other_on_a_network(cli: CommandLine) -> None:
    cli("network", "create", "--subnet", "10.231.9.0/24", "--label", "a=b", "app")
    try:
        serving = "mkdir /www; echo served >/www/index.html; httpd -f -p 80 -h /www"
        cli("run", "-d", "--name", "web", "--network", "app", "-p", "80", "busybox", "sh", "-c", serving)
        fetched = "until wget -q -O - http://web/ 2>/dev/null; do sleep 0.1; done"
        assert cli("run", "--rm", "--network", "app", "busybox", "sh", "-c", fetched) == "served\n"
        port = cli("port", "web", "80").strip()
        assert cli("port", "web") == f"80/tcp -> {port}\n"
        assert cli("ps", "--format", "{{.Ports}} {{.Networks}}") == f"{port}->80/tcp app\n"
        assert cli("ps", "--filter", "name=^/web$", "--format", "{{.Names}}") == "web\n"
        assert cli("network", "ls", "--filter", "name=^app$", "--format", "{{.Name}}") == "app\n"
        assert cli("network", "ls", "--filter", "label=a", "--format", "{{.Name}} {{.Driver}}") == (
            "app bridge\n"
        )
        form = "{{range .Containers}}{{.Name}} {{.IPv4Address}}{{end}}"
        assert cli("network", "inspect", "-f", form, "app") == "web 10.231.9.2/24\n"
        assert "web" in cli.both("network", "rm", "app", code=1)[1]
        cli("network", "disconnect", "app", "web")
        cli("network", "connect", "--ip", "10.231.9.9", "app", "web")
        assert cli("inspect", "-f", "{{.NetworkSettings.Networks.app.IPAddress}}", "web") == "10.231.9.9\n"
        cli("rm", "-f", "web")
    finally:
        assert cli("network", "rm", "app") == "app\n"


def test_a_volume_keeps_files_and_tells_its_size(cli: CommandLine, tmp_path: Path) -> None:
    cli("volume", "create", "data")
    cli("run", "--rm", *NOWHERE, "-v", "data:/data", "busybox", "sh", "-c", "head -c 5000 /dev/zero >/data/x")
    usage = cli("system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Size}}").splitlines()
    assert "Local Volumes 1 " in usage[2]
    assert not usage[2].endswith(" 0B")
    tar_bytes = cli.bytes("volume", "export", "data")
    cli("volume", "create", "copy")
    cli("volume", "import", "copy", "-", input=tar_bytes)
    assert (
        cli("run", "--rm", *NOWHERE, "-v", "copy:/data", "busybox", "wc", "-c", "/data/x") == "5000 /data/x\n"
    )
    assert cli("volume", "ls", "-q", "--filter", "name=^cop") == "copy\n"
    assert cli("volume", "rm", "data") == "data\n"
    told = cli("volume", "prune", "-a", "-f")
    assert "copy\n" in told
    assert not told.endswith("reclaimed space: 0B\n")


def test_a_health_check_is_run_on_demand(cli: CommandLine) -> None:
    check = ("--health-cmd", "test -e /tmp/good", "--health-interval", "1h")
    cli("run", "-d", "--name", "box", *check, *NOWHERE, "busybox", "sleep", "60")
    assert cli("healthcheck", "run", "box", code=1) == "unhealthy\n"
    cli("exec", "box", "touch", "/tmp/good")
    assert cli("healthcheck", "run", "box") == ""
    assert cli("mount", "box").startswith("/proc/")
    assert cli("kill", "box") == "box\n"
    assert cli("wait", "box") == "137\n"


def test_an_interrupt_ends_what_waits_with_its_code(cli: CommandLine) -> None:
    cli("run", "-d", "--name", "box", *NOWHERE, "busybox", "sh", "-c", "echo begun; sleep 60")
    with cli.popen("logs", "-f", "box") as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == b"begun\n"
        follower.send_signal(signal.SIGINT)
        assert follower.stdout.read() == b""
    assert follower.returncode == 130
