"""The plugin that pytest loads by its entry point: options, fixtures, and what a failed test's report gets.

Nothing of the engine is imported before a fixture or a mark needs it; this module, which every run of pytest
imports, keeps to pytest and what pytest has imported itself.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pycontainer.engine import Engine
    from pycontainer.testing import ContainerFactory

_SESSION = "pycontainer.testing.session"
_MARK = "in_container"
_INSIDE = "PYCONTAINER_IN_CONTAINER"
"""Set where such a test runs; see testing.inner."""
_began = pytest.StashKey[Any]()


def _factory_fixture(scope: Any, name: str) -> Any:
    def fixture(request: pytest.FixtureRequest, pycontainer_engine: Engine) -> Iterator[ContainerFactory]:
        from pycontainer.testing import fixtures

        with fixtures.making(request, pycontainer_engine) as factory:
            yield factory

    fixture.__doc__ = f"Makes containers, networks, volumes, images and registries for a {scope}."
    return pytest.fixture(scope=scope, name=name)(fixture)


container_factory: Any = _factory_fixture("function", "container_factory")
class_container_factory: Any = _factory_fixture("class", "class_container_factory")
module_container_factory: Any = _factory_fixture("module", "module_container_factory")
package_container_factory: Any = _factory_fixture("package", "package_container_factory")
session_container_factory: Any = _factory_fixture("session", "session_container_factory")


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    _keep_as_compiled(pluginmanager)
    group = parser.getgroup("pycontainer", "containers")
    group.addoption(
        "--pycontainer-root",
        dest="pycontainer_root",
        metavar="DIR",
        help="The store of images and containers; default as for the library.",
    )
    group.addoption(
        "--pycontainer-reuse",
        dest="pycontainer_reuse",
        choices=("keep", "end", "off"),
        default="keep",
        help="Containers declared with reuse=True: keep them for later runs (the default), end them with "
        "this run, or turn reuse off.",
    )
    parser.addini("pycontainer_root", "The store of images and containers.", default="")
    parser.addini(
        "pycontainer_required",
        "Fail, instead of skip, tests whose containers this host cannot run.",
        type="bool",
        default=False,
    )


def _keep_as_compiled(pluginmanager: Any) -> None:
    """Have pytest import the rest of this package as it is: it takes all of a plugin's package for helpers of
    tests, and compiles each module anew for the sake of its asserts, which is ten times an import.
    """
    hook = getattr(pluginmanager, "rewrite_hook", None)
    marked = getattr(hook, "_must_rewrite", None)
    if hook is not None and isinstance(marked, set):
        marked.discard("pycontainer")
        hook.mark_rewrite()  # which forgets what it has found out about names until now


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "in_container(image, python=None, **options): run the test inside a container of the image, by this "
        "interpreter or by the image's own that is named; options are those of pycontainer.run.",
    )


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist which process the run ends with."""
    try:
        with open(
            "/proc/self/stat"
        ) as stat:  # as testing.marks.identity, which every run would have to import
            start = stat.read().rpartition(")")[2].split()[19]
    except FileNotFoundError:
        return
    node.workerinput["pycontainer_controller"] = f"{os.getpid()}-{start}"


@pytest.fixture(scope="session")
def pycontainer_engine(request: pytest.FixtureRequest) -> Engine:
    """The engine of this run; skips what needs it where the host cannot run containers."""
    if _INSIDE in os.environ:
        pytest.fail(
            "a test that is marked in_container runs where no containers can be made; "
            "leave fixtures that are containers, networks, volumes or images out of it",
            pytrace=False,
        )
    from pycontainer.testing import session

    found = session.session_of(request.config)
    found.check_host()
    return found.engine


@pytest.fixture(scope="session")
def _pycontainer_originals(request: pytest.FixtureRequest, pycontainer_engine: Engine) -> Iterator[Any]:
    """Containers that are for more than one test."""
    from pycontainer.testing import originals, session

    kept = originals.Originals(pycontainer_engine, session.session_of(request.config))
    yield kept
    kept.close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a marked test in its container."""
    mark = item.get_closest_marker(_MARK)
    if mark is None or _INSIDE in os.environ:
        return None
    from pycontainer.testing import inside

    inside.run_inside(item, nextitem, mark)
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    import datetime

    item.stash[_began] = datetime.datetime.now(datetime.UTC)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of a failed test what its containers wrote."""
    import sys

    if call.excinfo is not None and "pycontainer.errors" in sys.modules:
        _shorten(call.excinfo)
    report = yield
    # Without the module no fixture has a container.
    if report.failed and _SESSION in sys.modules and (began := item.stash.get(_began, None)):
        session = sys.modules[_SESSION].existing(item.config)
        if session is not None:
            report.sections.extend(session.sections(set(getattr(item, "fixturenames", ())), began))
    return report


def _shorten(excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """Have pytest hide our own frames where an error tells of the caller's mistake.

    Those that have a variable for that themselves decide; see testing.fixtures.
    """
    import sys

    kind = sys.modules["pycontainer.errors"].PycontainerError

    def is_hidden(info: pytest.ExceptionInfo[BaseException] | None) -> bool:
        return info is not None and isinstance(info.value, kind)

    for entry in excinfo.traceback:
        module = entry.frame.f_globals
        if str(module.get("__name__", "")).partition(".")[0] == "pycontainer":
            module.setdefault("__tracebackhide__", is_hidden)


def pytest_unconfigure(config: pytest.Config) -> None:
    import sys

    if _SESSION in sys.modules and (session := sys.modules[_SESSION].existing(config)) is not None:
        session.close()
