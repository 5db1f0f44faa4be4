"""The keys of a service, each with its shape: what is known, and what it becomes.

Source: compose specification, 05-services, build and deploy, and its JSON schema.
"""

from __future__ import annotations

import re
from typing import Any, Final

from pycontainer.compose.hookschema import DEVELOP, ENVIRONMENT, HOOK
from pycontainer.compose.shapes import (
    At,
    Shape,
    anything,
    boolean,
    choice,
    either,
    fields,
    host_path,
    integer,
    lines,
    listed,
    mapped,
    matching,
    number,
    own_path,
    pairs,
    path,
    seconds,
    size,
    text,
    texts,
    words,
)
from pycontainer.compose.yamlfile import RESET

__all__ = ["LABELS", "OPTIONS", "PULL_POLICIES", "SERVICE_KEYS"]

_NAME = r"[a-zA-Z0-9._-]+"
PULL_POLICIES: Final = (
    r"always|never|build|if_not_present|missing|refresh|daily|weekly|every_([0-9]+[wdhms])+"
)
_REMOTE = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://|git@|service:", re.ASCII)
_PORT_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)
_PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_MAX_PORTS = 4096

LABELS = pairs()
OPTIONS = mapped(lambda value, at: "" if value is None else pairs()({"x": value}, at)["x"])


def _mode(value: Any, at: At) -> int:
    """Permission bits: a number, or text in octal."""
    if isinstance(value, str) and re.fullmatch(r"0?o?[0-7]{1,4}", value, re.ASCII):
        value = int(value.replace("o", ""), 8)
    found: int = integer(0, 0o7777)(value, at)
    return found


def _ports(value: Any, at: At) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise at.error("a list is expected")
    found: list[dict[str, Any]] = []
    for index, item in enumerate(value):
        if item is RESET:
            continue
        here = at.child(index)
        found += _long_port(item, here) if isinstance(item, dict) else _short_port(text(item, here), here)
        if len(found) > _MAX_PORTS:
            raise at.error(f"there are more than {_MAX_PORTS} ports")
    return found


def _long_port(item: dict[str, Any], at: At) -> list[dict[str, Any]]:
    given = _PORT(item, at)
    targets = _range(str(given["target"]), at.child("target"))
    published = str(given.get("published", ""))
    if published:
        _range(published, at.child("published"))
    rest = {key: given[key] for key in ("name", "app_protocol") if key in given}
    return _matched(targets, published, given.get("protocol", "tcp"), given.get("host_ip", ""), rest, at)


_PORT = fields(
    {
        "name": text,
        "mode": choice("host", "ingress"),
        "host_ip": text,
        "target": text,
        "published": text,
        "protocol": choice("tcp", "udp", "sctp"),
        "app_protocol": text,
    },
    required=("target",),
)


def _short_port(item: str, at: At) -> list[dict[str, Any]]:
    """[[IP:]PUBLISHED:]TARGET[/PROTOCOL], each port a number or a range."""
    whole, _, protocol = item.partition("/")
    if protocol.lower() not in ("", "tcp", "udp", "sctp"):
        raise at.error(f"{protocol!r} is no protocol; there are tcp, udp and sctp")
    outer, _, inner = whole.rpartition(":")
    address, _, published = outer.rpartition(":")
    if published:
        _range(published, at)
    return _matched(_range(inner, at), published, protocol.lower() or "tcp", address.strip("[]"), {}, at)


def _matched(
    targets: range, published: str, protocol: str, address: str, rest: dict[str, Any], at: At
) -> list[dict[str, Any]]:
    if not published:
        outer = [""] * len(targets)
    elif len(targets) == 1:
        outer = [published]
    else:
        numbers = _range(published, at)
        if len(numbers) != len(targets):
            raise at.error(f"{len(numbers)} ports of the host cannot be {len(targets)} of the container")
        outer = [str(each) for each in numbers]
    return [
        {"target": target, "published": place, "protocol": protocol, "host_ip": address, **rest}
        for target, place in zip(targets, outer, strict=True)
    ]


def _range(value: str, at: At) -> range:
    match = _PORT_RANGE.fullmatch(value)
    first, last = (int(match[1]), int(match[2] or match[1])) if match is not None else (1, 0)
    if not 0 <= first <= last <= 65535:
        raise at.error(
            f'{value!r} is no port; give "8080:80", "127.0.0.1:8080-8081:80-81/tcp" or the long form'
        )
    return range(first, last + 1)


