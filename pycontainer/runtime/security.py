"""Capabilities, no_new_privs, system call filter, hidden paths: what privileged and security_opt decide."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from pycontainer.errors import InvalidOption, Unsupported
from pycontainer.kernel import caps
from pycontainer.oci import runtime as model
from pycontainer.options import RunOptions
from pycontainer.runtime import defaults, seccomp
from pycontainer.runtime.hostfacts import HostFacts

_ALL = frozenset(f"CAP_{name}" for name in caps.NAMES)


class Security(NamedTuple):
    """The protections of one container."""

    is_privileged: bool
    has_writable_cgroups: bool
    no_new_privileges: bool
    seccomp: str
    """"builtin", "unconfined", or the path of a profile in Docker's JSON form."""
    masked_paths: tuple[str, ...]
    readonly_paths: tuple[str, ...]
    apparmor: str | None = None
    """The AppArmor profile to run under; None leaves the caller's."""
    process_label: str | None = None
    """SELinux label of the processes; None leaves the caller's."""
    mount_label: str | None = None
    """SELinux label of the container's files."""


def security(options: RunOptions, host: HostFacts) -> Security:
    """Read security_opt. no_new_privs is on unless privileged, or turned off by name.

    Raises: InvalidOption for what is not known, with what is; Unsupported for the labels of a security
    module that this host does not run.
    """
    no_new_privileges = not options.privileged
    seccomp = "unconfined" if options.privileged else "builtin"
    is_unmasked = has_writable_cgroups = options.privileged
    apparmor, labels = None, []
    for text in options.security_opt or ():
        # Docker once wrote a colon here; labels and profiles hold colons of their own.
        name, _, value = text.partition("=") if "=" in text else text.partition(":")
        if name == "no-new-privileges" and value in ("", "true", "false"):
            no_new_privileges = value != "false"
        elif name == "seccomp" and value:
            seccomp = value
        elif name == "systempaths" and value == "unconfined":
            is_unmasked = True
        elif name == "writable-cgroups" and value in ("", "true", "false"):
            has_writable_cgroups = value != "false"
        elif name == "apparmor" and value:
            apparmor = _profile(value, host)
        elif name == "label" and value:
            labels.append(value)
        else:
            raise InvalidOption(
                f"option security_opt={text!r}: give no-new-privileges[=true|false], seccomp=PATH, "
                "seccomp=builtin, seccomp=unconfined, apparmor=PROFILE, label=user:U, label=role:R, "
                "label=type:T, label=level:L, label=disable, systempaths=unconfined or "
                "writable-cgroups[=true|false]"
            )
    if has_writable_cgroups and not options.privileged and options.cgroupns not in (None, "private"):
        raise InvalidOption(
            f"option security_opt: writable-cgroups with cgroupns={options.cgroupns!r} would open the "
            "cgroups of others; leave one out"
        )
    process_label, mount_label = _selinux_labels(labels, host)
    return Security(
        is_privileged=options.privileged,
        has_writable_cgroups=has_writable_cgroups,
        no_new_privileges=no_new_privileges,
        seccomp=seccomp,
        masked_paths=() if is_unmasked else (*defaults.MASKED_PATHS, *host.extra_masked_paths),
        readonly_paths=() if is_unmasked else defaults.READONLY_PATHS,
        apparmor=apparmor,
        process_label=process_label,
        mount_label=mount_label,
    )


def _profile(name: str, host: HostFacts) -> str | None:
    if not host.has_apparmor:
        if name == "unconfined":
            return None
        raise Unsupported(
            f"option security_opt: this kernel does not run AppArmor, so the profile {name} confines nobody",
            'boot with apparmor=1 security=apparmor, or leave "apparmor=" out',
        )
    return name


_LABEL_PART = r"(?a)[A-Za-z0-9_.:,-]{1,255}"


def _selinux_labels(given: list[str], host: HostFacts) -> tuple[str | None, str | None]:
    """Labels of processes and of files.

    Source: opencontainers/selinux, label.InitLabels; container-selinux.
    """
    if not given or "disable" in given:
        return None, None
    parts = {"user": "system_u", "role": "system_r", "type": "container_t", "level": "s0"}
    for text in given:
        name, _, value = text.partition(":")
        if name not in parts or re.fullmatch(_LABEL_PART, value) is None:
            raise InvalidOption(
                f"option security_opt='label={text}': give label=user:U, label=role:R, label=type:T, "
                "label=level:L or label=disable"
            )
        parts[name] = value
    if not host.has_selinux:
        raise Unsupported(
            "option security_opt: this kernel does not run SELinux, so its labels confine nobody",
            'boot with selinux=1 security=selinux, or leave "label=" out',
        )
    process = ":".join(parts.values())
    return process, f"{parts['user']}:object_r:container_file_t:{parts['level']}"


def seccomp_program(
    options: RunOptions, spec: model.Spec, host: HostFacts, *, cache_directory: Path | None = None
) -> bytes | None:
    """The system call filter of a container as BPF; None where none is wanted.

    Raises: InvalidOption for a profile that cannot be read; Unsupported where the kernel has no filters.
    """
    chosen = security(options, host).seccomp
    if chosen == "unconfined":
        return None
    if not host.seccomp:
        raise Unsupported(
            "this kernel has no system call filters",
            "enable CONFIG_SECCOMP_FILTER, or pass seccomp=unconfined",
        )
    profile = seccomp.default_profile() if chosen == "builtin" else seccomp.load(chosen)
    held = spec.process.capabilities if spec.process is not None else None
    bounding = held.bounding if held is not None else ()
    return seccomp.compile(profile, bounding, host.architecture, host.kernel, cache_directory=cache_directory)


def capabilities(options: RunOptions, host: HostFacts) -> tuple[str, ...]:
    """The capabilities to hold: Docker's 14, without cap_drop, with cap_add; every one when privileged.

    What this process cannot pass on is left out of a whole set, and refused when asked for by name.
    """
    added, dropped = _names(options.cap_add, "cap_add"), _names(options.cap_drop, "cap_drop")
    if options.privileged or "ALL" in added:
        held = set(host.capabilities) - (set() if "ALL" in dropped else dropped)
    else:
        held = set() if "ALL" in dropped else set(defaults.CAPABILITIES) - dropped
        held &= set(host.capabilities)
    for name in sorted(added - {"ALL"}):
        if name not in host.capabilities:
            raise InvalidOption(f"option cap_add={name!r}: this host or process does not have it to give")
        held.add(name)
    return tuple(name for name in host.capabilities if name in held)


def _names(given: tuple[str, ...] | None, option: str) -> set[str]:
    found = set()
    for text in given or ():
        name = text.upper()
        if name != "ALL":
            name = "CAP_" + name.removeprefix("CAP_")
            if name not in _ALL:
                raise InvalidOption(f"option {option}={text!r}: no such capability; see capabilities(7)")
        found.add(name)
    return found
