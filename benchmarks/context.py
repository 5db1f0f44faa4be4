"""Build from a context of many files of which one has changed, where the cache knows the result.

    python -m benchmarks.context [--rounds 5] [--files 100000]

What is measured is what finds out: the walk, and the checksum of what has changed. One file has one content
or the other in turn, both of which were built before, so that nothing is copied.
"""

from __future__ import annotations

from pathlib import Path

import pycontainer as pc
from benchmarks import harness

DOCKERFILE = "FROM scratch\nCOPY . /files/\n"
_PER_DIRECTORY = 500


def _context(top: Path, files: int) -> Path:
    for number in range(files):
        directory = top / f"d{number // _PER_DIRECTORY:04}"
        if number % _PER_DIRECTORY == 0:
            directory.mkdir(parents=True)
        (directory / f"f{number}").write_bytes(b"%d" % number * 20)
    return top


def main() -> None:
    options = harness.arguments(__doc__, rounds=5, files=100_000)
    with harness.scratch() as work, pc.Engine(work / "store", progress="off") as engine:
        context = _context(work / "context", options.files)
        changing = context / "d0000/f0"

        def build() -> None:
            pc.Image.build(context, dockerfile=DOCKERFILE, engine=engine)

        contents = ["one", "another"]

        def build_changed() -> None:
            contents.reverse()
            changing.write_text(contents[0])
            build()

        build_changed()
        build_changed()
        rivals: dict[str, harness.Work] = {"one file changed": build_changed, "nothing changed": build}
        report = harness.interleave(rivals, options.rounds)
        harness.report(f"a context of {options.files} files", report, as_json=options.json)


if __name__ == "__main__":
    main()
