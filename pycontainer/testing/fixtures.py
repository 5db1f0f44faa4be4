"""Declarations that are pytest fixtures: `db = testing.container(pc.services.postgres(), scope="session")`.

Everything that takes a value takes a function instead, whose parameters are names of fixtures:

    app = testing.container("app:1", env=lambda db: {"DATABASE_URL": db.inner_url}, network=lambda net: net)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pycontainer.errors import PycontainerError

if TYPE_CHECKING:
    from pycontainer.engine import Engine, Image, waits
    from pycontainer.services import Service
    from pycontainer.testing.factory import ContainerFactory, Started
    from pycontainer.testing.originals import Originals

__all__ = ["container", "containers", "image", "making", "network", "registry", "volume"]

Scope = Literal["function", "class", "module", "package", "session"]


def container(
    image: str | Image | Service | Callable[..., Any],
    command: Sequence[str] | str | Callable[..., Any] | None = None,
    *,
    scope: Scope = "function",
    prepare: Callable[[Any], object] | None = None,
    fork: bool = False,
    share: bool = False,
    reuse: bool = False,
    wait: waits.Wait | Callable[..., Any] | None = None,
    autouse: bool = False,
    **options: Any,
) -> Any:
    """A fixture that is a started container, or for a service a `Running` one.

    scope: how long it lives. prepare: called with it once it is ready (make tables, load data).

    fork: it is prepared once in a run and stopped; what the fixture gives is a copy of its files and volumes,
    started from there. Copies cost what a start costs, whatever the amount of data.

    share: one for all workers of pytest-xdist, from the first that needs it to the last; for scope="session".
    What fork prepares is shared always. reuse: it, or what fork prepares, stays for later runs, until the
    image, an option or the source of prepare changes; `pytest --pycontainer-reuse=end` ends it.

    wait, options: as of Container and run. Each, and image and command, may be a function of fixtures.
    """
    if (share or reuse) and not fork and scope != "session":
        raise ValueError(f'share and reuse are for scope="session", not {scope!r}; or give fork=True')
    given = {"image": image, "command": command, "wait": wait, **options}

    def make(request: Any, engine: Engine, originals: Originals, values: dict[str, Any]) -> Iterator[Started]:
        from pycontainer.testing.factory import Wanted

        wanted = Wanted(
            what=values.pop("image"), command=values.pop("command"), wait=values.pop("wait"), options=values
        )
        slot = f"{request.config.rootpath}:{request.fixturename}"
        return originals.provide(
            wanted, slot, prepare, fork=fork, share=share, reuse=reuse, fixture=request.fixturename
        )

    return _fixture(make, given, scope, autouse, "A container.")


def containers(
    *, scope: Scope = "function", autouse: bool = False, **wanted: str | Image | Service | Callable[..., Any]
) -> Any:
    """A fixture of several containers that start at the same time: `stack.db`, `stack.cache`.

    stack = testing.containers(db=pc.services.postgres(), cache=pc.services.redis(), scope="session")
    """

    def make(request: Any, engine: Engine, originals: Originals, values: dict[str, Any]) -> Iterator[Any]:
        from types import SimpleNamespace

        with making(request, engine) as factory:
            started = factory.together(*values.values())
            yield SimpleNamespace(**dict(zip(values, started, strict=True)))

    return _fixture(make, wanted, scope, autouse, "Containers that started together.")


def network(*, scope: Scope = "function", autouse: bool = False, **options: Any) -> Any:
    """A fixture that is a network. options: as of Network.create, name among them (a new one by default)."""
    return _made("network", options, scope, autouse)


def volume(*, scope: Scope = "function", autouse: bool = False, **options: Any) -> Any:
    """A fixture that is a volume. options: as of Volume.create, name among them (a new one by default)."""
    return _made("volume", options, scope, autouse)


def image(*, scope: Scope = "session", autouse: bool = False, **options: Any) -> Any:
    """A fixture that is an image, built from a Dockerfile. options: as of Image.build, context among them."""
    return _made("image", options, scope, autouse)


def registry(*, scope: Scope = "session", autouse: bool = False, **options: Any) -> Any:
    """A fixture that is a registry, served by this process. options: as of pycontainer.Registry."""
    return _made("registry", options, scope, autouse)


def _made(kind: str, options: Mapping[str, Any], scope: Scope, autouse: bool) -> Any:
    def make(request: Any, engine: Engine, originals: Originals, values: dict[str, Any]) -> Iterator[Any]:
        with making(request, engine) as factory:
            yield getattr(factory, kind)(**values)

    return _fixture(make, options, scope, autouse, f"A {kind}.")


@contextmanager
def making(request: Any, engine: Engine) -> Iterator[ContainerFactory]:
    """A factory whose containers are in the reports of failed tests that use the fixture of the request."""
    from pycontainer.testing.factory import ContainerFactory
    from pycontainer.testing.session import session_of

    session = session_of(request.config)
    started: list[Started] = []

    def watch(each: Started) -> None:
        started.append(each)
        session.watch(request.fixturename, each)

    with ContainerFactory(engine, on_start=watch) as factory:
        try:
            yield factory
        finally:
            for each in started:
                session.forget(each)


def _fixture(
    make: Callable[..., Iterator[Any]], given: Mapping[str, Any], scope: Scope, autouse: bool, about: str
) -> Any:
    """A fixture made by `make` of the values given, of which functions are called with their fixtures."""
    asked = {
        name: tuple(inspect.signature(value).parameters) for name, value in given.items() if _asks(value)
    }
    place = _declared_at()

    def made(
        request: Any, pycontainer_engine: Any, _pycontainer_originals: Any, **others: Any
    ) -> Iterator[Any]:
        values = {
            name: value(*(others[each] for each in asked[name])) if name in asked else value
            for name, value in given.items()
        }
        try:
            yield from make(request, pycontainer_engine, _pycontainer_originals, values)
        except PycontainerError as error:
            error.add_note(f"fixture {request.fixturename} is declared in {place}")
            raise

    def fixture(**fixtures: Any) -> Iterator[Any]:
        __tracebackhide__ = False  # pytest shows one frame; no other is the user's
        yield from made(**fixtures)

    # By their names in its signature pytest knows, and makes and ends in order, what a fixture needs.
    wanted = ("request", "pycontainer_engine", "_pycontainer_originals", *sum(asked.values(), ()))
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in dict.fromkeys(wanted)]
    fixture.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    fixture.__doc__ = about
    return pytest.fixture(scope=scope, autouse=autouse)(fixture)


def _declared_at() -> str:
    """Where the caller of this module stands."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "an unknown place"


def _asks(value: object) -> bool:
    return inspect.isfunction(value) or inspect.ismethod(value)
