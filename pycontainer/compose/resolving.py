"""From one document to the application that it means: names, dependencies, and what is referred to."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pycontainer.compose.dotenv import read_environment
from pycontainer.compose.graph import circle
from pycontainer.compose.loading import Loaded
from pycontainer.compose.model import (
    Dependency,
    FileResource,
    NetworkSpec,
    Project,
    ServiceSpec,
    VolumeSpec,
)

__all__ = ["resolve"]

_NAMESPACES = ("network_mode", "ipc", "pid", "uts", "cgroup")
_ALL_PROFILES = "*"


def resolve(loaded: Loaded, profiles: Collection[str] = (), wanted: Iterable[str] = ()) -> Project:
    """The application.

    profiles: those that are on; "*" is all. wanted: services that are named, which switches theirs on.
    Raises: ComposeFileError for what does not fit together.
    """
    sections = {name: loaded.value.get(name) or {} for name in ("networks", "volumes", "secrets", "configs")}
    services = {
        name: _service(loaded, name, keys) for name, keys in (loaded.value.get("services") or {}).items()
    }
    chosen = {*profiles, *(loaded.variables.get("COMPOSE_PROFILES") or "").split(",")} - {""}
    for name in wanted:
        if name in services and not _is_enabled(services[name], chosen):
            chosen.update(services[name].profiles)
    enabled = {name: each for name, each in services.items() if _is_enabled(each, chosen)}
    disabled = {name: each for name, each in services.items() if name not in enabled}
    for service in enabled.values():
        _check_references(loaded, service, services, disabled, sections)
    found = circle({name: list(each.depends_on) for name, each in enabled.items()})
    if found:
        raise loaded.error(
            f"these services wait for each other: {' -> '.join(found)}", "services", found[0], "depends_on"
        )
    networks = {key: _network(loaded, key, keys) for key, keys in sections["networks"].items()}
    if any("default" in each.keys["networks"] for each in enabled.values()):
        networks.setdefault("default", _network(loaded, "default", {}))
    return Project(
        name=loaded.name,
        directory=loaded.directory,
        files=loaded.files,
        services=enabled,
        disabled=disabled,
        networks=networks,
        volumes={
            key: VolumeSpec(key=key, name=_name(loaded, key, keys), is_external=_is_external(keys), keys=keys)
            for key, keys in sections["volumes"].items()
        },
        secrets={key: _resource(loaded, "secrets", key, keys) for key, keys in sections["secrets"].items()},
        configs={key: _resource(loaded, "configs", key, keys) for key, keys in sections["configs"].items()},
        variables=loaded.variables,
        document=_document(loaded, enabled, networks, sections),
    )


def _document(
    loaded: Loaded,
    services: Mapping[str, ServiceSpec],
    networks: Mapping[str, NetworkSpec],
    sections: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The whole application as one file would say it."""
    shown = {
        "services": {name: _service_document(each) for name, each in services.items()},
        "networks": {key: {"name": each.name, **each.keys} for key, each in networks.items()},
        "volumes": {
            key: {"name": _name(loaded, key, keys), **keys} for key, keys in sections["volumes"].items()
        },
        "secrets": sections["secrets"],
        "configs": sections["configs"],
        **{key: value for key, value in loaded.value.items() if key.startswith("x-")},
    }
    return {"name": loaded.name, **{key: value for key, value in shown.items() if value}}


def _service_document(service: ServiceSpec) -> dict[str, Any]:
    found = {key: value for key, value in service.keys.items() if key not in ("env_file", "label_file")}
    found |= {
        key: value
        for key, value in (("environment", service.environment), ("labels", service.labels))
        if value
    }
    if service.keys.get("network_mode"):
        del found["networks"]
    return dict(sorted(found.items()))


def _is_enabled(service: ServiceSpec, profiles: Collection[str]) -> bool:
    return not service.profiles or _ALL_PROFILES in profiles or bool({*service.profiles} & {*profiles})


# -- services


def _service(loaded: Loaded, name: str, given: Mapping[str, Any]) -> ServiceSpec:
    keys = dict(given)
    at = ("services", name)
    if "image" not in keys and "build" not in keys:
        raise loaded.error("a service needs an image, or build", *at)
    if keys.get("network_mode") and keys.get("networks"):
        raise loaded.error("network_mode and networks exclude each other; leave one out", *at, "network_mode")
    if keys.get("network_mode"):
        keys["networks"] = {}
    elif not keys.get("networks"):
        keys["networks"] = {"default": {}}
    build = keys.get("build")
    if build is not None and "dockerfile" in build and "dockerfile_inline" in build:
        raise loaded.error("dockerfile and dockerfile_inline exclude each other", *at, "build")
    scale = _scale(loaded, name, keys)
    if scale > 1 and "container_name" in keys:
        raise loaded.error(
            f"{scale} containers cannot all have one container_name; leave it out", *at, "container_name"
        )
    return ServiceSpec(
        name=name,
        image=keys.get("image") or f"{loaded.name}-{name}",
        depends_on=_dependencies(keys),
        profiles=tuple(keys.get("profiles", ())),
        scale=scale,
        environment=_environment(loaded, keys),
        labels=_labels(keys),
        keys=keys,
    )


def _scale(loaded: Loaded, name: str, keys: Mapping[str, Any]) -> int:
    replicas = keys.get("deploy", {}).get("replicas")
    scale = keys.get("scale")
    if None not in (replicas, scale) and replicas != scale:
        raise loaded.error(
            "scale and deploy.replicas say different numbers; leave one out", "services", name, "scale"
        )
    given = scale if scale is not None else replicas
    return 1 if given is None else int(given)


