"""Writes `_generated.py`: the asynchronous mirror of every public class and function that blocks.

`python -m pycontainer.aio.derive --write` renews it, `--check` fails when it is out of date. What is mirrored
is what `pycontainer.__all__` names. Signatures and annotations are the ones in the source of what they
mirror.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs

__all__ = ["generated_source", "mirrored_classes", "public_members"]

HAND_WRITTEN = {"Events", "Logs", "StatsStream"}
"""Iterators, in `streams`."""

CLASSES = (
    "Artifact",
    "Attachment",
    "Compose",
    "Container",
    "ContainerPath",
    "Engine",
    "Exec",
    "FailedStep",
    "Image",
    "ImageIndex",
    "Impairment",
    "LockFile",
    "Network",
    "Partition",
    "Process",
    "Registry",
    "RemoteImage",
    "Volume",
    "VolumePath",
    "VolumeSnapshot",
)
FUNCTIONS = (
    "copy",
    "disk_usage",
    "events",
    "info",
    "login",
    "logout",
    "prune",
    "prune_build_cache",
    "run",
    "sign",
    "verify",
)
SAME = ("ContainerExecutor", "RemoteFunction", "TaskFuture", "function")
"""What gives futures, for an event loop to wrap."""

BASES = {"Engine": "EngineContext", "Process": "ProcessStreams"}
MADE_BY_USERS = {
    "Artifact",
    "Compose",
    "Container",
    "Engine",
    "ImageIndex",
    "LockFile",
    "Registry",
    "RemoteImage",
}
INNER = {
    "Engine": {
        "disown",
        "event_writer",
        "forget_container",
        "helper",
        "host",
        "image_view",
        "lifeline",
        "networks_ahead",
        "own",
        "policy",
        "recipe",
        "registries",
        "store",
        "store_tag",
        "sweep_cgroups",
    },
    "Image": {"snapshots", "view"},
    "Logs": {"follow", "records_until", "since", "stderr", "stdout", "tail", "timeout_s", "until", "stop_fd"},
}
"""What is public for the package's own use."""

PLAIN = {
    "Attachment": {"fileno"},
    "ContainerPath": {
        "__truediv__",
        "as_posix",
        "is_relative_to",
        "joinpath",
        "match",
        "relative_to",
        "with_name",
        "with_suffix",
    },
    "Process": {"fileno"},
    "Registry": {"clear_faults", "inject"},
}
PLAIN["VolumePath"] = PLAIN["ContainerPath"]
"""Methods that never wait."""

AWAITED = {
    "Artifact": {"annotations", "artifact_type", "digest", "files", "subject"},
    "Container": {"size_bytes"},
    "RemoteImage": {
        "annotations",
        "artifact_type",
        "descriptor",
        "digest",
        "exists",
        "manifest",
        "manifest_bytes",
        "media_type",
        "platforms",
    },
}
"""Attributes that are asked of others, or measured."""

WRITTEN = {("Container", "http"): ("httpx.AsyncClient", "pycontainer.aio.innerhttp", "client")}
"""Methods with results of their own: the annotation, and the module and function that they call."""

SHIELDED = {"__exit__", "close", "heal", "kill", "remove", "unpause"}
"""What ends things is not cut short."""

UNDO = {
    ("Container", "create"): "lambda made: made.remove(force=True)",
    ("Container", "popen"): "lambda made: made.close()",
    ("Container", "attach"): "lambda made: made.close()",
    ("Container", "connect"): "lambda made: made.close()",
    ("Network", "create"): "lambda made: made.remove()",
}
"""What becomes of a result that a cancelled task never saw."""

_IMPORTED = {"from typing import Any", "import builtins"}
_DOC_WIDTH = 95
_RENAMED = {"_Images": "builtins.list[Image]", "Self": "Self"}
_STREAMED = {"Iterator", "Iterable"}
_HEADER = '''"""The asynchronous mirror of the public classes and functions.

Made by `python -m pycontainer.aio.derive --write`; never edited by hand.
"""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

{imports}

__all__ = {names}
'''


def _blocking() -> Any:
    return import_module("pycontainer")


def mirrored_classes() -> dict[str, type]:
    """The classes by name."""
    return {name: getattr(_blocking(), name) for name in CLASSES}


