"""Programs of this host with all they load, copied under their own paths.

Theory of operation. A path is copied component by component: where the host has a symbolic link, the
image gets the same link and the walk goes on at its target. So merged /usr, /etc/alternatives and
versioned library names come out as they are here. What a program loads is asked of its own dynamic
loader (`ld.so --list`), which maps the libraries without running any of the program's code.
Owners become root and times 1970, so the same programs give the same digest on every run.
"""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
from collections.abc import Iterable, Sequence

from pycontainer.errors import InvalidInput, NotFound
from pycontainer.image.tree import Tree, entry_of, opener
from pycontainer.layers import Entry

__all__ = ["add_base_files", "add_programs", "add_tree"]

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MERGED = (b"/bin", b"/sbin", b"/lib", b"/lib32", b"/lib64", b"/libx32")
MAX_LINKS = 40  # the kernel's own limit, path_resolution(7)
MAX_SCRIPT_DEPTH = 4  # the kernel's limit for interpreters of interpreters
_PT_INTERP = 3


def add_programs(tree: Tree, programs: Iterable[str]) -> None:
    """Copy programs, given by name (looked up in PATH) or path, with interpreters and libraries.

    Raises: NotFound (a program or a library), InvalidInput, OSError.
    """
    for top in MERGED:
        if os.path.islink(top):
            _add_path(tree, top)
    done: set[bytes] = set()
    for program in programs:
        _add_program(tree, _locate(program), done, depth=0)


def add_tree(tree: Tree, path: str) -> None:
    """Copy a file, or a directory with all below it, under its own path.

    Raises: NotFound, InvalidInput, OSError.
    """
    real = _add_path(tree, os.fsencode(os.path.abspath(path)))
    if os.path.isdir(real):
        for parent, directories, files in os.walk(real):
            for name in sorted(directories + files):
                child = os.path.join(parent, name)
                _put(tree, child, os.lstat(child))


def _locate(program: str) -> bytes:
    found = shutil.which(program, path=os.environ.get("PATH", PATH) if "/" not in program else None)
    if found is None:
        raise NotFound(f"no program {program!r} in PATH on this host; install it or give its path")
    return os.fsencode(os.path.abspath(found))


def _add_program(tree: Tree, path: bytes, done: set[bytes], depth: int) -> None:
    real = _add_path(tree, path)
    if real in done:
        return
    done.add(real)
    with open(real, "rb") as file:
        head = file.read(4096)
    if head.startswith(b"#!"):
        if depth >= MAX_SCRIPT_DEPTH:
            raise InvalidInput(f"{os.fsdecode(path)}: interpreters nest deeper than {MAX_SCRIPT_DEPTH}")
        for interpreter in _interpreters(head):
            _add_program(tree, interpreter, done, depth + 1)
    elif head.startswith(b"\x7fELF"):
        loader = _elf_interpreter(real)
        if loader is not None:
            _add_path(tree, loader)
            for library in _libraries(loader, real):
                _add_path(tree, library)
    else:
        raise InvalidInput(f"{os.fsdecode(path)} is neither an ELF program nor a script with #!")


def _add_path(tree: Tree, path: bytes) -> bytes:
    """Copy one path with the links on its way; returns the path of what it leads to."""
    todo = [part for part in path.split(b"/") if part][::-1]
    at = b""
    links = 0
    while todo:
        part = todo.pop()
        if part in (b".", b".."):
            at = at.rpartition(b"/")[0] if part == b".." else at
            continue
        here = at + b"/" + part
        try:
            status = os.lstat(here)
        except FileNotFoundError:
            raise NotFound(f"{os.fsdecode(here)} is missing on this host") from None
        _put(tree, here, status)
        if not stat.S_ISLNK(status.st_mode):
            at = here
            continue
        links += 1
        if links > MAX_LINKS:
            raise InvalidInput(f"{os.fsdecode(path)}: more than {MAX_LINKS} symbolic links")
        target = os.readlink(here)
        at = b"" if target.startswith(b"/") else at
        todo.extend([step for step in target.split(b"/") if step][::-1])
    return at or b"/"


