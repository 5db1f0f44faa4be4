"""The files of a built image, written to a directory of the host or as a tar."""

from __future__ import annotations

import os
import signal
from typing import Any

from pycontainer.launcher.building.roots import open_layers
from pycontainer.launcher.files.copying import TarSink
from pycontainer.launcher.files.entering import Cell
from pycontainer.launcher.files.filling import Manners, TreeSink
from pycontainer.launcher.files.walking import Walker

__all__ = ["export"]


def export(params: dict[str, Any], fds: list[int], report: object) -> dict[str, Any]:
    """Job: write what layers have together; fds: the directory, or where the tar goes.

    params: layers (directories, top first), is_tar, owner (uid and gid of everything in a directory, where
    nothing gets powers: set-id bits, capabilities and devices are left out). Returns: entries, size.
    Raises: Conflict where a directory and something else would replace each other; KernelError.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    cell = Cell()
    root = open_layers(params["layers"])
    (target,) = fds
    cell.lock([] if params["is_tar"] else [target], [root])
    if params["is_tar"]:
        sink = TarSink(target)
        walker = Walker(sink)
        walker.run(root, b"")
        sink.close()
    else:
        found = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=target)
        walker = Walker(TreeSink(found, Manners(tuple(params["owner"]), is_plain=True)))
        walker.run(root, b"")
    return {"entries": walker.entries, "size": walker.size}
