"""What this package tests itself with, for users' tests too: leak oracle, kill points, registry faults.

`leaks.Snapshot` compares what the host holds before and after; `killpoints.run_killed` ends a program
at a named step. Modules are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pycontainer.testing import faults as faults
    from pycontainer.testing import killpoints as killpoints
    from pycontainer.testing import leaks as leaks

__all__ = ["faults", "killpoints", "leaks"]


def __getattr__(name: str) -> object:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
