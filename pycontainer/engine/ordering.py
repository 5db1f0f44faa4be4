"""The order in which containers start: after those whose namespaces they share, and those they require."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pycontainer.engine.state import observe
from pycontainer.errors import ContainerFailed, InvalidOption, NotFound, PycontainerError, WrongState
from pycontainer.options import Requirement, RunOptions, parse_run_options, shared_with

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container
    from pycontainer.engine.engine import Engine
    from pycontainer.store import ContainerRecord

__all__ = ["check", "in_order", "start_required"]

_SHARING = ("network", "ipc", "pid", "uts", "cgroupns", "userns")
_TAIL_LINES = 20


def in_order(engine: Engine, containers: Iterable[Container]) -> list[Container]:
    """The containers, each once, after those of them that it shares with or requires; else as given.

    Raises: NotFound naming a container that is wanted and does not exist; InvalidOption for a circle.
    """
    wanted = {container.id: container for container in containers}
    names = {key: container.name for key, container in wanted.items()}

    def before(key: str) -> list[str]:
        return [donor for donor in _before(engine, names[key], wanted[key]._options) if donor in wanted]

    return [wanted[key] for key in _sorted(wanted, before, names.__getitem__)]


def _sorted(keys: Iterable[str], before: Callable[[str], list[str]], name: Callable[[str], str]) -> list[str]:
    found: dict[str, None] = {}

    def visit(key: str, path: tuple[str, ...]) -> None:
        if key in found:
            return
        if key in path:
            circle = " -> ".join(name(each) for each in (*path[path.index(key) :], key))
            raise InvalidOption(f"these containers wait for each other: {circle}")
        for other in before(key):
            visit(other, (*path, key))
        found[key] = None

    for key in keys:
        visit(key, ())
    return list(found)


def _before(engine: Engine, name: str, options: RunOptions) -> list[str]:
    """Ids of those that have to run before."""
    asked = [(option, shared_with(getattr(options, option))) for option in _SHARING]
    found = []
    for option, other in asked:
        if other is not None:
            found.append(_find(engine, name, f"{option}='container:{other}'", other).id)
    found += [_find(engine, name, f"requires={str(each)!r}", each.name).id for each in options.requires or ()]
    return found


def _find(engine: Engine, name: str, asked: str, other: str) -> ContainerRecord:
    try:
        return engine.store.state.containers.find(other)
    except NotFound:
        raise NotFound(
            f"container {name} has {asked}, and there is no container {other!r}; create that one first"
        ) from None


def check(engine: Engine, options: RunOptions) -> None:
    """Refuse what could never be started. Raises NotFound."""
    for each in options.requires or ():
        _find(engine, options.name or "to be created", f"requires={str(each)!r}", each.name)


def start_required(engine: Engine, record: ContainerRecord, options: RunOptions) -> None:
    """Start those that this container requires, with theirs first, and wait for what it asks of each.

    Raises: NotFound; InvalidOption for a circle, before anything is started; ContainerFailed for one that
    was to complete and did not; NotReady for one that does not become healthy; and what start raises.
    """
    from pycontainer.engine.containers import Container

    table = engine.store.state.containers
    known = {record.id: options}

    def before(key: str) -> list[str]:
        if key not in known:
            known[key] = parse_run_options(**table.find(key).options)
        return _before(engine, table.find(key).name, known[key])

    _sorted([record.id], before, lambda key: table.find(key).name)
    for each in options.requires or ():
        other = Container._attach(engine, table.find(each.name))
        try:
            _bring(other, each)
        except PycontainerError as error:
            error.add_note(f"container {record.name} requires {each}")
            raise


def _bring(other: Container, wanted: Requirement) -> None:
    from pycontainer.engine import steering
    from pycontainer.engine.waits import healthy

    has_completed = wanted.condition == "completed" and other.exit_code == 0
    if steering.is_live(observe(other._directory)) or has_completed:
        started = False
    else:
        try:
            other.start()
        except WrongState:
            if not steering.is_live(observe(other._directory)):
                raise
            # Another process was faster.
        started = True
    if wanted.condition == "healthy":
        other.wait_until(healthy())
    elif wanted.condition == "completed" and (started or not has_completed):
        code = other.wait()
        if code:
            logs = other.logs(tail=_TAIL_LINES)
            raise ContainerFailed(
                f"container {other.name} ended with {code} and was to complete",
                exit_code=code,
                stderr=logs.read(),
            )
