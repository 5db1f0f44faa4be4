"""What confines the program besides its ids: limits, labels, kernel settings, seccomp."""

from __future__ import annotations

import errno
import os
from functools import partial

from pycontainer.kernel import syscalls
from pycontainer.kernel.script import Script
from pycontainer.launcher.steps.context import Context, Refused

_KEYRING_PERMISSIONS = 0x3F1B0000  # possessor all; user view, read, search, link (keyctl_setperm(3))
_IN_PROCFS = syscalls.RESOLVE_NO_XDEV | syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS


def _write(context: Context, path: bytes, value: bytes) -> None:
    """Write through our own procfs, where no mount and no link can redirect it (CVE-2025-52881)."""
    fd = syscalls.openat2(context.procfs(), path, os.O_WRONLY, _IN_PROCFS)
    try:
        os.write(fd, value)
    finally:
        os.close(fd)


def set_sysctls(context: Context, settings: tuple[tuple[bytes, bytes, bytes], ...]) -> None:
    """Set kernel parameters of the container's own namespaces: (name, path under /proc, value) each."""
    for name, path, value in settings:
        try:
            _write(context, path, value)
        except OSError as error:
            raise Refused(f"sysctl {os.fsdecode(name)}={os.fsdecode(value)}: {error.strerror}") from None


def set_limits(context: Context, limits: tuple[tuple[str, int, int, int], ...]) -> None:
    """Set resource limits: (name, number, soft, hard) each."""
    setting_limits(context, limits).perform()


def setting_limits(context: Context, limits: tuple[tuple[str, int, int, int], ...]) -> Script:
    """The calls of `set_limits`."""
    script = Script()
    for limit in limits:
        _, number, soft, hard = limit
        script.prlimit(number, soft, hard, explain=partial(_limit_refused, limit))
    return script


def _limit_refused(limit: tuple[str, int, int, int], error: OSError) -> Refused:
    name, number, soft, hard = limit
    now = syscalls.prlimit(0, number)[1]
    if error.errno == errno.EPERM and hard > now:
        return Refused(
            f"ulimit {name}: the hard limit cannot be raised from {now} to {hard} "
            f"without CAP_SYS_RESOURCE; ask for at most {now}"
        )
    return Refused(f"ulimit {name}={soft}:{hard}: {error.strerror}")


def set_oom_score(context: Context, score: int) -> None:
    """Set how readily the kernel kills the program when memory is short."""
    try:
        _write(context, b"%d/oom_score_adj" % os.getpid(), b"%d" % score)
    except OSError as error:
        raise _score_refused(score, error) from None


def setting_oom_score(context: Context, score: int) -> Script:
    """The calls of `set_oom_score`, through the host's procfs, which they close."""
    explain = partial(_score_refused, score)
    rules = syscalls.RESOLVE_NO_XDEV | syscalls.RESOLVE_BENEATH
    script = Script()
    file = script.openat2(context.proc, b"self/oom_score_adj", os.O_WRONLY, rules, explain=explain)
    script.write(file, b"%d" % score, explain=explain)
    script.close_range(context.proc, context.proc, 0)
    return script


def _score_refused(score: int, error: OSError) -> Refused:
    if error.errno != errno.EACCES:
        return Refused(f"oom_score_adj {score}: {error.strerror}")
    return Refused(f"oom_score_adj {score}: lowering it needs CAP_SYS_RESOURCE; ask for a higher value")


def set_label(context: Context, attribute: bytes, label: bytes) -> None:
    """Have the next execve take on a label of the security module (AppArmor, SELinux)."""
    try:
        _write(context, b"%d/attr/%s" % (os.getpid(), attribute), label)
    except OSError as error:
        raise Refused(
            f"security label {os.fsdecode(label)}: {error.strerror}; is the module enabled?"
        ) from None


def join_keyring(context: Context, name: bytes) -> None:
    """Leave the caller's session keyring; kernels without keys have none to leave."""
    joining_keyring(context, name).perform()


def joining_keyring(context: Context, name: bytes) -> Script:
    """The calls of `join_keyring`.

    The first process of the container makes it, and lets its owner search it: so those that join the
    container later get this one, too, and none of their own (as runc does).
    """
    script = Script()
    script.join_session_keyring(name, _KEYRING_PERMISSIONS)
    return script


def forbid_new_privileges(context: Context) -> None:
    """Make execve grant nothing: no set-user-ID, no file capabilities."""
    forbidding_new_privileges(context).perform()


def forbidding_new_privileges(context: Context) -> Script:
    """The call of `forbid_new_privileges`."""
    script = Script()
    script.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    return script


def load_filter(context: Context, program: bytes, flags: int) -> None:
    """Install the seccomp filter; what follows must live with it."""
    loading_filter(context, program, flags).perform()


def loading_filter(context: Context, program: bytes, flags: int) -> Script:
    """The call of `load_filter`."""
    script = Script()
    script.seccomp_load(program, flags)
    return script
