"""A bundle: config.json read, checked against the runtime-spec, and made plain for the launcher.

Everything is refused here, before anything is made on the host, with a sentence that names the field.
"""

from __future__ import annotations

import fcntl
import json
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pycontainer.errors import InvalidInput, InvalidOption
from pycontainer.kernel import caps, namespaces, syscalls
from pycontainer.launcher import mountoptions, scheduling
from pycontainer.ocicli import schema

__all__ = ["Warn", "check_process", "drop_nulls", "load", "read_json"]

Warn = Callable[[str], None]
Spec = dict[str, Any]

_MAX_BYTES = 16 << 20
_VERSION = re.compile(r"1\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?")
_NAMESPACES = ("mount", "pid", "uts", "ipc", "cgroup", "user", "time", "network")
_SYSCTL = re.compile(r"[a-zA-Z0-9_-]+([./][a-zA-Z0-9_.:@-]+)+")
_IPC_SYSCTLS = frozenset(
    f"kernel.{name}" for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni")
) | {"kernel.shm_rmid_forced"}
_PROPAGATION = frozenset(
    prefix + kind for kind in ("private", "shared", "slave", "unbindable") for prefix in ("", "r")
)
_LINK_NAME = re.compile(r"[!-.0-9;-~]{1,15}")  # no slash, colon or space (dev_valid_name, net/core/dev.c)
_NS_GET_NSTYPE = 0xB703  # ioctl_ns(2)
_CLOCKS = ("monotonic", "boottime")


