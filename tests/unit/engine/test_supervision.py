"""What is asked of a monitor, from options and an image together."""

from __future__ import annotations

from typing import Any

import pytest

from pycontainer.engine.supervision import requested
from pycontainer.errors import InvalidOption
from pycontainer.oci import ContainerConfig, Healthcheck, ImageConfig
from pycontainer.options import parse_run_options

S = 10**9


def asked(image: Healthcheck | None = None, shell: tuple[str, ...] | None = None, **options: Any) -> Any:
    config = ImageConfig(
        os="linux", architecture="amd64", config=ContainerConfig(healthcheck=image, shell=shell)
    )
    return requested(parse_run_options(**options), config)


def test_a_plain_container_asks_for_nothing() -> None:
    assert asked() == {}
    assert asked(restart="no") == {}


def test_a_restart_policy_goes_along() -> None:
    assert asked(restart="on-failure:3") == {"restart": {"name": "on-failure", "max_retries": 3}}


def test_defaults_are_dockers() -> None:
    assert asked(health_cmd="true")["health"] == {
        "test": ["/bin/sh", "-c", "true"],
        "interval_s": 30.0,
        "timeout_s": 30.0,
        "start_interval_s": 5.0,
        "start_period_s": 0.0,
        "retries": 3,
    }


def test_the_options_override_the_image_one_by_one() -> None:
    made = Healthcheck(
        test=("CMD", "check", "-v"), interval_ns=7 * S, timeout_ns=2 * S, start_period_ns=S, retries=9
    )
    assert asked(made)["health"]["test"] == ["check", "-v"]
    found = asked(made, health_interval="1m", health_retries=1)["health"]
    assert (found["interval_s"], found["retries"]) == (60.0, 1)
    assert (found["timeout_s"], found["start_period_s"]) == (2.0, 1.0)
    assert asked(made, health_cmd=["other"])["health"]["test"] == ["other"]


def test_a_shell_line_uses_the_images_shell() -> None:
    made = Healthcheck(test=("CMD-SHELL", "check it"))
    assert asked(made, shell=("/bin/ash", "-ec"))["health"]["test"] == ["/bin/ash", "-ec", "check it"]


@pytest.mark.parametrize("test", [(), ("NONE",), ("CMD",), ("CMD-SHELL",), ("OTHER", "x")])
def test_what_is_no_check_is_none(test: tuple[str, ...]) -> None:
    assert asked(Healthcheck(test=test)) == {}


def test_the_images_check_can_be_switched_off() -> None:
    assert asked(Healthcheck(test=("CMD", "check")), no_healthcheck=True) == {}


def test_times_of_a_hostile_image_have_a_floor() -> None:
    assert (
        asked(Healthcheck(test=("CMD", "check"), interval_ns=1, retries=-4))["health"]["interval_s"] == 0.001
    )
    assert asked(Healthcheck(test=("CMD", "check"), interval_ns=-1))["health"]["interval_s"] == 30.0
    assert asked(Healthcheck(test=("CMD", "check"), retries=-4))["health"]["retries"] == 3


def test_times_without_a_check_are_refused() -> None:
    with pytest.raises(InvalidOption, match="health_retries"):
        asked(health_retries=4)
    with pytest.raises(InvalidOption, match="health_timeout"):
        asked(Healthcheck(test=("NONE",)), health_timeout=4)
