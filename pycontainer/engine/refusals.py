"""What the doctor knows of a start that the kernel refused, for the error."""

from __future__ import annotations

import os
from errno import EACCES, EPERM, EROFS

from pycontainer.errors import KernelError, LaunchError
from pycontainer.kernel import probe

__all__ = ["remedy_of"]

_READ_ONLY = os.strerror(EROFS)
_NOT_ALLOWED = (os.strerror(EPERM), os.strerror(EACCES))


def remedy_of(error: LaunchError | KernelError) -> str:
    """What is missing on this host and what to do about it; empty where that is not what failed."""
    if isinstance(error, LaunchError) and error.exit_code != 125:
        return ""  # the program's own file
    if isinstance(error, LaunchError) and error.step == "cgroup" and _READ_ONLY in error.reason:
        cgroups = probe.check("cgroups", "/")
        return "" if cgroups.is_ok else cgroups.remedy
    reason = error.reason if isinstance(error, LaunchError) else str(error)
    is_refused = any(text in reason for text in _NOT_ALLOWED)
    # A monitor that may not do what it cannot report is all that is seen of it.
    if is_refused or (isinstance(error, LaunchError) and error.step == "monitor"):
        return probe.missing_rights()
    return ""
