"""What a monitor does for its container beside running it: restarts and health checks, asked for and seen."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

from pycontainer import runtime
from pycontainer.engine.moments import from_nanoseconds
from pycontainer.errors import InvalidOption
from pycontainer.launcher import healthrecord
from pycontainer.options import HealthOptions
from pycontainer.values import Value

if TYPE_CHECKING:
    from pathlib import Path

    from pycontainer.engine.state import Observed
    from pycontainer.oci import ImageConfig
    from pycontainer.options import RunOptions

__all__ = [
    "STOP_TIMEOUT_S",
    "Health",
    "HealthResult",
    "health_document",
    "health_of",
    "healthcheck_document",
    "requested",
    "restart_document",
]

_NS = 10**9
STOP_TIMEOUT_S = 10.0
"""Docker's, for containers that ask for none of their own."""
_SHELL = ("/bin/sh", "-c")
# Docker's: moby, daemon/health.go.
_INTERVAL_S = 30.0
_TIMEOUT_S = 30.0
_START_INTERVAL_S = 5.0
_RETRIES = 3
_SHORTEST_S = 0.001  # of an image's times, too: a check is a process each time


@frozen(kw_only=True, eq=False, repr=False)
class HealthResult(Value):
    """One health check. exit_code: -1 when it could not be run, or was killed for taking too long.

    output: the first 4 KiB of what it wrote; or why there is none.
    """

    started_at: datetime
    ended_at: datetime
    exit_code: int
    output: str


@frozen(kw_only=True, eq=False, repr=False)
class Health(Value):
    """What the health checks of a container say.

    status: "starting", "healthy" or "unhealthy". failing_streak: failures since the last success. log: the
    last 5 results, the oldest first.
    """

    status: str
    failing_streak: int = 0
    log: tuple[HealthResult, ...] = ()


def requested(options: RunOptions, config: ImageConfig) -> dict[str, Any]:
    """What the launch request says of restarts and health checks; nothing for most containers.

    Raises InvalidOption for times of a check that there is none of.
    """
    found: dict[str, Any] = {}
    policy = options.restart
    if policy is not None and policy.name != "no":
        found["restart"] = {"name": policy.name, "max_retries": policy.max_retries}
    check = _health_check(options, config)
    if check is not None:
        found["health"] = check
        if options.health_on_failure != "none":
            check["on_failure"] = options.health_on_failure
            check["stop_signal"] = runtime.stop_signal(options, config)
            check["stop_timeout_s"] = STOP_TIMEOUT_S if options.stop_timeout is None else options.stop_timeout
        if options.health_on_failure == "restart":
            found.setdefault("restart", {"name": "no"})["when_unhealthy"] = True
    return found


def _health_check(options: RunOptions, config: ImageConfig) -> dict[str, Any] | None:
    asked, made = HealthOptions.of(options), config.config.healthcheck
    test = asked.test or (made.test if made is not None else ())
    program = _program(test, config)
    if not program:
        given = {name: value for name, value in asdict(asked).items() if name != "test"}
        wanted = next((name for name, value in given.items() if value), None)
        if options.health_on_failure != "none":
            wanted = "on_failure"
        if wanted is not None:
            raise InvalidOption(
                f"option health_{wanted.removesuffix('_s')} has no meaning without a health check, and the "
                "image has none; give health_cmd"
            )
        return None

    def seconds(given: float | None, made_ns: int, default: float) -> float:
        return max(given or max(made_ns, 0) / _NS or default, _SHORTEST_S)

    return {
        "test": program,
        "interval_s": seconds(asked.interval_s, made.interval_ns if made else 0, _INTERVAL_S),
        "timeout_s": seconds(asked.timeout_s, made.timeout_ns if made else 0, _TIMEOUT_S),
        "start_interval_s": seconds(
            asked.start_interval_s, made.start_interval_ns if made else 0, _START_INTERVAL_S
        ),
        "start_period_s": asked.start_period_s or (made.start_period_ns / _NS if made else 0.0),
        "retries": asked.retries or (made.retries if made and made.retries > 0 else _RETRIES),
    }


def _program(test: tuple[str, ...], config: ImageConfig) -> list[str]:
    """What to execute: nothing for NONE, and for what Docker does not know either."""
    if len(test) >= 2 and test[0] == "CMD":
        return list(test[1:])
    if len(test) >= 2 and test[0] == "CMD-SHELL":
        return [*(config.config.shell or _SHELL), test[1]]
    return []


def health_of(directory: Path, observed: Observed) -> Health | None:
    """What is known of a container's health; None without a check, and before the first start."""
    if observed.health is None:
        return None
    fields = healthrecord.read(str(directory)) or {}
    log = tuple(
        HealthResult(
            started_at=from_nanoseconds(result["started_ns"]),
            ended_at=from_nanoseconds(result["ended_ns"]),
            exit_code=result["exit_code"],
            output=result["output"],
        )
        for result in fields.get("log", ())
    )
    # The status of its own file is the newer one: between two writes they may differ for a moment.
    return Health(
        status=fields.get("status", observed.health),
        failing_streak=fields.get("failing_streak", 0),
        log=log,
    )


def health_document(health: Health) -> dict[str, Any]:
    """Docker's State.Health."""
    return {
        "Status": health.status,
        "FailingStreak": health.failing_streak,
        "Log": [
            {
                "Start": result.started_at.isoformat().replace("+00:00", "Z"),
                "End": result.ended_at.isoformat().replace("+00:00", "Z"),
                "ExitCode": result.exit_code,
                "Output": result.output,
            }
            for result in health.log
        ],
    }


def healthcheck_document(options: RunOptions, config: ImageConfig) -> dict[str, Any]:
    """Docker's Config.Healthcheck under its name, as the check is really made; nothing without one."""
    check = _health_check(options, config)
    if check is None:
        return {}
    times = ("Interval", "Timeout", "StartPeriod", "StartInterval")
    keys = ("interval_s", "timeout_s", "start_period_s", "start_interval_s")
    return {
        "Healthcheck": {
            "Test": ["CMD", *check["test"]],
            "Retries": check["retries"],
            **{name: round(check[key] * _NS) for name, key in zip(times, keys, strict=True)},
        }
    }


def restart_document(options: RunOptions) -> Mapping[str, Any]:
    """Docker's HostConfig.RestartPolicy."""
    policy = options.restart
    return {
        "Name": "no" if policy is None else policy.name,
        "MaximumRetryCount": 0 if policy is None else policy.max_retries,
    }
