"""The cgroups of one container, as data that the monitor carries out without knowing what they mean.

Theory of operation. On v1 a container joins only the hierarchies it needs, since each costs a directory
and a move: devices (isolation), memory (accounting and out-of-memory attribution), cpu (fair shares
against other containers) and cpuacct (usage) always; pids, cpuset, blkio and hugetlb when limited; the
freezer only where no version 2 hierarchy offers cgroup.freeze and cgroup.kill. On v2 one directory carries
everything, and controllers are enabled from the top down. In a hybrid layout each controller is driven
where it lives, and the version 2 directory is the one that the process is cloned into.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from pycontainer.errors import InvalidOption, Unsupported
from pycontainer.runtime.cgroups import devices, knobs
from pycontainer.runtime.cgroups.detection import CgroupLayout

if TYPE_CHECKING:
    from pycontainer.oci import runtime as model

_SEGMENT = r"[A-Za-z0-9_.:@-]{1,200}"
_UNIFIED_FILE = r"([a-z_]+)\.[A-Za-z0-9_.]+"
_V1_ALWAYS = ("devices", "memory", "cpu", "cpuacct")
_V2_ALWAYS = ("memory", "cpu", "pids")
# Which controller takes which part of linux.resources.
_V1_SECTIONS = {"memory": "memory", "cpu": "cpu", "pids": "pids", "blkio": "blockIO"}
_V2_SECTIONS = {"memory": "memory", "cpu": "cpu", "pids": "pids", "io": "blockIO"}


class Freeze(TypedDict):
    """The file that pauses, and what to write to pause and to go on."""

    file: str
    frozen: str
    thawed: str


class CgroupPlan(TypedDict):
    """What to make, write, join and read; every path is absolute.

    dirs: directories to make, parents first; one that exists is no error. own: those of this container
    alone, to remove after it. writes: [file, text, is_required] in order. procs: files that take the pid,
    unless the process is cloned into clone_into. device_bpf_b64: program to attach to clone_into.
    reads: name -> [file, key or None, factor]. view: [name under /sys/fs/cgroup, directory] for v1.
    scope: what systemd is to make first, see launcher.scopes.
    """

    version: int
    dirs: list[str]
    own: list[str]
    writes: list[list[Any]]
    procs: list[str]
    clone_into: str | None
    reads: dict[str, list[Any]]
    kill: str | None
    freeze: Freeze | None
    device_bpf_b64: str | None
    view: list[list[str]]
    scope: NotRequired[dict[str, Any]]


def is_scope(cgroups_path: str) -> bool:
    """Whether a linux.cgroupsPath is meant for systemd; a path is absolute, as the engine writes it."""
    return not cgroups_path.startswith("/")


def plan(
    resources: model.Resources | Mapping[str, Any],
    cgroup_path: str,
    layout: CgroupLayout,
    *,
    is_update: bool = False,
    is_whole: bool = False,
) -> CgroupPlan:
    """Plan the cgroups below cgroup_path (as "/pycontainer/store/id") for these limits.

    With is_update the writes suit limits that are already set; with is_whole the container joins every
    hierarchy, for others who look for it there. Looks at nothing on the host, but for v1
    cpusets above the container's, which must not be empty.
    Raises: InvalidOption for a limit or path that cannot be; Unsupported for a controller the host lacks.
    """
    limits = resources if isinstance(resources, Mapping) else resources.to_dict()
    path = _checked_path(cgroup_path)
    _refuse_v1_only(limits, layout)
    marks = _wanted_of_network(limits, layout)
    made = CgroupPlan(
        version=1 if layout.v1 else 2,
        dirs=[],
        own=[],
        writes=[],
        procs=[],
        clone_into=None,
        reads={},
        kill=None,
        freeze=None,
        device_bpf_b64=None,
        view=[],
    )
    if layout.v2 is not None:
        _plan_v2(made, limits, path, layout)
    if layout.v1:
        _plan_v1(made, limits, path, layout, marks, is_update, is_whole)
    return made


def _checked_path(path: str) -> list[str]:
    segments = path.strip("/").split("/")
    for segment in segments:
        if not path.startswith("/") or segment in (".", "..") or re.fullmatch(_SEGMENT, segment) is None:
            raise InvalidOption(
                f"cgroup path {path!r}: give an absolute path of plain names, without . and .."
            )
    return segments


def _refuse_v1_only(limits: Mapping[str, Any], layout: CgroupLayout) -> None:
    for path, option in knobs.V1_ONLY.items():
        section, _, key = path.partition(".")
        if section not in layout.v1 and (limits.get(section) or {}).get(key) not in (None, False, 0):
            raise Unsupported(
                f"{option} needs cgroup version 1 with the {section} controller",
                f"leave {option} out on this host",
            )


def _chain(mount: str, path: list[str]) -> list[str]:
    """The directories of a path below a mount point, top first, the container's own last."""
    where = mount
    chain = []
    for segment in path:
        where = f"{where}/{segment}"
        chain.append(where)
    return chain


