"""What the packages that are installed here consist of, to have the same in a virtual machine."""

from __future__ import annotations

import re
import shutil
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement


def needed_by(name: str, *extras: str) -> list[metadata.Distribution]:
    """The distribution with the extras, and all that these require, as far as it is installed."""
    found: dict[str, metadata.Distribution] = {}
    told: set[tuple[str, str]] = set()
    todo = [(name, extra) for extra in ("", *extras)]
    while todo:
        name, extra = todo.pop()
        name = re.sub(r"[-_.]+", "-", name).lower()
        if (name, extra) in told:
            continue
        told.add((name, extra))
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # what a package can do without
            continue
        for requirement in map(Requirement, found[name].requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                todo += [(requirement.name, further) for further in ("", *requirement.extras)]
    return list(found.values())


def copy(distribution: metadata.Distribution, target: Path) -> None:
    """Copy its modules, compiled too, and what it tells of itself into a directory, without its programs."""
    top = Path(str(distribution.locate_file("")))
    for file in distribution.files or ():
        source = top / file
        if ".." in file.parts or not source.is_file():
            continue
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target / file)
