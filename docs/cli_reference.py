"""The page `reference/cli.md`: every flag of Docker's command line, and how it is here.

`python docs/cli_reference.py --write` renews it, `--check` fails when it is out of date. Docker's flags are
those that `docker COMMAND --help` of 28.2 tells, with buildx's for build, in `docker-flags.txt`; ours are
read from the commands themselves. A flag that is there and not named in `DIFFERENT` is the same; one that is
not there, or hidden, has to be named in `NOT_HERE`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from pycontainer.cli.app import REFUSED, app  # noqa: E402
from pycontainer.cli.command import Group  # noqa: E402

PAGE = HERE / "reference" / "cli.md"

_STATES = "the words of Docker; a container that waits to be restarted counts as running"
_NO_TRUST = "without effect: Docker content trust has ended; see the guide about signatures"
_LOOPBACK = "127.0.0.1 where no address is given, not every one of the host"

DIFFERENT: Mapping[str, str] = {
    "attach --detach-keys": '`detachKeys` of config.json counts, as with Docker; `""` for none',
    "build --load": "without effect: the image is in the store in any case",
    "build --network": "`RUN` has a bridge by default",
    "build --output": "also `type=oci`, `type=docker`, `type=registry`; see the guide",
    "build --pull": "named base images are looked up anew with it alone",
    "build --quiet": "the id is on standard output without it as well",
    "build --ssh": "the agent is the socket itself, with the owner that it has",
    "builder prune --filter": "until alone",
    "create --publish": _LOOPBACK,
    "create --publish-all": _LOOPBACK,
    "create --security-opt": "`no-new-privileges` is on unless it is set to false",
    "create --storage-opt": "refused: no project quotas are set",
    "create --log-driver": "local by default; local, json-file, none, journald, syslog",
    "create --ipc": "`container:NAME` needs that one to be made with `--ipc shareable`",
    "events --filter": "a container's name has to be the whole name",
    "exec --privileged": "the seccomp filter stays the container's",
    "images --all": "without effect: there are no intermediate images",
    "load --quiet": "without effect: only the names are printed",
    "network create --attachable": "without effect: every network is",
    "network create --driver": "bridge, macvlan, ipvlan",
    "ps --filter": _STATES,
    "run --publish": _LOOPBACK,
    "run --publish-all": _LOOPBACK,
    "run --security-opt": "`no-new-privileges` is on unless it is set to false",
    "run --storage-opt": "refused: no project quotas are set",
    "run --runtime": "there is one; `runc` is taken for it",
    "create --runtime": "there is one; `runc` is taken for it",
    "run --isolation": "`default` alone",
    "create --isolation": "`default` alone",
    "run --volume-driver": "`local` alone",
    "create --volume-driver": "`local` alone",
    "run --log-driver": "local by default; local, json-file, none, journald, syslog",
    "run --ipc": "`container:NAME` needs that one to be made with `--ipc shareable`",
    "build --call": "build, check, outline and targets; the Dockerfile has to be a file of this host",
    "images --tree": "without the size of what is compressed",
    "stats --no-stream": "takes a second, in which the CPU use is measured",
    "volume create --driver": "`local` alone",
}
"""By command and flag, or by flag alone: in what it differs."""

_WINDOWS = "refused: for Windows"
_CLUSTER = "refused: for volumes of a cluster"

NOT_HERE: Mapping[str, str] = {
    "--cpu-count": _WINDOWS,
    "--cpu-percent": _WINDOWS,
    "--io-maxbandwidth": _WINDOWS,
    "--io-maxiops": _WINDOWS,
    "--kernel-memory": "refused: kernels from 5.16 on have no such limit",
    "--use-api-socket": "refused: there is no daemon whose socket could be given",
    "build --builder": "refused: there is one builder",
    "build --compress": "without effect: nothing is sent to a daemon",
    "build --debug": "not yet; `on_failure` of the library opens a failed step",
    "build --force-rm": "without effect: steps leave no containers",
    "build --isolation": _WINDOWS,
    "build --rm": "without effect: steps leave no containers",
    "build --squash": "refused: `image.squash()` of the library does it afterwards",
    "build --disable-content-trust": _NO_TRUST,
    "create --disable-content-trust": _NO_TRUST,
    "run --disable-content-trust": _NO_TRUST,
    "pull --disable-content-trust": _NO_TRUST,
    "push --disable-content-trust": _NO_TRUST,
    "exec --detach-keys": "refused: what exec starts ends with it, unless it has `-d`",
    "manifest annotate --os-features": "refused",
    "manifest create --insecure": "without effect: loopback and registries.conf decide",
    "manifest inspect --insecure": "without effect: loopback and registries.conf decide",
    "manifest push --insecure": "without effect: loopback and registries.conf decide",
    "network create --config-from": "refused",
    "network create --config-only": "refused",
    "network create --ingress": "refused: it is part of Docker's swarm mode",
    "network create --ipam-opt": "refused",
    "network create --scope": "`local` alone",
    "network inspect --verbose": "without effect",
    "rm --link": "refused: links are part of a container here",
    "rmi --no-prune": "without effect: there are no untagged parents",
    "start --checkpoint": "not yet: checkpoints need CRIU",
    "start --checkpoint-dir": "not yet: checkpoints need CRIU",
    "volume create --availability": _CLUSTER,
    "volume create --group": _CLUSTER,
    "volume create --limit-bytes": _CLUSTER,
    "volume create --required-bytes": _CLUSTER,
    "volume create --scope": _CLUSTER,
    "volume create --secret": _CLUSTER,
    "volume create --sharing": _CLUSTER,
    "volume create --topology-preferred": _CLUSTER,
    "volume create --topology-required": _CLUSTER,
    "volume create --type": _CLUSTER,
    "volume ls --cluster": _CLUSTER,
    "volume update": "refused: for volumes of a cluster",
    "volume update --availability": _CLUSTER,
}
"""Flags that are refused, have no effect, or are still to come; a whole command by its name."""

_HEAD = """# Command line

