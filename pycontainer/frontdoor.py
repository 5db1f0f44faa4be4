"""Front doors of packages that import what is behind them when it is first asked for (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module

__all__ = ["opened"]


def opened(package: str, homes: Mapping[str, str], name: str) -> object:
    """What the `__getattr__` of a package gives for a name. Raises AttributeError.

    homes: for each name the module of the package that has it, as "module", or "module:name" where it is
    called otherwise there; "" for what is a module itself.
    """
    home = homes.get(name)
    if home is None:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    module, _, attribute = home.partition(":")
    found = import_module(f"{package}.{module or name}")
    value: object = getattr(found, attribute or name) if module else found
    setattr(sys.modules[package], name, value)
    return value
