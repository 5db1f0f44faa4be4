"""From file names to one document: variables, `extends`, `include`, and files on top of each other."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from attrs import define, evolve, field, frozen

from pycontainer.build import shown_url
from pycontainer.compose.dotenv import read_environment
from pycontainer.compose.interpolation import interpolate
from pycontainer.compose.merge import merge, merge_service, untagged
from pycontainer.compose.places import is_remote
from pycontainer.compose.schema import canonical
from pycontainer.compose.yamlfile import MAX_BYTES, Document, read_documents
from pycontainer.errors import ComposeFileError, InvalidInput, NotFound, Unsupported

__all__ = ["Fetch", "Loaded", "find_files", "load", "project_name", "read_uninterpolated"]

FILE_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_OVERRIDES = tuple(name.replace(".y", ".override.y") for name in FILE_NAMES)
_SECTIONS = ("services", "networks", "volumes", "secrets", "configs", "models")
MAX_FILES = 256
_MAX_CHAIN = 32
STANDARD_INPUT = "-"
Fetch: TypeAlias = Callable[[str], Path]
"""The file of this host that stands for one of another."""
_PROJECT = re.compile(r"[a-z0-9][a-z0-9_-]*", re.ASCII)


@frozen(kw_only=True)
class Loaded:
    """What the files say together. others: the files that those include or extend."""

    name: str
    directory: str
    files: tuple[str, ...]
    others: tuple[str, ...]
    value: dict[str, Any]
    variables: Mapping[str, str]
    warnings: tuple[str, ...]
    documents: tuple[Document, ...]

    def error(self, problem: str, *path: str | int) -> ComposeFileError:
        """The error about a value, with the place where the last file that has it says it."""
        for document in reversed(self.documents):
            if path in document.lines:
                return document.error(problem, path)
        return self.error(problem, *path[:-1]) if len(path) > 1 else ComposeFileError(
            problem, file=self.files[0] if self.files else "", path=".".join(map(str, path))
        )  # fmt: skip


def find_files(start: Path) -> list[Path]:
    """The compose file of a directory, or of one around it, with the file that overrides it, if any.

    Raises: NotFound.
    """
    for directory in (start, *start.parents):
        for name in FILE_NAMES:
            if (directory / name).is_file():
                override = next((each for each in _OVERRIDES if (directory / each).is_file()), None)
                return [directory / name, *([directory / override] if override else [])]
    raise NotFound(
        f"there is no {FILE_NAMES[0]} in {start}, nor in a directory around it; give the file's name"
    )


def project_name(given: str) -> str:
    """A name that was given, if it can be one. Raises: InvalidInput."""
    if _PROJECT.fullmatch(given) is None:
        raise InvalidInput(
            f"project name {given!r}: give lower-case letters, digits, - and _, the first a letter or digit"
        )
    return given


def _name_of(directory: str) -> str:
    """The name of a directory, without what a project's name cannot have."""
    return re.sub(r"[^a-z0-9_-]", "", os.path.basename(directory).lower()).lstrip("_-")


def load(
    paths: Sequence[Path],
    *,
    environment: Mapping[str, str],
    name: str | None = None,
    directory: Path | None = None,
    env_files: Sequence[Path] | None = None,
    fetch: Fetch | None = None,
) -> Loaded:
    """Read the files, each on top of those before it.

    environment: variables, which win over those of env_files; by default the file .env of the project's
    directory. directory: what relative paths begin at; by default that of the first file. fetch: brings files
    that are not of this host.
    Raises: ComposeFileError; InvalidInput for a name that is none.
    """
    base = os.path.abspath(directory if directory is not None else paths[0].parent)
    variables = _variables(base, env_files, environment)
    loader = _Loader(variables=variables, base=base, fetch=fetch)
    chosen = name or variables.get("COMPOSE_PROJECT_NAME") or loader.stated_name(paths)
    project = project_name(chosen) if chosen else _name_of(base)
    if not project:
        raise InvalidInput(f"the directory {base} gives the project no name; give it one")
    loader.variables = {**variables, "COMPOSE_PROJECT_NAME": project}
    value: dict[str, Any] = {}
    for path in paths:
        value = loader.add(value, path)
    return Loaded(
        name=project,
        directory=base,
        files=tuple(map(_place, paths)),
        others=tuple(each for each in loader.files if each not in map(_place, paths)),
        value=value,
        variables=loader.variables,
        warnings=tuple(
            f"the variable {missing!r} is not set, and an empty text is put in for it"
            for missing in loader.missing
        ),
        documents=tuple(loader.documents),
    )