def _dependencies(keys: Mapping[str, Any]) -> dict[str, Dependency]:
    """Those that are given, and those that follow from what a service shares with others."""
    found = {
        name: Dependency(condition=each["condition"], restarts=each["restart"], is_required=each["required"])
        for name, each in keys.get("depends_on", {}).items()
    }
    for key in _NAMESPACES:
        mode = keys.get(key) or ""
        if mode.startswith("service:"):
            # The namespace ends with the container that it belongs to.
            known = found.get(mode.removeprefix("service:"), Dependency())
            found[mode.removeprefix("service:")] = Dependency(
                condition=known.condition, restarts=True, is_required=known.is_required
            )
    for link in keys.get("links", ()):
        found.setdefault(link.partition(":")[0], Dependency(restarts=True))
    for line in keys.get("volumes_from", ()):
        if not line.startswith("container:"):
            found.setdefault(line.partition(":")[0], Dependency())
    for place in keys.get("build", {}).get("additional_contexts", {}).values():
        if place.startswith("service:"):
            found.setdefault(place.removeprefix("service:"), Dependency())
    return found


def _environment(loaded: Loaded, keys: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str | None] = {}
    for each in keys.get("env_file", ()):
        path = Path(each["path"])
        if each["required"] or path.exists():
            known = {**loaded.variables, **{key: value for key, value in found.items() if value is not None}}
            found |= read_environment(path, known, is_raw=each.get("format") == "raw")
    found |= keys.get("environment", {})
    resolved = {key: loaded.variables.get(key) if value is None else value for key, value in found.items()}
    return {key: value for key, value in resolved.items() if value is not None}


def _labels(keys: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str | None] = {}
    for path in keys.get("label_file", ()):
        found |= read_environment(Path(path), {})
    return {**{key: value or "" for key, value in found.items()}, **keys.get("labels", {})}


def _check_references(
    loaded: Loaded,
    service: ServiceSpec,
    services: Mapping[str, ServiceSpec],
    disabled: Mapping[str, ServiceSpec],
    sections: Mapping[str, Mapping[str, Any]],
) -> None:
    at = ("services", service.name)
    for name, dependency in service.depends_on.items():
        if name == service.name:
            raise loaded.error("a service cannot wait for itself", *at, "depends_on")
        if name not in services:
            raise loaded.error(f"there is no service {name!r}", *at, "depends_on", name)
        if name in disabled and dependency.is_required:
            profiles = ", ".join(disabled[name].profiles)
            raise loaded.error(
                f"it needs the service {name!r}, which the profiles {profiles} switch on", *at, "depends_on"
            )
    for name in service.keys["networks"]:
        if name not in sections["networks"] and name != "default":
            raise loaded.error(_undefined("network", name, sections["networks"]), *at, "networks", name)
    for index, volume in enumerate(service.keys.get("volumes", ())):
        source = volume.get("source")
        if volume["type"] == "volume" and source and source not in sections["volumes"]:
            raise loaded.error(_undefined("volume", source, sections["volumes"]), *at, "volumes", index)
    asked = [
        *(
            ("secrets", ("secrets", index), each)
            for index, each in enumerate(service.keys.get("secrets", ()))
        ),
        *(
            ("configs", ("configs", index), each)
            for index, each in enumerate(service.keys.get("configs", ()))
        ),
        *(
            ("secrets", ("build", "secrets", index), each)
            for index, each in enumerate(service.keys.get("build", {}).get("secrets", ()))
        ),
    ]
    for section, place, reference in asked:
        known = sections[section]
        if reference["source"] not in known:
            raise loaded.error(_undefined(section[:-1], reference["source"], known), *at, *place)
        if _is_external(known[reference["source"]]):
            problem = "nothing keeps external secrets and configs here; give file, environment or content"
            raise loaded.error(problem, section, reference["source"], "external")


def _undefined(kind: str, name: str, known: Mapping[str, Any]) -> str:
    there = f"there are {', '.join(sorted(known))}" if known else "there is none"
    return f"there is no {kind} {name!r} at the top level; {there}"


# -- resources


def _is_external(keys: Mapping[str, Any]) -> bool:
    given = keys.get("external", False)
    return given is True or isinstance(given, Mapping)


def _name(loaded: Loaded, key: str, keys: Mapping[str, Any]) -> str:
    external = keys.get("external")
    if isinstance(external, Mapping) and external.get("name"):
        return str(external["name"])
    return str(keys.get("name") or (key if _is_external(keys) else f"{loaded.name}_{key}"))


def _network(loaded: Loaded, key: str, keys: Mapping[str, Any]) -> NetworkSpec:
    allowed = {"name", "external"}
    if _is_external(keys) and {each for each in keys if not each.startswith("x-")} - allowed:
        raise loaded.error(
            "an external network is as it is: leave out all keys but name and external", "networks", key
        )
    return NetworkSpec(key=key, name=_name(loaded, key, keys), is_external=_is_external(keys), keys=keys)


def _resource(loaded: Loaded, section: str, key: str, keys: Mapping[str, Any]) -> FileResource:
    at: Sequence[str] = (section, key)
    if _is_external(keys):
        return FileResource(key=key)  # refused where a service uses it
    sources = [each for each in ("file", "environment", "content") if each in keys]
    if len(sources) != 1:
        raise loaded.error("give one of file, environment and content", *at)
    if "file" in keys:
        return FileResource(key=key, file=os.path.abspath(keys["file"]))
    if "content" in keys:
        return FileResource(key=key, content=keys["content"])
    # Who does not use it need not have it.
    return FileResource(key=key, content=loaded.variables.get(keys["environment"]))
