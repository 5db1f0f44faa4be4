"""What follows from an image and options alone: worked out once for all containers that are made of them.

A recipe is made for one container's id; where nothing else in it can differ between two containers, that is
an id which no container has, and its text is that of any container with the id put in. So starting the same
thing again costs a replacement instead of the specification, the cgroups and the filter.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from pycontainer import runtime
from pycontainer.engine import sharing
from pycontainer.engine.supervision import requested
from pycontainer.values import Value

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine
    from pycontainer.oci import ImageConfig
    from pycontainer.oci import runtime as model
    from pycontainer.options import RunOptions

__all__ = ["Recipe", "groups_of", "manager_for", "recipe", "spec_of", "unshared_recipe"]

_SHORT = 12  # digits of an id that make a host name

_PURE = frozenset(
    {
        *(
            "command",
            "entrypoint",
            "env",
            "unsetenv",
            "unsetenv_all",
            "env_merge",
            "workdir",
            "user",
            "group_add",
            "umask",
        ),
        *("init", "tty", "stdin_open", "stop_signal", "stop_timeout", "name", "hostname", "domainname"),
        *("labels", "annotations", "platform", "pull", "auto_remove", "log_driver", "log_opts", "restart"),
        *("memory", "memory_swap", "memory_reservation", "cpus", "cpu_shares", "cpu_quota", "cpu_period"),
        *("pids_limit", "shm_size", "ulimits", "oom_score_adj", "sysctls", "read_only", "tmpfs"),
        *("cap_add", "cap_drop", "network", "ip", "ip6", "mac_address", "network_alias", "ports", "expose"),
        *("publish_all", "dns", "dns_search", "dns_option", "extra_hosts", "links", "egress", "egress_allow"),
        *("no_hosts", "no_hostname", "personality"),
        "image_volume",
    }
)
"""Options for which nothing is looked up on the host, whose devices, files and cgroups may change."""


@frozen(eq=False, repr=False)
class Recipe(Value):
    """What a container is made by. spec, program: of the container it was made for, if it is of just one."""

    spec: model.Spec
    program: bytes | None
    """The system call filter."""
    made_for: str
    text: str
    """Parts of the launch request, as JSON without its braces."""

    def text_for(self, container_id: str) -> str:
        """The text for a container."""
        if container_id == self.made_for:
            return self.text
        short = self.made_for[:_SHORT]
        return self.text.replace(self.made_for, container_id).replace(short, container_id[:_SHORT])


def recipe(
    engine: Engine,
    container_id: str,
    image_id: str,
    options: RunOptions,
    config: ImageConfig,
    given: Mapping[str, Any],
) -> Recipe:
    """The recipe for a container. Raises InvalidOption, InvalidImage, Unsupported.

    given: the options that differ from the defaults, as JSON values.
    """
    if not given.keys() <= _PURE:
        return _make(engine, container_id, options, config)
    key = f"{image_id} {json.dumps(given)}"
    return engine.recipe(key, lambda: _make(engine, secrets.token_hex(32), options, config))


def unshared_recipe(engine: Engine, container_id: str, options: RunOptions, config: ImageConfig) -> Recipe:
    """The recipe for a container whose options are not those that are written down; it is not kept."""
    return _make(engine, container_id, options, config)


def _make(engine: Engine, container_id: str, options: RunOptions, config: ImageConfig) -> Recipe:
    host = engine.host
    spec = spec_of(engine, container_id, options, config)
    user, groups = runtime.identity(options, config)
    runtime.stop_signal(options, config)
    params = {
        "spec": spec.to_dict(),
        "user": user,
        "groups": groups_of(groups, spec),
        "cgroup": dict(runtime.plan_cgroups(spec, host)),
        "stdin_open": options.stdin_open,
        "init": options.init,
        **requested(options, config),
    }
    text = json.dumps(params, separators=(",", ":"))[1:-1]
    program = runtime.seccomp_program(options, spec, host, cache_directory=engine.store.root / "filters")
    return Recipe(spec, program, container_id, text)


def spec_of(
    engine: Engine, container_id: str, options: RunOptions, config: ImageConfig, *, manager: str = ""
) -> model.Spec:
    """The runtime-spec of a container. Raises InvalidOption, InvalidImage, Unsupported.

    manager: who made the cgroups of one that runs; empty for one that this engine is to start.
    """
    if not manager:
        manager = engine.config.cgroup_manager
        if manager == "systemd":
            runtime.cgroups.refuse_without(engine.host.cgroups, is_running=engine.host.has_systemd)
    return runtime.build_spec(
        sharing.with_users(engine, options),
        config,
        engine.host,
        container_id=container_id,
        store_tag=engine.store_tag,
        cgroup_manager=manager,
    )


def manager_for(options: RunOptions, manager: str) -> str:
    """Who can make a container's cgroups: this manager, unless its parent is of the other one's kind."""
    if options.cgroup_parent is None:
        return manager
    return "cgroupfs" if options.cgroup_parent.startswith("/") else "systemd"


def groups_of(named: Sequence[str], spec: model.Spec) -> list[str]:
    """Further groups by name or number; those that a device brings are in the spec alone."""
    numbers = spec.process.user.additional_gids if spec.process is not None else ()
    return list(dict.fromkeys((*named, *map(str, numbers)))) if numbers else list(named)
