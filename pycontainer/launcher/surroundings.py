"""What a first process needs of its parent: copies of trees, namespaces to join, its ids mapped."""

from __future__ import annotations

import os

from pycontainer import errors
from pycontainer.kernel import namespaces
from pycontainer.launcher import plan
from pycontainer.launcher.steps import mounts
from pycontainer.launcher.steps.context import Refused

__all__ = ["map_ids", "open_namespaces", "open_trees"]


def open_trees(outline: plan.Outline) -> list[int]:
    """Copies of the trees to bind, as the host has them now. Raises LaunchError."""
    try:
        return mounts.copy_trees(outline.trees)
    except Refused as refused:
        raise errors.LaunchError(refused.message, step="mounts", reason=refused.message) from None


def open_namespaces(outline: plan.Outline, given: dict[str, int]) -> None:
    """Open into given what the first process will join; enter what only its parent can.

    Raises LaunchError.
    """
    for key, kind, path in outline.joined:
        try:
            given[key] = os.open(path, os.O_RDONLY)
            if kind == namespaces.NEWPID:
                namespaces.enter(given[key], kind)  # for the children only (setns(2))
        except OSError as error:
            raise errors.LaunchError(
                f"the namespace {path} cannot be joined: {error.strerror}",
                step="namespaces",
                reason=str(error),
            ) from error
    if outline.new & namespaces.NEWTIME:
        # Only before the first process is in it can a time namespace be set (time_namespaces(7)).
        namespaces.leave(namespaces.NEWTIME)
    if outline.time_offsets:
        with open("/proc/self/timens_offsets", "wb", buffering=0) as file:
            file.write(b"".join(outline.time_offsets))


def map_ids(pid: int, outline: plan.Outline) -> None:
    """Write the maps of the user namespace that the process was born in. Raises LaunchError."""
    for name, content in (("uid_map", outline.uid_map), ("gid_map", outline.gid_map)):
        if not content:
            continue
        try:
            with open(f"/proc/{pid}/{name}", "wb", buffering=0) as file:
                file.write(content)
        except OSError as error:
            raise errors.LaunchError(
                f"the ids of the user namespace cannot be mapped: {error.strerror}",
                step="user namespace",
                reason=f"{name}: {error.strerror}",
            ) from error
