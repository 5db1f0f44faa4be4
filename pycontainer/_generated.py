"""Static types of the option keywords.

Made by `python -m pycontainer.options.derive --write`; never edited by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from os import PathLike
from typing import Any, Literal, TypedDict


class RunKwargs(TypedDict, total=False):
    """Keywords of run and create, `command` aside; pycontainer.options.run says what each does."""

    entrypoint: Sequence[str] | str | None
    env: Mapping[str, str | int | float | None] | Sequence[str] | None
    env_file: Sequence[str | PathLike[str]] | str | PathLike[str] | None
    env_host: bool | None
    http_proxy: bool | None
    unsetenv: Sequence[str] | str | None
    unsetenv_all: bool | None
    env_merge: Mapping[str, str | int | float] | Sequence[str] | None
    workdir: str | None
    user: str | None
    group_add: Sequence[str | int] | str | None
    umask: int | str | None
    tz: str | None
    tty: bool | None
    stdin_open: bool | None
    init: bool | None
    stop_signal: int | str | None
    stop_timeout: float | str | timedelta | None
    name: str | None
    replace: bool | None
    hostname: str | None
    domainname: str | None
    labels: Mapping[str, str | int | float] | Sequence[str] | None
    label_file: Sequence[str | PathLike[str]] | str | PathLike[str] | None
    annotations: Mapping[str, str | int | float] | Sequence[str] | None
    platform: str | None
    pull: Literal["missing", "always", "never"] | None
    auto_remove: bool | None
    log_driver: Literal["local", "json-file", "none", "journald", "syslog"] | None
    log_opts: Mapping[str, str | int | float] | Sequence[str] | None
    requires: Mapping[str, str] | Sequence[str] | str | None
    run_timeout: float | str | timedelta | None
    restart: str | None
    health_cmd: Sequence[str] | str | None
    health_interval: float | str | timedelta | None
    health_timeout: float | str | timedelta | None
    health_retries: int | None
    health_start_period: float | str | timedelta | None
    health_start_interval: float | str | timedelta | None
    health_on_failure: Literal["none", "kill", "restart", "stop"] | None
    no_healthcheck: bool | None
    memory: int | str | None
    memory_reservation: int | str | None
    memory_swap: int | str | None
    memory_swappiness: int | None
    oom_kill_disable: bool | None
    oom_score_adj: int | None
    shm_size: int | str | None
    cpus: float | str | None
    cpu_shares: int | None
    cpu_period: int | None
    cpu_quota: int | None
    cpu_rt_period: int | None
    cpu_rt_runtime: int | None
    cpuset_cpus: str | None
    cpuset_mems: str | None
    pids_limit: int | None
    blkio_weight: int | None
    blkio_weight_device: Mapping[str, int] | Sequence[str] | str | None
    device_read_bps: Mapping[str, int | str] | Sequence[str] | str | None
    device_read_iops: Mapping[str, int] | Sequence[str] | str | None
    device_write_bps: Mapping[str, int | str] | Sequence[str] | str | None
    device_write_iops: Mapping[str, int] | Sequence[str] | str | None
    cgroup_parent: str | None
    cgroup_conf: Mapping[str, str | int | float] | Sequence[str] | None
    ulimits: Mapping[str, int | tuple[int, int] | str] | Sequence[str] | str | None
    storage_opt: Mapping[str, str | int | float] | Sequence[str] | None
    network: str | Sequence[str] | Mapping[str, object] | object | None
    ip: str | None
    ip6: str | None
    link_local_ip: Sequence[str] | str | None
    mac_address: str | None
    network_alias: Sequence[str] | str | None
    ports: Mapping[int | str, object] | Sequence[int | str] | int | str | None
    publish_all: bool | None
    expose: Sequence[int | str] | int | str | None
    dns: Sequence[str] | str | None
    dns_search: Sequence[str] | str | None
    dns_option: Sequence[str] | str | None
    extra_hosts: Mapping[str, str] | Sequence[str] | str | None
    no_hosts: bool | None
    no_hostname: bool | None
    hosts_file: str | None
    links: Sequence[str] | str | None
    egress: Literal["allow", "deny"] | None
    egress_allow: Sequence[str] | str | None
    ipc: str | None
    pid: str | None
    uts: str | None
    cgroupns: str | None
    userns: str | None
    uid_map: Sequence[str] | str | None
    gid_map: Sequence[str] | str | None
    personality: Literal["LINUX", "LINUX32"] | None
    time: Literal["private", "host"] | None
    read_only: bool | None
    read_only_tmpfs: bool | None
    tmpfs: Mapping[str, str] | Sequence[str] | str | None
    image_volume: Literal["bind", "tmpfs", "ignore"] | None
    mounts: Sequence[str | Mapping[str, object]] | Mapping[str, object] | str | None
    volumes: Mapping[Any, Any] | Sequence[str] | str | None
    volumes_from: Sequence[str] | str | None
    devices: Sequence[str] | str | None
    device_cgroup_rules: Sequence[str] | str | None
    gpus: int | str | None
    sysctls: Mapping[str, str | int | float] | Sequence[str] | None
    cap_add: Sequence[str] | str | None
    cap_drop: Sequence[str] | str | None
    security_opt: Sequence[str] | str | None
    privileged: bool | None


class UpdateKwargs(TypedDict, total=False):
    """Keywords of Container.update: what a container takes when it exists, and also while it runs."""

    restart: str | None
    memory: int | str | None
    memory_reservation: int | str | None
    memory_swap: int | str | None
    memory_swappiness: int | None
    oom_kill_disable: bool | None
    cpus: float | str | None
    cpu_shares: int | None
    cpu_period: int | None
    cpu_quota: int | None
    cpu_rt_period: int | None
    cpu_rt_runtime: int | None
    cpuset_cpus: str | None
    cpuset_mems: str | None
    pids_limit: int | None
    blkio_weight: int | None
    blkio_weight_device: Mapping[str, int] | Sequence[str] | str | None
    device_read_bps: Mapping[str, int | str] | Sequence[str] | str | None
    device_read_iops: Mapping[str, int] | Sequence[str] | str | None
    device_write_bps: Mapping[str, int | str] | Sequence[str] | str | None
    device_write_iops: Mapping[str, int] | Sequence[str] | str | None
    cgroup_conf: Mapping[str, str | int | float] | Sequence[str] | None
    egress: Literal["allow", "deny"] | None
    egress_allow: Sequence[str] | str | None
