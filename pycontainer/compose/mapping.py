"""What the keys of a service are as options of a container: one table, and what needs more than a table."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from pycontainer.compose.model import FileResource, Project, ServiceSpec
from pycontainer.errors import ComposeFileError, InvalidOption, Unsupported
from pycontainer.options import parse_run_options

__all__ = [
    "IGNORED",
    "MAPPED",
    "REFUSED",
    "check",
    "check_visible",
    "config_hash",
    "container_name",
    "digest_of",
    "given_files",
    "run_options",
]

_DIRECT = {
    "annotations": "annotations",
    "cap_add": "cap_add",
    "cap_drop": "cap_drop",
    "cgroup": "cgroupns",
    "cgroup_parent": "cgroup_parent",
    "command": "command",
    "cpu_period": "cpu_period",
    "cpu_quota": "cpu_quota",
    "cpu_rt_period": "cpu_rt_period",
    "cpu_rt_runtime": "cpu_rt_runtime",
    "cpu_shares": "cpu_shares",
    "cpus": "cpus",
    "cpuset": "cpuset_cpus",
    "device_cgroup_rules": "device_cgroup_rules",
    "devices": "devices",
    "dns": "dns",
    "dns_opt": "dns_option",
    "dns_search": "dns_search",
    "domainname": "domainname",
    "entrypoint": "entrypoint",
    "expose": "expose",
    "extra_hosts": "extra_hosts",
    "group_add": "group_add",
    "hostname": "hostname",
    "init": "init",
    "mac_address": "mac_address",
    "mem_limit": "memory",
    "mem_reservation": "memory_reservation",
    "mem_swappiness": "memory_swappiness",
    "memswap_limit": "memory_swap",
    "oom_kill_disable": "oom_kill_disable",
    "oom_score_adj": "oom_score_adj",
    "pids_limit": "pids_limit",
    "platform": "platform",
    "privileged": "privileged",
    "read_only": "read_only",
    "restart": "restart",
    "shm_size": "shm_size",
    "stdin_open": "stdin_open",
    "stop_grace_period": "stop_timeout",
    "stop_signal": "stop_signal",
    "storage_opt": "storage_opt",
    "sysctls": "sysctls",
    "tmpfs": "tmpfs",
    "tty": "tty",
    "user": "user",
    "userns_mode": "userns",
    "working_dir": "workdir",
}
"""Keys whose value is an option's as it is."""

_ZERO_IS_NONE = (
    "cpus",
    "cpu_shares",
    "cpu_quota",
    "cpu_period",
    "memory",
    "memory_reservation",
    "memory_swap",
)
"""Options that 0 leaves alone, as in Docker."""

_ELSEWHERE = (
    *("attach", "build", "configs", "container_name", "depends_on", "env_file", "environment", "extends"),
    *(
        "image",
        "label_file",
        "labels",
        "post_start",
        "pre_stop",
        "profiles",
        "pull_policy",
        "scale",
        "secrets",
    ),
)
"""Keys that count, but are no options of a container."""

IGNORED = ("develop",)
"""Keys that mean something to other commands of Docker Compose."""

REFUSED = {
    "cpu_count": "it is for Windows; give cpus",
    "cpu_percent": "it is for Windows; give cpus",
    "credential_spec": "it is for Windows",
    "isolation": "it is for Windows",
    "models": "language models are not run here; run their server as a service",
    "provider": "services are containers here",
    "pull_refresh_after": "give pull_policy: every_12h",
    "runtime": "there is one runtime here",
    "use_api_socket": "there is no daemon whose socket could be mounted",
}
"""Keys that cannot be honoured, each with why."""

_NOT_HASHED = (
    *("attach", "build", "depends_on", "deploy", "develop", "env_file", "extends", "label_file"),
    *("profiles", "pull_policy", "scale", "post_start", "pre_stop"),
)


def container_name(project: Project, service: str, number: int) -> str:
    """What a container of a service is called."""
    known = project.services.get(service) or project.disabled.get(service)
    given = known.keys.get("container_name") if known is not None else None
    return str(given or f"{project.name}-{service}-{number}")


