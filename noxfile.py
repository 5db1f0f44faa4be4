"""Sessions of the project; `nox -l` lists them, `nox` runs the quick ones.

A session uses the environment nox runs in when that already has the tools (`--no-venv`), which is what
the test command does; otherwise nox makes one per session.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "unit"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_external_run = False

# Each worker takes neighbours, which share an engine, and in the end what another has not come to.
SOME_AT_A_TIME = ("-n", "4", "--dist", "worksteal")
PATHS = ("pycontainer", "tests", "benchmarks", "examples", "noxfile.py", "docs/conf.py")


def _install(session: nox.Session, extra: str) -> None:
    """Install the package with one extra, unless nox was told to use the environment it runs in."""
    if session.virtualenv.is_sandboxed:
        session.install("-e", f".[{extra}]")


def _interpreter(session: nox.Session) -> str:
    """The session's; without a sandbox that is nox's own, whatever the path says."""
    return f"{session.bin}/python" if session.virtualenv.is_sandboxed else sys.executable


def _python(session: nox.Session, *arguments: str, env: dict[str, str] | None = None) -> None:
    session.run(_interpreter(session), *arguments, external=True, env=env)


def _place(name: str) -> dict[str, str]:
    """Where pytest puts what tests write: lest what one session leaves behind be in another's way."""
    place = Path(tempfile.gettempdir(), f"nox-{name}")
    place.mkdir(exist_ok=True)
    return {"PYTEST_DEBUG_TEMPROOT": str(place), "PYCONTAINER_TEST_CACHE": tempfile.gettempdir()}


def _pytest(session: nox.Session, *arguments: str) -> None:
    _install(session, "test")
    _python(session, "-m", "pytest", *arguments, *session.posargs, env=_place(session.name))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    _install(session, "dev")
    _python(session, "-m", "ruff", "check", *PATHS)
    _python(session, "-m", "ruff", "format", "--check", *PATHS)


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly; and that users are told the type of all that is public."""
    _install(session, "dev")
    # Side by side: either keeps one processor busy. pyright asks the path's first python for packages.
    python = _interpreter(session)
    environment = {**os.environ, "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [python, "-m", "pyright", "--verifytypes", "pycontainer", "--ignoreexternal"]
    with tempfile.TemporaryFile() as said:
        pyright = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)
        try:
            _python(session, "-m", "mypy")
        finally:
            pyright.wait()
        if pyright.returncode:
            said.seek(0)
            print(said.read().decode(errors="replace"))
            session.error("not all public types are known; pyright says which above")


@nox.session
def unit(session: nox.Session) -> None:
    """Run what needs no privilege, and the architecture tests."""
    _pytest(session, "tests/unit", "tests/contracts", "-n", "2")


@nox.session
def integration(session: nox.Session) -> None:
    """Run real containers, as root; some at a time, since most of them wait for others than processors."""
    _pytest(session, "tests/integration", "tests/docs", *SOME_AT_A_TIME)


@nox.session
def compat(session: nox.Session) -> None:
    """Compare with the tools that are installed."""
    _pytest(session, "tests/compat")


@nox.session(name="property")
def properties(session: nox.Session) -> None:
    """Check properties on generated inputs."""
    _pytest(session, "tests/property", "-n", "2")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Feed mutated inputs to the parsers, for a bounded time."""
    _pytest(session, "tests/fuzz", "-n", "2")


@nox.session
def guest(session: nox.Session) -> None:
    """Boot a virtual machine that has cgroup v2 only, and run containers in it."""
    _pytest(session, "tests/guest")


@nox.session
def compat_and_guest(session: nox.Session) -> None:
    """Run both side by side: either keeps hardly more than one processor busy."""
    _install(session, "test")
    # The guest's tests leave the host alone, and cannot tell who does not.
    environment = {**os.environ, **_place("guest"), "PYCONTAINER_ORACLE": ""}
    command = [_interpreter(session), "-m", "pytest", "tests/guest"]
    with tempfile.TemporaryFile() as said:
        guest = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)
        try:
            compat(session)
        finally:
            guest.wait()
            said.seek(0)
            print(said.read().decode(errors="replace"))
    if guest.returncode:
        session.error(f"tests/guest failed with exit code {guest.returncode}")


@nox.session
def guest_suite(session: nox.Session) -> None:
    """Run the integration suite, or `-- tests/integration/test_x.py`, in such a machine, under systemd.

    `-- PYCONTAINER_CGROUP_MANAGER=systemd tests/...` has systemd make the containers' cgroups. Emulated
    processors are slow: the whole takes hours.
    """
    _install(session, "test")
    _python(session, "-m", "tests.guest", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure start, import, memory and removal beside the installed rivals; `-- pull` for one of them."""
    _install(session, "test")
    for name in session.posargs or ("imports", "start", "memory", "remove"):
        _python(session, "-m", f"benchmarks.{name}")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    _install(session, "docs")
    _python(session, "-m", "sphinx", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")


@nox.session
def generate(session: nox.Session) -> None:
    """Write the generated files, or with `-- --check` say whether they are current."""
    _install(session, "test")
    for module in ("pycontainer.options.derive", "pycontainer.aio.derive"):
        _python(session, "-m", module, *(session.posargs or ["--write"]))
