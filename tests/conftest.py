"""Fixtures and rules for all tests.

- `@needs("root", "overlay")` (tests/support/needs.py) skips with the doctor's reason.
- Every integration and compat test runs inside the leak oracle. Whatever a module- or session-scoped
  fixture starts lazily (an engine's helper) must be warm before the first test uses it.
- No test connects to anything but loopback.
"""

from __future__ import annotations

import gc
import ipaddress
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer.testing import leaks
from tests.support import debian, images
from tests.support.needs import reason_to_skip

_WATCHED = {"integration", "compat"}


def _refuse_the_internet(event: str, arguments: tuple[object, ...]) -> None:
    if event != "socket.connect":
        return
    address = arguments[1]
    if isinstance(address, tuple) and isinstance(address[0], str) and address[0] != "localhost":
        try:
            is_local = ipaddress.ip_address(address[0].partition("%")[0]).is_loopback
        except ValueError:
            is_local = False
        if not is_local:
            raise RuntimeError(f"a test tried to connect to {address[0]}: only loopback is allowed")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*features): skip where the host lacks a feature or program")
    sys.addaudithook(_refuse_the_internet)
    if not config.pluginmanager.has_plugin("hypothesispytest"):
        return  # in a virtual machine, whose tests have no generated inputs
    import hypothesis

    # How long a generated input takes says more about the machine's other work than about ours.
    hypothesis.settings.register_profile(
        "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        kind = item.path.relative_to(Path(__file__).parent).parts[0]
        if kind in {"integration", "compat", "guest", "property", "fuzz"}:
            item.add_marker(kind)


def pytest_runtest_setup(item: pytest.Item) -> None:
    features = [str(name) for mark in item.iter_markers("needs") for name in mark.args]
    reasons = [reason for reason in map(reason_to_skip, features) if reason]
    if reasons:
        pytest.skip("; ".join(reasons))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Have the collections around every test pass over what is there before the first of them."""
    gc.collect()
    gc.freeze()


_IS_GLOBAL = os.environ.get("PYCONTAINER_ORACLE") == "global"
_before = pytest.StashKey[leaks.Snapshot]()


def pytest_sessionstart(session: pytest.Session) -> None:
    if _IS_GLOBAL and "PYTEST_XDIST_WORKER" not in os.environ:
        session.config.stash[_before] = leaks.Snapshot.take([], is_global=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Look at the whole host when all tests, and the processes that ran them, have ended."""
    before = session.config.stash.get(_before, None)
    if before is None:
        return
    gc.collect()
    # What this process itself opens and starts to run tests ends with it.
    left = before.settle(ignore=lambda fact: fact.startswith(("fd: ", "thread: ", "task: ")))
    if left:
        print(f"\nthe whole run left behind (+) or took away (-):\n{left}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _is_kept_by_sqlite(fact: str) -> bool:
    # While another connection of this process holds locks on the file, SQLite puts a closed connection's
    # descriptor aside for the next one: closing it would drop those locks (os_unix.c, setPendingFd).
    return fact.startswith("fd: ") and fact.endswith("/state.db")


@pytest.fixture(autouse=True)
def leak_oracle(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves anything behind: mounts, processes, cgroups, descriptors, threads, locks."""
    is_watched = any(request.node.get_closest_marker(kind) for kind in _WATCHED)
    if not is_watched or request.node.get_closest_marker("no_oracle"):
        yield
        return
    # Whoever holds something below the directory of all tests of this run is this run's.
    paths = [request.getfixturevalue("tmp_path_factory").getbasetemp()]
    is_alone = _IS_GLOBAL and "PYTEST_XDIST_WORKER" not in os.environ
    is_global = is_alone or bool(request.node.get_closest_marker("global_oracle"))
    before = leaks.Snapshot.take(paths, is_global=is_global)
    yield
    gc.collect()
    before.assert_unchanged(ignore=_is_kept_by_sqlite)


@pytest.fixture(scope="session")
def busybox_rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system with busybox, users root, daemon and web; shared, not to be written to."""
    if images.busybox_path() is None:
        pytest.skip("no static busybox: apt-get install busybox-static")
    return images.busybox_rootfs(tmp_path_factory.mktemp("busybox") / "rootfs")


@pytest.fixture(scope="session")
def busybox_layout(busybox_rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI layout of a two-layer busybox image, tag "latest"; shared, not to be written to."""
    layers = [
        images.tar_of(busybox_rootfs),
        images.tar_with({"srv/": None, "srv/greeting": b"hello from the second layer\n"}),
    ]
    return images.oci_layout(tmp_path_factory.mktemp("layout") / "busybox", layers)


@pytest.fixture(scope="session")
def debian_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pc.Engine]:
    """An engine with `debian.IMAGE`: packages take most of a minute to unpack, so all tests share them."""
    with debian.store(tmp_path_factory.mktemp("debian")) as engine:
        yield engine