def read_uninterpolated(
    paths: Sequence[Path], *, directory: Path | None = None, fetch: Fetch | None = None
) -> dict[str, Any]:
    """The files put together in canonical form, with their variables as they stand.

    What has no form without its variables stays as it is written. Raises as load.
    """
    base = os.path.abspath(directory if directory is not None else paths[0].parent)
    loader = _Loader(variables={}, base=base, fetch=fetch, interpolates=False)
    value: dict[str, Any] = {}
    for path in paths:
        value = loader.add(value, path)
    return {"name": loader.stated_name(paths) or _name_of(base), **value}


def _variables(base: str, env_files: Iterable[Path] | None, environment: Mapping[str, str]) -> dict[str, str]:
    default = Path(base, ".env")
    if env_files is None:
        env_files = [default] if default.is_file() else []
    found: dict[str, str] = {}
    for path in env_files:
        given = read_environment(path, {**found, **environment})
        found |= {key: value for key, value in given.items() if value is not None}
    return {**found, **environment}


@define(kw_only=True)
class _Loader:
    """Reads the files of one project. chain: the files that are being included, for circles.

    interpolates: whether variables are put in.
    """

    variables: Mapping[str, str]
    base: str
    fetch: Fetch | None = None
    interpolates: bool = True
    chain: tuple[str, ...] = ()
    missing: dict[str, None] = field(factory=dict)
    documents: list[Document] = field(factory=list)
    files: list[str] = field(factory=list)
    parsed: dict[str, list[Document]] = field(factory=dict)

    def stated_name(self, paths: Iterable[Path]) -> str:
        """The name that the files give the project, of the last that does; "" if none does."""
        found = ""
        for path in paths:
            for document in self._parse(path):
                stated = document.value.get("name") if isinstance(document.value, dict) else None
                if isinstance(stated, str):
                    only = evolve(document, value={"name": stated})
                    found = self._interpolated(only, lambda name: None).value["name"]
        return found

    def add(self, value: dict[str, Any], path: Path) -> dict[str, Any]:
        """The value with a file on top of it."""
        for document, content in self._read(path, self.base):
            content = self._with_included(document, content)
            content = self._extended(document, content)
            value = merge(value, content)
        return value

    def take_variables(self, value: Mapping[str, Any]) -> None:
        """Give services what they ask of the environment, while it is known which variables are meant."""
        for service in value.get("services", {}).values():
            asked = service.get("environment", {})
            for name in [name for name, given in asked.items() if given is None and name in self.variables]:
                asked[name] = self.variables[name]

    def _read(self, path: Path, base: str, *, is_own: bool = True) -> list[tuple[Document, dict[str, Any]]]:
        """The documents of a file, canonical. is_own: whether its services are the project's."""
        file = _place(path)
        self.files.append(file)
        if len(self.files) > MAX_FILES:
            raise ComposeFileError(f"more than {MAX_FILES} files are read for one project", file=file)
        found = []
        for document in self._parse(path):
            document = self._interpolated(document, self.missing.setdefault)
            if is_own:
                self.documents.append(document)
            found.append((document, canonical(document, base, keeps_variables=not self.interpolates)))
        return found

    def _interpolated(self, document: Document, warn: Callable[[str], object]) -> Document:
        return interpolate(document, self.variables, warn) if self.interpolates else document

    def _parse(self, path: Path) -> list[Document]:
        file = _place(path)
        if file not in self.parsed:
            self.parsed[file] = read_documents(_text(path), _shown(file))
        return self.parsed[file]

    # -- include

    def _with_included(self, document: Document, content: dict[str, Any]) -> dict[str, Any]:
        """The content with what it includes beside it. Source: compose specification, 14-include."""
        included: dict[str, Any] = {}
        for index, entry in enumerate(untagged(content.pop("include", []))):
            paths = [self._local(document, each, index) for each in entry["path"]]
            base = entry.get("project_directory") or os.path.dirname(paths[0])
            chain = (*self.chain, *entry["path"])
            if len(set(chain)) < len(chain):
                raise document.error("files include each other in a circle", ("include", index))
            files = [Path(each) for each in entry["env_file"]] if "env_file" in entry else None
            inner = _Loader(
                variables=_variables(base, files, self.variables),
                base=base,
                fetch=self.fetch,
                interpolates=self.interpolates,
                chain=chain,
                missing=self.missing,
                documents=self.documents,
                files=self.files,
                parsed=self.parsed,
            )
            value: dict[str, Any] = {}
            for path in paths:
                value = inner.add(value, path)
            inner.take_variables(value)
            for section in _SECTIONS:
                for name, resource in value.get(section, {}).items():
                    known = included.setdefault(section, {}).setdefault(name, resource)
                    own = content.get(section, {}).get(name, known)
                    if known != resource or own != known:
                        other = shown_url(entry["path"][0])
                        problem = f"{section}.{name} conflicts with what {other} has; rename one of them"
                        raise document.error(problem, ("include", index))
        return {
            **content,
            **{section: {**resources, **content.get(section, {})} for section, resources in included.items()},
        }

    def _local(self, document: Document, place: str, index: int) -> Path:
        """The file of this host that an included one is."""
        if not is_remote(place):
            return Path(place)
        if self.fetch is None:
            raise document.error(
                f"{shown_url(place)} is not of this host, and nothing is fetched for this", ("include", index)
            )
        try:
            return self.fetch(place)
        except Unsupported as error:
            raise document.error(str(error), ("include", index)) from None

    # -- extends

    def _extended(self, document: Document, content: dict[str, Any]) -> dict[str, Any]:
        services = content.get("services", {})
        if not isinstance(services, dict):
            return content
        found = {
            name: self._extended_service(document, services, name, ())
            if isinstance(service, dict)
            else service
            for name, service in services.items()
        }
        return {**content, **({"services": found} if found else {})}

    def _extended_service(
        self, document: Document, services: Mapping[str, Any], name: str, chain: tuple[tuple[str, str], ...]
    ) -> dict[str, Any]:
        """A service with those that it extends below it."""
        service = services[name]
        if not isinstance(service, dict) or "extends" not in service:
            return dict(untagged(service)) if chain else dict(service)
        wanted = untagged(service["extends"])
        path = ("services", name, "extends")
        link = (document.file, name)
        if link in chain or len(chain) > _MAX_CHAIN:
            raise document.error("services extend each other in a circle", path)
        where, others = document, services
        if "file" in wanted:
            file = Path(wanted["file"])
            loaded = self._read(file, os.path.dirname(wanted["file"]), is_own=False)
            others = {}
            for _, content in loaded:
                others = merge({"services": others}, {"services": content.get("services", {})})["services"]
            where = loaded[-1][0] if loaded else document
        if wanted["service"] not in others:
            raise document.error(f"there is no service {wanted['service']!r} to extend in {where.file}", path)
        base = self._extended_service(where, others, wanted["service"], (*chain, link))
        rest = {key: value for key, value in service.items() if key != "extends"}
        return merge_service(base, rest)


def _text(path: Path) -> str:
    try:
        if str(path) == STANDARD_INPUT:
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        return content.decode("utf-8-sig")
    except OSError as error:
        raise ComposeFileError(str(error.strerror), file=str(path)) from None
    except UnicodeDecodeError:
        raise ComposeFileError("it is no text in UTF-8", file=str(path)) from None


def _place(path: Path) -> str:
    """What a file is called, wherever this process goes; the standard input stays what it is."""
    return STANDARD_INPUT if str(path) == STANDARD_INPUT else os.path.abspath(path)


def _shown(file: str) -> str:
    """A path as people say it: from where they are, if it is below."""
    if file == STANDARD_INPUT:
        return "standard input"
    relative = os.path.relpath(file)
    return file if relative.startswith("..") else relative
