"""Steps of a plan written down as scripts, for a process that was cloned to make nothing but their calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial

from pycontainer.kernel import native
from pycontainer.kernel.script import Script
from pycontainer.launcher import child
from pycontainer.launcher.plan import Step
from pycontainer.launcher.steps import identity, inroot, process, rootfs, security
from pycontainer.launcher.steps.context import Context

__all__ = ["WRITTEN", "executing", "is_filtered_early", "performing", "scripts_of", "tell"]

WRITTEN: dict[Callable[..., None], Callable[..., Script]] = {
    process.settle: process.settling,
    rootfs.pivot: rootfs.pivoting,
    security.join_keyring: security.joining_keyring,
    security.forbid_new_privileges: security.forbidding_new_privileges,
    security.load_filter: security.loading_filter,
    security.set_limits: security.setting_limits,
    identity.become: identity.becoming,
    process.die_with_monitor: process.dying_with_monitor,
    process.prepare_exec: process.preparing_exec,
    process.let_go: process.letting_go,
}
"""Steps with what writes them down."""


def performing(step: Step, script: Script) -> Step:
    """The step as the script that was written for it."""
    return Step(step.name, _perform, (script,))


def executing(step: Step, context: Context) -> Step:
    """The last step, process.execute, as a script; carried out as a step it tells why that was in vain."""
    return Step(step.name, _execute, (process.executing(context, *step.args), *step.args))


def _perform(context: Context, script: Script) -> None:
    script.perform()


def _execute(context: Context, script: Script, args: tuple[bytes, ...]) -> None:
    script.perform()
    process.execute(context, args)


def is_filtered_early(steps: Sequence[Step]) -> bool:
    """Whether the filter counts already when descriptors are closed, as it does without no_new_privs.

    It may not know the call that closes them; then that is done by hand, which is more than a script.
    """
    early = (step.function for step in steps if step.function in (security.load_filter, process.prepare_exec))
    return next(early, None) is security.load_filter


def scripts_of(left: Sequence[Step]) -> list[Script] | None:
    """A script for each of these steps; None if one of them is more than that."""
    scripts = []
    for step in left:
        if step.function in (_perform, _execute):
            scripts.append(step.args[0])
        elif step.function is process.report_on_three:
            scripts.append(Script())
        else:
            return None
    return scripts


def tell(context: Context, left: Sequence[Step], ended: native.Ended, cwd: str) -> None:
    """Report what the process, which can say nothing, would have said.

    context: its root is open, to tell why a program was not executed from cwd.
    """
    script: Script = left[ended.script].args[0]
    if ended.errno:
        child.report(context.error, child.describe(ended.script, script.failure(ended.call, ended.errno)))
        return
    if ended.script < len(left) - 1:
        return  # it was killed
    child.say_ready(context.error)
    if ended.call == len(script.calls):
        (program, *_) = left[-1].args[1]
        tried = list(zip(process.candidates(context, program), ended.results, strict=True))
        open_file = partial(_open_inside, context.root, os.fsencode(cwd))
        refused = process.not_executed(program, tried, open_file)
        child.report(context.error, child.describe(ended.script, refused))


def _open_inside(root: int, cwd: bytes, path: bytes, flags: int) -> int:
    return inroot.open_file(root, os.path.join(cwd, path), flags)
