"""Following the files of services, and bringing what changes into their containers: `develop.watch`.

Theory of operation. The kernel tells that something happened below a watched path; what it was is found by
comparing what is there with what was there, so that nothing is lost when it tells more than it can queue.
Once it has been quiet for a moment, all that has changed is dealt with together.
Source: compose specification, develop.md; docker/compose, pkg/compose/watch.go and pkg/watch.
"""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from pycontainer.compose import members
from pycontainer.compose.graph import each_of
from pycontainer.compose.labels import PROJECT
from pycontainer.engine import Image
from pycontainer.errors import InvalidInput, KernelError, NotFound, PycontainerError
from pycontainer.kernel import inotify, interrupts
from pycontainer.patterns import PatternMatcher, read_patterns

if TYPE_CHECKING:
    from pycontainer.compose.application import Compose
    from pycontainer.compose.model import Project
    from pycontainer.engine import Container, ContainerPath

__all__ = ["WatchEvent", "follow"]

_QUIET_S = 0.3
_LONGEST_S = 5.0
"""How long changes are gathered at most, where it is never quiet."""
_EDITORS = (
    *("**/.git", "**/*~", "**/.*.swp", "**/.*.swx", "**/.#*", "**/#*#"),
    *("**/.idea", "**/4913", "**/*___jb_*"),
)
"""What editors and tools leave for a moment. Source: docker/compose, pkg/watch/ephemeral.go."""
_LIMITS = "raise fs.inotify.max_user_watches and max_user_instances, or watch fewer directories"


@frozen(kw_only=True)
class WatchEvent:
    """What was done because files changed.

    action: as in the compose file. paths: the files, absolute. error: why it failed, "" if it did not.
    """

    service: str
    action: str
    paths: tuple[str, ...]
    error: str = ""


@define(kw_only=True)
class _Rule:
    """One entry of a service's develop.watch."""

    service: str
    action: str
    root: str
    target: str
    ignored: PatternMatcher
    included: PatternMatcher | None
    hook: Mapping[str, Any] | None
    is_initial: bool
    known: dict[str, tuple[int, ...]] = field(factory=dict)
    failed: set[str] = field(factory=set)
    """What has changed, and could not be brought into the containers."""

    def retry(self) -> None:
        """Have what failed be among the next changes again."""
        self.known.update(dict.fromkeys(self.failed, ()))
        self.failed.clear()

    def changes(self) -> dict[str, bool]:
        """What has changed since the last call, and whether it is still there."""
        before, self.known = self.known, self.look()
        found = {path: True for path, what in self.known.items() if before.get(path) != what}
        return found | {path: False for path in before if path not in self.known}

    def directories(self) -> Iterator[str]:
        """Those in which something may happen; of a root that is none, the one it is in."""
        if not os.path.isdir(self.root):
            yield os.path.dirname(self.root)
            return
        for directory, names, _ in os.walk(self.root):
            yield directory
            self.prune(directory, names)

    def prune(self, directory: str, names: list[str]) -> None:
        """Leave out directories that are ignored with all that is in them."""
        names[:] = [name for name in names if not self._is_ignored_whole(os.path.join(directory, name))]

    def look(self) -> dict[str, tuple[int, ...]]:
        """The files there are, each with what changes when it does."""
        if not os.path.isdir(self.root):
            found = [self.root]
        else:
            found = []
            for directory, names, files in os.walk(self.root):
                self.prune(directory, names)
                found += [os.path.join(directory, name) for name in files]
                paths = [os.path.join(directory, name) for name in names]
                found += filter(os.path.islink, paths)  # of a directory; it is not gone into
        known: dict[str, tuple[int, ...]] = {}
        for path in found:
            if not self.is_ignored(path) and (
                self.included is None or self.included.matches(self.inner(path))
            ):
                with suppress(OSError):  # it was there a moment ago
                    info = os.stat(path, follow_symlinks=False)
                    known[path] = (info.st_mtime_ns, info.st_size, info.st_ino, info.st_mode)
        return known

    def is_ignored(self, path: str) -> bool:
        return self.ignored.matches(self.inner(path))

    def _is_ignored_whole(self, directory: str) -> bool:
        inner = self.inner(directory)
        is_out, state = self.ignored.along(inner)
        return is_out and self.ignored.can_skip(inner, state)

    def inner(self, path: str) -> str:
        """The path below the root; of a root that is a file, its name."""
        return os.path.relpath(path, self.root) if path != self.root else os.path.basename(path)

    def inside(self, path: str) -> str:
        """Where a file belongs in containers."""
        return self.target if path == self.root else str(PurePosixPath(self.target, self.inner(path)))


def follow(application: Compose, services: Collection[str], *, prune: bool) -> Iterator[WatchEvent]:
    """Deal with changes until the iteration is left; see Compose.watch."""
    rules = _rules(application.project, services)
    if not rules:
        raise InvalidInput("no service says what to watch; give it develop.watch")
    for rule in rules:
        rule.known = rule.look()
    yield from _dealt_with(
        application, [(rule, dict.fromkeys(rule.known, True)) for rule in rules if rule.is_initial], prune
    )
    while True:
        with _Watches(rules) as watches:
            changed = [(rule, found) for rule in rules if (found := rule.changes())]
            if not changed:
                watches.wait()
                for rule in rules:
                    rule.retry()  # not before something has happened: it would fail again at once
                continue
        yield from _dealt_with(application, changed, prune)


