"""The command line on a terminal: keys typed by pexpect, the screen read by pyte."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainer as pc
from tests.support.cli import CommandLine, interruptible

# pexpect forks; and the terminal's two ends are closed with the last of the processes on it.
pytestmark = pytest.mark.needs("root", "overlay")

SHELL = ("--network", "none", "-e", "PS1=# ", "busybox", "sh")
PROMPT = "# "


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
        made("rm", "-f", *left)


def test_a_shell_is_used_as_at_home(cli: CommandLine) -> None:
    with cli.terminal("run", "-it", "--rm", *SHELL, rows=30, columns=90) as terminal:
        terminal.expect(PROMPT)
        terminal.type("stty size\r")
        terminal.expect("30 90")
        terminal.resize(20, 70)
        terminal.type('until [ "$(stty size)" = "20 70" ]; do sleep 0.1; done; echo re""sized\r')
        terminal.expect("resized")
        # The interrupt is the foreground program's: job control is the shell's in the container.
        terminal.type("echo be''gun; sleep 60\r")
        terminal.expect("begun")
        terminal.type("\x03")
        terminal.type("echo code=$?\r")
        terminal.expect("code=130")
        terminal.type("clear; printf '\\033[3;5Hdrawn''.'; read x\r")
        terminal.expect(r"drawn\.")
        assert terminal.screen()[-1] == "    drawn."
        terminal.type("\rexit 6\r")
        assert terminal.end() == 6
    assert cli("ps", "-aq") == ""


def test_a_container_is_left_by_keys_and_joined_again(cli: CommandLine) -> None:
    with cli.terminal("run", "-it", "--name", "box", *SHELL) as terminal:
        terminal.expect(PROMPT)
        terminal.type("kept=yes\r")
        terminal.expect(PROMPT)
        terminal.type("\x10\x11")
        assert terminal.end() == 0
    assert cli("ps", "--format", "{{.Names}} {{.State}}") == "box running\n"
    with cli.terminal("attach", "--detach-keys", "ctrl-x", "box") as terminal:
        terminal.type("echo $kept $kept\r")
        terminal.expect("yes yes")
        terminal.type("\x18")
        assert terminal.end() == 0
    with cli.terminal("attach", "box") as terminal:
        terminal.type("exit 8\r")
        assert terminal.end() == 8


def test_exec_has_a_terminal_and_the_programs_code(cli: CommandLine) -> None:
    cli("run", "-d", "--name", "box", "--network", "none", "busybox", "sleep", "60")
    with cli.terminal("exec", "-it", "-e", "PS1=# ", "box", "sh", rows=25, columns=85) as terminal:
        terminal.expect(PROMPT)
        terminal.type("stty size; tty\r")
        shown = terminal.expect(PROMPT)
        assert "25 85" in shown
        assert "/dev/pts/" in shown
        terminal.type("\x04")
        assert terminal.end() in (0, 127)
    with cli.terminal("exec", "-it", "box", "sh", "-c", "exit 7") as terminal:
        assert terminal.end() == 7


def test_without_a_terminal_there_is_none_to_give(cli: CommandLine) -> None:
    out, err = cli.both("run", "-it", "--rm", *SHELL, code=1)
    assert (out, err) == ("", "the input device is not a TTY\n")
    assert cli("ps", "-aq") == ""


def test_jobs_are_controlled_inside_and_outside(cli: CommandLine) -> None:
    with cli.terminal("run", "-it", "--rm", *SHELL) as terminal:
        terminal.expect(PROMPT)
        terminal.type('sh -c \'echo be""gun; read x; echo got "$x".\'\r')
        terminal.expect("begun")
        terminal.type("\x1a")
        terminal.expect("Stopped")
        terminal.type("fg\r")
        terminal.type("in''put\r")
        terminal.expect(r"got in''put\.")
        terminal.type("exit 3\r")
        assert terminal.end() == 3
    with cli.shell("bash", "--norc", "-i") as terminal:
        terminal.type("PS1='$ '\r")
        terminal.type(
            "pycontainer run --rm -i --network none busybox sh -c 'echo be\"\"gun; read x; exit $x'\r"
        )
        terminal.expect("begun")
        terminal.type("\x1a")
        terminal.expect("Stopped")
        terminal.type("echo free''ly; fg\r")
        terminal.expect("freely")
        terminal.type("4\r")
        terminal.type("echo code=$?.\r")
        terminal.expect(r"code=4\.")
    assert cli("ps", "-aq") == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_flags_and_names(cli: CommandLine, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}; apt-get install {shell}")
    cli("create", "--name", "lonely_box", "--network", "none", "busybox", "true")
    words = {"bash": ["--norc", "-i"], "zsh": ["-f", "-i"], "fish": ["--no-config", "-i"]}[shell]
    load = {
        "bash": "source <(pycontainer completion bash)",
        "zsh": "autoload -Uz compinit; compinit -D; source <(pycontainer completion zsh)",
        "fish": "pycontainer completion fish | source",
    }[shell]
    with cli.shell(shell, *words) as terminal:
        terminal.type(f"{load}; echo load''ed\r")
        terminal.expect("loaded")
        keys = {"pycontainer rm lonely": "lonely_box"}
        if shell == "bash":
            keys |= {"pycontainer renam": "rename", "pycontainer run --read-on": "--read-only"}
        for typed, completed in keys.items():
            terminal.type(f"{typed}\t")
            terminal.until_shown(completed)
            terminal.type("\x15")
    cli("rm", "lonely_box")


def test_tables_are_refreshed_in_place(cli: CommandLine) -> None:
    cli("run", "-d", "--name", "box", "--network", "none", "busybox", "sleep", "60")
    for words in (("ps", "--watch"), ("stats",)):
        with cli.terminal(*words, columns=140) as terminal:
            for _ in range(3):
                terminal.expect("box")
                terminal.expect("\x1b\\[J")
            lines = terminal.screen()
            assert len(lines) == 2
            assert lines[0].startswith("CONTAINER ID")
            assert "box" in lines[1]
            terminal.type("\x03")
            assert terminal.end() == 130


def test_a_pull_is_asked_for_in_colours_only_on_a_terminal(cli: CommandLine) -> None:
    with pc.Registry() as registry:
        name = f"{registry.address}/busybox:1"
        cli("tag", "busybox", name)
        cli("push", name)
        cli("rmi", name)
        with cli.terminal("pull", name) as terminal:
            assert terminal.end() == 0
            assert any("Downloaded newer image" in line for line in terminal.screen())
        cli("rmi", name)
        assert "\x1b" not in cli.both("pull", name)[1]
        cli("rmi", name)
