"""What is read without click is what click would have read, or nothing."""

from __future__ import annotations

import click
import pytest

from pycontainer.cli.commands.running import run
from pycontainer.cli.quick import read_run

READ = [
    "busybox",
    "busybox sh -c true --rm -- -x",
    "--rm busybox",
    "--rm=true --init=false busybox",
    "-it --name box busybox sh",
    "-dp 80:80 -p=81:81 --publish 82:82 --publish=83:83 busybox",
    "-it=false busybox",
    "-e A=1 --env=B= -eC busybox",
    "--memory 1g -m 2g busybox",
    "--network none --net x busybox",
    "--sig-proxy=false --detach-keys= --quiet busybox",
    "--entrypoint= -u0 -w/ busybox -",
    "--rm -- busybox -- x",
    "-v /a:/b:ro --mount type=tmpfs,dst=/x --ulimit nofile=1 busybox",
    "--name --rm busybox",
    "-",
]
LEFT = [
    "",
    "--rm",
    "--help",
    "-h",
    "--rm --nosuch busybox",
    "-ix busybox",
    "--rm=perhaps busybox",
    "-t=perhaps busybox",
    "--name",
    "-a stdout busybox",
    "--cidfile x busybox",
    "--runtime runc busybox",
    "--",
]


@pytest.mark.parametrize("line", READ)
def test_what_is_read_is_what_click_reads(line: str) -> None:
    words = line.split()
    with run.make_context("run", list(words)) as context:
        assert read_run(words) == context.params


@pytest.mark.parametrize("line", LEFT)
def test_the_rest_is_left_to_click(line: str) -> None:
    assert read_run(line.split()) is None


def test_each_flag_that_is_read_is_one_of_clicks() -> None:
    for param in run.params:
        for flag in param.opts if isinstance(param, click.Option) else ():
            words = [flag, "busybox"] if param.is_flag else [flag, "stdout", "busybox"]
            read = read_run(words)
            with run.make_context("run", list(words)) as context:
                assert read in (None, context.params)