def public_members(cls: type) -> dict[str, Any]:
    """What of a class a user sees, as it stands in the class: functions, properties, fields."""
    inner = INNER.get(cls.__name__, set())
    return {
        name: member
        for name, member in inspect.getmembers_static(cls)
        if (not name.startswith("_") or name in _SPECIAL) and name not in inner and _is_ours(cls, name)
    }


_SPECIAL = {"__enter__", "__exit__", "__iter__", "__truediv__"}


def _is_ours(cls: type, name: str) -> bool:
    return any(name in vars(base) for base in cls.__mro__[:-1])


class _Source:
    """The text of the generated module, and the imports its annotations need."""

    def __init__(self) -> None:
        self.imports: dict[str, str] = {}

    def signature(self, function: Any, own: str = "") -> tuple[str, str, str]:
        """Parameters as written, the result's annotation, and the arguments that pass them on."""
        node = _node_of(function)
        module = inspect.getmodule(function)
        assert module is not None
        parameters: list[str] = []
        passed: list[str] = []
        inner = list(inspect.signature(function).parameters.values())
        annotations = {
            each.arg: each.annotation
            for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        }
        for special in (node.args.vararg, node.args.kwarg):
            if special is not None:
                annotations[special.arg] = special.annotation
        has_star = False
        for index, parameter in enumerate(inner):
            if index == 0 and parameter.name in ("self", "cls"):
                parameters.append(parameter.name)
                continue
            annotation = annotations[parameter.name]
            text = f": {self.annotation(annotation, module)}" if annotation is not None else ""
            kind = parameter.kind
            if kind is parameter.KEYWORD_ONLY and not has_star:
                parameters.append("*")
                has_star = True
            stars = "*" if kind is parameter.VAR_POSITIONAL else "**" if kind is parameter.VAR_KEYWORD else ""
            has_star = has_star or kind is parameter.VAR_POSITIONAL
            default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
            parameters.append(f"{stars}{parameter.name}{text}{default}")
            is_named = kind is parameter.KEYWORD_ONLY
            passed.append(f"{parameter.name}={parameter.name}" if is_named else f"{stars}{parameter.name}")
            if kind is parameter.POSITIONAL_ONLY and not any(
                later.kind is parameter.POSITIONAL_ONLY for later in inner[index + 1 :]
            ):
                parameters.append("/")
        returns = self.annotation(node.returns, module) if node.returns is not None else "Any"
        return ", ".join(parameters), returns, ", ".join(passed)

    def annotation(self, node: ast.expr, module: Any) -> str:
        """An annotation's text with its names imported."""
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name):
                self._import(inner.id, module)
        renamed = _Renamer().visit(ast.parse(ast.unparse(node), mode="eval"))
        return ast.unparse(renamed)

    def _import(self, name: str, module: Any) -> None:
        if name in CLASSES or name in HAND_WRITTEN or name in _RENAMED or hasattr(builtins, name):
            return
        statement = _imports_of(module).get(name) or f"from {module.__name__} import {name}"
        self.imports.setdefault(name, statement)


@cache
def _imports_of(module: Any) -> dict[str, str]:
    """What a module imports, by the names it has there, as statements."""
    found = {}
    for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            begin = f"from {node.module} " if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                renamed = f" as {alias.asname}" if alias.asname else ""
                found[alias.asname or alias.name] = f"{begin}import {alias.name}{renamed}"
    return found


