"""The job that looks into a running container from close by: ports that listen, files that appear.

Theory of operation. It is one process for one whole wait. It joins the container's network namespace
(the caller's threads never do), opens the container's root by the first process's /proc entry, and says
once for each thing looked for that it is there. Nothing of the image is run, so it works where there is
no shell. A file is waited for with inotify(7). For a new listener the kernel has no notification, neither
through sock_diag nor otherwise without loading a program into it; so sockets, and they alone, are looked
at again and again, after 1 ms at first and 50 ms at most.

For HTTP it makes sockets in the namespace and hands them over: a socket stays where it was made, and the
caller connects it.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from typing import Any

from pycontainer import errors
from pycontainer.kernel import namespaces, pidfd, sockdiag, syscalls
from pycontainer.launcher.protocol import Channel

__all__ = ["probe"]

_FIRST_PAUSE_S = 0.001
_LONGEST_PAUSE_S = 0.05
_FILE_PAUSE_S = 0.25  # a mount, or what a dangling link points to, appears without an event where we watch

_IN_ATTRIB = 0x00000004
_IN_MOVED_TO = 0x00000080
_IN_CREATE = 0x00000100
_IN_DELETE_SELF = 0x00000400
_IN_MOVE_SELF = 0x00000800
_APPEARING = _IN_ATTRIB | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE_SELF | _IN_MOVE_SELF
_INSIDE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS


def probe(params: dict[str, Any], fds: list[int], report: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Look for params["probes"] until the caller closes the second channel; returns nothing of use.

    fds: a pidfd of the container's first process, and the second channel. A probe is {"kind": "port",
    "port", "protocol"}, {"kind": "file", "path"} or {"kind": "http", "port"}. On the channel go {"met": n}
    for the n-th probe, with HTTP {"met": n, "family", "host"} and an unconnected socket; {"again": n} from
    the caller asks for another one of those. Raises NotFound when the process has ended.
    """
    process, talk = fds[0], Channel(socket.socket(fileno=fds[1]))
    looker = _Looker(params, process, talk)
    looker.serve()
    return {}


class _Looker:
    """What is still looked for in one container."""

    def __init__(self, params: dict[str, Any], process: int, talk: Channel) -> None:
        self._talk = talk
        self._probes: list[dict[str, Any]] = params["probes"]
        kinds = {probe["kind"] for probe in self._probes}
        self._root = -1
        if "file" in kinds:
            self._root = _open_root(int(params["pid"]), process)
        if kinds & {"port", "http"}:
            _join_network(process)
            self._listeners = sockdiag.Listeners()
        self._sockets = {n for n, probe in enumerate(self._probes) if probe["kind"] != "file"}
        self._files = {n: _File(self._root, probe["path"]) for n, probe in self._numbered("file")}

    def _numbered(self, kind: str) -> list[tuple[int, dict[str, Any]]]:
        return [(n, probe) for n, probe in enumerate(self._probes) if probe["kind"] == kind]

    def serve(self) -> None:
        """Look, tell, and wait for a reason to look again."""
        pause_s = _FIRST_PAUSE_S
        while True:
            self._look_at_sockets()
            for number, file in list(self._files.items()):
                if file.is_there():
                    file.close()
                    del self._files[number]
                    self._talk.send({"met": number})
            limit_s = pause_s if self._sockets else _FILE_PAUSE_S if self._files else None
            poller = select.poll()
            poller.register(self._talk, select.POLLIN)
            for file in self._files.values():
                poller.register(file, select.POLLIN)
            ready = {fd for fd, _ in poller.poll(None if limit_s is None else limit_s * 1000)}
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            if self._talk.fileno() in ready:
                if not self._talk.fill():
                    return
                while (message := self._talk.take()) is not None:
                    self._sockets.add(int(message["again"]))
                    pause_s = _FIRST_PAUSE_S

    def _look_at_sockets(self) -> None:
        tables: dict[str, list[sockdiag.Waiting]] = {}
        for number in sorted(self._sockets):
            wanted = self._probes[number]
            protocol = wanted.get("protocol", "tcp")
            if protocol not in tables:
                tables[protocol] = self._listeners.waiting(protocol)
            found = [waiting for waiting in tables[protocol] if waiting.port == wanted["port"]]
            if not found:
                continue
            self._sockets.discard(number)
            if wanted["kind"] == "port":
                self._talk.send({"met": number})
            else:
                self._hand_over(number, found[0])

    def _hand_over(self, number: int, waiting: sockdiag.Waiting) -> None:
        if not any(waiting.address):  # every address: so this one, too
            host = "127.0.0.1" if waiting.family == socket.AF_INET else "::1"
        else:
            host = socket.inet_ntop(waiting.family, waiting.address)
        with socket.socket(waiting.family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as made:
            self._talk.send({"met": number, "family": int(waiting.family), "host": host}, [made.fileno()])


def _join_network(process: int) -> None:
    try:
        namespaces.enter(process, namespaces.NEWNET)
    except ProcessLookupError:
        raise errors.NotFound("the container's first process has ended") from None


def _open_root(pid: int, process: int) -> int:
    try:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise errors.NotFound("the container's first process has ended") from None
    if pidfd.has_ended(process):
        # The id may have been given to another process before we opened it.
        raise errors.NotFound("the container's first process has ended")
    return root


class _File:
    """A path inside a root, and a watch on the nearest directory above it that is there."""

    def __init__(self, root: int, path: str) -> None:
        self._root = root
        self._parts = [part for part in os.fsencode(path).split(b"/") if part not in (b"", b".")]
        self._watch = -1

    def fileno(self) -> int:
        """The watch, for poll(2)."""
        return self._watch

    def is_there(self) -> bool:
        """Whether something has the path; if not, `fileno` becomes readable when it may have."""
        if self._exists():
            return True
        # A new one each time: directories that were renamed away would pile up in it.
        self.close()
        self._watch = syscalls.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._watch_nearest()
        return self._exists()  # since it may have appeared before it was watched

    def close(self) -> None:
        """End the watch; idempotent."""
        if self._watch >= 0:
            os.close(self._watch)
            self._watch = -1

    def _exists(self) -> bool:
        fd = self._open(self._parts, 0)
        if fd >= 0:
            os.close(fd)
        return fd >= 0

    def _watch_nearest(self) -> None:
        for count in range(len(self._parts) - 1, -1, -1):
            directory = self._open(self._parts[:count], os.O_DIRECTORY)
            if directory < 0:
                continue
            try:
                syscalls.inotify_add_watch(self._watch, b"/proc/self/fd/%d" % directory, _APPEARING)
                return
            except FileNotFoundError:
                continue  # deleted meanwhile
            finally:
                os.close(directory)

    def _open(self, parts: list[bytes], flags: int) -> int:
        path = b"/".join(parts) or b"."
        try:
            return syscalls.openat2(self._root, path, os.O_PATH | os.O_CLOEXEC | flags, _INSIDE)
        except OSError:
            return -1
