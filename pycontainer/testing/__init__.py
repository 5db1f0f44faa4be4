"""What this package tests itself with, for users' tests too: leak oracle, kill points, registry faults.

`leaks.Snapshot` compares what the host holds before and after; `killpoints.run_killed` ends a program
at a named step. Modules are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import faults as faults
    from . import killpoints as killpoints
    from . import leaks as leaks

__all__ = ["faults", "killpoints", "leaks"]


def __getattr__(name: str) -> object:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
