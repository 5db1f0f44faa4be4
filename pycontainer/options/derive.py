"""What follows from the declarations: parsing of keywords, their JSON, static types and the reference table.

`python -m pycontainer.options.derive --write` renews `pycontainer/_generated.py`; `--check` fails when it
is out of date, `--table` prints the reference table in Markdown.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

import attrs

from pycontainer.errors import InvalidOption
from pycontainer.options.field import OptionInfo, info_of
from pycontainer.options.network import DEFAULT_NETWORK, is_network
from pycontainer.options.run import RunOptions

OPTIONS: Mapping[str, OptionInfo] = {item.name: info_of(item) for item in attrs.fields(RunOptions)}
"""Every declared run option by keyword, in the order of the declarations."""

_DEFAULTS: Mapping[str, object] = {item.name: item.default for item in attrs.fields(RunOptions)}
_values = attrgetter(*OPTIONS)

_EXPANDED = frozenset({"env_file", "env_host", "http_proxy", "label_file"})
_LIMITED = frozenset({"egress", "egress_allow"})
_NETWORKED = frozenset(
    {"ip", "ip6", "mac_address", "network_alias", "link_local_ip", "ports", "publish_all", "egress_allow"}
)


def parse_run_options(**given: Any) -> RunOptions:
    """Check keywords and values and make the options; None stands for "not asked".

    Raises: TypeError for an unknown keyword, with the nearest known one; InvalidOption for a bad value,
    naming the option, the value and what would be accepted.
    """
    parsed: dict[str, Any] = {}
    for name, value in given.items():
        info = OPTIONS.get(name)
        if info is None:
            raise TypeError(_unknown(name))
        if value is None:
            continue
        try:
            parsed[name] = info.kind.parse(value)
        except (ValueError, TypeError) as problem:
            # Environments hold secrets, which must not reach logs through an error.
            shown = "..." if name in ("env", "env_merge") else _shown(value)
            raise InvalidOption(f"option {name}={shown}: {problem}") from None
    if not parsed.keys().isdisjoint(_EXPANDED):
        from pycontainer.options.files import expand

        expand(parsed)
    if not parsed.keys().isdisjoint(_NETWORKED):
        _choose_network(parsed)
    if not parsed.keys().isdisjoint(_LIMITED):
        _check_egress(parsed)
    return RunOptions(**parsed)


def _choose_network(parsed: dict[str, Any]) -> None:
    """What is of a network needs one: the default one where none is named. Raises InvalidOption."""
    asked = sorted(name for name in _NETWORKED & parsed.keys() if parsed[name])
    if not asked:
        return
    mode = parsed.setdefault("network", DEFAULT_NETWORK)
    if not is_network(mode):
        raise InvalidOption(f"option {asked[0]} goes not with network={mode!r}; leave one out")


def _check_egress(parsed: dict[str, Any]) -> None:
    """What may be reached only says something when the rest may not. Raises InvalidOption."""
    if parsed.get("egress_allow") is not None and parsed.setdefault("egress", "deny") != "deny":
        raise InvalidOption('option egress_allow goes not with egress="allow"; leave one out')
    mode = parsed.get("network", "none")
    if parsed["egress"] == "deny" and mode != "none" and not is_network(mode):
        raise InvalidOption(
            f"option egress goes not with network={mode!r}, which is not its own; leave one out"
        )


def dump_run_options(options: RunOptions) -> dict[str, object]:
    """The options that differ from the defaults, as JSON values that parse_run_options reads back."""
    return {
        name: OPTIONS[name].kind.dump(value)
        for name, value, default in zip(OPTIONS, _values(options), _DEFAULTS.values(), strict=True)
        if value is not None and value != default
    }


_OTHERS_NAMES = {
    "d": "detach",
    "device_requests": "gpus",
    "h": "hostname",
    "interactive": "stdin_open",
    "ipc_mode": "ipc",
    "log_config": "log_opts",
    "mem_limit": "memory",
    "memswap_limit": "memory_swap",
    "p": "ports",
    "publish": "ports",
    "rm": "auto_remove",
    "t": "tty",
    "u": "user",
    "v": "volumes",
}
"""What Docker's command line and its Python client call options whose nearest name is another's."""
_DETACHED = "pycontainer.Container.create(...) and its start() leave it running"


def _unknown(name: str) -> str:
    meant = _OTHERS_NAMES.get(name, name)
    if meant == "detach":
        return f"unknown option {name!r}; {_DETACHED}"
    if meant is not name:
        return f"unknown option {name!r}; did you mean {meant!r}?"
    import difflib  # 10 ms that only a mistake costs

    nearest = (
        difflib.get_close_matches(name, OPTIONS, n=1, cutoff=0.7)
        or [known for known in OPTIONS if name.startswith(known)][:1]
        or difflib.get_close_matches(name, OPTIONS, n=1, cutoff=0.5)
    )
    if not nearest:
        nearest = [known for known in OPTIONS if name in known or known in name][:1]
    return f"unknown option {name!r}" + (f"; did you mean {nearest[0]!r}?" if nearest else "")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


_HEADER = '''"""Static types of the option keywords.

Made by `python -m pycontainer.options.derive --write`; never edited by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from os import PathLike
from typing import Any, Literal, TypedDict


class RunKwargs(TypedDict, total=False):
    """Keywords of run and create, `command` aside; pycontainer.options.run says what each does."""

'''

_UPDATE_HEADER = '''

class UpdateKwargs(TypedDict, total=False):
    """Keywords of Container.update: what a container takes when it exists, and also while it runs."""

'''


def generated_source() -> str:
    """The text of `pycontainer/_generated.py`."""
    lines = {name: f"    {name}: {info.kind.accepts} | None\n" for name, info in OPTIONS.items()}
    run = "".join(line for name, line in lines.items() if name != "command")
    update = "".join(line for name, line in lines.items() if OPTIONS[name].update)
    return f"{_HEADER}{run}{_UPDATE_HEADER}{update}"


def reference_table() -> str:
    """A Markdown table of every option: keyword, flag, unit, default, what it does."""
    rows = ["| keyword | flag | unit | default | what it does |", "| --- | --- | --- | --- | --- |"]
    for name, info in OPTIONS.items():
        default = _DEFAULTS[name]
        shown = "" if default is None else f"`{default}`"
        doc = info.doc.replace("|", "\\|")
        rows.append(f"| `{name}` | `{info.flag}` | {info.unit} | {shown} | {doc} |")
    return "\n".join(rows) + "\n"


def main(arguments: list[str]) -> int:
    """Entry point of `python -m pycontainer.options.derive`; returns the exit code."""
    target = Path(__file__).parent.parent / "_generated.py"
    if arguments == ["--write"]:
        target.write_text(generated_source())
    elif arguments == ["--table"]:
        sys.stdout.write(reference_table())
    elif arguments == ["--check"]:
        if target.read_text() != generated_source():
            sys.stderr.write(f"{target} is out of date; run python -m pycontainer.options.derive --write\n")
            return 1
    else:
        sys.stderr.write("usage: python -m pycontainer.options.derive --check | --write | --table\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