def _put(tree: Tree, path: bytes, status: os.stat_result) -> None:
    name = path[1:]
    if name in tree:
        return
    entry = entry_of(path, name, status)
    if entry is None:
        return
    # Without its owner a set-id bit would hand out another identity than on the host.
    if status.st_uid != 0:
        entry.mode &= ~stat.S_ISUID
    if status.st_gid != 0:
        entry.mode &= ~stat.S_ISGID
    entry.uid = entry.gid = entry.mtime_ns = 0
    tree.add(entry, opener(path) if entry.kind == "file" else None)


def _interpreters(head: bytes) -> list[bytes]:
    """The programs a script's first line needs: its interpreter, and what `env` is to find."""
    words = head[2:].split(b"\n", 1)[0].split()
    if not words:
        raise InvalidInput("a script whose first line names no interpreter cannot run")
    needed = [words[0]]
    if os.path.basename(words[0]) == b"env":
        names = [word for word in words[1:] if not word.startswith(b"-") and b"=" not in word]
        if names:
            needed.append(_locate(os.fsdecode(names[0])))
    return needed


def _elf_interpreter(path: bytes) -> bytes | None:
    """The dynamic loader an ELF file asks for, or None if it is static.

    Raises: InvalidInput for a broken file.
    """
    with open(path, "rb") as file:
        try:
            ident = file.read(16)
            is_64, order = ident[4] == 2, "<" if ident[5] == 1 else ">"
            # e_type, e_machine, e_version, e_entry, e_phoff, e_shoff, e_flags, e_ehsize, e_phentsize, e_phnum
            form = order + ("HHIQQQIHHH" if is_64 else "HHIIIIIHHH")
            header = struct.unpack(form, file.read(struct.calcsize(form)))
            table, entry_size, count = header[4], header[8], header[9]
            for i in range(count):
                file.seek(table + i * entry_size)
                if is_64:
                    kind, _, offset, _, _, size = struct.unpack(order + "IIQQQQ", file.read(40))
                else:
                    kind, offset, _, _, size = struct.unpack(order + "IIIII", file.read(20))
                if kind == _PT_INTERP:
                    file.seek(offset)
                    return file.read(min(size, 4096)).split(b"\0", 1)[0]
        except (struct.error, IndexError, ValueError, OSError) as error:
            raise InvalidInput(f"{os.fsdecode(path)} is a broken ELF file: {error}") from error
    return None


def _libraries(loader: bytes, program: bytes) -> list[bytes]:
    """The libraries a program loads, as its own loader finds them."""
    # The environment is empty: LD_PRELOAD and LD_LIBRARY_PATH of the caller are not the image's.
    listed = subprocess.run(
        [loader, b"--list", program],
        env={"LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
    )
    if listed.returncode:
        reason = listed.stderr.decode(errors="replace").strip()
        raise InvalidInput(
            f"{os.fsdecode(loader)} cannot list the libraries of {os.fsdecode(program)}: {reason}"
        )
    return parse_library_list(listed.stdout, os.fsdecode(program))


def parse_library_list(text: bytes, program: str) -> list[bytes]:
    """Read `name => path (address)` lines; a line without a path (the vdso) is skipped.

    Raises: NotFound for a library that is missing.
    """
    found = []
    for line in text.splitlines():
        name, arrow, target = line.strip().partition(b" => ")
        if arrow and target.startswith(b"not found"):
            raise NotFound(f"{program} needs {os.fsdecode(name)}, which is missing on this host")
        path = (target if arrow else name).rpartition(b" (0x")[0] or (target if arrow else name)
        if path.startswith(b"/"):
            found.append(path)
    return found


def add_base_files(tree: Tree, shell: str | None) -> None:
    """The few files without which programs misbehave: accounts, name service order, /tmp and /root."""
    login = shell or "/usr/sbin/nologin"
    files: Sequence[tuple[str, str]] = (
        ("etc/passwd", f"root:x:0:0:root:/root:{login}\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"),
        ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
        ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    )
    for name, text in files:
        tree.add(Entry(name.encode(), "file", size=len(text)), text.encode())
    tree.add(Entry(b"root", "dir", mode=0o700))
    tree.add(Entry(b"tmp", "dir", mode=0o1777))
