"""Files on top of each other, by the examples of the specification (13-merge) and compose-go's tests."""

from __future__ import annotations

from typing import Any

import pytest

from pycontainer.compose.merge import merge, untagged
from pycontainer.compose.schema import canonical
from pycontainer.compose.yamlfile import read_documents


def merged(*texts: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in texts:
        for document in read_documents(text, "compose.yaml"):
            found = merge(found, canonical(document, "/project"))
    return dict(untagged(found).get("services", {}).get("foo", {}))


def service(content: str) -> str:
    return "services:\n  foo:\n" + "".join(f"    {line}\n" for line in content.splitlines())


@pytest.mark.parametrize(
    ("base", "override", "expected"),
    [
        pytest.param(
            "image: a\nuser: x",
            "user: y\ninit: true",
            {"image": "a", "user": "y", "init": True},
            id="mapping",
        ),
        pytest.param("dns: [1.1.1.1]", "dns: [8.8.8.8]", {"dns": ["1.1.1.1", "8.8.8.8"]}, id="sequence"),
        pytest.param("dns: 1.1.1.1", "dns: 1.1.1.1", {"dns": ["1.1.1.1"]}, id="no repetition"),
        pytest.param(
            'command: ["echo", "foo"]', 'command: ["echo", "bar"]', {"command": ["echo", "bar"]}, id="command"
        ),
        pytest.param("entrypoint: a b", "entrypoint: c", {"entrypoint": ["c"]}, id="entrypoint"),
        pytest.param("command: a", "command: null", {"command": ["a"]}, id="null keeps"),
        pytest.param(
            "healthcheck: {test: a, retries: 2}",
            "healthcheck: {test: [CMD, b]}",
            {"healthcheck": {"test": ["CMD", "b"], "retries": 2}},
            id="healthcheck",
        ),
        pytest.param(
            "volumes: ['foo:/work', 'x:/y']",
            "volumes: ['bar:/work']",
            {
                "volumes": [
                    {"type": "volume", "source": "bar", "target": "/work"},
                    {"type": "volume", "source": "x", "target": "/y"},
                ]
            },
            id="unique volumes",
        ),
        pytest.param(
            "ports: ['8080:80']\nenvironment: {FOO: BAR, X: 1}",
            "ports: !reset []\nenvironment: {FOO: !reset null}",
            {"environment": {"X": "1"}},
            id="reset",
        ),
        pytest.param(
            "ports: ['8080:80']",
            "ports: !override ['8443:443']",
            {"ports": [{"target": 443, "published": "8443", "protocol": "tcp", "host_ip": ""}]},
            id="override",
        ),
        pytest.param(
            "ports: ['8080:80']",
            "ports: ['8080:80', '8080:80/udp']",
            {
                "ports": [
                    {"target": 80, "published": "8080", "protocol": "tcp", "host_ip": ""},
                    {"target": 80, "published": "8080", "protocol": "udp", "host_ip": ""},
                ]
            },
            id="unique ports",
        ),
        pytest.param(
            "environment: [A=1, B=2]",
            "environment: {B: 3, C: null}",
            {"environment": {"A": "1", "B": "3", "C": None}},
            id="environment of both forms",
        ),
        pytest.param("labels: {a: 1}", "labels: [a=2, b]", {"labels": {"a": "2", "b": ""}}, id="labels"),
        pytest.param(
            "logging: {driver: json-file, options: {max-size: 1m}}",
            "logging: {driver: syslog, options: {tag: x}}",
            {"logging": {"driver": "syslog", "options": {"tag": "x"}}},
            id="logging of another driver",
        ),
        pytest.param(
            "logging: {driver: local, options: {max-size: 1m}}",
            "logging: {options: {max-file: 3}}",
            {"logging": {"driver": "local", "options": {"max-size": "1m", "max-file": "3"}}},
            id="logging of the same driver",
        ),
        pytest.param(
            "depends_on: [a]",
            "depends_on: {a: {condition: service_healthy}, b: {condition: service_started}}",
            {
                "depends_on": {
                    "a": {"condition": "service_healthy", "restart": False, "required": True},
                    "b": {"condition": "service_started", "restart": False, "required": True},
                }
            },
            id="depends_on of both forms",
        ),
        pytest.param(
            "build: .",
            "build: {target: x}",
            {"build": {"context": "/project", "target": "x"}},
            id="build of both forms",
        ),
        pytest.param(
            "ulimits: {nofile: {soft: 1, hard: 2}}",
            "ulimits: {nofile: 5}",
            {"ulimits": {"nofile": {"soft": 5, "hard": 5}}},
            id="ulimits",
        ),
        pytest.param(
            "networks: [a]",
            "networks: {a: {aliases: [x]}, b: null}",
            {"networks": {"a": {"aliases": ["x"]}, "b": {}}},
            id="networks of both forms",
        ),
        pytest.param(
            "secrets: [s]",
            "secrets: [{source: t, target: s}]",
            {"secrets": [{"source": "t", "target": "/run/secrets/s"}]},
            id="unique secrets",
        ),
    ],
)
def test_an_override_goes_on_top(base: str, override: str, expected: dict[str, Any]) -> None:
    assert merged(service(base), service(override)) == expected


def test_documents_of_one_file_go_on_top_of_each_other() -> None:
    assert merged(service("image: a") + "---\n" + service("image: b"))["image"] == "b"