def _add_directories(made: CgroupPlan, chain: list[str]) -> None:
    made["dirs"] += chain
    made["own"].append(chain[-1])


def _texts(knob: knobs.Knob, limits: Mapping[str, Any]) -> list[str]:
    section, _, key = knob.path.partition(".")
    value = (limits.get(section) or {}).get(key)
    if value is None and knob.file == "cpu.max":
        value = (limits.get("cpu") or {}).get("period")
    if value is None:
        return []
    text = knob.encode(value, limits)
    return [] if text is None else [text] if isinstance(text, str) else text


def _writes(controller: str, version: int, limits: Mapping[str, Any]) -> list[tuple[str, str]]:
    table = knobs.V1 if version == 1 else knobs.V2
    found = [(knob.file, text) for knob in table.get(controller, ()) for text in _texts(knob, limits)]
    if controller == "hugetlb":
        suffix = "limit_in_bytes" if version == 1 else "max"
        for item in limits.get("hugepageLimits") or ():
            name, text = f"hugetlb.{_page_size(item['pageSize'])}", str(item["limit"])
            # Pages count when they are reserved, or whoever touches them in the end is killed.
            found += [(f"{name}.{suffix}", text), (f"{name}.rsvd.{suffix}", text)]
    if controller == "rdma":
        limited = (limits.get("rdma") or {}).items()
        found += [("rdma.max", _rdma_limit(device, limit)) for device, limit in limited]
    network = limits.get("network") or {}
    if controller == "net_cls" and network.get("classID"):
        found.append(("net_cls.classid", str(network["classID"])))
    if controller == "net_prio":
        rows = network.get("priorities") or ()
        found += [("net_prio.ifpriomap", f"{each['name']} {each['priority']}") for each in rows]
    return found


def _rdma_limit(device: str, limit: Mapping[str, int]) -> str:
    if re.fullmatch(r"\w[\w.-]*", device, re.ASCII) is None:
        raise InvalidOption(f"linux.resources.rdma: {device!r} is no device's name")
    words = [
        f"{key}={limit[name]}"
        for key, name in (("hca_handle", "hcaHandles"), ("hca_object", "hcaObjects"))
        if limit.get(name) is not None
    ]
    if not words:
        raise InvalidOption(f"linux.resources.rdma.{device} has no limit; give hcaHandles or hcaObjects")
    return " ".join((device, *words))


def _page_size(name: str) -> str:
    if re.fullmatch(r"[1-9]\d*[KMG]B", name) is None:
        raise InvalidOption(f'linux.resources.hugepageLimits: page size {name!r}; give it as "2MB"')
    return name


def _wanted(limits: Mapping[str, Any], sections: Mapping[str, str]) -> list[str]:
    """The controllers that carry a limit asked for, in a fixed order."""
    wanted = [
        name
        for name, section in sections.items()
        if any(value not in (None, "", (), []) for key, value in (limits.get(section) or {}).items())
        and (name != "cpu" or set(limits["cpu"]) - {"cpus", "mems"})
    ]
    cpu = limits.get("cpu") or {}
    if cpu.get("cpus") or cpu.get("mems"):
        wanted.append("cpuset")
    for name, key in (("hugetlb", "hugepageLimits"), ("rdma", "rdma")):
        if limits.get(key):
            wanted.append(name)
    return wanted


def _wanted_of_network(limits: Mapping[str, Any], layout: CgroupLayout) -> list[str]:
    """The controllers of version 1 that mark packets; version 2 has firewalls look at the cgroup instead."""
    network = limits.get("network") or {}
    wanted = [name for name, key in (("net_cls", "classID"), ("net_prio", "priorities")) if network.get(key)]
    for name in wanted:
        if name not in layout.v1:
            raise Unsupported(
                f"linux.resources.network needs the {name} controller of cgroup version 1",
                f"mount it, or leave the limit out: mount -t cgroup -o {name} none /sys/fs/cgroup/{name}",
            )
    return wanted


# -- version 2


