"""Changing the options of a container that exists: in the record, and in the kernel while it runs."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from pycontainer import runtime
from pycontainer.checkpoints import reached
from pycontainer.engine import recipes, steering
from pycontainer.engine.events import emit_container
from pycontainer.errors import InvalidOption, PycontainerError, WrongState
from pycontainer.launcher import ask
from pycontainer.options import (
    OPTIONS,
    RestartPolicy,
    RunOptions,
    dump_run_options,
    is_network,
    parse_run_options,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pycontainer.engine.containers import Container
    from pycontainer.oci import runtime as model

__all__ = ["KILL_POINTS", "update"]

KILL_POINTS = ("update.limits.changed",)  # the kernel has the new limits, the record the old ones

_ASK_S = 60.0  # less memory than is used takes the kernel the time to write it out
# A newer answer to a question replaces an older one in other words.
_REPLACES = {"cpus": ("cpu_quota", "cpu_period"), "cpu_quota": ("cpus",), "cpu_period": ("cpus",)}


def update(container: Container, given: Mapping[str, Any]) -> None:
    """Change these options; None goes back to the default. See Container.update."""
    _check_names(given)
    engine = container._engine
    with engine.store.container_lock(container.id):
        runtime.after("update", container.state)
        before = parse_run_options(**container._current.options)
        after = _merged(container, before, given)
        config = container.image.config
        # As at create: what cannot be is refused before anything is changed.
        manager = container._observed.cgroup_manager
        old = recipes.spec_of(engine, container.id, before, config, manager=manager)
        new = recipes.spec_of(engine, container.id, after, config, manager=manager)
        policy = _policy(after) if before.restart != after.restart else None
        is_told = steering.is_live(container._observed) and _tell(container, old, new, policy)
        try:
            with _limited(container, before, after):
                reached("update.limits.changed")
                engine.store.state.containers.set_options(container.id, dump_run_options(after))
        except BaseException as error:
            if is_told:
                _take_back(container, new, old, None if policy is None else _policy(before), error)
            raise
    emit_container(engine, "update", container._current)


@contextmanager
def _limited(container: Container, before: RunOptions, after: RunOptions) -> Iterator[None]:
    """Have the container reach what the new options say, or what the old ones do after an error."""
    old, new = ((each.egress, each.egress_allow) for each in (before, after))
    if old == new or not is_network(after.network):
        yield
        return
    from pycontainer.engine import bridging, egress, networking  # containers without networks do without

    engine = container._engine
    egress.check(after, networking.networks_of(engine, container.id))
    keeps = set(egress.names_of(before)) <= set(egress.names_of(after))

    def hold(options: RunOptions, *, keeps_named: bool) -> None:
        # What may be asked for first: what is answered meanwhile is forgotten with the rest.
        if steering.is_live(container._observed):
            with suppress(WrongState):
                networking.tell(container, options)
        egress.apply_locked(engine, container.id, options, keeps_named=keeps_named)

    with bridging.rules_lock(engine), ExitStack() as undo:
        undo.callback(hold, before, keeps_named=False)
        hold(after, keeps_named=keeps)
        yield
        undo.pop_all()


def _check_names(given: Mapping[str, Any]) -> None:
    for name in given:
        if name in OPTIONS and not OPTIONS[name].update:
            possible = ", ".join(sorted(other for other, info in OPTIONS.items() if info.update))
            raise InvalidOption(
                f"option {name} of a container that exists cannot be changed; make another one "
                f"(what can be: {possible})"
            )


def _merged(container: Container, before: RunOptions, given: Mapping[str, Any]) -> RunOptions:
    merged: dict[str, Any] = dict(container._current.options)
    if "egress" in given and given["egress"] != "deny":
        merged.pop("egress_allow", None)
    for name, value in given.items():
        if value is None and name in OPTIONS:
            merged.pop(name, None)
            continue
        merged[name] = value
        for replaced in _REPLACES.get(name, ()):
            if replaced not in given:
                merged.pop(replaced, None)
    return parse_run_options(**merged)


def _tell(container: Container, old: model.Spec, new: model.Spec, policy: dict[str, Any] | None) -> bool:
    """Have the monitor do it; False when the container has ended since. Raises KernelError."""
    host = container._engine.host
    assert new.linux is not None
    assert new.linux.cgroups_path is not None
    request: dict[str, Any] = {
        "op": "update",
        "changes": runtime.cgroups.changes(
            _resources(old),
            _resources(new),
            runtime.cgroups.place_of(new.linux.cgroups_path),
            host.cgroups,
        ),
        "cgroup": dict(runtime.plan_cgroups(new, host)),
        "restart": policy,
    }
    if runtime.cgroups.is_scope(new.linux.cgroups_path):
        tell = runtime.cgroups.systemd_limit_changes
        request["properties"] = tell(_resources(old), _resources(new), host.cgroups)
        request["properties_before"] = tell(_resources(new), _resources(old), host.cgroups)
    try:
        ask(str(container._directory), request, timeout_s=_ASK_S)
    except WrongState:
        return False
    return True


def _policy(options: RunOptions) -> dict[str, Any]:
    policy = options.restart or RestartPolicy()
    return {"name": policy.name, "max_retries": policy.max_retries}


def _resources(spec: model.Spec) -> dict[str, Any]:
    assert spec.linux is not None
    resources = spec.linux.resources
    return {} if resources is None else resources.to_dict()


def _take_back(
    container: Container,
    new: model.Spec,
    old: model.Spec,
    policy: dict[str, Any] | None,
    error: BaseException,
) -> None:
    try:
        _tell(container, new, old, policy)
    except (PycontainerError, OSError) as problem:
        error.add_note(f"and the container keeps the new limits until it ends: {problem}")
