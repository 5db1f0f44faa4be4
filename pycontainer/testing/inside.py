"""A test function that runs inside a container: `@pytest.mark.in_container("debian:12")`.

Theory of operation. A second pytest runs the one test in the container, with its fixtures, and writes its
reports to its standard output (see inner.py). By default it is this very interpreter: its program, loader,
libraries and modules are mounted read-only below /.pycontainer, and the project where it is, so that any
image for this machine will do, one without Python or libc, too. With python="python3" it is the image's own,
which needs pytest. What comes back was written inside and is taken for text and numbers only.
"""

from __future__ import annotations

import json
import os
import site
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from pycontainer.engine import Image, run
from pycontainer.errors import PycontainerError
from pycontainer.testing.session import session_of

__all__ = ["run_inside"]

_HOME = "/.pycontainer"
_PHASES = ("setup", "call", "teardown")
# What is about the whole run, its output files, or its workers.
_OUTER = (
    "basetemp cacheclear cacheshow collectonly deselect dist distload failedfirst file_or_dir ignore "
    "ignore_glob inifilename keyword lf looponfail markexpr maxprocesses newfirst numprocesses override_ini "
    "plugins "
    "pycontainer_reuse pycontainer_root rootdir stepwise trace tx usepdb usepdb_cls xmlpath log_file"
).split()
_PLAIN = (str, int, float, bool, type(None))


def run_inside(item: pytest.Item, nextitem: pytest.Item | None, mark: pytest.Mark) -> None:
    """Run the test in its container, and report its phases as pytest would."""
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _reports(item, mark):
        hook.pytest_runtest_logreport(report=report)
    # Modules and classes of earlier tests may end here, as after any other test. The hook for that expects
    # what setting a test up leaves in it.
    ended = item.session._setupstate.teardown_exact
    call = pytest.CallInfo.from_call(lambda: ended(nextitem), when="teardown")
    if call.excinfo is not None:
        report = hook.pytest_runtest_makereport(item=item, call=call)
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def _reports(item: pytest.Item, mark: pytest.Mark) -> list[pytest.TestReport]:
    session = session_of(item.config)
    if session.reason:
        text = f"no containers on this host: {session.reason}"
        place = (str(item.path), (item.location[1] or 0) + 1, f"Skipped: {text}")
        is_required = item.config.getini("pycontainer_required")
        first = (
            _report(item, "setup", "failed", text)
            if is_required
            else _report(item, "setup", "skipped", place)
        )
        return [first, _report(item, "teardown", "passed", None)]
    try:
        image, python, options = _asked(*mark.args, **mark.kwargs)
        command, given = _command(item, python)
        given["mounts"] += options.pop("mounts", None) or []
        given["env"] |= options.pop("env", None) or {}
        result = run(image, command, engine=session.engine, **{**given, **options})
    except (PycontainerError, TypeError, OSError) as error:
        return [
            _report(item, "setup", "failed", f"the test did not start in a container: {error}"),
            _report(item, "teardown", "passed", None),
        ]
    return _read(item, result)


def _asked(
    image: str | Image, *, python: str | None = None, **options: Any
) -> tuple[Any, str | None, dict[str, Any]]:
    return image, python, options


def _command(item: pytest.Item, python: str | None) -> tuple[list[str], dict[str, Any]]:
    """What runs the test, and with which options of run. Raises OSError."""
    config = item.config
    root = config.rootpath
    if not item.path.is_relative_to(root):
        raise OSError(
            f"{item.path} is not below {root}, which is all of the project that is mounted; see --rootdir"
        )
    inner = Path(__file__).with_name("inner.py")
    mounts = [_bind(inner, f"{_HOME}/inner.py"), _bind(root, str(root))]
    env: dict[str, str] = {}
    path, sites = [str(root / each) for each in config.getini("pythonpath")], []
    if python is None:
        brought = _Interpreter(root)
        mounts += brought.mounts
        command, env, path, sites = (
            brought.command,
            {"PYTHONHOME": brought.home},
            path + brought.path,
            brought.sites,
        )
    else:
        command = [python, "-B"]
    request = {
        "args": _arguments(item),
        "option": {
            name: value
            for name, value in vars(config.option).items()
            if name not in _OUTER and not name.startswith("cov") and _is_plain(value)
        },
        "path": path,
        "sites": sites,
        "coverage": _coverage_settings(),
    }
    workdir = config.invocation_params.dir
    options = {
        "entrypoint": [],
        "mounts": mounts,
        "tmpfs": [f"{_HOME}/tmp"],
        "env": env,
        "workdir": str(workdir if workdir.is_relative_to(root) else root),
    }
    return [*command, f"{_HOME}/inner.py", json.dumps(request)], options


