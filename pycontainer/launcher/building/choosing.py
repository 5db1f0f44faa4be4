"""Which files of a root an instruction means: sources with wildcards, what is ignored, what is excluded."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

from pycontainer.errors import InvalidInput, KernelError, NotFound
from pycontainer.launcher.building.roots import open_beneath, resolve
from pycontainer.patterns import PatternMatcher

__all__ = ["Source", "Step", "choose", "explained", "walk"]

_WILD = re.compile(r"[*?\[\\]")
_STARS = re.compile(r"\*{2,}")
_PIVOT = "/./"
_LISTING = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_BY_PATH = itemgetter(2)
MAX_DEPTH = 400  # one descriptor a level


class Source(NamedTuple):
    """One thing to copy.

    path: where it is, without links, "" the root. name: what it is called in the destination; with parents a
    path. written: what the instruction calls it, for errors.
    """

    path: str
    name: str
    written: str


def choose(root: int, patterns: Sequence[str], ignored: PatternMatcher, *, parents: bool) -> list[Source]:
    """What the sources of an instruction mean in this root, in their order, those of a wildcard sorted.

    Raises: NotFound for a source that is not there, or is ignored; KernelError.
    """
    found: list[Source] = []
    for written in patterns:
        pivot, text = _pivoted(written, parents)
        try:
            if _WILD.search(text):
                found += _matches(root, text, pivot, ignored, written, parents)
            else:
                found.append(_plain(root, text, pivot, ignored, written, parents))
        except (FileNotFoundError, NotADirectoryError):
            raise _missing(written) from None
        except OSError as error:
            raise explained(error, written) from error
    return found


def _missing(written: str, why: str = "") -> NotFound:
    return NotFound(f"{written!r} is not there{why}")


def _pivoted(written: str, parents: bool) -> tuple[int, str]:
    """How many leading parts --parents leaves out ("a/./b": before the first dot), and the clean path."""
    above, mark, below = written.partition(_PIVOT)
    if not parents or not mark:
        return 0, "/".join(_clean(written))
    # Two asterisks mean more than one below the pivot only.
    left_out = [_STARS.sub("*", part) for part in _clean(above)]
    return len(left_out), "/".join((*left_out, *_clean(below)))


def _clean(path: str) -> list[str]:
    """The parts of a path; ".." at the top stays there, as in a container."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return parts


def _plain(root: int, text: str, pivot: int, ignored: PatternMatcher, written: str, parents: bool) -> Source:
    path = resolve(root, text)
    if _is_left_out(root, path, ignored):
        raise _missing(written, ": .dockerignore leaves it out")
    name = "/".join(text.split("/")[pivot:]) if parents else text.rpartition("/")[2]
    return Source(path, name, written)


def _is_left_out(root: int, path: str, ignored: PatternMatcher) -> bool:
    """Whether nothing of it is wanted; below a directory there may be exceptions."""
    if not ignored.along(path)[0]:
        return False
    if not ignored.has_negations:
        return True
    fd = open_beneath(root, path, os.O_PATH | os.O_NOFOLLOW)
    try:
        return not stat.S_ISDIR(os.fstat(fd).st_mode)
    finally:
        os.close(fd)


def _matches(
    root: int, text: str, pivot: int, ignored: PatternMatcher, written: str, parents: bool
) -> Iterator[Source]:
    parts = text.split("/")
    first = next(index for index, part in enumerate(parts) if _WILD.search(part))
    base = resolve(root, "/".join(parts[:first]))
    if parents and any(_STARS.search(part) for part in parts[first:]):
        found = _at_any_depth(root, base, "/".join(parts[first:]), ignored)
    else:
        found = iter(sorted(_expanded(root, base, [_matcher(part) for part in parts[first:]])))
    for rest in found:
        path = f"{base}/{rest}" if base else rest
        if _is_left_out(root, path, ignored):
            continue
        whole = "/".join((*parts[:first], rest)) if first else rest
        name = "/".join(whole.split("/")[pivot:]) if parents else rest.rpartition("/")[2]
        try:
            yield Source(resolve(root, path), name, written)
        except FileNotFoundError:
            continue  # a link that leads nowhere matches nothing


