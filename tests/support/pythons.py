"""Interpreters of this host in containers: mounted, not copied, since their libraries are large."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def python_options(python: str | os.PathLike[str] = sys.executable) -> dict[str, Any]:
    """Options with which any image has this host's interpreter: `python` of an executor, and mounts."""
    program = Path(python).resolve()
    prefix = program.parent.parent
    places = {"/usr", "/lib", "/lib64", str(prefix)}
    mounts = [f"{place}:{place}:ro" for place in sorted(places) if os.path.isdir(place)]
    return {"python": str(program), "volumes": mounts}


def other_pythons() -> list[Path]:
    """Interpreters of other versions from 3.8 on that pyenv or the system has, the oldest first."""
    found: dict[tuple[int, ...], Path] = {}
    roots = [Path(os.environ.get("PYENV_ROOT", "/root/.pyenv")) / "versions", Path("/opt/python")]
    for root in roots:
        for program in root.glob("*/bin/python3.*"):
            numbers = program.name.removeprefix("python").split(".")
            if all(number.isdigit() for number in numbers):
                version = tuple(map(int, numbers))
                if version >= (3, 8) and version != sys.version_info[:2]:
                    found[version] = program
    return [found[version] for version in sorted(found)]