def run_options(project: Project, service: ServiceSpec, number: int) -> dict[str, Any]:
    """The options of a service's container with this number; without name and labels. Raises: Unsupported."""
    keys = service.keys
    for key, why in REFUSED.items():
        if keys.get(key) not in (
            None,
            False,
            *(("default", "runc") if key in ("isolation", "runtime") else ()),
        ):
            raise Unsupported(f"services.{service.name}.{key} is not supported", why)
    found: dict[str, Any] = {option: keys[key] for key, option in _DIRECT.items() if key in keys}
    found["env"] = dict(service.environment)
    found["mounts"] = [*_mounts(project, service), *_bound_files(project, service)]
    for key, compute in _COMPUTED.items():
        if key in keys:
            for option, value in compute(keys[key], project, service, number).items():
                found.setdefault(option, value)
    return {
        option: value
        for option, value in found.items()
        if value is not None and not (option in _ZERO_IS_NONE and value == 0)
    }


def check(project: Project) -> None:
    """Look at the options of all services before anything is done. Raises: ComposeFileError, Unsupported."""
    for service in project.services.values():
        options = run_options(project, service, 1)
        command = options.pop("command", None)
        try:
            parse_run_options(command=command, **options)
        except InvalidOption as error:
            file = project.files[0] if project.files else ""
            raise ComposeFileError(str(error), file=file, path=f"services.{service.name}") from None


def config_hash(project: Project, service: ServiceSpec) -> str:
    """What changes when containers of the service have to be made anew.

    How many there are, how the image comes about and in what order services start does not count.
    """
    content = {
        "keys": {key: value for key, value in service.keys.items() if key not in _NOT_HASHED},
        "limits": {
            key: value
            for key, value in service.keys.get("deploy", {}).items()
            if key in ("resources", "restart_policy")
        },
        "environment": dict(service.environment),
        "labels": dict(service.labels),
        "networks": {key: project.networks[key].name for key in service.keys["networks"]},
        "volumes": {
            each["source"]: project.volumes[each["source"]].name
            for each in service.keys.get("volumes", ())
            if each["type"] == "volume" and each.get("source")
        },
        "files": [
            [target, resource.file, hashlib.sha256(_content(resource, asked)).hexdigest()]
            for target, resource, asked in _files_of(project, service)
        ],
    }
    return digest_of(content)