class _Renamer(ast.NodeTransformer):
    """`list` is a method of several classes here; private names are written out."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id == "list":
            return ast.parse("builtins.list", mode="eval").body
        if node.id in _RENAMED:
            return ast.parse(_RENAMED[node.id], mode="eval").body
        return node


def _node_of(function: Any) -> ast.FunctionDef:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    node = tree.body[0]
    assert isinstance(node, ast.FunctionDef)
    return node


def _doc(function: Any, about: str) -> str:
    """The first sentence of what is mirrored; the rest stands there."""
    text = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
    first = text.partition(". ")[0].rstrip(".") + "."
    return f'"""{first}"""' if 1 < len(first) <= _DOC_WIDTH else f'"""As `{about}`."""'


def _method(source: _Source, cls: type, name: str, member: Any) -> Iterator[str]:
    kind = cls.__name__
    function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
    parameters, returns, passed = source.signature(function)
    target = f"self.sync.{name}"
    if isinstance(member, classmethod):
        yield "    @classmethod"
        target = f"cls._class().{name}"
    elif isinstance(member, staticmethod):
        yield "    @staticmethod"
        target = f"{kind}._class().{name}"
    arguments = f", {passed}" if passed else ""
    doc = _doc(function, f"pycontainer.{kind}.{name}")
    how = "ending(" if name in SHIELDED else "mirrored("
    if (kind, name) in UNDO:
        how = f"undoing({UNDO[kind, name]}, "
    if (kind, name) in WRITTEN:
        returns, module, own = WRITTEN[kind, name]
        yield f"    def {name}({parameters}) -> {returns}:"
        yield f"        {doc}"
        yield f"        from {module} import {own}"
        yield ""
        yield f"        return {own}(self.sync{arguments})"
    elif name in PLAIN.get(kind, ()):
        yield f"    def {name}({parameters}) -> {returns}:"
        yield f"        {doc}"
        yield f"        return wrap({target}({_unwrapped(passed)}))"
    elif returns in HAND_WRITTEN:
        yield f"    def {name}({parameters}) -> {returns}:"
        yield f"        {doc}"
        yield f"        return {returns}(lambda: {target}({passed}))"
    elif returns.partition("[")[0] in _STREAMED:
        item = returns.partition("[")[2][:-1]
        yield f"    def {name}({parameters}) -> Stream[{item}]:"
        yield f"        {doc}"
        yield f"        return streamed({target}{arguments})"
    else:
        yield f"    async def {name}({parameters}) -> {returns}:"
        yield f"        {doc}"
        yield f"        return await {how}{target}{arguments})"
    yield ""


def _unwrapped(passed: str) -> str:
    parts = []
    for part in filter(None, passed.split(", ")):
        name, equals, value = part.partition("=")
        if part.startswith("**"):
            parts.append(part)
        elif part.startswith("*"):
            parts.append(f"*map(unwrap, {part[1:]})")
        else:
            parts.append(f"{name}=unwrap({value})" if equals else f"unwrap({name})")
    return ", ".join(parts)


def _property(source: _Source, cls: type, name: str, member: Any) -> Iterator[str]:
    function = member.func if hasattr(member, "func") else member.fget
    _, returns, _ = source.signature(function)
    doc = _doc(function, f"pycontainer.{cls.__name__}.{name}")
    yield "    @property"
    if name in AWAITED.get(cls.__name__, ()):
        yield f"    def {name}(self) -> Awaitable[{returns}]:"
        yield f"        {doc}"
        yield f"        return mirrored(getattr, self.sync, {name!r})"
    else:
        yield f"    def {name}(self) -> {returns}:"
        yield f"        {doc}"
        yield f"        return wrap(self.sync.{name})"
    yield ""


def _field(source: _Source, cls: type, name: str) -> Iterator[str]:
    text = str(attrs.fields_dict(cls)[name].type)
    module = sys.modules[cls.__module__]
    yield "    @property"
    yield f"    def {name}(self) -> {source.annotation(ast.parse(text, mode='eval').body, module)}:"
    yield f'        """As of `pycontainer.{cls.__name__}`."""'
    yield f"        return wrap(self.sync.{name})"
    yield ""


def _init(source: _Source, cls: type) -> Iterator[str]:
    parameters, _, passed = source.signature(cls.__init__)  # type: ignore[misc]
    yield f"    def __init__({parameters}) -> None:"
    yield f'        """As `pycontainer.{cls.__name__}`."""'
    yield f"        self.sync: Any = self._class()({_unwrapped(passed)})"
    yield ""


def _class(source: _Source, name: str, cls: type) -> Iterator[str]:
    yield f"class {name}({BASES.get(name, 'Mirror')}):"
    yield f"    {_doc(cls, f'pycontainer.{name}')}"
    yield ""
    yield f'    _of = ("{cls.__module__}", "{name}")'
    yield ""
    if name in MADE_BY_USERS:
        yield from _init(source, cls)
    for member_name, member in public_members(cls).items():
        if member_name == "__enter__":
            if name not in BASES or name == "Process":
                yield "    async def __aenter__(self) -> Self:"
                yield "        leave = self.sync.__exit__"
                yield "        await call(self.sync.__enter__, undo=lambda _: leave(None, None, None))"
                yield "        return self"
                yield ""
        elif member_name == "__exit__":
            if name not in BASES or name == "Process":
                yield "    async def __aexit__(self, *error: Any) -> None:"
                yield "        await ending(self.sync.__exit__, *error)"
                yield ""
        elif member_name == "__iter__":
            item = _iterated(source, member)
            yield f"    def __aiter__(self) -> Stream[{item}]:"
            yield "        return streamed(self.sync.__iter__)"
            yield ""
        elif isinstance(member, property) or hasattr(member, "attrname"):
            yield from _property(source, cls, member_name, member)
        elif inspect.isfunction(member) or isinstance(member, classmethod | staticmethod):
            yield from _method(source, cls, member_name, member)
        elif inspect.ismemberdescriptor(member):
            yield from _field(source, cls, member_name)
    yield ""


def _iterated(source: _Source, member: Any) -> str:
    _, returns, _ = source.signature(member)
    return returns.partition("[")[2][:-1]


def _function(source: _Source, name: str) -> Iterator[str]:
    function = getattr(_blocking(), name)
    parameters, returns, passed = source.signature(function)
    doc = _doc(function, f"pycontainer.{name}")
    if returns in HAND_WRITTEN:
        yield f"def {name}({parameters}) -> {returns}:"
        yield f"    {doc}"
        yield f"    return {returns}(lambda: pycontainer.engine.{function.__name__}({_unwrapped(passed)}))"
    else:
        yield f"async def {name}({parameters}) -> {returns}:"
        yield f"    {doc}"
        arguments = f", {passed}" if passed else ""
        yield f"    return await mirrored(pycontainer.engine.{function.__name__}{arguments})"
    yield ""
    yield ""


def generated_source() -> str:
    """The text of `_generated.py`, before it is formatted."""
    source = _Source()
    lines: list[str] = []
    for name, cls in mirrored_classes().items():
        lines += _class(source, name, cls)
    for name in FUNCTIONS:
        lines += _function(source, name)
    imports = [
        "import builtins",
        "from typing import TYPE_CHECKING, Any, Self",
        "import pycontainer.engine",
        "from pycontainer.aio.running import Mirror, Stream, call, ending, mirrored, streamed",
        "from pycontainer.aio.running import undoing, unwrap, wrap",
        "from pycontainer.aio.streams import EngineContext, Events, Logs, ProcessStreams, StatsStream",
        "if TYPE_CHECKING:",
        *(
            f"    {line}"
            for line in sorted(
                {*source.imports.values(), "from collections.abc import Awaitable"} - _IMPORTED
            )
        ),
    ]
    names = sorted((*CLASSES, *HAND_WRITTEN, *FUNCTIONS))
    return _HEADER.format(imports="\n".join(imports), names=repr(names)) + "\n\n" + "\n".join(lines)


def _formatted(text: str) -> str:
    command = [sys.executable, "-m", "ruff"]
    check = [
        *command,
        "check",
        "--fix",
        "--quiet",
        "--select",
        "I,F401",
        "--stdin-filename",
        str(TARGET),
        "-",
    ]
    sorted_text = subprocess.run(check, input=text, capture_output=True, text=True, check=False).stdout
    done = [*command, "format", "--quiet", "--stdin-filename", str(TARGET), "-"]
    return subprocess.run(done, input=sorted_text, capture_output=True, text=True, check=True).stdout


TARGET = Path(__file__).with_name("_generated.py")


def main(arguments: list[str]) -> int:
    """Entry point of `python -m pycontainer.aio.derive`; returns the exit code."""
    text = _formatted(generated_source())
    if arguments == ["--write"]:
        TARGET.write_text(text)
    elif arguments == ["--check"]:
        if not TARGET.exists() or TARGET.read_text() != text:
            sys.stderr.write(f"{TARGET} is out of date; run python -m pycontainer.aio.derive --write\n")
            return 1
    else:
        sys.stderr.write("usage: python -m pycontainer.aio.derive --check | --write\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
