"""Runs one test inside a container, and writes its reports; a program, which uses pytest and nothing of ours.

    python inner.py REQUEST

REQUEST is JSON: args (of pytest), option (of the outer pytest), path (directories of modules), sites
(directories with .pth files), coverage (settings, or null). On its standard output it writes one JSON object
a line: {"report": ...} as pytest_report_to_serializable makes it, {"problem": text} for what is no report,
and {"lines": ...} or {"arcs": ...} by file, as coverage counted them. Everything else goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import Any

SPARE_TMP = "/.pycontainer/tmp"


class Reporter:
    """Writes reports where the outer pytest reads them."""

    def __init__(self, out: int, option: dict[str, Any]) -> None:
        self._out = out
        self._option = option
        self._config: Any = None

    def write(self, **message: Any) -> None:
        line = json.dumps(message, default=repr).encode() + b"\n"
        while line:
            line = line[os.write(self._out, line) :]

    def pytest_configure(self, config: Any) -> None:
        self._config = config
        vars(config.option).update(self._option)

    def pytest_runtest_logreport(self, report: Any) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self.write(report=data)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.write(problem=report.longreprtext)


def main(request: dict[str, Any]) -> int:
    """Run the test. The exit code is pytest's."""
    out = os.dup(1)
    os.dup2(2, 1)
    # What the test starts is the image's, and has nothing to do with this interpreter.
    os.environ.pop("PYTHONHOME", None)
    os.environ["PYCONTAINER_IN_CONTAINER"] = "1"
    if not os.access("/tmp", os.W_OK) and os.path.isdir(SPARE_TMP):
        tempfile.tempdir = os.environ["TMPDIR"] = SPARE_TMP
    sys.path[:] = [entry for entry in sys.path if entry != os.path.dirname(os.path.abspath(__file__))]
    sys.path += [entry for entry in request["path"] if entry not in sys.path]
    if request["sites"]:
        import site

        for directory in request["sites"]:
            site.addsitedir(directory)
    reporter = Reporter(out, request["option"])
    measured = None
    if request["coverage"] is not None:
        import coverage

        measured = coverage.Coverage(data_file=None, config_file=False, **request["coverage"])
        measured.start()
    try:
        import pytest
    except ImportError as error:
        reporter.write(problem=f"the interpreter in the image has no pytest: {error}")
        return 1
    code = int(pytest.main(request["args"], plugins=[reporter]))
    if measured is not None:
        measured.stop()
        data = measured.get_data()
        kind, lookup = ("arcs", data.arcs) if data.has_arcs() else ("lines", data.lines)
        reporter.write(**{kind: {file: sorted(lookup(file) or ()) for file in data.measured_files()}})
    return code


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