def digest_of(content: object) -> str:
    """A digest of what JSON can write."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


# -- mounts and files


def _mounts(project: Project, service: ServiceSpec) -> list[dict[str, Any]]:
    return [_mount(project, service, each) for each in service.keys.get("volumes", ())]


def _mount(project: Project, service: ServiceSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    kind, source = given["type"], given.get("source", "")
    found: dict[str, Any] = {"type": kind, "target": given["target"]}
    if kind in ("cluster", "npipe"):
        raise Unsupported(f"services.{service.name}.volumes: there are no mounts of type {kind}")
    if kind == "image":
        return {**found, "source": source, "image-subpath": given.get("image", {}).get("subpath", "")}
    found["readonly"] = given.get("read_only", False)
    if kind == "tmpfs":
        options = given.get("tmpfs", {})
        found |= {f"tmpfs-{key}": options[key] for key in ("size", "mode") if key in options}
    elif kind == "bind":
        options = given.get("bind", {})
        found |= {"source": source, "bind-create-src": options.get("create_host_path", True)}
        found |= {f"bind-{key}": options[key] for key in ("propagation", "recursive") if key in options}
    else:
        options = given.get("volume", {})
        found |= {"source": project.volumes[source].name if source else ""}
        found |= {f"volume-{key}": options[key] for key in ("nocopy", "subpath") if key in options}
        if "labels" in options:
            found["volume-label"] = options["labels"]
    return found


def _files_of(project: Project, service: ServiceSpec) -> list[tuple[str, FileResource, Mapping[str, Any]]]:
    """Its secrets and configs: where, what, and how the service asks for them."""
    return [
        (each["target"], known[each["source"]], each)
        for known, section in ((project.secrets, "secrets"), (project.configs, "configs"))
        for each in service.keys.get(section, ())
    ]


def _is_bound(resource: FileResource, asked: Mapping[str, Any]) -> bool:
    """Whether a file is mounted as it is: it is one of this host, and nobody asks for other ids or bits."""
    return bool(resource.file) and not {"uid", "gid", "mode"} & set(asked)


def _content(resource: FileResource, asked: Mapping[str, Any]) -> bytes:
    """What is written into containers; nothing of what is mounted, or is not there."""
    if resource.file and not _is_bound(resource, asked):
        with suppress(OSError):
            return Path(resource.file).read_bytes()
    return (resource.content or "").encode()


def _bound_files(project: Project, service: ServiceSpec) -> list[dict[str, Any]]:
    return [
        {"type": "bind", "source": resource.file, "target": target, "readonly": True}
        for target, resource, asked in _files_of(project, service)
        if _is_bound(resource, asked)
    ]


def given_files(project: Project, service: ServiceSpec) -> list[tuple[str, bytes, int, int, int]]:
    """The files that are written into a container before it starts: path, content, bits, uid, gid.

    Raises: ComposeFileError for one that has no content.
    """
    found = []
    mounted = [each["target"] for each in service.keys.get("volumes", ())]
    mounted += [each.partition(":")[0] for each in service.keys.get("tmpfs", ())]
    for target, resource, asked in _files_of(project, service):
        if not _is_bound(resource, asked):
            check_visible(service, target, mounted)
        if _is_bound(resource, asked):
            if not os.path.exists(resource.file):
                raise ComposeFileError(
                    "there is no such file; it is named as a secret or config", file=resource.file
                )
            continue
        if resource.file:
            try:
                with open(resource.file, "rb") as file:
                    content = file.read()
            except OSError as error:
                raise ComposeFileError(str(error.strerror), file=resource.file) from None
        elif resource.content is None:
            raise ComposeFileError(
                f"the environment has no variable for {resource.key!r}; set it",
                file=project.files[0] if project.files else "",
                path=f"services.{service.name}",
            )
        else:
            content = resource.content.encode()
        ids = [_id(asked.get(key, "0"), service.name, key) for key in ("uid", "gid")]
        found.append((target, content, asked.get("mode", 0o444), *ids))
    return found


def check_visible(service: ServiceSpec, target: str, mounted: Iterable[str]) -> None:
    """Refuse a file that is written to where a mount hides it. Raises: ComposeFileError."""
    for place in mounted:
        if PurePosixPath(target).is_relative_to(place):
            raise ComposeFileError(
                f"{target} would be hidden by the mount on {place}; give its secret or config as a file, "
                "without uid, gid and mode, which is mounted itself",
                path=f"services.{service.name}",
            )


def _id(value: str, service: str, key: str) -> int:
    if not value.isdecimal() or int(value[:11]) > 2**32 - 2:
        raise ComposeFileError(f"{value!r} is no id; give a number", path=f"services.{service}: {key}")
    return int(value)


# -- computed options


def _namespace(option: str) -> Callable[..., dict[str, Any]]:
    def compute(value: str, project: Project, service: ServiceSpec, number: int) -> dict[str, Any]:
        if value.startswith("service:"):
            value = f"container:{container_name(project, value.removeprefix('service:'), 1)}"
        return {option: value} if value else {}

    return compute


def _networks(
    value: Mapping[str, Any], project: Project, service: ServiceSpec, number: int
) -> dict[str, Any]:
    if service.keys.get("network_mode"):
        return {}
    ordered = sorted(value, key=lambda key: (-value[key].get("priority", 0), key))
    found = {}
    for key in ordered:
        asked = value[key]
        place = {
            "aliases": [service.name, *asked.get("aliases", ())],
            "ip": asked.get("ipv4_address"),
            "ip6": asked.get("ipv6_address"),
            "mac": asked.get("mac_address"),
            "link_local_ips": asked.get("link_local_ips"),
            "gw_priority": asked.get("gw_priority"),
            "ifname": asked.get("interface_name"),
            "driver_opts": asked.get("driver_opts"),
        }
        found[project.networks[key].name] = {name: each for name, each in place.items() if each}
    return {"network": found}


def _ports(value: list[Any], project: Project, service: ServiceSpec, number: int) -> dict[str, Any]:
    return {"ports": [_port(each, service.name, number) for each in value]}


def _port(given: Mapping[str, Any], service: str, number: int) -> str:
    published = str(given["published"])
    first, _, last = published.partition("-")
    if last:
        # Each of the service's containers has its own of the range.
        place = int(first) + max(number, 1) - 1
        if place > int(last):
            raise InvalidOption(
                f"services.{service}: the ports {published} are too few for container {number}"
            )
        published = str(place)
    inner = f"{given['target']}/{given['protocol']}"
    address = given.get("host_ip", "")
    if address:
        shown = f"[{address}]" if ":" in address else address
        return f"{shown}:{published}:{inner}"
    return f"{published}:{inner}" if published else inner


def _healthcheck(value: Mapping[str, Any], *_: Any) -> dict[str, Any]:
    test = value.get("test")
    if value.get("disable") or test == ["NONE"]:
        return {"no_healthcheck": True}
    times = ("interval", "timeout", "retries", "start_period", "start_interval")
    found = {f"health_{key}": value[key] for key in times if key in value}
    return {**found, **({"health_cmd": test} if test else {})}


def _logging(value: Mapping[str, Any], *_: Any) -> dict[str, Any]:
    return {"log_driver": value.get("driver"), "log_opts": value.get("options") or None}


def _blkio(value: Mapping[str, Any], *_: Any) -> dict[str, Any]:
    rates = ("device_read_bps", "device_read_iops", "device_write_bps", "device_write_iops")
    found: dict[str, Any] = {
        key: {each["path"]: each["rate"] for each in value[key]} for key in rates if key in value
    }
    if value.get("weight"):
        found["blkio_weight"] = value["weight"]
    if "weight_device" in value:
        found["blkio_weight_device"] = {each["path"]: each["weight"] for each in value["weight_device"]}
    return found


def _deploy(value: Mapping[str, Any], *_: Any) -> dict[str, Any]:
    """Limits and the restart policy, which the service's own keys win over.

    Source: docker/compose, create.go.
    """
    resources = value.get("resources", {})
    limits, reserved = resources.get("limits", {}), resources.get("reservations", {})
    found = {
        "cpus": limits.get("cpus") or None,
        "memory": limits.get("memory"),
        "pids_limit": limits.get("pids"),
        "memory_reservation": reserved.get("memory"),
    }
    if reserved.get("devices"):
        found |= _gpus(reserved["devices"])
    policy = value.get("restart_policy")
    if policy is not None:
        name = {"none": "no", "any": "always"}.get(policy.get("condition", "any"), "on-failure")
        retries = policy.get("max_attempts", 0)
        found["restart"] = f"{name}:{retries}" if name == "on-failure" and retries else name
    return {option: each for option, each in found.items() if each is not None}


def _gpus(value: list[Any], *_: Any) -> dict[str, Any]:
    if len(value) != 1:
        raise Unsupported(
            "several requests for GPUs are not supported", "name the GPUs in one, by device_ids"
        )
    ids = value[0].get("device_ids")
    return {"gpus": f"device={','.join(ids)}" if ids else value[0].get("count", -1)}


def _ulimits(value: Mapping[str, Any], *_: Any) -> dict[str, Any]:
    return {"ulimits": {name: (limit["soft"], limit["hard"]) for name, limit in value.items()}}


def _links(value: list[str], project: Project, *_: Any) -> dict[str, Any]:
    """Names besides that of the service, by which everybody finds it anyway."""
    split = (each.partition(":") for each in value)
    return {
        "links": [f"{container_name(project, name, 1)}:{alias}" for name, _, alias in split if alias] or None
    }


def _external_links(value: list[str], project: Project, service: ServiceSpec, number: int) -> dict[str, Any]:
    own = _links(service.keys.get("links", []), project)["links"] or []
    return {"links": [*own, *value]}


def _volumes_from(value: list[str], project: Project, *_: Any) -> dict[str, Any]:
    found = []
    for line in value:
        if line.startswith("container:"):
            found.append(line.removeprefix("container:"))
        else:
            name, separator, mode = line.partition(":")
            found.append(f"{container_name(project, name, 1)}{separator}{mode}")
    return {"volumes_from": found}


def _security(value: list[str], project: Project, *_: Any) -> dict[str, Any]:
    found = []
    for line in value:
        name, separator, rest = line.partition("=") if "=" in line else line.partition(":")
        if name == "seccomp" and rest not in ("builtin", "unconfined"):
            rest = os.path.join(project.directory, os.path.expanduser(rest))
        found.append(f"{name}={rest}" if separator else name)
    return {"security_opt": found}


_COMPUTED: Mapping[str, Callable[..., dict[str, Any]]] = {
    "blkio_config": _blkio,
    "external_links": _external_links,
    "gpus": _gpus,
    "healthcheck": _healthcheck,
    "ipc": _namespace("ipc"),
    "links": _links,
    "logging": _logging,
    "network_mode": _namespace("network"),
    "networks": _networks,
    "pid": _namespace("pid"),
    "ports": _ports,
    "security_opt": _security,
    "ulimits": _ulimits,
    "uts": _namespace("uts"),
    "volumes": lambda *_: {},
    "volumes_from": _volumes_from,
    # Last: the keys above win.
    "deploy": _deploy,
}
"""Keys whose value takes some work."""

MAPPED = frozenset({*_DIRECT, *_COMPUTED, *_ELSEWHERE})
"""Every key that counts."""