Every flag of Docker's command line, and how it is here. What `pycontainer COMMAND --help` tells beside these
are this engine's own options, many of them podman's, which the [options](options.md) page describes. Made by
`python docs/cli_reference.py --write`, and compared with the commands by a test.

Global: `--config`, `-D`, `-l` are the same, `-H`, `-c` and their variables are refused unless they name this
machine, and `--tls…` are without effect: there is no daemon to reach. `--root` is the store's directory.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | an error |
| 125 | a flag that is none; `run` could not run the container |
| 126 | the program cannot be executed |
| 127 | there is no such program |
| 128 + n | the program, or the command itself, was ended by signal n: 130 by an interrupt, 137 by a kill |
| others | of `run`, `start -a`, `attach`, `exec`: the program's own |

## What is printed

Ids, names, tables, templates and `json` are Docker's. These differ:

| command | here, and why |
| --- | --- |
| all, of errors | one line after `Error: `, or `pycontainer: ` where Docker has `docker: `, with the remedy; not `Error response from daemon: `, as there is none. `No such container: NAME`, `No such image: NAME`, `No such object: NAME` and `unknown flag: --NAME` are Docker's words |
| `build`, `pull`, `push` | progress is on standard error, all of it, and the id or name on standard output |
| `build` | ends with 1 when a `RUN` fails, as buildx does; Docker's old builder has the program's code |
| `events` | prunes are told by what they remove alone |
| `import` | the image is of 1970-01-01, as what has no date of its own: the same tar gives the same id |
| `inspect` | of a volume's mount the mode is empty where none was given; Docker has `z` |
| `logs --tail` | text that is no number is an error; Docker takes it for `all` |
| `network ls`, `network inspect` | `host` and `none` have the same ids everywhere, and were made in the year 1 |
| `port`, `ps` | one address where Docker has one of IPv4 and one of IPv6: 127.0.0.1 unless asked otherwise |
| `save` | an OCI layout with Docker's files, which both load |
| `system df` | images count with what is kept compressed for pushing |
| `top` | columns are as wide as what is in them |

"""


def _docker() -> dict[str, list[tuple[str, str]]]:
    """Docker's commands, each with its flags: as written, and the long name."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in (HERE / "docker-flags.txt").read_text().splitlines():
        command, _, flags = line.partition(":")
        names = [each.strip() for each in flags.split(",") if each.strip()]
        found[command] = [(name.replace(" ", ", "), name.split()[-1]) for name in names]
    return found


def _find(command: str) -> click.Command | None:
    found: click.Command | None = app
    context = click.Context(app, info_name="pycontainer")
    for word in command.split():
        if not isinstance(found, Group):
            return None
        found = found.get_command(context, word)
    return found


def _flags(command: click.Command) -> dict[str, bool]:
    """Our flags, and whether they are shown."""
    options = [each for each in command.params if isinstance(each, click.Option)]
    return {name: not each.hidden for each in options for name in each.opts}


_used: set[str] = set()


def _state(command: str, name: str, flags: Mapping[str, bool]) -> str:
    key = f"{command} {name}"
    for table in (NOT_HERE, DIFFERENT):
        for each in (key, name):
            if each in table and (table is DIFFERENT or not flags.get(name)):
                _used.add(each)
                return table[each]
    if flags.get(name):
        return "same"
    raise SystemExit(f"nothing is said of {key}; name it in NOT_HERE, or make it")


def _command_lines(command: str, flags: list[tuple[str, str]]) -> Iterator[str]:
    found = _find(command)
    yield f"## {command}\n"
    if found is None:
        if command not in NOT_HERE:
            raise SystemExit(f"there is no command {command}; name it in NOT_HERE")
        _used.update(name for name in NOT_HERE if name.startswith(command))
        yield f"{NOT_HERE[command]}\n"
        return
    ours = _flags(found)
    if not flags:
        yield "No flags.\n"
        return
    states = [(written, _state(command, name, ours)) for written, name in flags]
    same = [f"`{written}`" for written, state in states if state == "same"]
    if same:
        yield f"Same: {', '.join(same)}.\n"
    others = [(written, state) for written, state in states if state != "same"]
    if others:
        yield "| flag | here |\n| --- | --- |"
        yield from (f"| `{written}` | {state} |" for written, state in others)
        yield ""


def page() -> str:
    """The text of the page."""
    lines = [_HEAD.rstrip("\n"), ""]
    for command, flags in _docker().items():
        lines += _command_lines(command, flags)
    if idle := {*DIFFERENT, *NOT_HERE} - _used:
        raise SystemExit(f"said of nothing that there is: {', '.join(sorted(idle))}")
    lines.append("## Commands that are not here\n")
    lines += [f"- `{name}`: {reason}" for name, reason in sorted(REFUSED.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page())
    elif sys.argv[1:] != ["--check"] or PAGE.read_text() != page():
        sys.exit(f"{PAGE} is out of date; run python {sys.argv[0]} --write")
