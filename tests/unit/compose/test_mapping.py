"""What services are as options of containers, and when they have to be made anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import pycontainer as pc
from pycontainer.compose import mapping
from pycontainer.compose.serviceschema import SERVICE_KEYS
from pycontainer.errors import ComposeFileError, Unsupported

TOP = "networks: {front: {name: f}}\nvolumes: {data: }\nsecrets: {s: {content: hush}, h: {file: ./h}}\n"


def project_of(tmp_path: Path, service: str, rest: str = TOP) -> Any:
    (tmp_path / "compose.yaml").write_text(
        "name: p\nservices:\n  db: {image: x}\n  web:\n    image: x\n    " + service + "\n" + rest
    )
    return pc.Compose(tmp_path / "compose.yaml", env={}).project


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("mem_limit: 64m", {"memory": 64 << 20}),
        ("cpus: '0.5'", {"cpus": 0.5}),
        ("cpus: 0", {}),
        ("working_dir: /w", {"workdir": "/w"}),
        ("stop_grace_period: 1m30s", {"stop_timeout": 90.0}),
        ("ulimits: {nofile: {soft: 10, hard: 20}, nproc: 5}", {
            "ulimits": {"nofile": (10, 20), "nproc": (5, 5)}}),
        ("ports: ['80']", {"ports": ["80/tcp"]}),
        ("ports: ['8080:80/udp', '0.0.0.0:81:81', '[::1]:82:82', '127.0.0.1::83']", {
            "ports": ["8080:80/udp", "0.0.0.0:81:81/tcp", "[::1]:82:82/tcp", "127.0.0.1::83/tcp"]}),
        ("ports: [{target: 80, published: '8000-8010', host_ip: 10.0.0.1}]", {
            "ports": ["10.0.0.1:8001:80/tcp"]}),
        ("network_mode: host", {"network": "host"}),
        ("network_mode: service:db", {"network": "container:p-db-1"}),
        ("pid: container:other", {"pid": "container:other"}),
        ("networks: {front: {aliases: [a], ipv4_address: 10.0.0.2, priority: 5}, default: }", {
            "network": {"f": {"aliases": ["web", "a"], "ip": "10.0.0.2"},
                        "p_default": {"aliases": ["web"]}}}),
        ("links: [db, 'db:base']", {"links": ["p-db-1:base"]}),
        ("volumes_from: ['db:ro', 'container:other']", {"volumes_from": ["p-db-1:ro", "other"]}),
        ("healthcheck: {test: 'x', interval: 1s, retries: 2}", {
            "health_cmd": ["CMD-SHELL", "x"], "health_interval": 1.0, "health_retries": 2}),
        ("healthcheck: {disable: true}", {"no_healthcheck": True}),
        ("healthcheck: {test: [NONE]}", {"no_healthcheck": True}),
        ("logging: {driver: json-file, options: {max-size: 1m}}", {
            "log_driver": "json-file", "log_opts": {"max-size": "1m"}}),
        ("deploy: {resources: {limits: {cpus: '1.5', memory: 1g, pids: 7}, reservations: {memory: 1m}}}", {
            "cpus": 1.5, "memory": 1 << 30, "pids_limit": 7, "memory_reservation": 1 << 20}),
        ("deploy: {restart_policy: {condition: on-failure, max_attempts: 3}}", {"restart": "on-failure:3"}),
        ("restart: always\n    deploy: {restart_policy: {condition: none}}", {"restart": "always"}),
        ("gpus: all", {"gpus": -1}),
        ("extra_hosts: {a: 10.0.0.1, b: [10.0.0.2, '::1']}", {
            "extra_hosts": ["a=10.0.0.1", "b=10.0.0.2", "b=::1"]}),
        ("blkio_config: {weight: 300, device_read_bps: [{path: /dev/sda, rate: 1m}]}", {
            "blkio_weight": 300, "device_read_bps": {"/dev/sda": 1 << 20}}),
        ("security_opt: ['no-new-privileges:true', 'seccomp:unconfined']", {
            "security_opt": ["no-new-privileges=true", "seccomp=unconfined"]}),
        ("devices: ['/dev/fuse', {source: /dev/a, target: /dev/b, permissions: r}]", {
            "devices": ["/dev/fuse", "/dev/a:/dev/b:r"]}),
        ("volumes: ['data:/d:ro', /anon]", {"mounts": [
            {"type": "volume", "target": "/d", "readonly": True, "source": "p_data"},
            {"type": "volume", "target": "/anon", "readonly": False, "source": ""}]}),
        ("volumes: [{type: bind, source: /a, target: /b, bind: {create_host_path: n, propagation: slave}}]", {
            "mounts": [{"type": "bind", "target": "/b", "readonly": False, "source": "/a",
                        "bind-create-src": False, "bind-propagation": "slave"}]}),
        ("volumes: [{type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0700}}]", {
            "mounts": [{"type": "tmpfs", "target": "/t", "readonly": False,
                        "tmpfs-size": 1 << 20, "tmpfs-mode": 0o700}]}),
        ("expose: [80, '90/udp']", {"expose": ["80", "90/udp"]}),
        ("sysctls: {net.core.somaxconn: 1024}", {"sysctls": {"net.core.somaxconn": "1024"}}),
    ],
)  # fmt: skip
def test_keys_become_options(tmp_path: Path, service: str, expected: dict[str, Any]) -> None:
    project = project_of(tmp_path, service)
    found = mapping.run_options(project, project.services["web"], 2)
    found.pop("env")
    if "mounts" not in expected:
        found.pop("mounts")
    if "network" not in expected:
        found.pop("network")
    assert found == expected | ({"network": found["network"]} if "network" in found else {})
    mapping.check(project)


def test_networks_are_in_the_order_of_their_priority(tmp_path: Path) -> None:
    project = project_of(tmp_path, "networks: {default: {priority: 1}, front: {priority: 2}}")
    assert list(mapping.run_options(project, project.services["web"], 1)["network"]) == ["f", "p_default"]


def test_files_of_this_host_are_mounted_and_others_written(tmp_path: Path) -> None:
    (tmp_path / "h").write_text("host")
    project = project_of(tmp_path, "secrets: [s, h, {source: h, target: /own, uid: '5', mode: '0400'}]")
    web = project.services["web"]
    assert mapping.run_options(project, web, 1)["mounts"] == [
        {"type": "bind", "source": str(tmp_path / "h"), "target": "/run/secrets/h", "readonly": True}
    ]
    assert mapping.given_files(project, web) == [
        ("/run/secrets/s", b"hush", 0o444, 0, 0),
        ("/own", b"host", 0o400, 5, 0),
    ]
    hidden = project_of(tmp_path, "volumes: [/run]\n    secrets: [s]")
    with pytest.raises(ComposeFileError, match="hidden by the mount on /run"):
        mapping.given_files(hidden, hidden.services["web"])
    (tmp_path / "h").unlink()
    with pytest.raises(ComposeFileError, match="named as a secret"):
        mapping.given_files(project, web)


@pytest.mark.parametrize(
    "key", ["provider: {type: x}", "models: [m]", "runtime: kata", "cpu_count: 2", "use_api_socket: true"]
)
def test_what_cannot_be_honoured_is_refused(tmp_path: Path, key: str) -> None:
    project = project_of(tmp_path, key)
    with pytest.raises(Unsupported, match=r"services.web.\w+ is not supported"):
        mapping.check(project)


def test_a_value_that_no_container_can_have_is_named_before_anything_is_done(tmp_path: Path) -> None:
    project = project_of(tmp_path, "hostname: 'a b'")
    with pytest.raises(ComposeFileError, match=r"services.web: .*hostname"):
        mapping.check(project)


def test_every_key_of_the_specification_is_accounted_for() -> None:
    accounted = [*mapping.MAPPED, *mapping.IGNORED, *mapping.REFUSED]
    assert sorted(accounted) == sorted(SERVICE_KEYS)


class TestConfigHash:
    def hash_of(self, tmp_path: Path, service: str, rest: str = TOP) -> str:
        project = project_of(tmp_path, service, rest)
        return mapping.config_hash(project, project.services["web"])

    @pytest.mark.parametrize(
        "change",
        ["scale: 3", "depends_on: [db]", "profiles: []", "pull_policy: always", "deploy: {replicas: 2}"],
    )
    def test_what_makes_no_other_container_does_not_count(self, tmp_path: Path, change: str) -> None:
        assert self.hash_of(tmp_path, change) == self.hash_of(tmp_path, "attach: true")

    @pytest.mark.parametrize(
        "change",
        [
            "command: x",
            "environment: {A: 1}",
            "labels: {a: b}",
            "ports: ['80']",
            "deploy: {resources: {limits: {memory: 1g}}}",
            "secrets: [s]",
        ],
    )
    def test_what_makes_another_container_counts(self, tmp_path: Path, change: str) -> None:
        assert self.hash_of(tmp_path, change) != self.hash_of(tmp_path, "attach: true")

    def test_the_content_of_a_file_that_is_written_counts(self, tmp_path: Path) -> None:
        (tmp_path / "h").write_text("one")
        before = (
            self.hash_of(tmp_path, "secrets: [h]"),
            self.hash_of(tmp_path, "secrets: [{source: h, uid: '5'}]"),
        )
        (tmp_path / "h").write_text("two")
        after = (
            self.hash_of(tmp_path, "secrets: [h]"),
            self.hash_of(tmp_path, "secrets: [{source: h, uid: '5'}]"),
        )
        assert (before[0] == after[0], before[1] == after[1]) == (True, False)

    def test_the_content_of_a_secret_counts(self, tmp_path: Path) -> None:
        other = TOP.replace("hush", "other")
        assert self.hash_of(tmp_path, "secrets: [s]") != self.hash_of(tmp_path, "secrets: [s]", other)