def read_json(path: str) -> dict[str, Any]:
    """Read an object of JSON from a file. Raises InvalidOption."""
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InvalidOption(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > _MAX_BYTES:
        raise InvalidOption(f"{path} is larger than {_MAX_BYTES} bytes")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidOption(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidOption(f"{path} holds no object")
    return document


def load(directory: str, file: str, warn: Warn) -> Spec:
    """Read and check the specification of a bundle. Raises InvalidOption, Unsupported.

    What the kernel does not know and the runtime-spec wants no failure for goes to warn, and is dropped.
    """
    spec = read_json(os.path.join(directory, file))
    schema.check(spec, schema.SPEC, "")
    if _VERSION.fullmatch(spec["ociVersion"]) is None:
        raise InvalidOption(
            f"ociVersion {spec['ociVersion']!r} is not known; give a version of the 1.x specifications"
        )
    for key in ("process", "root", "linux"):
        if spec.get(key) is None:
            raise InvalidOption(f"{key} is missing; a container of Linux needs it")
    drop_nulls(spec)
    kinds = spec["linux"].get("namespaces") or ()
    has_users = any(entry["type"] == "user" for entry in kinds)
    # The first process of a user namespace has every capability in it.
    check_process(spec["process"], -1 if has_users else syscalls.capget()[1], warn)
    _check_root(spec, directory)
    _check_mounts(spec, directory)
    _check_hooks(spec.get("hooks") or {})
    _check_linux(spec)
    return spec


def drop_nulls(value: Any) -> None:
    """null means that a property is not there; a whole number may be written as 1.0 or 1e3."""
    entries: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(entries):
        if inner is None and isinstance(value, dict):
            del value[key]
        elif isinstance(inner, float) and inner.is_integer():
            value[key] = int(inner)
        elif isinstance(inner, dict | list):
            drop_nulls(inner)


def check_process(process: Spec, grantable: int, warn: Warn) -> None:
    """Check a process of its own, as exec has it, too; grantable: mask of capabilities it may get.

    Raises InvalidOption.
    """
    if not process.get("args") or not process["args"][0]:
        raise InvalidOption("process.args is empty; give the program to run")
    if not process["cwd"].startswith("/"):
        raise InvalidOption(f"process.cwd {process['cwd']!r} is not an absolute path")
    for entry in process.get("env") or ():
        if "=" not in entry[1:]:
            raise InvalidOption(f"process.env has {entry!r}, which is not of the form NAME=value")
    kinds = set()
    for limit in process.get("rlimits") or ():
        name = limit["type"]
        if name in kinds:
            raise InvalidOption(f"process.rlimits names {name} twice; give each limit once")
        kinds.add(name)
        if limit["soft"] > limit["hard"]:
            raise InvalidOption(
                f"process.rlimits: the soft limit of {name} is above the hard one: "
                f"{limit['soft']} and {limit['hard']}"
            )
    kind = (process.get("ioPriority") or {}).get("class", "IOPRIO_CLASS_BE")
    if kind not in ("IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"):
        raise InvalidOption(f"process.ioPriority.class {kind!r} is not known; give IOPRIO_CLASS_BE")
    _check_capabilities(process, grantable, warn)


def _check_capabilities(process: Spec, grantable: int, warn: Warn) -> None:
    """Keep what can be given; the runtime-spec wants a warning for the rest, and no failure."""
    held = caps.supported() & grantable
    sets = process.get("capabilities") or {}
    for kind, names in sets.items():
        if kind not in ("bounding", "effective", "inheritable", "permitted", "ambient"):
            continue
        kept = []
        for name in names:
            number = caps.NAMES.index(name[4:]) if name[:4] == "CAP_" and name[4:] in caps.NAMES else -1
            if number >= 0 and held >> number & 1:
                kept.append(name)
            else:
                warn(f"process.capabilities.{kind}: {name} cannot be given here and is left out")
        sets[kind] = kept
    # Ambient ones are subsets of both, and nobody counts on those that are not (capabilities(7)).
    raisable = set(sets.get("inheritable") or ()) & set(sets.get("permitted") or ())
    for name in [name for name in sets.get("ambient") or () if name not in raisable]:
        warn(f"can't raise ambient capability {name}: it is not both inheritable and permitted")
        sets["ambient"].remove(name)


def _check_root(spec: Spec, directory: str) -> None:
    path = os.path.join(directory, spec["root"]["path"])
    if not os.path.isdir(path):
        raise InvalidOption(f"root.path {spec['root']['path']!r} is no directory")
    spec["root"]["path"] = os.path.realpath(path)
    for field in ("hostname", "domainname"):
        if len(spec.get(field, "").encode()) > 64:
            raise InvalidOption(f"{field} {spec[field]!r} is longer than the kernel's 64 bytes")


def _check_mounts(spec: Spec, directory: str) -> None:
    before: list[str] = []
    for index, mount in enumerate(spec.get("mounts") or ()):
        where = f"mounts[{index}]"
        mount.pop(mountoptions.INSIDE, None)
        destination = mount["destination"]
        if not destination.startswith("/"):
            # Absolute since 1.0; runc and crun still take it from the root, and so do old bundles.
            destination = "/" + destination
        mount["destination"] = posixpath.normpath(destination)
        words = mount.get("options") or ()
        if "tmpcopyup" in words and mount.get("type") != "tmpfs":
            raise InvalidOption(f"{where}.options has tmpcopyup, which only a tmpfs can")
        if mountoptions.is_bind(mount) and not mount.get("source"):
            raise InvalidOption(f"{where}.source is missing; a bind mount of {destination} needs one")
        if mountoptions.is_bind(mount):
            mount["source"] = os.path.join(directory, mount["source"])
            _find_inside(mount, spec["root"]["path"], before)
        before.append(mount["destination"])
        if (mount.get("uidMappings") is None) != (mount.get("gidMappings") is None):
            raise InvalidOption(f"{where} has one of uidMappings and gidMappings; give both")


def _find_inside(mount: Spec, root: str, before: Iterable[str]) -> None:
    """Note that a source lies in what earlier mounts put into the root: it is there only then."""
    source = posixpath.normpath(mount["source"])
    if source.startswith(f"{root}/"):
        inside = source.removeprefix(root)
        if any(inside == place or inside.startswith(f"{place}/") for place in before):
            mount[mountoptions.INSIDE] = inside


def _check_hooks(hooks: Mapping[str, Any]) -> None:
    for kind, entries in hooks.items():
        for index, hook in enumerate(entries if isinstance(entries, list) else ()):
            if not hook["path"].startswith("/"):
                raise InvalidOption(f"hooks.{kind}[{index}].path {hook['path']!r} is not an absolute path")
            for entry in hook.get("env") or ():
                if "=" not in entry[1:]:
                    raise InvalidOption(f"hooks.{kind}[{index}].env has {entry!r}, which is not NAME=value")


def _check_linux(spec: Spec) -> None:
    linux = spec["linux"]
    kinds = [entry["type"] for entry in linux.get("namespaces") or ()]
    for kind in kinds:
        if kind not in _NAMESPACES:
            raise InvalidOption(f"linux.namespaces has the unknown type {kind!r}; remove it")
        if kinds.count(kind) > 1:
            raise InvalidOption(f"linux.namespaces names {kind} twice; give each type once")
    own = {entry["type"] for entry in linux.get("namespaces") or () if not entry.get("path")}
    for index, entry in enumerate(linux.get("namespaces") or ()):
        if entry.get("path"):
            _check_namespace(f"linux.namespaces[{index}].path", entry["path"], entry["type"])
    for field in ("hostname", "domainname"):
        if spec.get(field) and "uts" not in kinds:
            raise InvalidOption(f"{field} would rename the host; add a uts namespace or leave it out")
    if (linux.get("uidMappings") or linux.get("gidMappings")) and "user" not in kinds:
        raise InvalidOption("linux.uidMappings needs a user namespace; add it to linux.namespaces")
    if "user" in own and not (linux.get("uidMappings") and linux.get("gidMappings")):
        raise InvalidOption("linux.uidMappings and linux.gidMappings are missing for the new user namespace")
    if linux.get("timeOffsets") and "time" not in own:
        raise InvalidOption("linux.timeOffsets needs a new time namespace; add it to linux.namespaces")
    for clock in linux.get("timeOffsets") or {}:
        if clock not in _CLOCKS:
            raise InvalidOption(f"linux.timeOffsets has the unknown clock {clock!r}; there are {_CLOCKS}")
    _keep_own_mounts(linux)
    _check_paths(linux)
    _check_devices(linux)
    _check_sysctls(linux, kinds, spec)
    if linux.get("memoryPolicy"):
        try:
            scheduling.memory_policy(linux["memoryPolicy"])
        except InvalidInput as problem:
            raise InvalidOption(str(problem)) from None
    _check_net_devices(linux, kinds)
    propagation = linux.get("rootfsPropagation")
    if propagation and propagation not in _PROPAGATION:
        raise InvalidOption(f"linux.rootfsPropagation {propagation!r} is not known; give shared or private")
    domain = (linux.get("personality") or {}).get("domain", "LINUX")
    if domain not in ("LINUX", "LINUX32"):
        raise InvalidOption(f"linux.personality.domain {domain!r} is not known; give LINUX or LINUX32")


def _check_net_devices(linux: Spec, kinds: list[str]) -> None:
    taken: dict[str, str] = {}
    for name, described in (linux.get("netDevices") or {}).items():
        inside = described.get("name") or name
        for each in (name, inside):
            if _LINK_NAME.fullmatch(each) is None or each in (".", ".."):
                raise InvalidOption(f"linux.netDevices has {each!r}, which is no name of a network device")
        if inside in taken:
            raise InvalidOption(f"linux.netDevices calls both {taken[inside]} and {name} {inside!r}")
        taken[inside] = name
    if taken and "network" not in kinds:
        raise InvalidOption("linux.netDevices needs a network namespace; add it to linux.namespaces")


def _keep_own_mounts(linux: Spec) -> None:
    """A path of our own mount namespace is as no entry: a root is not pivoted into where others live."""
    home = os.stat("/proc/self/ns/mnt")
    linux["namespaces"] = [
        entry
        for entry in linux.get("namespaces") or ()
        if not (
            entry["type"] == "mount" and entry.get("path") and os.path.samestat(os.stat(entry["path"]), home)
        )
    ]


def _check_namespace(where: str, path: str, kind: str) -> None:
    if not path.startswith("/"):
        raise InvalidOption(f"{where} {path!r} is not an absolute path")
    try:
        opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = fcntl.ioctl(opened, _NS_GET_NSTYPE)
        finally:
            os.close(opened)
    except OSError as error:
        raise InvalidOption(f"{where} {path!r} is no namespace: {error.strerror}") from None
    if found != namespaces.FLAGS[kind]:
        raise InvalidOption(f"{where} {path!r} is not a namespace of the type {kind}")


def _check_paths(linux: Spec) -> None:
    for field in ("maskedPaths", "readonlyPaths"):
        for path in linux.get(field) or ():
            if not path.startswith("/"):
                raise InvalidOption(f"linux.{field} has {path!r}, which is not an absolute path")


def _check_devices(linux: Spec) -> None:
    for index, device in enumerate(linux.get("devices") or ()):
        where = f"linux.devices[{index}]"
        if device["type"] not in ("b", "c", "u", "p"):
            raise InvalidOption(f"{where}.type {device['type']!r} is not known; give b, c, u or p")
        if not device["path"].startswith("/"):
            raise InvalidOption(f"{where}.path {device['path']!r} is not an absolute path")
        if device["type"] != "p" and not {"major", "minor"} <= device.keys():
            raise InvalidOption(f"{where} has no major and minor number, which {device['path']} needs")
    for index, rule in enumerate((linux.get("resources") or {}).get("devices") or ()):
        if rule.get("type", "a") not in ("a", "b", "c"):
            raise InvalidOption(f"linux.resources.devices[{index}].type {rule['type']!r}: give a, b or c")
        # runc and crun pass over letters that they do not know, and bundles have some ("rwa").
        access = "".join(letter for letter in "rwm" if letter in rule.get("access", "rwm"))
        if not access:
            raise InvalidOption(f"linux.resources.devices[{index}].access {rule['access']!r}: give r, w, m")
        rule["access"] = access


def _check_sysctls(linux: Spec, kinds: list[str], spec: Spec) -> None:
    for name, value in (linux.get("sysctl") or {}).items():
        key = name.replace("/", ".")
        if _SYSCTL.fullmatch(name) is None or ".." in name:
            raise InvalidOption(f"linux.sysctl has {name!r}, which is no name of a kernel setting")
        if "\n" in value:
            raise InvalidOption(f"linux.sysctl {name} has a value of several lines")
        if key in _IPC_SYSCTLS or key.startswith("fs.mqueue."):
            needed = "ipc"
        elif key.startswith("net."):
            needed = "network"
        elif key == "kernel.hostname":
            raise InvalidOption(f"linux.sysctl {name} is what the property hostname is for; leave it out")
        elif key == "kernel.domainname":
            needed = "uts"
        else:
            raise InvalidOption(f"linux.sysctl {name} belongs to the whole host, not to a namespace")
        if needed not in kinds:
            raise InvalidOption(f"linux.sysctl {name} would change the host; add a {needed} namespace")