def _at_any_depth(root: int, base: str, pattern: str, ignored: PatternMatcher) -> Iterator[str]:
    """What a pattern with "**" matches, as those of .dockerignore do; nothing below what matches."""
    matcher = PatternMatcher([f"\\{pattern}" if pattern.startswith("!") else pattern])
    try:
        top = open_beneath(root, base, _LISTING)
    except (NotADirectoryError, FileNotFoundError):
        return
    taken = ""
    try:
        for step in walk(top, base, ignored, PatternMatcher(())):
            if step.verb == "leave" or (taken and step.path.startswith(taken)):
                continue
            if matcher.along(step.path)[0]:
                taken = f"{step.path}/"
                yield step.path
    finally:
        os.close(top)


def _expanded(root: int, base: str, matchers: list[re.Pattern[str]]) -> Iterator[str]:
    try:
        fd = open_beneath(root, base, _LISTING)
    except (NotADirectoryError, FileNotFoundError):
        return
    except OSError as error:
        if error.errno == errno.ELOOP:
            return
        raise
    try:
        names = [name for name in os.listdir(fd) if matchers[0].fullmatch(name)]
    finally:
        os.close(fd)
    for name in names:
        if len(matchers) == 1:
            yield name
        else:
            below = f"{base}/{name}" if base else name
            yield from (f"{name}/{rest}" for rest in _expanded(root, below, matchers[1:]))


def _matcher(pattern: str) -> re.Pattern[str]:
    """One part of a path with Go's wildcards (path/filepath, Match): * ? [a-z] [^a] and a backslash."""
    out: list[str] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            out.append("[^/]*")
        elif character == "?":
            out.append("[^/]")
        elif character == "\\":
            if position == len(pattern):
                raise InvalidInput(f"{pattern!r} ends in a backslash that escapes nothing")
            out.append(re.escape(pattern[position]))
            position += 1
        elif character == "[":
            piece, position = _class(pattern, position)
            out.append(piece)
        else:
            out.append(re.escape(character))
    return re.compile("".join(out), re.DOTALL)


def _class(pattern: str, position: int) -> tuple[str, int]:
    negates = pattern.startswith("^", position)
    position += negates
    out: list[str] = []
    while True:
        if position >= len(pattern):
            raise InvalidInput(f"{pattern!r}: the bracket is not closed")
        character = pattern[position]
        position += 1
        if character == "]" and out:
            return f"[{'^' if negates else ''}{''.join(out)}]", position
        if character == "\\" and position < len(pattern):
            character = pattern[position]
            position += 1
        elif character == "-" and out and pattern[position : position + 1] not in ("]", ""):
            out.append("-")
            continue
        out.append(re.escape(character))


class Step(NamedTuple):
    """A step of a walk. verb: "enter" a directory, "leave" it, or "take" what is none.

    parent: descriptor of the directory it is in. path: from the tree's top on.
    """

    verb: str
    parent: int
    path: str
    status: os.stat_result


def walk(top: int, base: str, ignored: PatternMatcher, excluded: PatternMatcher) -> Iterator[Step]:
    """What is in an open directory, in the order of the names, each directory before its content.

    base: where the directory is in its root, which the patterns of ignored speak of; those of excluded
    speak of paths below it. A directory that is left out but for some of its content comes with that.
    Raises: OSError; InvalidInput for a tree too deep. The path is the last step's, or below it.
    """
    filters = (ignored, excluded)
    start = (ignored.along(base)[1], 0)
    is_out = ignored.along(base)[0]
    # Descriptor, entries not looked at yet (last first), the directory's own step, whether it was entered.
    stack: list[tuple[int, list[Step | _Directory], Step | None, bool]]
    stack = [(top, _scan(top, "", start, filters, base)[::-1], None, not is_out)]
    try:
        while stack:
            fd, todo, own, is_entered = stack[-1]
            if not todo:
                if own is not None:
                    os.close(fd)
                    stack.pop()
                    if is_entered:
                        yield own._replace(verb="leave")
                    continue
                return
            found = todo.pop()
            if isinstance(found, Step):
                if not is_entered:
                    yield from _enter_pending(stack)
                yield found
                continue
            if not found.is_out:
                yield from _enter_pending(stack)
            below = os.open(found.path.rpartition("/")[2], _LISTING | os.O_CLOEXEC, dir_fd=fd)
            step = Step(*found[:4])
            stack.append((below, [], step, not found.is_out))
            if len(stack) > MAX_DEPTH:
                raise InvalidInput(f"{found.path[:128]}…: more than {MAX_DEPTH} directories deep")
            if not found.is_out:
                yield step
            stack[-1][1].extend(_scan(below, found.path, found.state, filters, base)[::-1])
    finally:
        for fd, _, own, _ in stack:
            if own is not None:
                os.close(fd)


