"""Every option of run and create, declared once.

`command` and `image` are positional in the SDK; all else here is a keyword, a flag, a Docker API field.
None (or False) means "not asked": the image's own value, or the engine's default, applies.
"""

# ruff: noqa: RUF009  (option() is attrs.field: evaluated once per class, as meant)
from __future__ import annotations

from typing import Any

import attrs

from pycontainer.options import egress as egress_
from pycontainer.options import kinds, naming
from pycontainer.options import mounts as mounts_
from pycontainer.options import network as network_
from pycontainer.options import ports as ports_
from pycontainer.options import volumes as volumes_
from pycontainer.options.field import option
from pycontainer.options.kinds import Kind, choice, integer, matching, namespace_mode
from pycontainer.options.policies import Requirement, RestartPolicy
from pycontainer.values import Value

_CPU_LIST = r"\d{1,6}(-\d{1,6})?(,\d{1,6}(-\d{1,6})?)*"
_HOST_NAME = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
_NAMESPACE = namespace_mode("private", "host")
_CPU_SET = matching(_CPU_LIST, 'give CPU or node numbers as "0-2,4"', "LIST")
_NAME = matching(
    r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}", "start with a letter or digit, then letters, digits, _ . -", "NAME"
)
_HOSTNAME = matching(
    rf"(?=.{{1,63}}$){_HOST_NAME}", "give labels of letters, digits and hyphens, 63 in all at most", "NAME"
)


def _resource(flag: str, spec: str, kind: Kind, unit: str, doc: str, api: str) -> Any:
    """A limit that a running container takes too."""
    return option(
        flag,
        kind=kind,
        spec=f"linux.resources.{spec}",
        unit=unit,
        doc=doc,
        api=f"HostConfig.{api}",
        update=True,
    )


