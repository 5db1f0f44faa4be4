"""Containers and images in the words of `docker inspect`, for the tools that read it.

Source: Docker Engine API v1.45, ContainerInspect and ImageInspect; only fields that mean something here.
"""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pycontainer.engine.hostconfig import host_config
from pycontainer.engine.logdrivers import readable_log
from pycontainer.engine.recipes import manager_for, spec_of
from pycontainer.engine.supervision import (
    Health,
    health_document,
    health_of,
    healthcheck_document,
)
from pycontainer.errors import NotFound
from pycontainer.oci import Reference
from pycontainer.options import is_network, parse_run_options, split_port

if TYPE_CHECKING:
    from pathlib import Path

    from pycontainer.engine.engine import Engine
    from pycontainer.engine.images import Image
    from pycontainer.engine.state import Observed
    from pycontainer.oci import ContainerConfig, Healthcheck, ImageConfig
    from pycontainer.options import RunOptions
    from pycontainer.store import ContainerRecord, ImageRecord

__all__ = ["container_document", "image_document"]

_NEVER = "0001-01-01T00:00:00Z"  # Go's zero time, as Docker shows it


def _log_path(directory: Path, container_id: str, options: RunOptions) -> str:
    """Where its log is read, "" when its driver keeps none here, as Docker says it."""
    try:
        return str(readable_log(directory, container_id, options)[0])
    except NotFound:
        return ""


def container_document(
    engine: Engine, record: ContainerRecord, options: RunOptions, observed: Observed, image: Image
) -> dict[str, Any]:
    """What `docker container inspect` shows."""
    config = image.config
    # Whatever this engine would do: of a container that runs or is meant for the other kind of parent, too.
    manager = observed.cgroup_manager or manager_for(options, engine.config.cgroup_manager)
    spec = spec_of(engine, record.id, options, config, manager=manager)
    directory = engine.store.container_dir(record.id)
    process, linux = spec.process, spec.linux
    assert process is not None  # build_spec always makes them
    assert linux is not None
    arguments = list(process.args)
    return {
        "Id": record.id,
        "Created": _time(datetime.fromtimestamp(record.created_at, UTC)),
        "Path": arguments[0],
        "Args": arguments[1:],
        "State": _state(observed, health_of(directory, observed)),
        "RestartCount": observed.restart_count,
        "Image": record.image_id,
        # These are files in memory, of no path of the host.
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": _log_path(directory, record.id, options),
        "Name": f"/{record.name}",
        "Driver": "overlay",
        "Platform": config.os,
        "MountLabel": linux.mount_label or "",
        "ProcessLabel": process.selinux_label or "",
        "AppArmorProfile": process.apparmor_profile or "",
        "ExecIDs": _exec_ids(engine, record, observed),
        "HostConfig": host_config(options, config, spec),
        "GraphDriver": {"Name": "overlay", "Data": {"UpperDir": f"{directory}/upper"}},
        "Mounts": _mounts(engine, record),
        "NetworkSettings": _network_settings(engine, record, options, config, observed),
        "Config": {
            "Hostname": spec.hostname or "",
            "Domainname": spec.domainname or "",
            "User": options.user or config.config.user,
            "ExposedPorts": {port: {} for port in exposed(options, config)},
            "Env": list(process.env),
            "AttachStdin": False,
            "AttachStdout": False,
            "AttachStderr": False,
            "Tty": options.tty,
            "OpenStdin": options.stdin_open,
            "StdinOnce": False,
            "Cmd": list(options.command) if options.command else _or_none(config.config.cmd),
            "Image": record.image_ref,
            "Volumes": {path: {} for path in _own_volumes(options, config)} or None,
            "WorkingDir": process.cwd,
            "Entrypoint": list(options.entrypoint)
            if options.entrypoint
            else _or_none(config.config.entrypoint),
            "OnBuild": None,
            "Labels": {**config.config.labels, **(options.labels or {})},
            "StopSignal": _signal_name(options, config),
            "StopTimeout": None if options.stop_timeout is None else round(options.stop_timeout),
            **healthcheck_document(options, config),
        },
    }


def _exec_ids(engine: Engine, record: ContainerRecord, observed: Observed) -> list[str] | None:
    if observed.pid is None:
        return None
    from pycontainer.engine import execs  # needs more than the documents of most do

    return [each.id for each in execs.list_all(engine, record) if each.is_running] or None


def _own_volumes(options: RunOptions, config: ImageConfig) -> tuple[str, ...]:
    """Where the container has volumes of its own: those of its image, and options that name none."""
    own = (point.target for point in options.volumes or () if not point.source)
    return tuple(dict.fromkeys((*config.config.volumes, *own)))


def _signal_name(options: RunOptions, config: ImageConfig) -> str | None:
    if options.stop_signal is None:
        return config.config.stop_signal or None
    try:
        return signal.Signals(options.stop_signal).name
    except ValueError:
        return str(options.stop_signal)  # one of the many between the named real-time ones