def _enter_pending(stack: list[tuple[int, list[Step | _Directory], Step | None, bool]]) -> Iterator[Step]:
    if stack[-1][3]:
        return
    for index, (fd, todo, own, is_entered) in enumerate(stack):
        if not is_entered:
            stack[index] = (fd, todo, own, True)
            if own is not None:
                yield own


class _Directory(NamedTuple):
    """One that was found. The first fields are a Step's, by which both are sorted."""

    verb: str
    parent: int
    path: str
    status: os.stat_result
    is_out: bool
    state: tuple[int, int]


def _scan(
    fd: int, above: str, state: tuple[int, int], filters: tuple[PatternMatcher, PatternMatcher], base: str
) -> list[Step | _Directory]:
    """The entries of an open directory in the order of their names; what is left out for good is not."""
    ignored, excluded = filters
    if not ignored and not excluded:
        return _scan_all(fd, above, state)
    found: list[Step | _Directory] = []
    with os.scandir(fd) as entries:
        for entry in entries:
            path = f"{above}/{entry.name}" if above else entry.name
            whole = f"{base}/{path}" if base else path
            out_a, state_a = ignored.look(state[0], whole)
            out_b, state_b = excluded.look(state[1], path)
            is_out = out_a or out_b
            if is_out and not entry.is_dir(follow_symlinks=False):
                continue
            if (out_a and ignored.can_skip(whole, state_a)) or (out_b and excluded.can_skip(path, state_b)):
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # removed since the directory was listed
            kind = stat.S_IFMT(status.st_mode)
            if kind == stat.S_IFDIR:
                found.append(_Directory("enter", fd, path, status, is_out, (state_a, state_b)))
            elif kind != stat.S_IFSOCK and not is_out:  # a socket means nothing without its process
                found.append(Step("take", fd, path, status))
    found.sort(key=_BY_PATH)
    return found


def _scan_all(fd: int, above: str, state: tuple[int, int]) -> list[Step | _Directory]:
    """The same without patterns, for the many files of a large context."""
    prefix = f"{above}/" if above else ""
    found: list[Step | _Directory] = []
    with os.scandir(fd) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            kind = stat.S_IFMT(status.st_mode)
            if kind == stat.S_IFDIR:
                found.append(_Directory("enter", fd, prefix + entry.name, status, False, state))
            elif kind != stat.S_IFSOCK:
                found.append(Step("take", fd, prefix + entry.name, status))
    found.sort(key=_BY_PATH)
    return found


def explained(error: OSError, path: str) -> KernelError:
    """The error with the path it was met at, and a remedy."""
    if isinstance(error, KernelError):
        return error
    hints = {
        errno.EACCES: "make it readable, or name it in .dockerignore",
        errno.EPERM: "make it readable, or name it in .dockerignore",
        errno.ELOOP: "links lead in a circle, or a directory became a link while it was read",
        errno.ENOSPC: "the file system of the store is full",
        errno.EMFILE: "raise the limit of open files (ulimit -n)",
        errno.ENAMETOOLONG: "a name is too long for the store's file system",
    }
    return KernelError(error.errno or 0, "read", path, hints.get(error.errno or 0, ""))