def _volumes(value: Any, at: At) -> list[dict[str, Any]]:
    def one(item: Any, here: At) -> dict[str, Any]:
        found = _VOLUME(item, here) if isinstance(item, dict) else _short_volume(text(item, here), here)
        if not found.get("target", "").startswith("/"):
            raise here.error(f"the target of a mount is an absolute path, not {found.get('target', '')!r}")
        if found["type"] == "bind":
            if not found.get("source"):
                raise here.error("a bind mount needs a source, a path of this host")
            found["source"] = host_path(found["source"], here)
        return found

    found: list[dict[str, Any]] = listed(one)(value, at)
    return found


def _short_volume(item: str, at: At) -> dict[str, Any]:
    parts = item.split(":")
    if len(parts) > 3 or not all(parts):
        raise at.error(f'{item!r} is no volume; give "name:/path", "./directory:/path:ro" or the long form')
    if len(parts) == 1:
        return {"type": "volume", "target": item}
    source, target = parts[:2]
    is_path = source.startswith((".", "/", "~"))
    found: dict[str, Any] = {"type": "bind" if is_path else "volume", "source": source, "target": target}
    for word in parts[2].split(",") if len(parts) == 3 else ():
        if word in ("ro", "rw"):
            found["read_only"] = word == "ro"
        elif word == "nocopy":
            found["volume"] = {"nocopy": True}
        elif word in _PROPAGATIONS:
            found.setdefault("bind", {})["propagation"] = word
        elif word in ("z", "Z"):
            found.setdefault("bind", {})["selinux"] = word
        elif word not in ("cached", "consistent", "delegated"):
            raise at.error(
                f"{word!r} is no option of a volume; give ro, rw, nocopy, z, Z and {'/'.join(_PROPAGATIONS)}"
            )
    return found


_VOLUME = fields(
    {
        "type": choice("bind", "volume", "tmpfs", "image", "cluster", "npipe"),
        "source": text,
        "target": text,
        "read_only": boolean,
        "consistency": text,
        "bind": fields(
            {
                "propagation": choice(*_PROPAGATIONS),
                "create_host_path": boolean,
                "recursive": choice("enabled", "disabled", "writable", "readonly"),
                "selinux": choice("z", "Z"),
            }
        ),
        "volume": fields({"labels": LABELS, "nocopy": boolean, "subpath": text}),
        "tmpfs": fields({"size": size, "mode": _mode}),
        "image": fields({"subpath": text}),
    },
    required=("type",),
)


def _file_references(root: str) -> Shape:
    def one(value: Any, at: At) -> dict[str, Any]:
        found: dict[str, Any] = _REFERENCE({"source": value} if isinstance(value, str) else value, at)
        target = found.get("target", found["source"])
        found["target"] = target if target.startswith("/") else f"{root}/{target}"
        if ".." in found["target"].split("/"):
            raise at.error(f"{target!r} leads out of its directory; give a path without ..")
        return found

    return listed(one)


_REFERENCE = fields(
    {"source": text, "target": text, "uid": text, "gid": text, "mode": _mode}, required=("source",)
)


def _depends_on(value: Any, at: At) -> dict[str, Any]:
    if isinstance(value, list):
        names = lines(value, at)
        return {name: {"condition": "service_started", "restart": False, "required": True} for name in names}
    found: dict[str, Any] = _DEPENDENCIES(value, at)
    return found


def _dependency(value: Any, at: At) -> dict[str, Any]:
    given = _DEPENDENCY(value, at)
    return {"restart": False, "required": True, **given}


_DEPENDENCY = fields(
    {
        "condition": choice("service_started", "service_healthy", "service_completed_successfully"),
        "restart": boolean,
        "required": boolean,
    },
    required=("condition",),
)
_DEPENDENCIES = mapped(_dependency, keys=_NAME)


def _named(shape: Shape) -> Shape:
    """A mapping of names, or a list of names alone."""

    def whole(value: Any, at: At) -> dict[str, Any]:
        if isinstance(value, list):
            return {name: {} for name in lines(value, at)}
        found: dict[str, Any] = mapped(shape, keys=_NAME, allows_none=True)(value, at)
        return found

    return whole


def _env_files(value: Any, at: At) -> list[dict[str, Any]]:
    def one(item: Any, here: At) -> dict[str, Any]:
        found: dict[str, Any] = _ENV_FILE({"path": item} if isinstance(item, str) else item, here)
        return {"required": True, **found}

    found: list[dict[str, Any]] = listed(one)([value] if isinstance(value, str) else value, at)
    return found


_ENV_FILE = fields({"path": path, "required": boolean, "format": choice("raw")}, required=("path",))


def _paths(value: Any, at: At) -> list[str]:
    found: list[str] = listed(path)([value] if isinstance(value, str) else value, at)
    return found


