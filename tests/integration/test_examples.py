"""Each file in examples/ is run as a user would, and must keep what it says."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

NEEDED = {"dask_cluster": "distributed", "ray_cluster": "ray"}
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))

pytestmark = pytest.mark.needs("root", "overlay")


@pytest.mark.parametrize(
    "example", [path for path in EXAMPLES if path.stem != "quickstart"], ids=lambda path: path.stem
)
def test_an_example_runs_to_its_end_and_leaves_nothing(example: Path, tmp_path: Path) -> None:
    needed = NEEDED.get(example.stem)
    if needed is not None and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    run(example, tmp_path)


def run(example: Path, tmp_path: Path) -> str:
    """What the example says; it leaves nothing."""
    done = subprocess.run(
        [sys.executable, example],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []
    return done.stdout


def test_the_tour_shows_that_limits_and_isolation_hold(tmp_path: Path) -> None:
    (tour,) = [path for path in EXAMPLES if path.stem == "quickstart"]
    said = run(tour, tmp_path)
    assert "out of memory: True, exit code 137" in said
    assert "fork refused: True" in said
    assert said.count("refused (") == 3
    assert "exit code 127" in said
    assert "afterwards" in said
    assert "gone" in said
    for broken_promise in ("ALLOWED", "STILL THERE", "no error"):
        assert broken_promise not in said
