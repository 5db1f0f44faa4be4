"""Every error class is drawn in the tree, documented, exported and survives pickling with its data."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from pycontainer import errors
from tests.support.source import ROOT

CLASSES = [
    value for value in vars(errors).values() if inspect.isclass(value) and value.__module__ == errors.__name__
]
EXAMPLES: dict[str, errors.PycontainerError] = {
    "BuildError": errors.BuildError("it failed", line=3, stage="s", step="RUN x", exit_code=1, log_tail="l"),
    "ComposeFileError": errors.ComposeFileError(
        "no such key", file="a/compose.yaml", line=3, path="services.x"
    ),
    "ContainerFailed": errors.ContainerFailed("it failed", exit_code=3, stdout=b"a", stderr=b"b"),
    "DeadlineExceeded": errors.DeadlineExceeded("too late", timeout_s=1.5),
    "DigestMismatch": errors.DigestMismatch("sha256:a", "sha256:b", "layer"),
    "DockerfileError": errors.DockerfileError(
        "unknown instruction RUM", file="a/Dockerfile", line=3, text="RUM x", suggestion="RUN", excerpt="3 |"
    ),
    "KernelError": errors.KernelError(2, "mount", "/proc", "make it"),
    "LaunchError": errors.LaunchError("no such program", step="exec", reason="x", exit_code=127),
    "RateLimited": errors.RateLimited("slow down", retry_after_s=3.0, status=429, url="http://r"),
    "TaskFailed": errors.TaskFailed("app.Odd: no", kind="app.Odd", traceback="Traceback ..."),
    "TransferFailed": errors.TransferFailed("broke off", is_temporary=False, status=500),
    "Unsupported": errors.Unsupported("overlay is missing", "modprobe overlay"),
    "UntrustedImage": errors.UntrustedImage("unsigned", reference="a:1", digest="sha256:a", reasons=("x",)),
    "WorkerDied": errors.WorkerDied("it ended", exit_code=137, oom_killed=True, log_tail="last"),
    "WrongState": errors.WrongState("is running", verb="remove", state="running", allowed=("exited",)),
}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_is_drawn_documented_and_exported(kind: type) -> None:
    assert issubclass(kind, errors.PycontainerError)
    assert kind.__name__ in errors.__all__
    assert inspect.getdoc(kind)
    assert re.search(rf"\b{kind.__name__}\b", errors.__doc__ or "")
    assert kind.__name__ in (ROOT / "docs/reference/errors.md").read_text()


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling(kind: type[errors.PycontainerError]) -> None:
    error = EXAMPLES.get(kind.__name__) or kind("what happened")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert again.args == error.args
    assert vars(again) == vars(error)