def _build(value: Any, at: At) -> dict[str, Any]:
    found: dict[str, Any] = _BUILD({"context": value} if isinstance(value, str) else value, at)
    if "context" in found and not _REMOTE.match(str(found["context"])):
        found["context"] = host_path(found["context"], at.child("context"))
    contexts = found.get("additional_contexts")
    if isinstance(contexts, dict):
        found["additional_contexts"] = {
            name: place if place is RESET or _REMOTE.match(place) else host_path(place, at)
            for name, place in contexts.items()
        }
    return found


def _limit(value: Any, at: At) -> dict[str, int]:
    if isinstance(value, dict):
        found: dict[str, int] = fields({"soft": integer(-1), "hard": integer(-1)}, required=("soft", "hard"))(
            value, at
        )
        return {"soft": found["soft"], "hard": found["hard"]}
    both: int = integer(-1)(value, at)
    return {"soft": both, "hard": both}


_ULIMITS = mapped(_limit, keys=r"[a-z]+")


def _extra_hosts(value: Any, at: At) -> list[str]:
    if isinstance(value, list):
        return [_extra_host(text(item, at.child(index)), at.child(index)) for index, item in enumerate(value)]
    found: dict[str, list[str]] = mapped(texts)(value, at)
    return [f"{name}={address}" for name, addresses in found.items() for address in addresses]


def _extra_host(item: str, at: At) -> str:
    name, equals, address = item.partition("=")
    if not equals:
        name, equals, address = item.partition(":")
    if not equals or not name:
        raise at.error(f'{item!r} has no address; give "name=address"')
    return f"{name}={address}"


def _provenance(value: Any, at: At) -> bool | str:
    """Whether to attest how it was built, or how much of it, as mode=max."""
    is_truth = isinstance(value, bool) or str(value).lower() in ("true", "false")
    return boolean(value, at) if is_truth else text(value, at)


_BUILD = fields(
    {
        "context": text,
        "dockerfile": text,
        "dockerfile_inline": text,
        "entitlements": lines,
        "args": ENVIRONMENT,
        "ssh": either({str: texts, list: lines, dict: pairs(missing=None)}, "a name or a list"),
        "labels": LABELS,
        "cache_from": lines,
        "cache_to": lines,
        "no_cache": boolean,
        "no_cache_filter": texts,
        "additional_contexts": pairs(),
        "network": text,
        "provenance": _provenance,
        "sbom": boolean,
        "pull": boolean,
        "target": text,
        "shm_size": size,
        "extra_hosts": _extra_hosts,
        "isolation": text,
        "privileged": boolean,
        "secrets": _file_references("/run/secrets"),
        "tags": lines,
        "ulimits": _ULIMITS,
        "platforms": lines,
    }
)


def _devices(value: Any, at: At) -> list[str]:
    def one(item: Any, here: At) -> str:
        if not isinstance(item, dict):
            return text(item, here)
        given = fields({"source": text, "target": text, "permissions": text}, required=("source",))(
            item, here
        )
        return ":".join(
            (given["source"], given.get("target", given["source"]), given.get("permissions", "rwm"))
        )

    found: list[str] = listed(one)(value, at)
    return found


def _gpus(value: Any, at: At) -> list[dict[str, Any]]:
    if value == "all":
        return [{"count": -1}]
    found: list[dict[str, Any]] = listed(_DEVICE_REQUEST)(value, at)
    return found


def _device_count(value: Any, at: At) -> int:
    return -1 if value == "all" else int(integer(-1)(value, at))


_DEVICE_REQUEST = fields(
    {
        "capabilities": lines,
        "count": _device_count,
        "device_ids": lines,
        "driver": text,
        "options": LABELS,
    }
)

_HEALTHCHECK = fields(
    {
        "disable": boolean,
        "interval": seconds,
        "retries": integer(0),
        "test": lambda value, at: ["CMD-SHELL", value] if isinstance(value, str) else lines(value, at),
        "timeout": seconds,
        "start_period": seconds,
        "start_interval": seconds,
    }
)

_RATES = listed(fields({"path": text, "rate": size}, has_extensions=False))
_BLKIO = fields(
    {
        "device_read_bps": _RATES,
        "device_read_iops": _RATES,
        "device_write_bps": _RATES,
        "device_write_iops": _RATES,
        "weight": integer(0, 1000),
        "weight_device": listed(fields({"path": text, "weight": integer(0, 1000)}, has_extensions=False)),
    },
    has_extensions=False,
)

