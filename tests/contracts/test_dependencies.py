"""Each third-party library is imported in its named places only; a new one is a new line here."""

from __future__ import annotations

import ast
import re
import tomllib

from tests.support.source import ROOT, all_imports, is_stdlib, modules, tree_of

PLACES = {
    "attrs": (
        "oci",
        "options",
        "image",
        "registry",
        "store",
        "runtime",
        "network",
        "sbom",
        "trust",
        "build",
        "engine",
        "compose",
        "cli.composing",
        "integrations",
        "aio.derive",
        "services",
        "testing",
        "values",
    ),
    "backports": ("layers.codecs",),
    "cachetools": ("registry", "runtime", "engine"),
    "certifi": ("registry",),
    "click": ("cli",),
    "coverage": ("testing.inner",),
    "cryptography": ("trust.keys",),
    "h11": ("registry.server",),
    "httpcore": ("registry", "aio.innerhttp", "engine.innerhttp"),
    "httpx": (
        "aio.innerhttp",
        "aio._generated",
        "registry",
        "engine.building.downloads",
        "engine.connecting",
        "engine.innerhttp",
    ),
    "IPython": ("engine.progress", "integrations.jupyter"),
    "isal": ("layers.codecs", "image"),
    "numpy": ("integrations.executor.values",),
    "pyroute2": ("network.netlink",),
    "yaml": ("compose.yamlfile",),
    "pytest": ("integrations.pytest_plugin", "testing"),
    "rich": ("cli", "engine.building.progress", "engine.progress"),
}


def test_third_party_libraries_stay_in_their_places() -> None:
    wrong = []
    for found in all_imports():
        if found.top in {"pycontainer", "_typeshed"} or is_stdlib(found.top):
            continue
        places = [f"pycontainer.{place}" for place in PLACES.get(found.top, ())]
        if not any(found.importer == place or found.importer.startswith(f"{place}.") for place in places):
            wrong.append(str(found))
    assert wrong == []


def _named_in_strings() -> set[str]:
    """Libraries that import_module is given by name: codecs, which may be missing."""
    constants = [
        node for path in modules() for node in ast.walk(tree_of(path)) if isinstance(node, ast.Constant)
    ]
    return {node.value.split(".")[0] for node in constants if isinstance(node.value, str)}


def test_every_dependency_is_imported_somewhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[^\w]", line)[0] for line in project["dependencies"]}
    assert declared - {found.top for found in all_imports()} - _named_in_strings() == set()