def exposed(options: RunOptions, config: ImageConfig) -> tuple[str, ...]:
    """The ports that a container serves: its image's, those of the option, and those that are published."""
    published = (f"{each.port}/{each.protocol}" for each in map(split_port, options.ports or ()))
    return tuple(dict.fromkeys((*config.config.exposed_ports, *(options.expose or ()), *published)))


def _network_settings(
    engine: Engine, record: ContainerRecord, options: RunOptions, config: ImageConfig, observed: Observed
) -> dict[str, Any]:
    ports: dict[str, Any] = dict.fromkeys(exposed(options, config)) if observed.pid is not None else {}
    for bound in observed.ports:
        key = f"{bound['port']}/{bound['protocol']}"
        where = {"HostIp": bound["host_address"], "HostPort": str(bound["host_port"] or "")}
        ports[key] = [*(ports.get(key) or ()), where]
    networks: dict[str, Any] = {}
    if is_network(options.network) or engine.store.state.endpoints.of_container(record.id):
        from pycontainer.engine import placeviews  # containers without networks do without

        networks = placeviews.described(engine, record, options)
    elif not options.network.startswith("container:"):
        networks = {options.network: {"NetworkID": "", "IPAddress": "", "MacAddress": "", "Gateway": ""}}
    first: dict[str, Any] = next(iter(networks.values()), {})
    return {
        "Ports": dict(sorted(ports.items())),
        "IPAddress": first.get("IPAddress", ""),
        "Gateway": first.get("Gateway", ""),
        "MacAddress": first.get("MacAddress", ""),
        "Networks": networks,
    }


def _mounts(engine: Engine, record: ContainerRecord) -> list[dict[str, Any]]:
    found = []
    for point in parse_run_options(**record.options).mounts or ():
        entry: dict[str, Any] = {
            "Type": point.kind,
            "Source": point.source,
            "Destination": point.target,
            "Mode": ",".join(point.words),
            "RW": not point.is_readonly,
            "Propagation": point.propagation if point.kind == "bind" else "",
        }
        if point.kind == "volume":
            from pycontainer.engine.volumes import data_of  # containers without volumes do without

            source = point.device or str(data_of(engine, point.source))
            entry |= {"Name": point.source, "Driver": "local", "Source": source}
        found.append(entry)
    return found


def image_document(engine: Engine, record: ImageRecord, config: ImageConfig) -> dict[str, Any]:
    """What `docker image inspect` shows."""
    names = [Reference.parse(tag.name) for tag in engine.store.state.images.tags(record.id)]
    repositories = sorted({name.repository for name in names})
    return {
        "Id": record.id,
        "RepoTags": [name.familiar for name in names if name.tag is not None],
        "RepoDigests": [f"{name}@{record.target_digest}" for name in repositories],
        "Created": config.created,
        "Comment": config.history[-1].comment if config.history else "",
        "Author": config.author,
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "Size": record.size,
        "RootFS": {"Type": "layers", "Layers": list(config.diff_ids)},
        "Config": _image_config(config.config),
    }


def _image_config(config: ContainerConfig) -> dict[str, Any]:
    return {
        "User": config.user,
        "ExposedPorts": {port: {} for port in config.exposed_ports},
        "Env": list(config.env),
        "Entrypoint": _or_none(config.entrypoint),
        "Cmd": _or_none(config.cmd),
        "Volumes": {path: {} for path in config.volumes},
        "WorkingDir": config.working_dir,
        "Labels": dict(config.labels),
        "StopSignal": config.stop_signal,
        "OnBuild": list(config.on_build),
        **({"Healthcheck": _healthcheck(config.healthcheck)} if config.healthcheck is not None else {}),
        **({"Shell": list(config.shell)} if config.shell is not None else {}),
    }


def _healthcheck(check: Healthcheck) -> dict[str, Any]:
    """As moby writes it: what is not set is left out."""
    found = {
        "Test": list(check.test),
        "Interval": check.interval_ns,
        "Timeout": check.timeout_ns,
        "StartPeriod": check.start_period_ns,
        "StartInterval": check.start_interval_ns,
        "Retries": check.retries,
    }
    return {name: value for name, value in found.items() if value}


def _state(observed: Observed, health: Health | None) -> dict[str, Any]:
    state = str(observed.state)
    return {
        "Status": state,
        "Running": state in ("running", "paused", "restarting"),  # as Docker has it
        "Paused": state == "paused",
        "Restarting": state == "restarting",
        "OOMKilled": observed.oom_killed,
        "Dead": state == "dead",
        "Pid": observed.pid or 0,
        "ExitCode": observed.exit_code or 0,
        "Error": observed.error,
        "StartedAt": _time(observed.started_at),
        "FinishedAt": _time(observed.finished_at),
        **({} if health is None else {"Health": health_document(health)}),
    }


def _or_none(words: tuple[str, ...] | None) -> list[str] | None:
    return None if words is None else list(words)


def _time(moment: datetime | None) -> str:
    return _NEVER if moment is None else moment.isoformat().replace("+00:00", "Z")