def _arguments(item: pytest.Item) -> list[str]:
    config = item.config
    name = item.nodeid.partition("::")[2]
    found = [
        f"{item.path}::{name}",
        f"--rootdir={config.rootpath}",
        "-pno:cacheprovider",
        "-pno:terminal",
        "-oaddopts=",
    ]
    if config.inipath is not None:
        found.append(f"-c{config.inipath}")
    found += [f"-o{line}" for line in config.option.override_ini or ()]
    found += [f"-p{name}" for name in config.option.plugins or () if not name.startswith("no:")]
    # Both are looked at before the other options come to the inner pytest.
    found += [f"--import-mode={config.getoption('importmode')}", f"--capture={config.getoption('capture')}"]
    return found


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(each, _PLAIN) for each in value)
    return isinstance(value, _PLAIN)


def _bind(source: Path, target: str) -> dict[str, Any]:
    return {"type": "bind", "source": str(source), "target": target, "readonly": True}


class _Interpreter:
    """This interpreter as mounts: what is run, its home, and where its modules are found."""

    def __init__(self, root: Path) -> None:
        binary = Path(getattr(sys, "_base_executable", "") or sys.executable).resolve()
        library = Path(os.__file__).resolve().parent
        self.home = f"{_HOME}/python"
        self.mounts = [
            _bind(binary, f"{self.home}/bin/python3"),
            _bind(library, f"{self.home}/lib/{library.name}"),
            _bind(_loader(binary), f"{_HOME}/loader"),
        ]
        places = []
        for number, directory in enumerate(_library_directories()):
            places.append(f"{_HOME}/lib/{number}")
            self.mounts.append(_bind(directory, places[-1]))
        loader = [f"{_HOME}/loader", "--library-path", ":".join(places)]
        self.command = [*loader, f"{self.home}/bin/python3", "-s", "-S", "-B"]
        self.path: list[str] = []
        self.sites: list[str] = []
        with_pth = {os.path.realpath(each) for each in (*site.getsitepackages(), site.getusersitepackages())}
        for entry in dict.fromkeys(map(os.path.realpath, sys.path)):
            self._add(Path(entry), root, library, entry in with_pth)

    def _add(self, entry: Path, root: Path, library: Path, has_pth: bool) -> None:
        is_ours = entry == library or (entry.is_relative_to(library) and not has_pth)
        if is_ours or not entry.exists() or root.is_relative_to(entry):
            return
        target = str(entry)
        if not entry.is_relative_to(root):  # the image may have something there
            target = f"{_HOME}/path/{len(self.mounts)}"
            self.mounts.append(_bind(entry, target))
        (self.sites if has_pth else self.path).append(target)


def _loader(binary: Path) -> Path:
    """What the kernel starts a program's dynamic linking with. Source: elf(5), PT_INTERP."""
    data = binary.read_bytes()
    size, count = int.from_bytes(data[54:56], "little"), int.from_bytes(data[56:58], "little")
    start = int.from_bytes(data[32:40], "little")
    for entry in range(start, start + size * count, size):
        if int.from_bytes(data[entry : entry + 4], "little") == 3:  # PT_INTERP
            offset = int.from_bytes(data[entry + 8 : entry + 16], "little")
            length = int.from_bytes(data[entry + 32 : entry + 40], "little")
            return Path(os.fsdecode(data[offset : offset + length - 1])).resolve()
    raise OSError(
        f"{binary} is not linked dynamically; give in_container(python=...), a program of the image"
    )