_UPDATE = fields(
    {
        "parallelism": integer(0),
        "delay": seconds,
        "failure_action": text,
        "monitor": seconds,
        "max_failure_ratio": number,
        "order": choice("start-first", "stop-first"),
    }
)
_DEPLOY = fields(
    {
        "mode": choice("replicated", "global", "replicated-job", "global-job"),
        "endpoint_mode": choice("vip", "dnsrr"),
        "replicas": integer(0),
        "labels": LABELS,
        "rollback_config": _UPDATE,
        "update_config": _UPDATE,
        "resources": fields(
            {
                "limits": fields({"cpus": number, "memory": size, "pids": integer(-1)}),
                "reservations": fields(
                    {
                        "cpus": number,
                        "memory": size,
                        "generic_resources": anything,
                        "devices": listed(_DEVICE_REQUEST),
                    }
                ),
            }
        ),
        "restart_policy": fields(
            {
                "condition": choice("none", "on-failure", "any"),
                "delay": seconds,
                "max_attempts": integer(0),
                "window": seconds,
            }
        ),
        "placement": anything,
    }
)

_SERVICE_NETWORK = fields(
    {
        "aliases": lines,
        "interface_name": text,
        "ipv4_address": text,
        "ipv6_address": text,
        "link_local_ips": lines,
        "mac_address": text,
        "driver_opts": OPTIONS,
        "priority": integer(),
        "gw_priority": integer(),
    }
)


def _extends(value: Any, at: At) -> dict[str, Any]:
    shape = fields({"service": text, "file": own_path}, required=("service",), has_extensions=False)
    found: dict[str, Any] = shape({"service": value} if isinstance(value, str) else value, at)
    return found


SERVICE_KEYS: dict[str, Shape] = {
    "annotations": LABELS,
    "attach": boolean,
    "blkio_config": _BLKIO,
    "build": _build,
    "cap_add": lines,
    "cap_drop": lines,
    "cgroup": choice("host", "private"),
    "cgroup_parent": text,
    "command": words,
    "configs": _file_references(""),
    "container_name": matching(
        r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", "start with a letter or digit, then letters, digits, _ . -"
    ),
    "cpu_count": integer(0),
    "cpu_percent": number,
    "cpu_period": integer(),
    "cpu_quota": integer(),
    "cpu_rt_period": lambda value, at: _microseconds(value, at),
    "cpu_rt_runtime": lambda value, at: _microseconds(value, at),
    "cpu_shares": integer(),
    "cpus": number,
    "cpuset": text,
    "credential_spec": anything,
    "depends_on": _depends_on,
    "deploy": _DEPLOY,
    "develop": DEVELOP,
    "device_cgroup_rules": lines,
    "devices": _devices,
    "dns": texts,
    "dns_opt": lines,
    "dns_search": texts,
    "domainname": text,
    "entrypoint": words,
    "env_file": _env_files,
    "environment": ENVIRONMENT,
    "expose": lines,
    "extends": _extends,
    "external_links": lines,
    "extra_hosts": _extra_hosts,
    "gpus": _gpus,
    "group_add": lines,
    "healthcheck": _HEALTHCHECK,
    "hostname": text,
    "image": text,
    "init": boolean,
    "ipc": text,
    "isolation": text,
    "label_file": _paths,
    "labels": LABELS,
    "links": lines,
    "logging": fields({"driver": text, "options": OPTIONS}),
    "mac_address": text,
    "mem_limit": size,
    "mem_reservation": size,
    "mem_swappiness": integer(0, 100),
    "memswap_limit": size,
    "models": anything,
    "network_mode": text,
    "networks": _named(_SERVICE_NETWORK),
    "oom_kill_disable": boolean,
    "oom_score_adj": integer(-1000, 1000),
    "pid": text,
    "pids_limit": integer(-1),
    "platform": text,
    "ports": _ports,
    "post_start": listed(HOOK),
    "pre_stop": listed(HOOK),
    "privileged": boolean,
    "profiles": lines,
    "provider": anything,
    "pull_policy": matching(PULL_POLICIES, "give always, never, missing, build, daily, weekly or every_12h"),
    "pull_refresh_after": text,
    "read_only": boolean,
    "restart": matching(
        r"no|always|unless-stopped|on-failure(:[0-9]+)?", "give no, always, unless-stopped or on-failure[:3]"
    ),
    "runtime": text,
    "scale": integer(0),
    "secrets": _file_references("/run/secrets"),
    "security_opt": lines,
    "shm_size": size,
    "stdin_open": boolean,
    "stop_grace_period": seconds,
    "stop_signal": text,
    "storage_opt": OPTIONS,
    "sysctls": LABELS,
    "tmpfs": texts,
    "tty": boolean,
    "ulimits": _ULIMITS,
    "use_api_socket": boolean,
    "user": text,
    "userns_mode": text,
    "uts": text,
    "volumes": _volumes,
    "volumes_from": lines,
    "working_dir": text,
}
"""Every key of a service."""


def _microseconds(value: Any, at: At) -> int:
    """Microseconds, or a duration."""
    if isinstance(value, str) and not value.isdigit():
        return round(seconds(value, at) * 1e6)
    return int(integer(0)(value, at))
