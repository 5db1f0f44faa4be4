"""What `import pycontainer` costs, beside the interpreter's own start and the import of what run() needs.

python -m benchmarks.imports [--runs 30]
"""

from __future__ import annotations

import sys
from functools import partial

from benchmarks import harness

STATEMENTS = {
    "python alone": "pass",
    "import pycontainer": "import pycontainer",
    "and the name run": "import pycontainer; pycontainer.run",
    "import httpx, for comparison": "import httpx",
}


def main() -> None:
    options = harness.arguments(__doc__, runs=30)
    rivals = {
        name: partial(harness.quiet, sys.executable, "-c", statement)
        for name, statement in STATEMENTS.items()
    }
    times = harness.interleave(rivals, options.runs)
    harness.report("start an interpreter and import", times, as_json=options.json)
    alone = harness.percentile(times["python alone"], 0.5)
    for name, values in times.items():
        print(f"  {name:28} adds {(harness.percentile(values, 0.5) - alone) * 1000:6.1f} ms")


if __name__ == "__main__":
    main()