@attrs.define(frozen=True, kw_only=True, eq=False, repr=False)
class RunOptions(Value):
    """What a container is asked to be; made by `parse_run_options`, which checks every value."""

    # What runs
    command: tuple[str, ...] | None = option(
        "COMMAND", kind=kinds.WORDS, spec="specgen:arguments", api="Cmd",
        doc="Program and arguments, instead of the image's command.",
    )  # fmt: skip
    entrypoint: tuple[str, ...] | None = option(
        "--entrypoint", kind=kinds.WORDS, spec="specgen:arguments", api="Entrypoint",
        doc="Program put before the command; replaces the image's entrypoint and drops its command.",
    )  # fmt: skip
    env: dict[str, str | None] | None = option(
        "--env", kind=kinds.ENVIRONMENT, spec="specgen:environment", api="Env", is_secret=True,
        doc="Environment variables, as a dict or KEY=VALUE lines; None removes the image's variable.",
    )  # fmt: skip
    env_file: tuple[str, ...] | None = option(
        "--env-file", kind=kinds.FILES, spec="engine:environment",
        doc="Files of KEY=VALUE lines, read when the container is made; variables of env win.",
    )  # fmt: skip
    env_host: bool = option(
        "--env-host", kind=kinds.FLAG, spec="engine:environment", default=False,
        doc="Pass on every variable of the caller's environment; those of env and env_file win.",
    )  # fmt: skip
    http_proxy: bool = option(
        "--http-proxy", kind=kinds.FLAG, spec="engine:environment", default=False,
        doc="Pass on our http_proxy, https_proxy, ftp_proxy, no_proxy and all_proxy, in either case.",
    )  # fmt: skip
    unsetenv: tuple[str, ...] | None = option(
        "--unsetenv", kind=kinds.LINES, spec="specgen:environment",
        doc="Variables of the image, or default ones, to leave out.",
    )  # fmt: skip
    unsetenv_all: bool = option(
        "--unsetenv-all", kind=kinds.FLAG, spec="specgen:environment", default=False,
        doc="Leave out every variable but those given by name or file.",
    )  # fmt: skip
    env_merge: dict[str, str] | None = option(
        "--env-merge", kind=kinds.MAPPING, spec="specgen:environment", is_secret=True,
        doc="Variables made of the image's own, as PATH=/opt/bin:$PATH or ${PATH}; those of env win.",
    )  # fmt: skip
    workdir: str | None = option(
        "--workdir", kind=kinds.PATH, spec="process.cwd", api="WorkingDir",
        doc="Directory the program starts in, made when missing.",
    )  # fmt: skip
    user: str | None = option(
        "--user", kind=kinds.TEXT, spec="specgen:user", api="User",
        doc="User (and group) by name or number as name, uid, name:group or uid:gid.",
    )  # fmt: skip
    group_add: tuple[str, ...] | None = option(
        "--group-add", kind=kinds.ID_OR_NAME_LIST, spec="specgen:user", api="HostConfig.GroupAdd",
        doc="Further groups of the program, by name or number.",
    )  # fmt: skip
    umask: int | None = option(
        "--umask", kind=kinds.UMASK, spec="process.user.umask", unit="permission bits",
        doc="Permissions that new files do not get; 0022 by default.",
    )  # fmt: skip
    tz: str | None = option(
        "--tz", kind=kinds.TIME_ZONE, spec="specgen:environment",
        doc="Time zone by name, or the host's own with local: sets TZ and /etc/localtime.",
    )  # fmt: skip
    tty: bool = option(
        "--tty", kind=kinds.FLAG, spec="process.terminal", api="Tty", default=False,
        doc="Give the program a terminal as its input and output.",
    )  # fmt: skip
    stdin_open: bool = option(
        "--interactive", kind=kinds.FLAG, spec="engine:stdin", api="OpenStdin", default=False,
        doc="Keep the standard input open for those who attach.",
    )  # fmt: skip
    init: bool = option(
        "--init", kind=kinds.FLAG, spec="engine:init", api="HostConfig.Init", default=False,
        doc="Run a small init as process 1 that forwards signals and reaps orphans.",
    )  # fmt: skip
    stop_signal: int | None = option(
        "--stop-signal", kind=kinds.SIGNAL, spec="engine:stop", api="StopSignal", unit="signal",
        doc="Signal that asks the program to stop; the image's own or SIGTERM otherwise.",
    )  # fmt: skip
    stop_timeout: float | None = option(
        "--stop-timeout", kind=kinds.STOP_TIMEOUT, spec="engine:stop", api="StopTimeout", unit="seconds",
        doc="Seconds to wait after the stop signal before SIGKILL; 10 by default, -1 waits for ever.",
    )  # fmt: skip

    # Names
    name: str | None = option(
        "--name", kind=_NAME, spec="engine:name", doc="Name of the container, unique in its store.",
    )  # fmt: skip
    replace: bool = option(
        "--replace", kind=kinds.FLAG, spec="engine:name", default=False,
        doc="Remove the container that has the name, running or not, and take its place.",
    )  # fmt: skip
    hostname: str | None = option(
        "--hostname", kind=_HOSTNAME, spec="hostname", api="Hostname",
        doc="Host name inside; the first 12 digits of the container's id by default.",
    )  # fmt: skip
    domainname: str | None = option(
        "--domainname", kind=_HOSTNAME, spec="domainname", api="Domainname",
        doc="NIS domain name inside.",
    )  # fmt: skip
    labels: dict[str, str] | None = option(
        "--label", kind=kinds.MAPPING, spec="engine:labels", api="Labels",
        doc="Labels of the container, added to the image's.",
    )  # fmt: skip
    label_file: tuple[str, ...] | None = option(
        "--label-file", kind=kinds.FILES, spec="engine:labels",
        doc="Files of KEY=VALUE lines, read when the container is made; labels given by name win.",
    )  # fmt: skip
    annotations: dict[str, str] | None = option(
        "--annotation", kind=kinds.MAPPING, spec="annotations", api="HostConfig.Annotations",
        doc="Annotations written into the runtime-spec.",
    )  # fmt: skip

    # The image and what is kept
    platform: str | None = option(
        "--platform", kind=kinds.TEXT, spec="engine:platform", api="platform",
        doc="Platform of the image as os/architecture/variant; the host's by default.",
    )  # fmt: skip
    pull: str = option(
        "--pull", kind=choice("missing", "always", "never"), spec="engine:pull", default="missing",
        doc="When to ask the registry for the image.",
    )  # fmt: skip
    auto_remove: bool = option(
        "--rm", kind=kinds.FLAG, spec="engine:remove", api="HostConfig.AutoRemove", default=False,
        doc="Remove the container when it has ended.",
    )  # fmt: skip
    log_driver: str = option(
        "--log-driver", kind=kinds.LOG_DRIVER, spec="engine:log", default="local",
        api="HostConfig.LogConfig.Type", doc="Where the output of the container is kept or sent.",
    )  # fmt: skip
    log_opts: dict[str, str] | None = option(
        "--log-opt", kind=kinds.MAPPING, spec="engine:log", api="HostConfig.LogConfig.Config",
        doc="Options of the log driver, as max-size=10m, max-file=3 or mode=non-blocking.",
    )  # fmt: skip

    # When it starts, how long it runs, how it is kept alive
    requires: tuple[Requirement, ...] | None = option(
        "--requires", kind=kinds.REQUIREMENTS, spec="engine:start",
        doc="Containers that are started before it: by name, as db, db:healthy to wait for that, or "
        "db:completed to wait for its end without an error.",
    )  # fmt: skip
    run_timeout: float | None = option(
        "--timeout", kind=kinds.RUN_TIMEOUT, spec="engine:stop", unit="seconds",
        doc="Longest time that it runs, also when nobody looks: then it is killed; no limit by default.",
    )  # fmt: skip
    restart: RestartPolicy | None = option(
        "--restart", kind=kinds.RESTART, spec="engine:restart", api="HostConfig.RestartPolicy", update=True,
        doc="Start it again when it has ended: no, always, unless-stopped or on-failure[:retries].",
    )  # fmt: skip
    health_cmd: tuple[str, ...] | None = option(
        "--health-cmd", kind=kinds.HEALTH_COMMAND, spec="engine:health", api="Healthcheck.Test",
        doc="Command that exits with 0 while the container is healthy: a shell line, or a list of words.",
    )  # fmt: skip
    health_interval: float | None = option(
        "--health-interval", kind=kinds.HEALTH_TIME, spec="engine:health", api="Healthcheck.Interval",
        unit="seconds", doc="Time between two checks; 30 by default.",
    )  # fmt: skip
    health_timeout: float | None = option(
        "--health-timeout", kind=kinds.HEALTH_TIME, spec="engine:health", api="Healthcheck.Timeout",
        unit="seconds", doc="Time after which a check has failed; 30 by default.",
    )  # fmt: skip
    health_retries: int | None = option(
        "--health-retries", kind=integer(0, 10**6), spec="engine:health", api="Healthcheck.Retries",
        unit="checks", doc="Failed checks in a row that make the container unhealthy; 3 by default.",
    )  # fmt: skip
    health_start_period: float | None = option(
        "--health-start-period", kind=kinds.HEALTH_TIME, spec="engine:health",
        api="Healthcheck.StartPeriod", unit="seconds",
        doc="Time after the start in which failed checks do not count; 0 by default.",
    )  # fmt: skip
    health_start_interval: float | None = option(
        "--health-start-interval", kind=kinds.HEALTH_TIME, spec="engine:health",
        api="Healthcheck.StartInterval", unit="seconds",
        doc="Time between two checks in the start period; 5 by default.",
    )  # fmt: skip
    health_on_failure: str = option(
        "--health-on-failure", kind=choice("none", "kill", "restart", "stop"), spec="engine:health",
        default="none",
        doc="What is done when the container becomes unhealthy; after kill and restart its restart policy "
        "counts, and restart starts it again without one, too.",
    )  # fmt: skip
    no_healthcheck: bool = option(
        "--no-healthcheck", kind=kinds.FLAG, spec="engine:health", default=False,
        doc="Switch off the health check of the image.",
    )  # fmt: skip

    # Memory
    memory: int | None = _resource(
        "--memory", "memory.limit", kinds.SIZE, "bytes",
        "Most memory the container may use; 6 MiB at least.", "Memory",
    )  # fmt: skip
    memory_reservation: int | None = _resource(
        "--memory-reservation", "memory.reservation", kinds.SIZE, "bytes",
        "Memory that is kept for the container when the host runs short.", "MemoryReservation",
    )  # fmt: skip
    memory_swap: int | None = _resource(
        "--memory-swap", "memory.swap", kinds.SIZE_OR_MINUS_ONE, "bytes",
        "Memory and swap together; twice the memory by default, equal to it for no swap, -1 lifts the limit.",
        "MemorySwap",
    )  # fmt: skip
    memory_swappiness: int | None = _resource(
        "--memory-swappiness", "memory.swappiness", integer(0, 100), "percent",
        "How readily the container is swapped out; cgroup v1 only.", "MemorySwappiness",
    )  # fmt: skip
    oom_kill_disable: bool | None = _resource(
        "--oom-kill-disable", "memory.disableOOMKiller", kinds.FLAG, "text",
        "Let programs wait for memory instead of being killed; cgroup v1 only, with a memory limit.",
        "OomKillDisable",
    )  # fmt: skip
    oom_score_adj: int | None = option(
        "--oom-score-adj", kind=integer(-1000, 1000), spec="process.oomScoreAdj", unit="points",
        api="HostConfig.OomScoreAdj", doc="How readily the host kills the container when memory runs out.",
    )  # fmt: skip
    shm_size: int | None = option(
        "--shm-size", kind=kinds.SIZE, spec="specgen:shared_memory", unit="bytes", api="HostConfig.ShmSize",
        doc="Size of /dev/shm; 64 MiB by default.",
    )  # fmt: skip

    # CPU, processes and I/O
    cpus: float | None = option(
        "--cpus", kind=kinds.CPUS, spec="specgen:cpu_resources", unit="CPUs", update=True,
        api="HostConfig.NanoCpus", doc="CPUs the container may use, as 1.5; a quota in periods of 100 ms.",
    )  # fmt: skip
    cpu_shares: int | None = _resource(
        "--cpu-shares", "cpu.shares", integer(0, 262144), "shares",
        "Weight against other containers when the CPUs are busy; 1024 by default.", "CpuShares",
    )  # fmt: skip
    cpu_period: int | None = _resource(
        "--cpu-period", "cpu.period", integer(1000, 1000000), "microseconds",
        "Period of the CPU quota.", "CpuPeriod",
    )  # fmt: skip
    cpu_quota: int | None = _resource(
        "--cpu-quota", "cpu.quota", integer(-1, 2**63 - 1), "microseconds",
        "CPU time in each period; -1 lifts the limit.", "CpuQuota",
    )  # fmt: skip
    cpu_rt_period: int | None = _resource(
        "--cpu-rt-period", "cpu.realtimePeriod", integer(1, 2**31 - 1), "microseconds",
        "Period of the real-time quota; cgroup v1 only.", "CpuRealtimePeriod",
    )  # fmt: skip
    cpu_rt_runtime: int | None = _resource(
        "--cpu-rt-runtime", "cpu.realtimeRuntime", integer(0, 2**31 - 1), "microseconds",
        "Real-time CPU time in each period; cgroup v1 only.", "CpuRealtimeRuntime",
    )  # fmt: skip
    cpuset_cpus: str | None = _resource(
        "--cpuset-cpus", "cpu.cpus", _CPU_SET, "text",
        "CPUs the container may run on, as 0-2,4.", "CpusetCpus",
    )  # fmt: skip
    cpuset_mems: str | None = _resource(
        "--cpuset-mems", "cpu.mems", _CPU_SET, "text",
        "Memory nodes the container may use, as 0,1.", "CpusetMems",
    )  # fmt: skip
    pids_limit: int | None = _resource(
        "--pids-limit", "pids.limit", integer(-1, 2**22), "processes",
        "Most processes the container may hold at once; -1 lifts the limit.", "PidsLimit",
    )  # fmt: skip
    blkio_weight: int | None = _resource(
        "--blkio-weight", "blockIO.weight", integer(10, 1000), "weight",
        "Share of disk time against other containers.", "BlkioWeight",
    )  # fmt: skip
    blkio_weight_device: dict[str, int] | None = _resource(
        "--blkio-weight-device", "blockIO.weightDevice", kinds.DEVICE_WEIGHTS, "weight",
        "Share of disk time on one device.", "BlkioWeightDevice",
    )  # fmt: skip
    device_read_bps: dict[str, int] | None = _resource(
        "--device-read-bps", "blockIO.throttleReadBpsDevice", kinds.DEVICE_RATES, "bytes per second",
        "Most bytes per second read from a device.", "BlkioDeviceReadBps",
    )  # fmt: skip
    device_read_iops: dict[str, int] | None = _resource(
        "--device-read-iops", "blockIO.throttleReadIOPSDevice", kinds.DEVICE_COUNTS, "operations per second",
        "Most read operations per second on a device.", "BlkioDeviceReadIOps",
    )  # fmt: skip
    device_write_bps: dict[str, int] | None = _resource(
        "--device-write-bps", "blockIO.throttleWriteBpsDevice", kinds.DEVICE_RATES, "bytes per second",
        "Most bytes per second written to a device.", "BlkioDeviceWriteBps",
    )  # fmt: skip
    device_write_iops: dict[str, int] | None = _resource(
        "--device-write-iops", "blockIO.throttleWriteIOPSDevice", kinds.DEVICE_COUNTS,
        "operations per second", "Most write operations per second on a device.", "BlkioDeviceWriteIOps",
    )  # fmt: skip
    cgroup_parent: str | None = option(
        "--cgroup-parent", kind=kinds.CGROUP_PARENT, spec="specgen:cgroup_path",
        api="HostConfig.CgroupParent", doc="Cgroup under which the container's own is made, from the "
        "hierarchy's root; where systemd makes them, the slice, as jobs.slice.",
    )  # fmt: skip
    cgroup_conf: dict[str, str] | None = option(
        "--cgroup-conf", kind=kinds.MAPPING, spec="linux.resources.unified", update=True,
        doc="Cgroup v2 files and what is written to them verbatim, as memory.high=64M.",
    )  # fmt: skip
    ulimits: dict[str, tuple[int, int]] | None = option(
        "--ulimit", kind=kinds.ULIMITS, spec="process.rlimits", unit="the limit's own",
        api="HostConfig.Ulimits", doc="Resource limits of processes, as nofile=1024:2048; -1 is unlimited.",
    )  # fmt: skip

    storage_opt: dict[str, str] | None = option(
        "--storage-opt", kind=kinds.MAPPING, spec="engine:storage", api="HostConfig.StorageOpt",
        doc="Options of the container's storage: size=10g limits what it can write to its own files.",
    )  # fmt: skip

    # Namespaces
    network: str = option(
        "--network", kind=network_.NETWORK, spec="specgen:namespaces", default="none",
        api="HostConfig.NetworkMode",
        doc="Network: none (loopback only), the host's own, container:NAME for another container's, bridge "
        "for the default one, or the names of others; several as a list, or name=app,alias=db,ip=10.1.2.3.",
    )  # fmt: skip
    ip: str | None = option(
        "--ip", kind=network_.ADDRESS, spec="engine:networks", api="NetworkSettings.IPAddress",
        doc="IPv4 address in the first network, instead of the next free one.",
    )  # fmt: skip
    ip6: str | None = option(
        "--ip6", kind=network_.ADDRESS, spec="engine:networks", api="NetworkSettings.GlobalIPv6Address",
        doc="IPv6 address in the first network, instead of the next free one.",
    )  # fmt: skip
    link_local_ip: tuple[str, ...] | None = option(
        "--link-local-ip", kind=network_.LINK_LOCAL, spec="engine:networks",
        api="NetworkSettings.LinkLocalIPs",
        doc="Further addresses of the link alone in the first network, of 169.254.0.0/16 or fe80::/10.",
    )  # fmt: skip
    mac_address: str | None = option(
        "--mac-address", kind=network_.MAC, spec="engine:networks", api="MacAddress",
        doc="Hardware address in the first network.",
    )  # fmt: skip
    network_alias: tuple[str, ...] | None = option(
        "--network-alias", kind=network_.NETWORK_ALIASES, spec="engine:networks",
        api="NetworkSettings.Aliases", doc="Further names by which others on the first network find it.",
    )  # fmt: skip
    ports: tuple[str, ...] | None = option(
        "--publish", kind=ports_.PORTS, spec="engine:ports", api="HostConfig.PortBindings",
        doc="Ports of the container to publish on the host, as {80: 8080} or 127.0.0.1:8080:80/tcp; a free "
        "one, and 127.0.0.1, where none is given.",
    )  # fmt: skip
    publish_all: bool = option(
        "--publish-all", kind=kinds.FLAG, spec="engine:ports", api="HostConfig.PublishAllPorts",
        default=False, doc="Publish every exposed port on a free port of 127.0.0.1.",
    )  # fmt: skip
    expose: tuple[str, ...] | None = option(
        "--expose", kind=ports_.EXPOSE, spec="engine:ports", api="ExposedPorts",
        doc="Ports that the program serves beside the image's own, as 80 or 53/udp.",
    )  # fmt: skip
    dns: tuple[str, ...] | None = option(
        "--dns", kind=naming.DNS_SERVERS, spec="engine:names", api="HostConfig.Dns",
        doc="Name servers to ask instead of the host's, by address.",
    )  # fmt: skip
    dns_search: tuple[str, ...] | None = option(
        "--dns-search", kind=naming.DNS_SEARCH, spec="engine:names", api="HostConfig.DnsSearch",
        doc="Domains in which short names are looked up, instead of the host's; . for none.",
    )  # fmt: skip
    dns_option: tuple[str, ...] | None = option(
        "--dns-option", kind=naming.DNS_OPTIONS, spec="engine:names", api="HostConfig.DnsOptions",
        doc="Options of resolv.conf(5), as timeout:2, instead of the host's.",
    )  # fmt: skip
    extra_hosts: tuple[str, ...] | None = option(
        "--add-host", kind=naming.EXTRA_HOSTS, spec="engine:names", api="HostConfig.ExtraHosts",
        doc="Further lines of /etc/hosts, as a dict or name:address; host-gateway is the host's address.",
    )  # fmt: skip
    no_hosts: bool = option(
        "--no-hosts", kind=kinds.FLAG, spec="engine:names", default=False,
        doc="Write no /etc/hosts: it is empty, and the container's own.",
    )  # fmt: skip
    no_hostname: bool = option(
        "--no-hostname", kind=kinds.FLAG, spec="engine:names", default=False,
        doc="Write no /etc/hostname: it is empty, and the container's own; the name is set all the same.",
    )  # fmt: skip
    hosts_file: str | None = option(
        "--hosts-file", kind=kinds.TEXT, spec="engine:names",
        doc="File of the host that /etc/hosts begins with, read at each start, or none for the container's "
        "own lines alone.",
    )  # fmt: skip
    links: tuple[str, ...] | None = option(
        "--link", kind=naming.LINKS, spec="engine:names", api="HostConfig.Links",
        doc="Other containers of its networks by names that only it knows, as db or db:database.",
    )  # fmt: skip
    egress: str | None = option(
        "--egress", kind=choice("allow", "deny"), spec="engine:networks", update=True,
        doc="Whether it may reach what is outside of its own networks, the host too; deny leaves answers and "
        "what egress_allow names.",
    )  # fmt: skip
    egress_allow: tuple[str, ...] | None = option(
        "--egress-allow", kind=egress_.EGRESS_ALLOW, spec="engine:networks", update=True,
        doc="What it may reach all the same, and nothing else: addresses, subnets, and domains as "
        "example.com or *.example.com.",
    )  # fmt: skip
    ipc: str = option(
        "--ipc", kind=namespace_mode("private", "shareable", "host", "none"), spec="specgen:namespaces",
        api="HostConfig.IpcMode", default="private",
        doc="System V IPC, message queues, /dev/shm: its own, open to others (shareable), another's, the "
        "host's; none has no /dev/shm.",
    )  # fmt: skip
    pid: str = option(
        "--pid", kind=_NAMESPACE, spec="specgen:namespaces", api="HostConfig.PidMode", default="private",
        doc="Processes seen: its own, another container's as container:NAME, or all of the host's.",
    )  # fmt: skip
    uts: str = option(
        "--uts", kind=_NAMESPACE, spec="specgen:namespaces", api="HostConfig.UTSMode", default="private",
        doc="Host name: its own, another container's as container:NAME, or the host's.",
    )  # fmt: skip
    cgroupns: str | None = option(
        "--cgroupns", kind=_NAMESPACE, spec="specgen:namespaces", api="HostConfig.CgroupnsMode",
        doc="Cgroups seen: its own, another container's as container:NAME, or the host's.",
    )  # fmt: skip
    userns: str = option(
        "--userns", kind=namespace_mode("private", "host", "auto"), spec="specgen:namespaces",
        api="HostConfig.UsernsMode", default="host",
        doc="User ids: the host's, those of a user namespace of its own mapped by uid_map and gid_map "
        "(private) or to 65536 that no other container has (auto), or another container's as container:NAME.",
    )  # fmt: skip
    uid_map: tuple[str, ...] | None = option(
        "--uid-map", kind=kinds.ID_MAP, spec="linux.uidMappings",
        doc="User ids of a private user namespace as container:host:count; every id to itself by default. "
        "The image's files are owned by the container's users, where the store's file system can map ids.",
    )  # fmt: skip
    gid_map: tuple[str, ...] | None = option(
        "--gid-map", kind=kinds.ID_MAP, spec="linux.gidMappings",
        doc="Group ids of a private user namespace as container:host:count; the user ids' map by default.",
    )  # fmt: skip
    personality: str | None = option(
        "--personality", kind=choice("LINUX", "LINUX32"), spec="linux.personality",
        doc="Execution domain: LINUX32 has uname(2) tell 32-bit programs of a machine like theirs.",
    )  # fmt: skip
    time: str = option(
        "--time", kind=choice("private", "host"), spec="specgen:namespaces", default="host",
        doc="Monotonic and boot clocks: the host's or a time namespace of its own.",
    )  # fmt: skip

    # Security, files and devices
    read_only: bool = option(
        "--read-only", kind=kinds.FLAG, spec="root.readonly", api="HostConfig.ReadonlyRootfs", default=False,
        doc="Mount the root file system read-only.",
    )  # fmt: skip
    read_only_tmpfs: bool = option(
        "--read-only-tmpfs", kind=kinds.FLAG, spec="specgen:mounts", default=False,
        doc="With read_only, mount empty memory file systems on /run, /tmp and /var/tmp.",
    )  # fmt: skip
    tmpfs: dict[str, str] | None = option(
        "--tmpfs", kind=kinds.TMPFS, spec="specgen:mounts", api="HostConfig.Tmpfs",
        doc="Empty memory file systems by path, with mount options as size=64m,mode=1777.",
    )  # fmt: skip
    image_volume: str = option(
        "--image-volume", kind=choice("bind", "tmpfs", "ignore"), spec="engine:volumes", default="bind",
        doc="What the image's volumes become: volumes of the container's own (bind), memory, or nothing.",
    )  # fmt: skip
    mounts: tuple[mounts_.MountPoint, ...] | None = option(
        "--mount", kind=mounts_.MOUNTS, spec="specgen:mounts", api="HostConfig.Mounts",
        doc="What is mounted where, as type=bind,source=/srv,target=/data,readonly; types are volume, bind, "
        "tmpfs and image.",
    )  # fmt: skip
    volumes: tuple[mounts_.MountPoint, ...] | None = option(
        "--volume", kind=volumes_.VOLUMES, spec="engine:volumes", api="HostConfig.Binds",
        doc="Volumes and directories of the host by place, as data:/var/lib/x, /srv:/data:ro or /cache for "
        "one of its own; both are made if they are missing.",
    )  # fmt: skip
    volumes_from: tuple[str, ...] | None = option(
        "--volumes-from", kind=volumes_.VOLUMES_FROM, spec="engine:volumes", api="HostConfig.VolumesFrom",
        doc="Containers whose volumes and binds this one gets as well, as NAME or NAME:ro.",
    )  # fmt: skip
    devices: tuple[str, ...] | None = option(
        "--device", kind=kinds.LINES, spec="linux.devices", api="HostConfig.Devices",
        doc="Host devices to give, as /dev/fuse, /dev/sdc:/dev/xvdc:rwm, a directory of them, or the "
        "CDI name vendor/class=device.",
    )  # fmt: skip
    device_cgroup_rules: tuple[str, ...] | None = option(
        "--device-cgroup-rule", kind=kinds.DEVICE_RULES, spec="linux.resources.devices",
        api="HostConfig.DeviceCgroupRules",
        doc="Devices that may be used once there is a node, as \"c 42:* rmw\".",
    )  # fmt: skip
    gpus: str | None = option(
        "--gpus", kind=kinds.GPUS, spec="specgen:device_nodes", api="HostConfig.DeviceRequests",
        doc="GPUs to give by CDI: all, a number of them, or device=0,1.",
    )  # fmt: skip
    sysctls: dict[str, str] | None = option(
        "--sysctl", kind=kinds.MAPPING, spec="linux.sysctl", api="HostConfig.Sysctls",
        doc="Kernel settings of the container's own namespaces, as net.ipv4.ip_forward=1.",
    )  # fmt: skip
    cap_add: tuple[str, ...] | None = option(
        "--cap-add", kind=kinds.LINES, spec="specgen:capabilities", api="HostConfig.CapAdd",
        doc="Capabilities beyond the default ones, with or without CAP_; ALL for every one.",
    )  # fmt: skip
    cap_drop: tuple[str, ...] | None = option(
        "--cap-drop", kind=kinds.LINES, spec="specgen:capabilities", api="HostConfig.CapDrop",
        doc="Default capabilities to take away; ALL for every one.",
    )  # fmt: skip
    security_opt: tuple[str, ...] | None = option(
        "--security-opt", kind=kinds.LINES, spec="specgen:security", api="HostConfig.SecurityOpt",
        doc="no-new-privileges[=true|false], seccomp=PATH|builtin|unconfined, apparmor=PROFILE, "
        "label=user:U|role:R|type:T|level:L|disable, systempaths=unconfined, writable-cgroups[=true|false].",
    )  # fmt: skip
    privileged: bool = option(
        "--privileged", kind=kinds.FLAG, spec="specgen:security", api="HostConfig.Privileged", default=False,
        doc="Give every capability and device and lift the protections: as good as root on the host.",
    )  # fmt: skip
