"""Containers in tests, and what this package tests itself with.

    from pycontainer import testing

    db = testing.container(pc.services.postgres(), scope="session")  # a fixture of pytest

`container`, `containers`, `network`, `volume`, `image` and `registry` declare fixtures; `ContainerFactory`
and `Template` do without pytest. `leaks.Snapshot` compares what the host holds before and after;
`killpoints.run_killed` ends a program at a named step. Everything is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pycontainer.testing import faults as faults
    from pycontainer.testing import fixtures as fixtures
    from pycontainer.testing import inside as inside
    from pycontainer.testing import killpoints as killpoints
    from pycontainer.testing import leaks as leaks
    from pycontainer.testing import marks as marks
    from pycontainer.testing import originals as originals
    from pycontainer.testing import session as session
    from pycontainer.testing.factory import ContainerFactory as ContainerFactory
    from pycontainer.testing.fixtures import container as container
    from pycontainer.testing.fixtures import containers as containers
    from pycontainer.testing.fixtures import image as image
    from pycontainer.testing.fixtures import network as network
    from pycontainer.testing.fixtures import registry as registry
    from pycontainer.testing.fixtures import volume as volume
    from pycontainer.testing.templates import Template as Template

_HOMES = {
    "ContainerFactory": "factory",
    "Template": "templates",
    "container": "fixtures",
    "containers": "fixtures",
    "image": "fixtures",
    "network": "fixtures",
    "registry": "fixtures",
    "volume": "fixtures",
}
_MODULES = ("faults", "killpoints", "leaks")
_PLUGIN = ("fixtures", "inside", "marks", "originals", "session")
"""For pycontainer.integrations, which is the plugin of pytest."""

__all__ = [
    "ContainerFactory",
    "Template",
    "container",
    "containers",
    "faults",
    "image",
    "killpoints",
    "leaks",
    "network",
    "registry",
    "volume",
]


def __getattr__(name: str) -> object:
    if name in _MODULES or name in _PLUGIN:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