def _library_directories() -> list[Path]:
    """Where the shared libraries that this process has loaded are, and the linker's own directories."""
    found: dict[Path, None] = {}
    for line in Path("/proc/self/maps").read_text().splitlines():
        name = line[73:]
        if ".so" in os.path.basename(name) and os.path.isabs(name):
            directory = Path(name).resolve().parent
            if "site-packages" not in directory.parts and "lib-dynload" not in directory.parts:
                found[directory] = None
                if os.path.basename(name).startswith("libpython"):
                    # The system may have another one of the same name.
                    found = {directory: None, **found}
    multiarch = sysconfig.get_config_var("MULTIARCH")
    for name in (f"/usr/lib/{multiarch}", "/usr/lib64", "/lib64") if multiarch else ("/usr/lib64", "/lib64"):
        if os.path.isdir(name):
            found[Path(name).resolve()] = None
    return list(found)


# -- what comes back -----------------------------------------------------------------------------------


def _read(item: pytest.Item, result: Any) -> list[pytest.TestReport]:
    reports: dict[str, pytest.TestReport] = {}
    problems: list[str] = []
    for line in result.stdout.splitlines():
        try:
            message = json.loads(line)
            if "report" in message:
                report = _received(item, message["report"])
                reports[str(report.when)] = report
            elif "problem" in message:
                problems.append(str(message["problem"]))
            else:
                _count(message)
        except (ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
            problems.append(f"what came from the container is no report: {error}")
    found = [reports[phase] for phase in _PHASES if phase in reports]
    is_over = bool(found) and (found[-1].when == "teardown")
    if is_over and not problems:
        return found
    tail = result.stderr[-8192:].decode(errors="replace")
    text = "\n".join(
        [*problems, f"the test's process ended with exit code {result.exit_code}", tail]
    ).rstrip()
    missing = next(phase for phase in _PHASES if phase not in reports) if not is_over else "teardown"
    return [
        *(report for report in found if report.when != missing),
        _report(item, missing, "failed", text),
        *([] if missing == "teardown" else [_report(item, "teardown", "passed", None)]),
    ]


def _received(item: pytest.Item, data: dict[str, Any]) -> pytest.TestReport:
    """A report of this test, whatever the container says it is of. Raises ValueError and its like."""
    if data["$report_type"] != "TestReport" or data["when"] not in _PHASES:
        raise ValueError("an unknown kind of report")
    if data["outcome"] not in ("passed", "failed", "skipped"):
        raise ValueError("an unknown outcome")
    told = data.get("longrepr")
    if isinstance(told, list):  # where it was skipped, and why
        path, line, reason = told
        told = (str(path), int(line), str(reason))
    clean = {
        **{name: data[name] for name in ("$report_type", "outcome", "when")},
        "nodeid": item.nodeid,
        "location": item.location,
        "keywords": dict.fromkeys(item.keywords, 1),
        "longrepr": told,
        "sections": [(str(title), str(text)) for title, text in data.get("sections", ())],
        "user_properties": [(str(name), value) for name, value in data.get("user_properties", ())],
        **{name: float(data.get(name, 0)) for name in ("duration", "start", "stop")},
    }
    if isinstance(data.get("wasxfail"), str):
        clean["wasxfail"] = data["wasxfail"]
    config = item.config
    report: pytest.TestReport = config.hook.pytest_report_from_serializable(config=config, data=clean)
    return report


def _report(item: pytest.Item, when: Any, outcome: Any, longrepr: Any) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords=dict.fromkeys(item.keywords, 1),
        outcome=outcome,
        longrepr=longrepr,
        when=when,
    )


def _measuring() -> Any:
    """The coverage that this process measures, or None."""
    coverage = sys.modules.get("coverage")
    return None if coverage is None else coverage.Coverage.current()


def _coverage_settings() -> dict[str, Any] | None:
    measured = _measuring()
    if measured is None:
        return None
    names = {"branch": "run:branch", "source": "run:source", "include": "run:include", "omit": "run:omit"}
    return {name: measured.get_option(option) or None for name, option in names.items()}


def _count(message: dict[str, Any]) -> None:
    """Add what the inner interpreter covered."""
    measured = _measuring()
    if measured is None:
        return
    data = measured.get_data()
    if "arcs" in message:
        arcs = {str(name): [(int(a), int(b)) for a, b in pairs] for name, pairs in message["arcs"].items()}
        data.add_arcs(arcs)
    elif "lines" in message:
        data.add_lines({str(name): [int(each) for each in lines] for name, lines in message["lines"].items()})
