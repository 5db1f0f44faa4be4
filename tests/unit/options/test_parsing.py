"""Keywords become checked options, and options survive being stored as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pycontainer.errors import InvalidOption
from pycontainer.options import (
    OPTIONS,
    MountPoint,
    Requirement,
    RestartPolicy,
    RunOptions,
    dump_run_options,
    parse_run_options,
)

ACCEPTED: list[tuple[str, Any, Any]] = [
    ("command", ["echo", "a b"], ("echo", "a b")),
    ("command", "echo 'a b'", ("echo", "a b")),
    ("entrypoint", "", ()),
    ("env", {"A": "1", "N": 2, "GONE": None}, {"A": "1", "N": "2", "GONE": None}),
    ("env", ["A=1=2", "GONE", "EMPTY="], {"A": "1=2", "GONE": None, "EMPTY": ""}),
    ("unsetenv", ["LANG"], ("LANG",)),
    ("env_merge", ["PATH=/opt:$PATH"], {"PATH": "/opt:$PATH"}),
    ("no_hosts", True, True),
    ("no_hostname", True, True),
    ("hosts_file", "none", "none"),
    ("personality", "LINUX32", "LINUX32"),
    ("unsetenv_all", True, True),
    ("workdir", "/srv", "/srv"),
    ("user", "web:staff", "web:staff"),
    ("group_add", ["audio", 44], ("audio", "44")),
    ("labels", {"a": "b", "c": ""}, {"a": "b", "c": ""}),
    ("labels", ["a=b", "flag"], {"a": "b", "flag": ""}),
    ("annotations", {"k": "v"}, {"k": "v"}),
    ("name", "box-1", "box-1"),
    ("hostname", "box.example", "box.example"),
    ("domainname", "example.org", "example.org"),
    ("init", True, True),
    ("umask", "0027", 0o027),
    ("umask", 0o077, 0o077),
    ("tz", "Europe/Paris", "Europe/Paris"),
    ("tty", True, True),
    ("stdin_open", True, True),
    ("restart", "on-failure:3", RestartPolicy("on-failure", 3)),
    ("restart", "unless-stopped", RestartPolicy("unless-stopped")),
    ("health_cmd", "wget -q localhost || exit 1", ("CMD-SHELL", "wget -q localhost || exit 1")),
    ("health_cmd", ["true", "a b"], ("CMD", "true", "a b")),
    ("health_cmd", ["CMD", "true"], ("CMD", "true")),
    ("health_on_failure", "restart", "restart"),
    ("health_interval", "1m30s", 90.0),
    ("health_timeout", 5, 5.0),
    ("health_retries", 4, 4),
    ("health_start_period", "10s", 10.0),
    ("health_start_interval", "500ms", 0.5),
    ("no_healthcheck", True, True),
    ("storage_opt", {"size": "10g"}, {"size": "10g"}),
    ("stop_signal", "SIGINT", 2),
    ("run_timeout", "1h", 3600.0),
    ("replace", True, True),
    ("requires", ["db:healthy", "cache"], (Requirement("db", "healthy"), Requirement("cache"))),
    ("requires", {"migrate": "completed"}, (Requirement("migrate", "completed"),)),
    ("stop_timeout", "1m", 60.0),
    ("platform", "linux/arm64", "linux/arm64"),
    ("pull", "always", "always"),
    ("auto_remove", True, True),
    ("log_driver", "local", "local"),
    ("log_opts", {"max-size": "10m"}, {"max-size": "10m"}),
    ("memory", "64m", 64 << 20),
    ("memory_swap", -1, -1),
    ("memory_reservation", "32m", 32 << 20),
    ("memory_swappiness", 10, 10),
    ("oom_kill_disable", True, True),
    ("oom_score_adj", -500, -500),
    ("shm_size", "16m", 16 << 20),
    ("cpus", "1.5", 1.5),
    ("cpu_shares", 512, 512),
    ("cpu_period", 50000, 50000),
    ("cpu_quota", -1, -1),
    ("cpu_rt_period", 1000000, 1000000),
    ("cpu_rt_runtime", 900000, 900000),
    ("cpuset_cpus", "0-2,4", "0-2,4"),
    ("cpuset_mems", "0", "0"),
    ("pids_limit", "64", 64),
    ("blkio_weight", 300, 300),
    ("blkio_weight_device", {"/dev/sda": 200}, {"/dev/sda": 200}),
    ("device_read_bps", ["/dev/sda:1m"], {"/dev/sda": 1 << 20}),
    ("device_write_bps", {"/dev/sda": "2m"}, {"/dev/sda": 2 << 20}),
    ("device_read_iops", {"/dev/sda": 100}, {"/dev/sda": 100}),
    ("device_write_iops", "/dev/sda:7", {"/dev/sda": 7}),
    ("cgroup_parent", "/jobs", "/jobs"),
    ("cgroup_conf", {"memory.high": "32M"}, {"memory.high": "32M"}),
    ("ulimits", {"nofile": 1024, "core": (0, -1)}, {"nofile": (1024, 1024), "core": (0, 2**64 - 1)}),
    ("ulimits", "nofile=10:20", {"nofile": (10, 20)}),
    ("network", "host", "host"),
    ("network", "container:web", "container:web"),
    ("network", "bridge", "bridge"),
    ("network", ["app", "name=back,alias=db,ip=10.1.2.3"], "app;name=back,alias=db,ip=10.1.2.3"),
    (
        "network",
        {"app": None, "back": {"aliases": ["db"], "gw_priority": 2}},
        "name=app;name=back,alias=db,gw-priority=2",
    ),
    (
        "network",
        {
            "app": {
                "driver_opts": {
                    "com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.a=1,net.ipv6.conf.IFNAME.b=2"
                }
            }
        },
        'name=app,"driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.a=1,net.ipv6.conf.IFNAME.b=2"',
    ),
    ("ip", "10.1.2.3", "10.1.2.3"),
    ("ip6", "FD00::0:1", "fd00::1"),
    ("mac_address", "02:42:ac:11:00:02", "02:42:ac:11:00:02"),
    ("network_alias", "db", ("db",)),
    ("link_local_ip", "169.254.1.2", ("169.254.1.2",)),
    ("link_local_ip", ["169.254.1.2", "FE80::0:7"], ("169.254.1.2", "fe80::7")),
    ("ports", {80: None}, ("0:80/tcp",)),
    ("ports", {80: 8080, "53/udp": ("0.0.0.0", 5353)}, ("8080:80/tcp", "0.0.0.0:5353:53/udp")),
    ("ports", {"80": [8080, ("::1", 8080)]}, ("8080:80/tcp", "[::1]:8080:80/tcp")),
    ("ports", {"8000-8001": "9000-9001"}, ("9000:8000/tcp", "9001:8001/tcp")),
    ("ports", {80: "9000-9009"}, ("9000-9009:80/tcp",)),
    ("ports", ["[::1]:9000-9009:80", "9000-9009:81"], ("[::1]:9000-9009:80/tcp", "9000-9009:81/tcp")),
    (
        "ports",
        ["80", "8080:80/tcp", "0.0.0.0::53/udp", "[::]:81:81"],
        ("0:80/tcp", "8080:80/tcp", "0.0.0.0:0:53/udp", "[::]:81:81/tcp"),
    ),
    ("publish_all", True, True),
    ("egress", "deny", "deny"),
    (
        "egress_allow",
        ["192.0.2.1", "10.0.0.0/8", "FD00::/8", "Example.com.", "*.example.com", "10.0.0.0/8"],
        ("192.0.2.1/32", "10.0.0.0/8", "fd00::/8", "example.com", "*.example.com"),
    ),
    ("volumes", {"data": "/var/lib/x"}, (MountPoint(kind="volume", source="data", target="/var/lib/x"),)),
    (
        "volumes",
        ["/srv:/data:ro,rslave"],
        (
            MountPoint(
                kind="bind",
                source="/srv",
                target="/data",
                is_made=True,
                is_readonly=True,
                propagation="rslave",
            ),
        ),
    ),
    (
        "volumes",
        {"/srv": {"bind": "/data", "mode": "ro"}},
        (MountPoint(kind="bind", source="/srv", target="/data", is_made=True, is_readonly=True),),
    ),
    (
        "volumes",
        "/srv:/data:rro",
        (
            MountPoint(
                kind="bind",
                source="/srv",
                target="/data",
                is_made=True,
                is_readonly=True,
                recursion="readonly",
            ),
        ),
    ),
    ("volumes", "/cache/", (MountPoint(kind="volume", target="/cache"),)),
    ("volumes_from", ["db", "web:ro"], ("db", "web:ro")),
    ("expose", [80, "53/udp", "8000-8001"], ("80/tcp", "53/udp", "8000/tcp", "8001/tcp")),
    ("dns", "192.0.2.53", ("192.0.2.53",)),
    ("dns", ["2001:DB8::53", "127.0.0.1"], ("2001:db8::53", "127.0.0.1")),
    ("dns_search", ["corp.example", "example.com."], ("corp.example", "example.com.")),
    ("dns_search", ".", (".",)),
    ("dns_option", ["timeout:2", "rotate"], ("timeout:2", "rotate")),
    ("extra_hosts", {"db": "10.0.0.5", "six": "::1"}, ("db:10.0.0.5", "six:::1")),
    ("extra_hosts", ["six:2001:db8::1", "eq=[::2]"], ("six:2001:db8::1", "eq:::2")),
    ("extra_hosts", "host.docker.internal:host-gateway", ("host.docker.internal:host-gateway",)),
    ("image_volume", "tmpfs", "tmpfs"),
    ("links", ["db", "db:database"], ("db", "db:database")),
    ("ipc", "shareable", "shareable"),
    ("pid", "host", "host"),
    ("uts", "host", "host"),
    ("cgroupns", "host", "host"),
    ("userns", "private", "private"),
    ("uid_map", "0:100000:65536", ("0:100000:65536",)),
    ("gid_map", ["0:100000:65536"], ("0:100000:65536",)),
    ("time", "private", "private"),
    ("read_only", True, True),
    ("tmpfs", ["/run:size=1m", "/tmp"], {"/run": "size=1m", "/tmp": ""}),
    ("tmpfs", "/run", {"/run": ""}),
    ("read_only_tmpfs", True, True),
    (
        "mounts",
        ["type=bind,source=/srv,target=/data,readonly"],
        (MountPoint(kind="bind", source="/srv", target="/data", is_readonly=True),),
    ),
    ("devices", ["/dev/fuse"], ("/dev/fuse",)),
    ("device_cgroup_rules", "c 42:* rmw", ("c 42:* rmw",)),
    ("gpus", 2, "2"),
    ("sysctls", {"net.core.somaxconn": 512}, {"net.core.somaxconn": "512"}),
    ("cap_add", "NET_ADMIN", ("NET_ADMIN",)),
    ("cap_drop", ["ALL"], ("ALL",)),
    ("security_opt", ["seccomp=unconfined"], ("seccomp=unconfined",)),
    ("privileged", True, True),
]

# These become env and labels when they are parsed (see test_files).
EXPANDED = {"env_file", "env_host", "http_proxy", "label_file"}


def test_the_table_below_speaks_of_every_option() -> None:
    assert {name for name, _, _ in ACCEPTED} | EXPANDED == set(OPTIONS)


@pytest.mark.parametrize(("name", "given", "kept"), ACCEPTED)
def test_a_value_is_read_and_survives_json(name: str, given: Any, kept: Any) -> None:
    options = parse_run_options(**{name: given})
    assert getattr(options, name) == kept
    stored = json.loads(json.dumps(dump_run_options(options)))
    assert parse_run_options(**stored) == options


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("command", 3),
        ("command", ["a\0b"]),
        ("env", {"A=B": "1"}),
        ("env", {"": "1"}),
        ("env", {"A": "x\0"}),
        ("env", "A=1"),
        ("env", {"A": True}),
        ("workdir", "srv"),
        ("user", ""),
        ("user", "a\nb"),
        ("name", "-box"),
        ("name", "a" * 129),
        ("hostname", "-a"),
        ("hostname", "a" * 64),
        ("hostname", "a\n"),
        ("init", "yes"),
        ("stop_timeout", -2),
        ("stop_signal", "SIGX"),
        ("pull", "sometimes"),
        ("log_driver", "gelf"),
        ("restart", "always:3"),
        ("restart", "sometimes"),
        ("health_cmd", []),
        ("health_cmd", "a\0b"),
        ("health_interval", "10us"),
        ("umask", 0o1777),
        ("umask", "8"),
        ("tz", "../etc/passwd"),
        ("ipc", "container:"),
        ("device_cgroup_rules", "c 42 rwm"),
        ("gpus", "some"),
        ("memory", "-1"),
        ("memory", "lots"),
        ("memory_swappiness", 101),
        ("oom_score_adj", -1001),
        ("cpus", 0),
        ("cpu_shares", 262145),
        ("cpuset_cpus", "0-"),
        ("cpuset_cpus", "0-99999999"),
        ("cpuset_cpus", "0\n"),
        ("pids_limit", -2),
        ("blkio_weight", 5),
        ("device_read_bps", {"sda": 1}),
        ("device_read_bps", {"/dev/sda": -1}),
        ("ulimits", {"files": 1}),
        ("ulimits", {"nofile": (2, 1)}),
        ("ulimits", {"nofile": -2}),
        ("ulimits", {"nofile": "1:2:3"}),
        ("network", ""),
        ("network", "a b"),
        ("network", ["app", "host"]),
        ("network", ["app", "app"]),
        ("network", []),
        ("network", "alias=db"),
        ("network", "name=app,colour=red"),
        ("network", "name=app,ip=10.1.2"),
        ("network", "name=app,ip=fd00::1"),
        ("network", "name=app,mac-address=01:00:5e:00:00:01"),
        ("ip", "10.1.2.300"),
        ("ip6", "nowhere"),
        ("mac_address", "02:42"),
        ("network_alias", "a b"),
        ("link_local_ip", "10.1.2.3"),
        ("link_local_ip", "169.254"),
        ("network", "name=app,link-local-ip=10.1.2.3"),
        ("egress", "some"),
        ("egress_allow", "10.0.0.1/8"),
        ("egress_allow", "localhost"),
        ("egress_allow", "10.0.0.300"),
        ("egress_allow", "*.*.example.com"),
        ("egress_allow", "https://example.com"),
        ("ports", {0: 80}),
        ("ports", {80: 70000}),
        ("ports", {"80/icmp": None}),
        ("ports", {"8000-8010": "9000-9005"}),
        ("ports", {"8010-8000": None}),
        ("ports", {80: "0-10"}),
        ("ports", {80: ("nowhere", 80)}),
        ("ports", ["8080:80", "8080:81"]),
        ("ports", "127.0.0.1:80"),
        ("ports", ["1-65535"]),
        ("ports", 3.5),
        ("expose", "http"),
        ("volumes", "data:"),
        ("volumes", "data:relative"),
        ("volumes", {"data": "/x:ro"}),
        ("volumes", "data:/"),
        ("volumes", "data:/a/../../b"),
        ("volumes", "da ta:/x"),
        ("volumes", "data:/x:purple"),
        ("volumes", "data:/x:rslave"),
        ("volumes", ["a:/x", "b:/x"]),
        ("volumes", 3),
        ("volumes_from", "a b"),
        ("dns", "ns.example.com"),
        ("dns", "192.0.2.53 evil"),
        ("dns", ["192.0.2.53\nnameserver 192.0.2.66"]),
        ("dns", ["192.0.2.53"] * 1001),
        ("dns_search", "a..b"),
        ("dns_search", "example.com other"),
        ("dns_search", "a" * 64 + ".com"),
        ("dns_option", "ndots:0 timeout:1"),
        ("dns_option", ""),
        ("extra_hosts", "db"),
        ("extra_hosts", "db:"),
        ("extra_hosts", "db:gateway"),
        ("extra_hosts", {"db": "10.0.0.5 evil"}),
        ("extra_hosts", {"a b": "10.0.0.5"}),
        ("extra_hosts", {"a\n": "10.0.0.5"}),
        ("extra_hosts", 3),
        ("links", "-db"),
        ("links", "db:a b"),
        ("uid_map", "0:0"),
        ("uid_map", "0:4294967290:10"),
        ("tmpfs", {"run": ""}),
        ("sysctls", {"net.core.somaxconn": None}),
        ("privileged", 1),
    ],
)
def test_a_bad_value_names_the_option_and_the_value(name: str, given: Any) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_run_options(**{name: given})
    assert str(caught.value).startswith(f"option {name}=")


def test_none_means_not_asked() -> None:
    assert parse_run_options(memory=None, env=None) == RunOptions()
    assert dump_run_options(RunOptions()) == {}


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("memry", "memory"),
        ("pid_limit", "pids_limit"),
        ("environment", "env"),
        ("cap", "cap_add"),
        ("rm", "auto_remove"),
        ("mem_limit", "memory"),
        ("memswap_limit", "memory_swap"),
        ("publish", "ports"),
        ("interactive", "stdin_open"),
    ],
)
def test_an_unknown_keyword_suggests_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(TypeError, match=f"unknown option '{wrong}'; did you mean '{right}'"):
        parse_run_options(**{wrong: 1})


def test_to_detach_is_no_option_but_another_call() -> None:
    with pytest.raises(TypeError, match=r"unknown option 'detach'; .*Container\.create.*start\(\)"):
        parse_run_options(detach=True)


def test_a_keyword_like_nothing_known_is_a_plain_error() -> None:
    with pytest.raises(TypeError, match=r"^unknown option 'xyzzy'$"):
        parse_run_options(xyzzy=1)


def test_an_error_about_the_environment_does_not_tell_its_values() -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_run_options(env={"TOKEN": "secret", "": "x"})
    assert "secret" not in str(caught.value)


def test_the_environment_does_not_show_in_a_repr() -> None:
    assert "secret" not in repr(parse_run_options(env={"TOKEN": "secret"}, name="box"))
