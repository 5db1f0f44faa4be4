"""Directories of a stage: WORKDIR's made, and those that are missing where a RUN has something mounted."""

from __future__ import annotations

import os
import stat
from typing import Any

from pycontainer.errors import Conflict, NotFound
from pycontainer.launcher.building.choosing import explained
from pycontainer.launcher.building.roots import (
    account,
    ensure_directory,
    open_beneath,
    open_layers,
    open_target,
    resolve,
)
from pycontainer.launcher.files.entering import Cell

__all__ = ["locate", "make_directory", "missing"]


def make_directory(params: dict[str, Any], fds: list[int], report: object) -> dict[str, Any]:
    """Job: make a directory with its parents where it is not there. Writes to what open_target says.

    params: path, user (whose the new ones are; "" root's), epoch (their time, None for now). Returns:
    nothing. Raises: Conflict where something else is; NotFound for an unknown user; KernelError.
    """
    cell = Cell()
    root = open_target(params)
    cell.lock([root])
    os.umask(0)
    owner = account(root, params["user"], is_pair=False) if params["user"] else (0, 0)
    try:
        os.close(ensure_directory(root, params["path"], owner, params["epoch"]))
    except NotADirectoryError:
        raise Conflict(f"{params['path']} is, or is below, what is no directory") from None
    except OSError as error:
        raise explained(error, params["path"]) from error
    return {}


def missing(params: dict[str, Any], fds: list[int], report: object) -> dict[str, Any]:
    """Job: which directories and files a mount on each of the targets would have to make first.

    params: layers (directories, top first), targets. Returns: paths (without links, parents first).
    """
    cell = Cell()
    root = open_layers(params["layers"]) if params["layers"] else None
    cell.lock([], [] if root is None else [root])
    found: dict[str, None] = {}
    for target in params["targets"]:
        there, absent = "", [part for part in target.split("/") if part not in ("", ".")]
        while absent and root is not None:
            try:
                resolve(root, f"{there}/{absent[0]}")
            except (FileNotFoundError, NotADirectoryError):
                break
            there = f"{there}/{absent.pop(0)}"
        try:
            there = resolve(root, there) if root is not None and there else ""
        except OSError as error:
            raise explained(error, target) from error
        for part in absent:
            there = f"{there}/{part}" if there else part
            found[there] = None
    return {"paths": list(found)}


def locate(params: dict[str, Any], fds: list[int], report: object) -> dict[str, Any]:
    """Job: what a path in layers is; params: layers (directories, top first), path.

    Returns: path (without links), is_directory. Raises: NotFound; KernelError.
    """
    cell = Cell()
    root = open_layers(params["layers"])
    cell.lock([], [root])
    try:
        path = resolve(root, params["path"])
        fd = open_beneath(root, path, os.O_PATH | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"{params['path']!r} is not there") from None
    except OSError as error:
        raise explained(error, params["path"]) from error
    return {"path": path, "is_directory": stat.S_ISDIR(os.fstat(fd).st_mode)}
