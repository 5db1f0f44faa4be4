"""Dockerfile instructions on an image's configuration."""

from __future__ import annotations

import pytest

from pycontainer.engine.instructions import apply_instructions
from pycontainer.errors import InvalidInput
from pycontainer.oci import ContainerConfig, Healthcheck

BASE = ContainerConfig(env=("A=1", "HOME=/root"), working_dir="/srv", labels={"old": "x"})


def changed(*instructions: str) -> ContainerConfig:
    return apply_instructions(BASE, instructions)


@pytest.mark.parametrize(
    ("instruction", "words"),
    [
        ('["echo", "a b"]', ("echo", "a b")),
        ("[]", ()),
        ("echo $A  b", ("/bin/sh", "-c", "echo $A  b")),
        ('["not", json]', ("/bin/sh", "-c", '["not", json]')),
    ],
)
def test_commands_in_both_forms(instruction: str, words: tuple[str, ...]) -> None:
    assert changed(f"CMD {instruction}").cmd == words
    assert changed(f"entrypoint {instruction}").entrypoint == words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("B=2", {"B": "2"}),
        ("B=2 C='x y' D=\"$A z\" E=a\\ b", {"B": "2", "C": "x y", "D": "1 z", "E": "a b"}),
        ("B two words", {"B": "two words"}),
        ("A=2 B=$A", {"A": "2", "B": "1"}),
        ("B=${A}${NO:-none}${A:+set} C='$A' D=\\$A", {"B": "1noneset", "C": "$A", "D": "$A"}),
        ("B=", {"B": ""}),
    ],
)
def test_variables(text: str, found: dict[str, str]) -> None:
    variables = dict(entry.partition("=")[::2] for entry in changed(f"ENV {text}").env)
    assert variables == {"A": "1", "HOME": "/root"} | found


def test_the_rest_of_the_table() -> None:
    config = changed(
        "LABEL new=$A 'a b'=c",
        "EXPOSE 80 53/udp 90-91/tcp 80/tcp",
        "ONBUILD RUN make",
        "STOPSIGNAL SIGINT",
        "USER 5:6",
        "WORKDIR sub/../app",
        'VOLUME ["/data"]',
        "VOLUME /one /two /data",
    )
    assert config.labels == {"old": "x", "new": "1", "a b": "c"}
    assert config.exposed_ports == ("80/tcp", "53/udp", "90/tcp", "91/tcp")
    assert (config.on_build, config.stop_signal, config.user) == (("RUN make",), "SIGINT", "5:6")
    assert (config.working_dir, config.volumes) == ("/srv/app", ("/data", "/one", "/two"))


def test_health_checks() -> None:
    found = changed("HEALTHCHECK --interval=1m30s --timeout=500ms --retries=4 CMD curl -f x").healthcheck
    assert found == Healthcheck(
        test=("CMD-SHELL", "curl -f x"), interval_ns=90 * 10**9, timeout_ns=5 * 10**8, retries=4
    )
    assert changed('HEALTHCHECK CMD ["a", "b"]').healthcheck == Healthcheck(test=("CMD", "a", "b"))
    assert changed("HEALTHCHECK NONE").healthcheck == Healthcheck(test=("NONE",))


@pytest.mark.parametrize(
    "text",
    [
        *("RUN true", "FROM x", "CMD", "", "ENV", "ENV A", "ENV =x", "ENV A='x", "ENV A=${x", "LABEL a=b c"),
        *("EXPOSE http", "EXPOSE 0", "EXPOSE 70000", "EXPOSE 9-8", "EXPOSE 80/icmp"),
        *("ONBUILD FROM x", "ONBUILD ONBUILD RUN x", "STOPSIGNAL NOPE", "USER a b", 'VOLUME [""]'),
        *("HEALTHCHECK", "HEALTHCHECK x", "HEALTHCHECK CMD", "HEALTHCHECK --nope=1 CMD x", "CMD a\nCMD b"),
        "HEALTHCHECK --retries=x CMD y",
    ],
)
def test_what_is_wrong_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        changed(text)