def _plan_v2(made: CgroupPlan, limits: Mapping[str, Any], path: list[str], layout: CgroupLayout) -> None:
    assert layout.v2 is not None
    chain = _chain(layout.v2, path)
    leaf = chain[-1]
    _add_directories(made, chain)
    asked = [name for name in _wanted(limits, _V2_SECTIONS) if _is_on_v2(name, layout)]
    asked += [name for name in _unified_controllers(limits, layout) if name not in asked]
    extra = [name for name in _V2_ALWAYS if name in layout.v2_controllers and name not in asked]
    for parent in [layout.v2, *chain[:-1]]:
        for names, is_required in ((asked, True), (extra, False)):
            if names:
                enabled = " ".join(f"+{name}" for name in names)
                made["writes"].append([f"{parent}/cgroup.subtree_control", enabled, is_required])
    for name in asked:
        for file, text in _writes(name, 2, limits):
            file = "io.bfq.weight" if file == "io.weight" and layout.has_bfq_weight else file
            # Docker's doubled swap is no request of the user's: without swap accounting it is left out.
            is_required = (file != "memory.swap.max" or layout.has_swap) and ".rsvd." not in file
            made["writes"].append([f"{leaf}/{file}", text, is_required])
    for file, text in (limits.get("unified") or {}).items():
        made["writes"].append([f"{leaf}/{file}", text, True])
    made["clone_into"] = leaf
    made["kill"] = f"{leaf}/cgroup.kill" if layout.has_kill else None
    made["freeze"] = Freeze(file=f"{leaf}/cgroup.freeze", frozen="1", thawed="0")
    if "devices" not in layout.v1 and limits.get("devices"):
        made["device_bpf_b64"] = base64.b64encode(devices.bpf_program(limits["devices"])).decode()
    made["reads"].update(_v2_reads(leaf, layout))


def _is_on_v2(name: str, layout: CgroupLayout) -> bool:
    v1_name = "blkio" if name == "io" else name
    if v1_name in layout.v1:
        return False
    if name not in layout.v2_controllers:
        raise Unsupported(
            f"this host offers no {name} controller in cgroup version 2",
            "enable it on the kernel command line",
        )
    return True


def _unified_controllers(limits: Mapping[str, Any], layout: CgroupLayout) -> list[str]:
    found = []
    for file in limits.get("unified") or {}:
        match = re.fullmatch(_UNIFIED_FILE, file)
        if match is None or match[1] == "cgroup":
            raise InvalidOption(
                f'cgroup_conf: {file!r} is no limit; give a controller\'s file as "memory.high"'
            )
        if match[1] not in layout.v2_controllers:
            raise Unsupported(
                f"cgroup_conf {file}: the {match[1]} controller is not in cgroup version 2 here",
                "leave it out",
            )
        found.append(match[1])
    return found


def _v2_reads(leaf: str, layout: CgroupLayout) -> dict[str, list[Any]]:
    reads: dict[str, list[Any]] = {}
    if "memory" in layout.v2_controllers:
        reads["memory_peak"] = [f"{leaf}/memory.peak", None, 1]
        reads["memory_now"] = [f"{leaf}/memory.current", None, 1]
        reads["oom"] = [f"{leaf}/memory.events", "oom_kill", 1]
    if "pids" in layout.v2_controllers:
        reads["pids_now"] = [f"{leaf}/pids.current", None, 1]
    if "cpuacct" not in layout.v1:
        # cpu.stat is there without any controller; microseconds become nanoseconds.
        reads["cpu_ns"] = [f"{leaf}/cpu.stat", "usage_usec", 1000]
        reads["cpu_user_ns"] = [f"{leaf}/cpu.stat", "user_usec", 1000]
        reads["cpu_system_ns"] = [f"{leaf}/cpu.stat", "system_usec", 1000]
    if "cpu" in layout.v2_controllers:
        reads["throttled_periods"] = [f"{leaf}/cpu.stat", "nr_throttled", 1]
    return reads


# -- version 1


