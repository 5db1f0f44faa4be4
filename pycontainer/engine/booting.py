"""Starting many containers in order, and those that return after a reboot: their policy, and a systemd unit.

No daemon runs at boot, so somebody has to start what `restart="always"` and `"unless-stopped"` promise. A
oneshot service calls `pycontainer start-all` then. Docker's meaning of the policies is kept: a container
that was never started is left alone; "unless-stopped" leaves down what somebody stopped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pycontainer.engine.ordering import in_order
from pycontainer.errors import InvalidOption, PycontainerError
from pycontainer.launcher import status
from pycontainer.options import RestartPolicy, parse_run_options

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container
    from pycontainer.engine.engine import Engine
    from pycontainer.store import ContainerRecord

__all__ = ["returning", "start_all", "stop_all", "systemd_unit"]

_RETURNING = ("always", "unless-stopped")


def start_all(engine: Engine, containers: Iterable[Container]) -> list[Container]:
    """Start those that do not run, each after those that it shares with or requires; gives the started ones.

    One that fails does not keep the others from starting; its error is raised when all had their turn, with
    a note for each further one.
    """
    from pycontainer.engine import steering

    started: list[Container] = []
    problems: list[tuple[str, PycontainerError]] = []
    for container in in_order(engine, containers):
        try:
            if steering.is_live(container._observed):
                continue
            container.start()
            started.append(container)
        except PycontainerError as error:
            problems.append((container.name, error))
    if problems:
        (name, first), *others = problems
        first.add_note(f"container {name} could not be started")
        for other, problem in others:
            first.add_note(f"container {other} could not be started either: {problem}")
        raise first
    return started


def stop_all(engine: Engine, containers: Iterable[Container], timeout_s: float | None = None) -> None:
    """Stop these in the opposite order, so that "unless-stopped" starts them again after the reboot."""
    from pycontainer.engine import steering

    for container in reversed(in_order(engine, containers)):
        if steering.is_live(container._observed):
            steering.stop(container, timeout_s, is_for_good=False)


def returning(engine: Engine, records: Iterable[ContainerRecord]) -> list[ContainerRecord]:
    """Those of the containers that are to run again after a reboot, the oldest first."""
    found = [record for record in records if _returns(engine, record)]
    return sorted(found, key=lambda record: record.created_at)


def _returns(engine: Engine, record: ContainerRecord) -> bool:
    policy = parse_run_options(**record.options).restart or RestartPolicy()
    if policy.name not in _RETURNING:
        return False
    fields = status.read(str(engine.store.container_dir(record.id)))
    if fields is None or "started_at_ns" not in fields:
        return False  # never started: nobody has asked for it to run
    return policy.name == "always" or not fields.get("is_halted")


# -- the unit


def systemd_unit(engine: Engine, names: Sequence[str] = ()) -> str:
    """The text of a service that starts this store's returning containers at boot, and stops them in the end.

    names: only these. Raises NotFound; InvalidOption for one whose policy does not let it return.
    """
    for name in names:
        record = engine.store.state.containers.find(name)
        policy = parse_run_options(**record.options).restart or RestartPolicy()
        if policy.name not in _RETURNING:
            raise InvalidOption(
                f"container {record.name} has restart={str(policy)!r} and does not return after a reboot; "
                f"update(restart='unless-stopped') it first"
            )
    is_root = os.geteuid() == 0
    root = str(engine.root)
    command = " ".join(_quoted(word) for word in (sys.executable, "-m", "pycontainer"))
    chosen = "".join(f" {_quoted(name)}" for name in names)
    given = f"--root {_quoted(root)}{chosen}"
    lines = [
        "[Unit]",
        f"Description=Containers of pycontainer in {_escaped(root)}",
        "Wants=network-online.target",
        "After=network-online.target local-fs.target",
        f"RequiresMountsFor={_quoted(root, is_command=False)}",
        "",
        "[Service]",
        "Type=oneshot",
        "RemainAfterExit=yes",
        *_environment(),
        f"ExecStart={command} start-all {given}",
        f"ExecStop={command} stop-all {given}",
        "# The monitors outlive the command that starts them: each ends with its container.",
        "KillMode=process",
        "TimeoutStartSec=infinity",
        "",
        "[Install]",
        f"WantedBy={'multi-user.target' if is_root else 'default.target'}",
    ]
    return "\n".join(lines) + "\n"


def _environment() -> list[str]:
    """Where the package is found, if that is not one of the interpreter's own places."""
    home = Path(__file__).resolve().parents[2]
    if any(part in ("site-packages", "dist-packages") for part in home.parts):
        return []
    return [f"Environment={_quoted(f'PYTHONPATH={home}', is_command=False)}"]


def _escaped(text: str) -> str:
    """For a line of a unit: specifiers begin with %, and a line has an end."""
    return text.replace("\\", "\\\\").replace("%", "%%").replace("\n", "\\n")


def _quoted(word: str, *, is_command: bool = True) -> str:
    """One word of a unit's line. Source: systemd.syntax(7); systemd.service(5), "Command lines"."""
    escaped = _escaped(word).replace('"', '\\"')
    if is_command:
        escaped = escaped.replace("$", "$$")  # variables are put in there only
    return escaped if escaped and all(c.isalnum() or c in "/._-:=%" for c in escaped) else f'"{escaped}"'
