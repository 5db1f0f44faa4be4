"""Imports go downwards only, and into another package through its front door only."""

from __future__ import annotations

from tests.support.source import PACKAGE, Import, all_imports, is_stdlib, modules

LEVELS = (
    {"errors", "checkpoints", "frontdoor", "values"},
    {"kernel"},
    {"layers", "patterns"},
    {"launcher"},
    {"oci", "options", "_generated"},
    {"image"},
    {"registry", "store", "runtime", "network", "trust", "sbom"},
    {"build"},
    {"engine"},
    {"wait"},
    {"compose"},
    {"executor"},
    {"aio"},
    {"services"},
    {""},
    {"cli", "ocicli", "testing"},
    {"integrations"},
    {"__main__"},
)
HELPER_SIDE = {"errors", "checkpoints", "kernel", "layers", "launcher", "patterns"}
# The seam to the kernel has no single front door: each of its modules is one (mounts, capabilities ...).
# The helper's two halves are entered by the module that runs: the client here, the jobs there.
# The runtime-spec's models cost 40 ms to make, which only those that run containers should pay.
# What is made for other people's programs has a door for each of them.
DOORS = {
    "pycontainer.integrations.executor",
    "pycontainer.integrations.jupyter",
    "pycontainer.engine.displays",
    "pycontainer.launcher.client",
    "pycontainer.layers.codecs",
    "pycontainer.layers.jobs",
    "pycontainer.oci.runtime",
    # Names like `exec` and `file` that are clear behind `wait.` only.
    "pycontainer.engine.waits",
}


def _part(dotted: str) -> str:
    # What the package exports is below it; what drives it from other programs is above.
    if dotted.startswith("pycontainer.integrations.executor"):
        return "executor"
    return (dotted.split(".") + [""])[1]


def _level(part: str) -> int:
    return next(index for index, parts in enumerate(LEVELS) if part in parts)


def _targets(found: Import) -> list[str]:
    """What is imported, as parts; `from pycontainer import oci` names its parts in the list of names."""
    if found.target == "pycontainer":
        known = {path.stem for path in PACKAGE.iterdir()}
        return [name for name in found.names if name in known] if found.names else [""]
    return [_part(found.target)] if found.top == "pycontainer" else []


def test_every_module_has_a_level() -> None:
    parts = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in modules()} - {"__init__"}
    assert parts <= set().union(*LEVELS)


def test_imports_go_downwards() -> None:
    wrong = []
    for found in all_imports():
        mine = _part(found.importer)
        wrong += [str(found) for part in _targets(found) if part != mine and _level(part) >= _level(mine)]
    assert wrong == []


def test_other_packages_are_entered_by_the_front_door() -> None:
    wrong = []
    for found in all_imports():
        is_inner = found.top == "pycontainer" and found.target.count(".") > 1 and found.target not in DOORS
        # The mirror names the types of what it mirrors, for type checkers.
        is_mirror = found.importer == "pycontainer.aio._generated"
        if is_inner and not is_mirror and _part(found.target) not in {_part(found.importer), "kernel"}:
            wrong.append(str(found))
    assert wrong == []


def test_the_helper_side_imports_the_standard_library_only() -> None:
    wrong = []
    for found in all_imports():
        is_codec = found.importer == "pycontainer.layers.codecs" and found.top in {"isal", "backports"}
        if _part(found.importer) in HELPER_SIDE and not is_codec:
            if found.top != "pycontainer" and not is_stdlib(found.top):
                wrong.append(str(found))
    assert wrong == []
