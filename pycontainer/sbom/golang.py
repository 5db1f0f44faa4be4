"""The modules that a Go program was built from, which its linker has written into it.

Found is what Go 1.18 and newer write; older programs have pointers to it in its place, and are passed over.
Source: Go, debug/buildinfo (buildinfo.go) and runtime/debug (mod.go).
"""

from __future__ import annotations

from collections.abc import Iterator

from pycontainer.sbom.packages import Package

__all__ = ["MAGIC", "BuildInfo", "go_packages"]

MAGIC = b"\xff Go buildinf:"
_ELF = b"\x7fELF"
_HEADER_BYTES = 32
_IS_INLINE = 2  # a flag: the texts follow, each behind its length
_MOST_BYTES = 4 << 20  # of the texts; Kubernetes' have 30 KB
_GUARD_BYTES = 16  # around the list of modules
_VARINT_BYTES = 10
_MOST_MARKS = 64  # that turn out to be none; whoever has more of them wants to keep us busy


class BuildInfo:
    """Looks for the build information in a program that is read piece by piece."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._is_elf: bool | None = None
        self._marks_left = _MOST_MARKS
        self.found: bytes | None = None

    @property
    def is_done(self) -> bool:
        """Whether what follows need not be looked at."""
        return self._is_elf is False or self.found is not None or not self._marks_left

    def feed(self, piece: bytes | memoryview) -> None:
        """Look at the next piece."""
        if self.is_done:
            return
        self._held += piece
        if self._is_elf is None:
            if len(self._held) < len(_ELF):
                return
            self._is_elf = self._held.startswith(_ELF)
        self._search(is_end=False)

    def end(self) -> bytes | None:
        """No piece follows. Returns: the mark, the version of Go and the modules, for `go_packages`."""
        if self._is_elf and self.found is None:
            self._search(is_end=True)
        self._held.clear()
        return self.found

    def _search(self, *, is_end: bool) -> None:
        while self._marks_left and (at := self._held.find(MAGIC)) >= 0:
            if not is_end and len(self._held) - at < _MOST_BYTES:
                del self._held[:at]  # wait for all of it
                return
            self.found = _texts(bytes(self._held[at : at + _MOST_BYTES]))
            if self.found is not None:
                return
            self._marks_left -= 1
            del self._held[: at + 1]  # a program that reads others has the mark among its constants
        del self._held[: max(len(self._held) - len(MAGIC), 0)]


def _texts(data: bytes) -> bytes | None:
    """The version and the modules behind a mark, a line break between them; None where there are none."""
    if len(data) < _HEADER_BYTES or not data[len(MAGIC) + 1] & _IS_INLINE:
        return None
    version, at = _text(data, _HEADER_BYTES)
    modules, _ = _text(data, at)
    if version is None or modules is None or not version.startswith((b"go", b"devel ")):
        return None
    return MAGIC + version + b"\n" + modules[_GUARD_BYTES:-_GUARD_BYTES]


def _text(data: bytes, at: int) -> tuple[bytes | None, int]:
    size = shift = 0
    for octet in data[at : at + _VARINT_BYTES]:
        at += 1
        size |= (octet & 0x7F) << shift
        shift += 7
        if octet < 0x80:
            text = data[at : at + size]
            return (text if len(text) == size else None), at + size
    return None, at


def go_packages(path: str, content: bytes) -> Iterator[Package]:
    """The modules, the program's own first and the standard library last.

    content: as `BuildInfo` gives it. A module that was replaced is the one that took its place.
    """
    version, *lines = content.removeprefix(MAGIC).decode(errors="replace").split("\n")
    found: list[tuple[str, str]] = []
    for line in lines:
        kind, *fields = line.split("\t")
        if kind in ("mod", "dep", "=>") and len(fields) > 1 and fields[0] and fields[1]:
            if kind == "=>" and found:
                found.pop()
            found.append((fields[0], fields[1]))
    for name, release in [*found, ("stdlib", version.removeprefix("go").split(" ")[0])]:
        yield Package(kind="golang", name=name, version=release, found_in=path)
