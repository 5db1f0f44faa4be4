"""The second half of create and run: it carries the prepared request out, from a sealed interpreter.

Theory of operation. The state is written down before each thing is made, so that whoever comes after a
kill finds what to take down. What fails is undone in place and told. The first process waits for start in
the end; this process then ends (create), or starts it and, in the foreground, waits with it (run).
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from pycontainer import checkpoints, errors
from pycontainer.checkpoints import reached
from pycontainer.kernel import syscalls
from pycontainer.launcher import cgroup, freezer, held, hooks, resctrl, scopes
from pycontainer.ocicli import files, foreground, leftovers, lifecycle, listening
from pycontainer.ocicli.report import Log
from pycontainer.ocicli.states import State

__all__ = ["CHECKPOINTS", "main"]

CHECKPOINTS = (
    "create.state.written",
    "create.cgroup.made",
    "create.init.cloned",
    "create.hooks.run",
    "create.init.waiting",
    "create.state.settled",
)
"""The named steps of create, in order."""

Request = Mapping[str, Any]


def main(fd: int) -> None:
    """Carry out the request that lies in the descriptor; ends the process with the command's code."""
    with open(fd, "rb") as file:
        file.seek(0)
        request = json.load(file)
    log = Log(*request["log"])
    checkpoints.arm(request["kill_at"])
    # This interpreter was started with nothing; hooks may inherit what the command was called with.
    os.environ.clear()
    os.environ.update(request["environ"])
    try:
        code = _carry_out(request, log)
    except (errors.PycontainerError, OSError) as error:
        log.error(str(error))
        code = 1
    sys.stdout.flush()
    os._exit(code)


def _carry_out(request: Request, log: Log) -> int:
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    syscalls.set_name(b"pycontainer-rt")
    is_run = request["command"] == "run"
    is_detached = not is_run or "detach" in request["flags"]
    if is_run and "no-subreaper" not in request["flags"] and not is_detached:
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    terminal = None
    if request["spec"]["process"].get("terminal") and "console-socket" not in request["flags"]:
        terminal = foreground.Terminal()
    container = _Container(request, log)
    made = container.create(None if terminal is None else terminal.give())
    if not is_run:
        return 0
    try:
        if terminal is not None:
            terminal.take()
        lifecycle.start(container.state, log)
        if is_detached:
            return 0
        return foreground.attend(made.pid, made.pidfd, terminal)
    finally:
        if not is_detached and "keep" not in request["flags"]:
            lifecycle.delete(container.state, log, is_forced=True)


