"""YAML that strangers may have written, as plain values, with the line of each.

Only the composer of the YAML library is used, never its constructors: what a tag means is decided here, by
YAML 1.2's core schema as Docker's reader has it ("22:22" is text, "yes" is text, 0440 is octal). Size, depth
and the number of values, aliases followed, are bounded: a few lines of aliases can stand for billions of
values.
Source: YAML 1.2.2, 10.3; compose specification, "Fragments" and "Merge".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import attrs

from pycontainer.errors import ComposeFileError, Unsupported

__all__ = ["RESET", "Document", "Override", "Path", "Reset", "dump", "path_text", "read_documents", "shown"]

Path: TypeAlias = tuple[str | int, ...]
"""Where a value stands: keys, and numbers of items."""

Node: TypeAlias = Any
"""One of the YAML library, which may be missing."""

MAX_BYTES = 2 << 20
MAX_VALUES = 50_000
MAX_DEPTH = 64

_PREFIX = "tag:yaml.org,2002:"
_RESOLVERS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:[0-9][0-9_]*|0o[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+0123456789."),
    ),
    ("merge", r"<<", ["<"]),
)


class Reset:
    """What the tag !reset stands for: the value, and what it overrides, is gone."""

    def __repr__(self) -> str:
        return "RESET"


RESET = Reset()


@attrs.frozen
class Override:
    """What the tag !override stands for: the value replaces what is there instead of being merged with it."""

    value: Any


@attrs.frozen(kw_only=True)
class Document:
    """One document of a file: its value, and the line of each value by path."""

    file: str
    value: Any
    lines: Mapping[Path, int]

    def error(self, problem: str, path: Path = ()) -> ComposeFileError:
        """The error that says where."""
        line, shown = 0, path
        while not line and shown:
            line, shown = self.lines.get(shown, 0), shown[:-1]
        return ComposeFileError(
            problem, file=self.file, line=line or self.lines.get((), 0), path=path_text(path)
        )


def shown(value: object) -> str:
    """A value in a message, shortened if it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def path_text(path: Path) -> str:
    """As people write it: services.web.ports[0]."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def read_documents(text: str, file: str) -> list[Document]:
    """The documents of a YAML text.

    Raises: ComposeFileError with file and line; Unsupported without pyyaml.
    """
    yaml = _library()
    if len(text) > MAX_BYTES:
        raise ComposeFileError(f"it has more than {MAX_BYTES} bytes", file=file)

    class Loader(yaml.SafeLoader):  # type: ignore[name-defined,misc]  # a module that may be missing
        yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012  (the library's own attribute)

        # Before all of it is scanned: what the scanner does for each token grows with the depth.
        def fetch_flow_collection_start(self, token: Any) -> None:
            _check_depth(self.flow_level, file, self.line)
            super().fetch_flow_collection_start(token)

        def add_indent(self, column: int) -> bool:
            _check_depth(len(self.indents), file, self.line)
            return bool(super().add_indent(column))

    for name, pattern, first in _RESOLVERS:
        Loader.add_implicit_resolver(_PREFIX + name, re.compile(f"(?:{pattern})$"), first)
    try:
        nodes = list(yaml.compose_all(text, Loader=Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ComposeFileError(
            f"no YAML: {error.problem or error.context}", file=file, line=mark.line + 1 if mark else 0
        ) from None
    except yaml.YAMLError as error:
        raise ComposeFileError(f"no YAML: {' '.join(str(error).split())}", file=file) from None
    return [_Reader(file, Loader).read(node) for node in nodes if node is not None]


def _check_depth(depth: int, file: str, line: int) -> None:
    if depth >= MAX_DEPTH:
        raise ComposeFileError(f"values are nested more than {MAX_DEPTH} deep", file=file, line=line + 1)


def dump(value: Any) -> str:
    """A value as YAML text, keys in their order."""
    text: str = _library().safe_dump(value, sort_keys=False, default_flow_style=False, allow_unicode=True)
    return text


def _library() -> Any:
    try:
        import yaml
    except ModuleNotFoundError:
        raise Unsupported(
            "compose files are YAML, and the library that reads it is not installed",
            "pip install 'pycontainer-engine[yaml]'",
        ) from None
    return yaml


class _Reader:
    """Turns the nodes of one document into values."""

    def __init__(self, file: str, loader: Any) -> None:
        self._file = file
        self._resolver = loader("")
        self._lines: dict[Path, int] = {}
        self._count = 0

    def read(self, node: Node) -> Document:
        value = self._value(node, (), ())
        return Document(file=self._file, value=value, lines=self._lines)

    def _error(self, problem: str, node: Node, path: Path) -> ComposeFileError:
        return ComposeFileError(problem, file=self._file, line=node.start_mark.line + 1, path=path_text(path))

    def _value(self, node: Node, path: Path, around: tuple[Node, ...]) -> Any:
        self._count += 1
        if self._count > MAX_VALUES:
            raise self._error(f"there are more than {MAX_VALUES} values, aliases followed", node, path)
        if len(around) >= MAX_DEPTH:
            raise self._error(f"values are nested more than {MAX_DEPTH} deep", node, path)
        if any(node is outer for outer in around):
            raise self._error("an alias leads into itself", node, path)
        self._lines.setdefault(path, node.start_mark.line + 1)
        inner = (*around, node)
        if node.tag in ("!reset", "!override"):
            if node.tag == "!reset":
                return RESET
            return Override(self._untagged(node, path, inner))
        return self._untagged(node, path, inner)

    def _untagged(self, node: Node, path: Path, around: tuple[Node, ...]) -> Any:
        kind = node.id
        if kind == "mapping":
            self._check_tag(node, path, "map")
            return self._mapping(node, path, around)
        if kind == "sequence":
            self._check_tag(node, path, "seq")
            return [self._value(item, (*path, index), around) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _check_tag(self, node: Node, path: Path, expected: str) -> None:
        if node.tag not in (_PREFIX + expected, "!override"):
            raise self._error(f"the tag {node.tag} has no meaning here; leave it out", node, path)

    def _scalar(self, node: Node, path: Path) -> Any:
        tag, text = node.tag, str(node.value)
        if tag == "!override":
            tag = self._resolver.resolve(type(node), text, (node.style is None, False))
        kind = tag.removeprefix(_PREFIX)
        try:
            if kind in ("str", "merge"):
                return text
            if kind == "null":
                return None
            if kind == "bool":
                return {"true": True, "false": False}[text.lower()]
            if kind == "int":
                return _integer(text)
            if kind == "float":
                return float(text.replace("_", ""))
        except (KeyError, ValueError):
            raise self._error(f"{shown(text)} is no {kind}", node, path) from None
        raise self._error(f"the tag {tag} has no meaning here; leave it out", node, path)

    def _mapping(self, node: Node, path: Path, around: tuple[Node, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: list[Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == _PREFIX + "merge":
                merged += self._merged(value_node, path)
                continue
            if key_node.id != "scalar":
                raise self._error("a key is text", key_node, path)
            key = str(key_node.value)
            if key in found:
                raise self._error(f"the key {shown(key)} is there twice; leave one out", key_node, path)
            self._lines[(*path, key)] = key_node.start_mark.line + 1
            found[key] = self._value(value_node, (*path, key), around)
        for source in merged:
            if any(source is outer for outer in around):
                raise self._error("an alias leads into itself", source, path)
            for key, value in self._mapping(source, path, (*around, source)).items():
                found.setdefault(key, value)
        self._count += len(merged)
        return found

    def _merged(self, node: Node, path: Path) -> Iterator[Node]:
        """The mappings that "<<" names. Source: https://yaml.org/type/merge.html."""
        for each in node.value if node.id == "sequence" else [node]:
            if each.id != "mapping":
                raise self._error('"<<" takes a mapping, or a list of them', node, path)
            yield each


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    body = digits.lstrip("+-")
    if len(body) > 64:
        raise ValueError(text)
    # As Docker's reader: a leading zero alone is octal, too.
    if re.fullmatch(r"0[0-7]+", body):
        value = int(body, 8)
    else:
        value = int(body, 0) if body[:2].lower() in ("0x", "0o", "0b") else int(body)
    return -value if digits.startswith("-") else value
