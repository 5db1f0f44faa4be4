"""Programs for other machines: whether the kernel has an emulator for them that containers can use.

Source: kernel, Documentation/admin-guide/binfmt-misc.rst (flag F: the emulator is opened when it is
registered).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pycontainer.errors import Unsupported
from pycontainer.oci import Platform

if TYPE_CHECKING:
    from pycontainer.oci import ImageConfig

__all__ = ["check_machine"]

_HANDLERS = Path("/proc/sys/fs/binfmt_misc")
_NATIVE = {("amd64", "386"), ("arm64", "arm")}
_MACHINES = {
    "386": "i386", "amd64": "x86_64", "arm": "arm", "arm64": "aarch64", "loong64": "loongarch64",
    "mips64le": "mips64el", "ppc64le": "ppc64le", "riscv64": "riscv64", "s390x": "s390x",
}  # fmt: skip


def check_machine(config: ImageConfig) -> None:
    """Raises: Unsupported where this host cannot run the image's programs."""
    wanted = Platform(os=config.os, architecture=config.architecture, variant=config.variant).normalized()
    host = Platform.host()
    if wanted.architecture in ("", host.architecture) or (host.architecture, wanted.architecture) in _NATIVE:
        return
    if not _has_emulator(_MACHINES.get(wanted.architecture, wanted.architecture)):
        raise Unsupported(
            f"RUN for {wanted} on this host, which is {host}",
            "register an emulator (apt-get install qemu-user-static binfmt-support), or run it in a stage "
            "FROM --platform=$BUILDPLATFORM and copy what it makes",
        )


def _has_emulator(machine: str) -> bool:
    try:
        handlers = [path.read_text() for path in _HANDLERS.iterdir() if f"qemu-{machine}" in path.name]
    except OSError:
        return False
    return any(
        text.startswith("enabled")
        and any(line.startswith("flags:") and "F" in line for line in text.splitlines())
        for text in handlers
    )
