"""Static types of the option keywords.

Made by `python -m pycontainer.options.derive --write`; never edited by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Literal, TypedDict


class RunKwargs(TypedDict, total=False):
    """Keywords of run and create, `command` aside; pycontainer.options.run says what each does."""

    entrypoint: Sequence[str] | str | None
    env: Mapping[str, str | int | float | None] | Sequence[str] | None
    workdir: str | None
    user: str | None
    group_add: Sequence[str | int] | str | None
    init: bool | None
    stop_signal: int | str | None
    stop_timeout: float | str | timedelta | None
    name: str | None
    hostname: str | None
    domainname: str | None
    labels: Mapping[str, str | int | float] | Sequence[str] | None
    annotations: Mapping[str, str | int | float] | Sequence[str] | None
    platform: str | None
    pull: Literal["missing", "always", "never"] | None
    auto_remove: bool | None
    log_max_size: int | str | None
    log_max_files: int | None
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
    network: Literal["none", "host"] | None
    ipc: Literal["private", "host"] | None
    pid: Literal["private", "host"] | None
    uts: Literal["private", "host"] | None
    cgroupns: Literal["private", "host"] | None
    userns: Literal["private", "host"] | None
    uid_map: Sequence[str] | str | None
    gid_map: Sequence[str] | str | None
    time: Literal["private", "host"] | None
    read_only: bool | None
    tmpfs: Mapping[str, str] | Sequence[str] | str | None
    devices: Sequence[str] | str | None
    sysctls: Mapping[str, str | int | float] | Sequence[str] | None
    cap_add: Sequence[str] | str | None
    cap_drop: Sequence[str] | str | None
    security_opt: Sequence[str] | str | None
    privileged: bool | None
