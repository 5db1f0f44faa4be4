"""The command line without a container: its table, its flags, what mistakes lead to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from pycontainer.cli import invoke
from pycontainer.cli.app import app
from pycontainer.cli.command import Group
from pycontainer.cli.commands.ps import ports_text
from pycontainer.cli.spelling import given, parse_environment
from pycontainer.options import OPTIONS

Run = tuple[int, str, str]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command on an empty store: exit code, standard output, standard error."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_DEFAULT_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(*words: str) -> Run:
        code = invoke(["--root", str(tmp_path / "store"), *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def _commands(group: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(group, Group):
        return
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        path = f"{context.command_path} {name}"
        yield path, command
        yield from _commands(command, click.Context(command, info_name=name, parent=context))


def _all_commands() -> dict[str, click.Command]:
    return dict(_commands(app, click.Context(app, info_name="pycontainer")))


def test_every_command_of_the_table_is_there_and_has_help() -> None:
    found = _all_commands()
    assert len(found) > 100
    for path, command in found.items():
        help_text = command.get_help(click.Context(command, info_name=path))
        assert help_text.startswith("Usage:"), path
        assert command.help, path


def test_every_run_option_is_a_flag_of_run() -> None:
    run = _all_commands()["pycontainer run"]
    flags = {name for each in run.params for name in each.opts}
    assert {info.flag for name, info in OPTIONS.items() if name != "command"} <= flags


def test_help_imports_no_command() -> None:
    program = (
        "import sys; from pycontainer.cli import invoke; invoke(['--help'])\n"
        "found = [name for name in sys.modules if name.startswith('pycontainer.cli.commands.')]\n"
        "print(*found, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize(
    ("code", "words", "told"),
    [
        (125, ["ps", "--nosuch"], "unknown flag: --nosuch"),
        (125, ["run", "-x", "image"], "unknown shorthand flag: -x"),
        (125, ["run", "--memory"], "requires an argument"),
        (125, ["run", "--rm=maybe", "image"], "'maybe' is neither true nor false"),
        (125, ["run", "--memory", "lots", "image"], "--memory: 'lots': give bytes"),
        (125, ["run", "--restart", "sometimes", "image"], "--restart"),
        (125, ["run", "-d", "-a", "stdout", "image"], "-d and -a"),
        (125, ["-H", "ssh://elsewhere", "ps"], "--host is 'ssh://elsewhere'"),
        (125, ["--context", "prod", "ps"], "only the context default"),
        (125, ["ps", "--filter", "name"], "NAME=VALUE"),
        (1, ["run"], "'pycontainer run' requires at least 1 argument"),
        (1, ["stop"], "'pycontainer stop' requires at least 1 argument"),
        (1, ["ps", "extra"], "'pycontainer ps' accepts no arguments"),
        (1, ["rename", "a"], "'pycontainer rename' requires 2 arguments"),
        (1, ["import"], "'pycontainer import' requires at least 1 and at most 2 arguments"),
        (125, ["run", "--nam=x", "image"], "unknown flag: --nam; did you mean"),
        (125, ["stop", "-t", "soon", "some"], "'soon': give seconds"),
        (1, ["help", "rnu"], "unknown command: pycontainer rnu"),
        (1, ["rnu"], "unknown command: pycontainer rnu; did you mean run?"),
        (1, ["network", "lss"], "unknown command: pycontainer network lss; did you mean ls?"),
        (1, ["swarm", "init"], "swarm mode"),
    ],
)
def test_a_misuse_is_told_with_the_usage(call: Any, code: int, words: list[str], told: str) -> None:
    got, out, err = call(*words)
    assert (got, out) == (code, "")
    assert told in err
    assert "Usage:  pycontainer" in err
    assert "--help' for more information" in err


@pytest.mark.parametrize(
    ("code", "words", "told"),
    [
        (1, ["stop", "nosuch"], "Error: No such container: nosuch"),
        (1, ["rmi", "nosuch"], "Error: No such image: nosuch"),
        (1, ["volume", "inspect", "nosuch"], "no such volume: nosuch"),
        (1, ["inspect", "nosuch"], "Error: No such object: nosuch"),
        (1, ["network", "inspect", "nosuch"], "network nosuch not found"),
        (1, ["network", "rm", "nosuch"], "network nosuch not found"),
        (1, ["volume", "rm", "nosuch"], "no such volume: nosuch"),
        (1, ["logs", "nosuch"], "No such container: nosuch"),
        (1, ["exec", "nosuch", "true"], "No such container: nosuch"),
        (1, ["images", "--filter", "nosuch=1"], "images have no filter 'nosuch'"),
        (1, ["images", "--format", "{{.Nosuch"], "template: cannot read"),
        (64, ["inspect", "--format", "{{", "nosuch"], "template parsing error"),
        (125, ["run", "--pull", "never", "nosuch"], "pycontainer: no such image: nosuch"),
        (125, ["run", "--kernel-memory", "1g", "nosuch"], "--kernel-memory is not here"),
        (1, ["load", "-i", "/nosuch/archive"], "/nosuch/archive"),
        (1, ["network", "rm", "host"], "network host is predefined"),
        (1, ["kill", "-s", "NOSUCH", "some"], "invalid signal: NOSUCH"),
        (1, ["events", "--until", "9" * 20], "give a datetime"),
        (1, ["cp", "a", "b"], "write it as CONTAINER:PATH"),
        (1, ["cp", "a:/x", "b:/y"], "between containers"),
        (1, ["context", "use", "prod"], "no context 'prod'"),
    ],
)
def test_an_error_is_told_with_its_code(call: Any, code: int, words: list[str], told: str) -> None:
    got, _, err = call(*words)
    assert got == code
    assert told in err
    assert "Traceback" not in err


def test_what_was_done_of_several_is_named_though_one_fails(call: Any) -> None:
    assert call("volume", "create", "one")[:2] == (0, "one\n")
    code, out, err = call("volume", "rm", "nosuch", "one")
    assert (code, out) == (1, "one\n")
    assert "nosuch" in err


def test_another_machines_host_is_refused_from_the_environment_too(
    call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere:2375")
    assert "DOCKER_HOST is 'tcp://elsewhere:2375'" in call("ps")[2]
    monkeypatch.setenv("DOCKER_HOST", "unix:///var/run/docker.sock")
    assert call("ps", "-q") == (0, "", "")


def test_formats_of_lists_come_from_the_users_settings(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"volumesFormat": "{{.Name}}!"}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    call("volume", "create", "--label", "a=b", "one")
    assert call("volume", "ls")[1] == "one!\n"
    assert call("volume", "ls", "--format", '{{.Label "a"}}')[1] == "b\n"


def test_volumes_are_made_listed_inspected_and_pruned(call: Any) -> None:
    call("volume", "create", "one")
    call("volume", "create", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "two")
    assert call("volume", "ls")[1] == "DRIVER    VOLUME NAME\nlocal     one\nlocal     two\n"
    assert call("volume", "ls", "-q", "--filter", "name=tw")[1] == "two\n"
    assert json.loads(call("volume", "inspect", "two")[1])[0]["Options"]["type"] == "tmpfs"
    assert call("inspect", "-f", "{{.Name}} {{.Driver}}", "one", "two")[1] == "one local\ntwo local\n"
    assert call("volume", "prune", "--all", "--force")[1] == (
        "Deleted Volumes:\none\ntwo\n\nTotal reclaimed space: 0B\n"
    )


def test_a_prune_asks_first(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    call("volume", "create", "one")
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    code, out, err = call("volume", "prune", "--all")
    assert (code, out) == (1, "")
    assert "WARNING! This will remove" in err
    assert call("volume", "ls", "-q")[1] == "one\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_program(call: Any, shell: str) -> None:
    code, out, _ = call("completion", shell)
    assert code == 0
    assert "_PYCONTAINER_COMPLETE" in out


def test_names_are_completed_from_the_store(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call("volume", "create", "one")
    call("volume", "create", "other")
    root = tmp_path / "store"
    monkeypatch.setenv("_PYCONTAINER_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"pycontainer --root {root} volume rm o")
    monkeypatch.setenv("COMP_CWORD", "5")
    with pytest.raises(SystemExit):
        invoke([])
    assert capsys.readouterr().out == "plain,one\nplain,other\n"


def test_flags_may_be_given_as_docker_takes_them() -> None:
    run = _all_commands()["pycontainer run"]

    def parsed(*words: str) -> dict[str, Any]:
        return run.make_context("run", list(words)).params

    words = ["-itd", "--rm=true", "--sig-proxy=false", "-e=A=1", "-p=80:80", "-v/a:/b", "i", "sh", "-c"]
    params = parsed(*words)
    switches = ("stdin_open", "tty", "is_detached", "auto_remove", "sig_proxy")
    assert [params[name] for name in switches] == [True, True, True, True, False]
    assert (params["env"], params["ports"], params["volumes"]) == (("A=1",), ("80:80",), ("/a:/b",))
    assert (params["image"], params["words"]) == ("i", ("sh", "-c"))
    assert parsed("-t=false", "i")["tty"] is False
    assert parsed("--entrypoint", "--rm=true", "i")["entrypoint"] == "--rm=true"
    assert parsed("--", "i", "--", "x")["words"] == ("--", "x")


def test_what_docker_has_as_defaults_is_not_asked_for() -> None:
    assert given({"memory": "0", "memory_swappiness": "-1", "pids_limit": "0", "tty": False, "env": ()}) == {}


def test_an_entrypoint_is_one_word_and_an_empty_one_clears() -> None:
    assert given({"entrypoint": "/bin/my program"}) == {"entrypoint": ["/bin/my program"]}
    assert given({"entrypoint": ""}) == {"entrypoint": [""]}


def test_a_variable_without_a_value_is_the_callers() -> None:
    assert parse_environment(["A=1", "B", "C", "D="], {"B": "2"}) == {"A": "1", "B": "2", "C": None, "D": ""}


@pytest.mark.parametrize(
    ("expected", "ports"),
    [
        ("", {}),
        ("80/tcp", {"80/tcp": None}),
        ("80/tcp", {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}]}),
        ("0.0.0.0:8080->80/tcp", {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}),
        (
            "127.0.0.1:8080-8082->80-82/tcp, [::1]:9000->80/tcp, 53/udp",
            {
                **{f"{80 + n}/tcp": [{"HostIp": "127.0.0.1", "HostPort": f"808{n}"}] for n in (1, 2)},
                "80/tcp": [
                    {"HostIp": "127.0.0.1", "HostPort": "8080"},
                    {"HostIp": "::1", "HostPort": "9000"},
                ],
                "53/udp": None,
            },
        ),
    ],
)
def test_neighbouring_ports_are_told_as_a_range(expected: str, ports: Any) -> None:
    assert ports_text(ports) == expected


def test_an_error_with_others_words_commands_no_terminal(call: Any) -> None:
    _, _, err = call("rmi", "\x1b[2Jname")
    assert "\x1b" not in err
    assert "\\x1b[2Jname" in err


def test_a_file_for_the_id_is_new_and_gone_again_without_a_container(call: Any, tmp_path: Path) -> None:
    path = tmp_path / "cid"
    words = ("create", "--pull", "never", "--cidfile", str(path), "nosuch")
    assert call(*words)[0] == 1
    assert not path.exists()
    path.write_text("kept")
    code, _, err = call(*words)
    assert (code, path.read_text()) == (125, "kept")
    assert "exists; remove it" in err


def test_force_forgives_what_is_not_there(call: Any) -> None:
    for words in (("rm", "-f", "nosuch"), ("network", "rm", "-f", "nosuch")):
        code, out, err = call(*words)
        assert (code, out) == (0, "")
        assert "nosuch" in err
    assert call("volume", "rm", "-f", "nosuch")[:2] == (0, "nosuch\n")


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ((False, False), []),
        ((True, True), ["--provenance", "true", "--sbom"]),
        (("mode=max", False), ["--attest", "type=provenance,mode=max"]),
        ((False, True), ["--provenance=false", "--attest=type=sbom"]),
        ((False, False), ["--attest", "type=provenance,disabled=true"]),
    ],
)
def test_attestations_are_asked_for_in_either_way(expected: tuple[object, bool], words: list[str]) -> None:
    from pycontainer.cli.commands.build import _attested

    params = _all_commands()["pycontainer build"].make_context("build", [*words, "."]).params
    assert tuple(_attested(params).values()) == expected


def test_output_that_finds_no_room_is_an_error_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pycontainer", "--root", str(tmp_path / "store"), "--help"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "Error: No space left on device\n")


def test_help_is_a_command_as_well_as_a_flag(call: Any) -> None:
    assert call("help", "network", "ls") == call("network", "ls", "--help")


def test_a_group_alone_shows_its_help(call: Any) -> None:
    code, out, err = call("network")
    assert code == 0
    assert "Manage networks" in out + err


def test_networks_of_the_host_are_listed_as_dockers(call: Any) -> None:
    form = "{{.Name}} {{.Driver}} {{.Scope}}"
    assert call("network", "ls", "--format", form) == (0, "host host local\nnone null local\n", "")
    for filters, found in (
        (["name=^ho"], "host"), (["driver=null"], "none"), (["type=custom"], ""), (["label=x"], ""),
        (["dangling=true"], ""), (["dangling=false", "name=none"], "none"), (["id=nosuch"], ""),
    ):  # fmt: skip
        words = [word for each in filters for word in ("--filter", each)]
        assert call("network", "ls", "--format", "{{.Name}}", *words)[1].strip() == found, filters
    _, listed, _ = call("network", "ls", "-q", "--filter", "name=host")
    assert call("network", "inspect", "--format", "{{.Name}} {{.Driver}}", listed.strip())[1] == "host host\n"
