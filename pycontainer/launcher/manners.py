"""What an execve keeps besides: the execution domain, where memory is from, and the class of disk traffic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pycontainer.launcher import scheduling
from pycontainer.launcher.steps import held
from pycontainer.launcher.steps import scheduling as steps_scheduling

__all__ = ["of"]

_DOMAINS = {"LINUX": 0, "LINUX32": 8}
_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}


def of(spec: Mapping[str, Any]) -> list[tuple[str, Callable[..., None], tuple[Any, ...]]]:
    """The steps, each with its name and arguments. Raises InvalidInput."""
    found: list[tuple[str, Callable[..., None], tuple[Any, ...]]] = []
    linux = spec.get("linux") or {}
    policy, personality = linux.get("memoryPolicy"), linux.get("personality")
    if policy:
        arguments = scheduling.memory_policy(policy)
        found.append(("memory policy", steps_scheduling.set_memory_policy, arguments))
    if personality:
        found.append(("personality", held.set_personality, (_DOMAINS[personality["domain"]],)))
    wanted = spec["process"].get("ioPriority")
    if wanted:
        level = _IO_CLASSES[wanted["class"]] << 13 | wanted.get("priority", 0)
        found.append(("io priority", held.set_io_priority, (level,)))
    return found