def _dealt_with(
    application: Compose, changed: list[tuple[_Rule, dict[str, bool]]], prune: bool
) -> Iterator[WatchEvent]:
    rebuilt = {rule.service for rule, _ in changed if rule.action == "rebuild"}
    for rule, found in changed:
        if rule.service in rebuilt and rule.action != "rebuild":
            continue  # the new image has it
        error = ""
        try:
            _deal(application, rule, found, prune)
        except (PycontainerError, OSError) as failure:
            error = str(failure)
            if rule.action.startswith("sync"):
                rule.failed.update(found)
        yield WatchEvent(service=rule.service, action=rule.action, paths=tuple(sorted(found)), error=error)


def _deal(application: Compose, rule: _Rule, changed: Mapping[str, bool], prune: bool) -> None:
    name = rule.service
    if rule.action == "rebuild":
        application.up(name, build=True, no_deps=True)
        if prune:
            mine = f"{PROJECT}={application.name}"
            Image.prune(filters={"label": mine}, engine=application.engine)
        return
    containers = [each for each in application[name].containers if each.state == "running"]
    if rule.action.startswith("sync"):
        each_of(containers, lambda container: _sync(container, rule, changed))
    if rule.action.endswith("restart"):
        application.restart(name, no_deps=True)
    elif rule.hook is not None:
        for container in containers:
            members.run_hook(container, rule.hook)


def _sync(container: Container, rule: _Rule, changed: Mapping[str, bool]) -> None:
    """Have files in a container as they are here; those that are gone go there, too.

    They go first: what was a directory may be a file now.
    """
    for path in sorted(path for path, is_there in changed.items() if not is_there):
        _remove(container, rule, path)
    places = {path: container.path / rule.inside(path) for path in sorted(changed) if changed[path]}
    for parent in {place.parent for place in places.values()}:
        parent.mkdir(parents=True, exist_ok=True)
    for path, place in places.items():
        _make_room(place)
        try:
            container.copy_to(path, place)
        except NotFound:
            if os.path.lexists(path):
                raise
            # It has gone since; the next round tells.


def _remove(container: Container, rule: _Rule, path: str) -> None:
    """Remove a file from a container, with the directories around it that are gone here, and empty there."""
    place = container.path / rule.inside(path)
    with suppress(NotADirectoryError):
        place.unlink(missing_ok=True)
    while (path := os.path.dirname(path)).startswith(f"{rule.root}/") and not _is_directory(path):
        place = place.parent
        with suppress(OSError):
            place.rmdir()


def _make_room(place: ContainerPath) -> None:
    """Remove what a file would be copied into, or through, instead of replacing it."""
    with suppress(FileNotFoundError):
        mode = place.lstat().st_mode
        if stat.S_ISDIR(mode):
            place.rmdir()
        elif stat.S_ISLNK(mode):
            place.unlink()


def _is_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _rules(project: Project, services: Collection[str]) -> list[_Rule]:
    found = []
    for name, service in project.services.items():
        if services and name not in services:
            continue
        for entry in (service.keys.get("develop") or {}).get("watch", ()):
            ignored = [*_EDITORS, *_context_ignores(service.keys.get("build") or {}, entry["path"])]
            included = entry.get("include")
            found.append(
                _Rule(
                    service=name,
                    action=entry["action"],
                    root=entry["path"],
                    target=entry.get("target", ""),
                    ignored=PatternMatcher([*ignored, *entry.get("ignore", ())]),
                    included=PatternMatcher(included) if included else None,
                    hook=entry.get("exec"),
                    is_initial=entry.get("initial_sync", False) and entry["action"].startswith("sync"),
                )
            )
    return found


def _context_ignores(build: Mapping[str, Any], root: str) -> tuple[str, ...]:
    """What .dockerignore leaves out, where the watched path is the context its patterns are relative to."""
    context = str(build.get("context", ""))
    if os.path.normpath(context) != os.path.normpath(root):
        return ()
    with suppress(OSError, UnicodeDecodeError):
        return read_patterns(Path(context, ".dockerignore").read_text())
    return ()


class _Watches:
    """A watch on every directory of some rules; made anew each time, lest one is of what was replaced."""

    def __init__(self, rules: list[_Rule]) -> None:
        try:
            self._watch = inotify.Watch()
        except OSError as error:
            raise KernelError(error.errno or 0, "inotify_init1", "", _LIMITS) from error
        self._poller = interrupts.poll()
        try:
            for directory in {each for rule in rules for each in rule.directories()}:
                with suppress(FileNotFoundError, NotADirectoryError):
                    self._watch.add(os.fsencode(directory))
            self._poller.register(self._watch, select.POLLIN)
        except OSError as error:
            self._watch.close()
            raise KernelError(error.errno or 0, "inotify_add_watch", directory, _LIMITS) from error
        except BaseException:
            self._watch.close()
            raise

    def __enter__(self) -> _Watches:
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.close()

    def wait(self) -> None:
        """Until something has happened, and has been quiet since."""
        deadline = None
        while deadline is None or time.monotonic() < deadline:
            if not self._poller.poll(None if deadline is None else _QUIET_S * 1000):
                return
            self._watch.drain()
            deadline = deadline or time.monotonic() + _LONGEST_S