def _plan_v1(
    made: CgroupPlan,
    limits: Mapping[str, Any],
    path: list[str],
    layout: CgroupLayout,
    marks: list[str],
    is_update: bool,
    is_whole: bool,
) -> None:
    asked = [name for name in _wanted(limits, _V1_SECTIONS) if not _is_left_to_v2(name, layout)] + marks
    names = [name for name in _V1_ALWAYS if name in layout.v1]
    names += [name for name in asked if name not in names]
    if made["freeze"] is None and "freezer" in layout.v1:
        names.append("freezer")
    if is_whole:
        names += [name for name in layout.v1 if name not in names]
    leaves: dict[str, str] = {}
    for name in names:
        chain = _chain(layout.v1[name], path)
        if chain[-1] not in leaves.values():  # cpu and cpuacct are often one mount
            _add_directories(made, chain)
            made["procs"].append(f"{chain[-1]}/cgroup.procs")
            made["view"].append([layout.v1[name].rpartition("/")[2], chain[-1]])
        leaves[name] = chain[-1]
    if "cpuset" in leaves:
        made["writes"] += _cpuset_ancestors(layout, path, limits)
    for name, leaf in leaves.items():
        made["writes"] += _v1_leaf_writes(name, leaf, limits, layout, is_update)
    if made["freeze"] is None and "freezer" in leaves:
        made["freeze"] = Freeze(file=f"{leaves['freezer']}/freezer.state", frozen="FROZEN", thawed="THAWED")
    made["reads"].update(_v1_reads(leaves))


def _is_left_to_v2(name: str, layout: CgroupLayout) -> bool:
    if name in layout.v1:
        return False
    if ("io" if name == "blkio" else name) in layout.v2_controllers:
        return True
    raise Unsupported(
        f"this host offers no {name} controller in cgroup version 1", "mount it, or use version 2"
    )


def _v1_leaf_writes(
    name: str, leaf: str, limits: Mapping[str, Any], layout: CgroupLayout, is_update: bool
) -> list[list[Any]]:
    if name == "devices":
        rules = limits.get("devices") or ()
        return [[f"{leaf}/{file}", text, True] for file, text in (devices.v1_writes(rules) if rules else ())]
    writes: list[list[Any]] = []
    for file, text in _writes(name, 1, limits):
        if file == "blkio.weight" and layout.has_bfq_weight:
            file = "blkio.bfq.weight"
        elif file == "blkio.weight_device" and layout.has_bfq_weight:
            file = "blkio.bfq.weight_device"
        if file == "memory.memsw.limit_in_bytes":
            if is_update:
                # Raising both needs this first, lowering both needs it last: try, set memory, set.
                writes.insert(0, [f"{leaf}/{file}", text, False])
            writes.append([f"{leaf}/{file}", text, layout.has_swap])
        else:
            writes.append([f"{leaf}/{file}", text, ".rsvd." not in file])
    return writes


def _cpuset_ancestors(layout: CgroupLayout, path: list[str], limits: Mapping[str, Any]) -> list[list[Any]]:
    """A new v1 cpuset is empty and takes no process: fill what is new above, then the leaf."""
    *above, leaf = _chain(layout.v1["cpuset"], path)
    writes: list[list[Any]] = []
    cpu = limits.get("cpu") or {}
    values = {"cpus": layout.all_cpus, "mems": layout.all_nodes}
    for directory in above:
        # Whoever filled it meant it: only a new one is given everything there is above it.
        if not _filled(directory, "cpus"):
            writes += [[f"{directory}/cpuset.{name}", value, False] for name, value in values.items()]
        values = {name: _filled(directory, name) or value for name, value in values.items()}
    for name, value in values.items():
        if not cpu.get(name) and not _filled(leaf, name):
            writes.append([f"{leaf}/cpuset.{name}", value, True])
    return writes


def _filled(directory: str, name: str) -> str:
    try:
        with open(f"{directory}/cpuset.{name}") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def _v1_reads(leaves: Mapping[str, str]) -> dict[str, list[Any]]:
    reads: dict[str, list[Any]] = {}
    if "memory" in leaves:
        reads["memory_peak"] = [f"{leaves['memory']}/memory.max_usage_in_bytes", None, 1]
        reads["memory_now"] = [f"{leaves['memory']}/memory.usage_in_bytes", None, 1]
        reads["oom"] = [f"{leaves['memory']}/memory.oom_control", "oom_kill", 1]
    if "cpuacct" in leaves:
        reads["cpu_ns"] = [f"{leaves['cpuacct']}/cpuacct.usage", None, 1]
        reads["cpu_user_ns"] = [f"{leaves['cpuacct']}/cpuacct.usage_user", None, 1]
        reads["cpu_system_ns"] = [f"{leaves['cpuacct']}/cpuacct.usage_sys", None, 1]
    if "cpu" in leaves:
        reads["throttled_periods"] = [f"{leaves['cpu']}/cpu.stat", "nr_throttled", 1]
    if "pids" in leaves:
        reads["pids_now"] = [f"{leaves['pids']}/pids.current", None, 1]
    return reads