class _Container:
    """One container in the making."""

    def __init__(self, request: Request, log: Log) -> None:
        self.request = request
        self.log = log
        self.state = State.make(request["root"], request["id"])

    def create(self, console: int | None) -> held.Held:
        """Make everything and leave the first process waiting. Raises LaunchError and others."""
        spec, request = self.request["spec"], self.request
        self._refuse_cgroup_in_use()
        self.state.write(
            phase="creating",
            ociVersion=spec["ociVersion"],
            bundle=request["bundle"],
            rootfs=spec["root"]["path"],
            annotations=spec.get("annotations") or {},
            hooks=spec.get("hooks") or {},
            cgroup=request["cgroup"],
            cgroups_path=request["cgroups_path"],
            resctrl=request["resctrl"],
            notifies=request["notifies"],
        )
        reached("create.state.written")
        listener = None
        try:
            self._write_config()
            with scopes.made(request["cgroup"]):
                cgroup.make(request["cgroup"])
                self._refuse_frozen()  # with one above it
                self.log.debug(f"made the cgroups {', '.join(request['cgroup'].get('own') or ())}")
                reached("create.cgroup.made")
                listener = held.listen(self.state.directory)
                fds = {"start": listener.fileno()}
                if console is None and "console-socket" in request["flags"]:
                    console = files.connect(request["flags"]["console-socket"])
                if console is not None:
                    fds["console"] = console
                seccomp = base64.b64decode(request["seccomp_b64"])
                made = held.create(self._params(), fds, self, seccomp=seccomp)
            reached("create.init.waiting")
            self.log.debug("the first process waits for its start")
            if console is not None:
                os.close(console)
            self.state.write(phase="created")
            if "pidfd-socket" in request["flags"]:
                files.send_pidfd(request["flags"]["pidfd-socket"], made.pidfd)
            if "pid-file" in request["flags"]:
                files.write_pid(request["flags"]["pid-file"], made.pid)
            reached("create.state.settled")
        except BaseException as error:
            self._undo(error)
            raise
        finally:
            if listener is not None:
                listener.close()
        self.state.unlock()
        return made

    def _refuse_cgroup_in_use(self) -> None:
        """Before it is written down as ours, for whoever undoes or deletes ours ends all that is in it."""
        plan = self.request["cgroup"]
        try:
            if not cgroup.is_empty(plan):
                raise errors.LaunchError(
                    f"container's cgroup is not empty: {plan['own'][0]} has processes already; "
                    "choose another linux.cgroupsPath",
                    step="cgroup",
                    reason="in use",
                )
            self._refuse_frozen()
        except errors.LaunchError:
            self.state.remove()
            raise

    def _refuse_frozen(self) -> None:
        """What goes into a frozen cgroup would never come to tell of its start."""
        for directory in self.request["cgroup"].get("own") or ():
            for file, thawed in (("cgroup.freeze", "0"), ("freezer.state", "THAWED")):
                if freezer.is_frozen({"file": f"{directory}/{file}", "thawed": thawed}):
                    raise errors.LaunchError(
                        f"container's cgroup unexpectedly frozen: thaw {directory}/{file} first",
                        step="cgroup",
                        reason="frozen",
                    )

    def _params(self) -> dict[str, Any]:
        spec, request = self.request["spec"], self.request
        return {
            "id": request["id"],
            "spec": spec,
            "rootfs": {"dir": spec["root"]["path"]},
            "container_dir": spec["root"]["path"],
            "cgroup": request["cgroup"],
            "state": self.state.described("creating"),
            "preserve_fds": request["preserve_fds"],
            "notifies": request["notifies"],
            "fd_names": {},
            "keyring": "no-new-keyring" not in request["flags"],
            "no_pivot": "no-pivot" in request["flags"],
        }

    def _write_config(self) -> None:
        """Keep what later commands need: changes to the bundle have no effect on the container."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        content = json.dumps(self.request["spec"], separators=(",", ":")).encode()
        for name, data in (
            ("config.json", content),
            ("filter", base64.b64decode(self.request["seccomp_b64"])),
        ):
            with open(os.open(name, flags, 0o600, dir_fd=self.state.directory), "wb") as file:
                file.write(data)

    def _undo(self, error: BaseException) -> None:
        try:
            lifecycle.take_down(self.state, self.log)
        except (errors.PycontainerError, OSError) as second:
            error.add_note(f"and what was made could not be removed: {second}")

    # -- in between, as held.Creator

    def cloning(self, root: int) -> None:
        """Write down what will stay mounted when the first process has ended."""
        kinds = [entry["type"] for entry in self.request["spec"]["linux"].get("namespaces") or ()]
        if "mount" not in kinds:
            self.state.write(root_mount=leftovers.mount_id(root))

    def cloned(self, pid: int, started: int) -> None:
        """Write the first process down."""
        self.state.write(pid=pid, pid_start=started)
        self.log.debug(f"cloned the first process, {pid}")
        if self.request["resctrl"] is not None:
            resctrl.assign(self.request["resctrl"], pid)
        reached("create.init.cloned")

    def run_hooks(self) -> None:
        """Run prestart and createRuntime hooks. Raises LaunchError."""
        text = json.dumps(self.state.described("creating")).encode()
        for kind in ("prestart", "createRuntime"):
            for index, hook in enumerate(self.state.hooks(kind)):
                self.log.debug(f"run the {kind} hook #{index}, {hook['path']}")
                try:
                    hooks.run(hooks.parse(hook), text, os.environb, os.fsencode(self.request["bundle"]))
                except hooks.HookFailed as failed:
                    message = f"error running {kind} hook #{index}: {failed}"
                    raise errors.LaunchError(message, step="hooks", reason=str(failed)) from None
        reached("create.hooks.run")

    def take_listener(self, fd: int) -> None:
        """Send the filter's listener to whoever will answer it. Raises LaunchError, InvalidOption."""
        state = self.state.described("creating")
        listening.send(self.request["spec"]["linux"]["seccomp"], state, state["pid"], fd)
