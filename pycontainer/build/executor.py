"""The instructions of one stage, carried out one after the other.

Theory of operation. An instruction that only changes the configuration costs nothing. One that makes a layer
has a key: a digest of the operation with all its inputs and of the chain of layers below. If the cache has a
layer of that key, that is it; else the step is executed while its key is locked, so that another build which
comes to the same step waits for the layer instead of making it, too.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import evolve

from pycontainer.build import config as configs
from pycontainer.build.dockerfile import model
from pycontainer.build.dockerfile.scope import Step
from pycontainer.build.events import BuildAction, BuildEvent
from pycontainer.build.sources import is_git, is_url, url_name
from pycontainer.build.steps import Built, StageState, destination, key_of, mode_of
from pycontainer.build.worker import CopyPart, CopyStep, FileSource, GivenUp, Layer, RunMount, RunStep, Worker
from pycontainer.errors import (
    BuildError,
    Conflict,
    ContainerFailed,
    DockerfileError,
    InvalidInput,
    PycontainerError,
)

__all__ = ["MAKES_LAYER", "Rules", "StageExecutor"]

MAKES_LAYER = (model.Add, model.Copy, model.Run, model.Workdir)
_MAX_CHANGES = 3
_SECRET_HOME = "/run/secrets"


class Rules:
    """What holds for every stage of a build.

    ignores_cache, uncached (titles of stages): nothing is taken from the cache. epoch: see BuildRequest.
    proxies: variables that a RUN sees, and nothing tells of. entitlements: what RUNs may ask for beyond the
    default.
    """

    def __init__(
        self,
        *,
        filename: str,
        epoch: int | None,
        ignores_cache: bool,
        uncached: frozenset[str],
        proxies: Mapping[str, str],
        entitlements: frozenset[str],
        run_inputs: Mapping[str, Any],
    ) -> None:
        self.filename = filename
        self.epoch = epoch
        self.ignores_cache = ignores_cache
        self.uncached = uncached
        self.proxies = proxies
        self.entitlements = entitlements
        self.run_inputs = run_inputs


class StageExecutor:
    """Carries out one stage.

    find: the files of the context (""), another stage, an image or a named context; may wait for the stage.
    """

    def __init__(
        self,
        worker: Worker,
        rules: Rules,
        state: StageState,
        find: Callable[[str], FileSource],
        *,
        title: str,
        total: int,
        is_alone: bool,
    ) -> None:
        self._worker = worker
        self._rules = rules
        self._state = state
        self._find = find
        self._title = title
        self._total = total
        self._is_alone = is_alone
        self._number = 1  # FROM is the first
        self._ignores_cache = rules.ignores_cache or title in rules.uncached

    def run(self, steps: Sequence[Step]) -> Built:
        """Carry them out. Raises: BuildError, DockerfileError."""
        for step in steps:
            try:
                self._carry_out(step)
            except (BuildError, DockerfileError, GivenUp):
                raise
            except PycontainerError as error:
                raise self._failed(step, error) from error
        return self._state.built()

    def _carry_out(self, step: Step) -> None:
        state, instruction = self._state, step.instruction
        changed = configs.apply(state.own, instruction)
        if changed is not None:
            own, text = changed
            if isinstance(instruction, model.Entrypoint) and not state.has_cmd:
                own = evolve(own, cmd=None)
            state.has_cmd = state.has_cmd or isinstance(instruction, model.Cmd)
            if isinstance(instruction, model.Maintainer):
                state.config = evolve(state.config, author=instruction.name)
            state.change(own)
            if text:
                state.told(text)
        elif isinstance(instruction, model.Workdir):
            self._workdir(step, instruction)
        elif isinstance(instruction, model.Run):
            self._run(step, instruction)
        elif isinstance(instruction, model.Transfer):
            self._copy(step, instruction)
        else:
            raise InvalidInput(f"{instruction.keyword} cannot be carried out")

    # -- layers ------------------------------------------------------------------------------------

    def _layer(self, step: Step, key: str, make: Callable[[], Layer], name: str = "") -> Layer:
        """The layer of a step, from the cache or made."""
        name = name or self._name(step)
        begun = time.monotonic()
        if not self._ignores_cache and (found := self._worker.cached(key)) is not None:
            self._tell("cached", step, name, digest=found.diff_id)
            return found
        self._tell("started", step, name)
        try:
            with self._worker.executing(key):
                found = None if self._ignores_cache else self._worker.cached(key)
                layer = found or self._worker.keep(
                    key, make(), step.instruction.source, replaces=self._ignores_cache
                )
        except PycontainerError as error:
            self._tell("failed", step, name, message=str(error), seconds=time.monotonic() - begun)
            raise
        self._tell(
            "done" if found is None else "cached", step, name,
            digest=layer.diff_id, seconds=time.monotonic() - begun,
        )  # fmt: skip
        return layer

    def _name(self, step: Step) -> str:
        self._number += 1
        stage = "" if self._is_alone else f"{self._title} "
        trigger = "ONBUILD " if step.is_trigger else ""
        return f"[{stage}{self._number}/{self._total}] {trigger}{step.instruction.source}"

    def _tell(self, action: BuildAction, step: Step, name: str, **more: Any) -> None:
        lines = step.instruction.lines
        self._worker.tell(
            BuildEvent(action=action, step=name, stage=self._title, lines=(lines.first, lines.last), **more)
        )

    def _failed(self, step: Step, error: PycontainerError) -> BuildError:
        lines = step.instruction.lines
        tail = error.stdout.decode(errors="replace") if isinstance(error, ContainerFailed) else ""
        return BuildError(
            f"{self._rules.filename}:{lines.first}: {step.instruction.source}: {error}",
            file=self._rules.filename,
            line=lines.first,
            last_line=lines.last,
            stage=self._title,
            step=step.instruction.source,
            exit_code=getattr(error, "exit_code", None),
            log_tail=tail,
        )

    def _key(self, operation: str, *, parent: str | None = None, **of: Any) -> str:
        below = self._state.chain if parent is None else parent
        image = self._state.config
        platform = f"{image.os}/{image.architecture}/{image.variant}"
        return key_of(operation, below, epoch=self._rules.epoch, platform=platform, **of)

    @property
    def _below(self) -> tuple[Any, ...]:
        return tuple(layer.snapshot for layer in self._state.layers)

    # -- WORKDIR -----------------------------------------------------------------------------------

    def _workdir(self, step: Step, instruction: model.Workdir) -> None:
        state = self._state
        path = configs.workdir(state.own, instruction.path)
        state.change(evolve(state.own, working_dir=path))
        layer = None
        if path != "/":
            user = state.own.user
            key = self._key("workdir", path=path, user=user)
            layer = self._layer(step, key, lambda: self._worker.make_directory(self._below, path, user))
        state.told(f"WORKDIR {path}", layer)

    # -- COPY and ADD ------------------------------------------------------------------------------

    def _copy(self, step: Step, instruction: model.Transfer) -> None:
        parts = self._parts(instruction)
        target = destination(self._state.own, instruction.destination)
        count = sum(len(part.patterns) for part in parts)
        if count > 1 and not target.endswith("/"):
            raise InvalidInput(
                f"{instruction.keyword} has several sources, so {instruction.destination!r} has to be a "
                "directory: end it with a slash"
            )
        mode = mode_of(instruction.chmod)
        is_alone = (instruction.link and instruction.chown.replace(":", "").isdigit()) or (
            instruction.link and not instruction.chown
        )
        below = () if is_alone else self._below
        layer = self._stable_copy(
            step,
            parts,
            CopyStep(below=below, parts=tuple(parts), destination=target, chown=instruction.chown, mode=mode),
            parent="" if is_alone else None,
        )
        self._state.told(configs.copy_text(instruction), layer)

    def _stable_copy(self, step: Step, parts: list[CopyPart], what: CopyStep, parent: str | None) -> Layer:
        """Copy, and be sure that what was copied is what the key speaks of."""

        def key() -> str:
            sums = [
                (self._worker.checksum(part), part.unpacks, part.parents, part.excludes) for part in parts
            ]
            return self._key(
                "copy", parent=parent, sums=sums, to=what.destination, chown=what.chown, mode=what.mode
            )

        wanted = key()

        def make() -> Layer:
            layer = self._worker.copy(what)
            if any(part.source.directory >= 0 for part in parts) and key() != wanted:
                raise Conflict(
                    "the files change while they are copied; build again when nothing changes them"
                )
            return layer

        return self._layer(step, wanted, make)

    def _parts(self, instruction: model.Transfer) -> list[CopyPart]:
        excludes = instruction.excludes
        parts: list[CopyPart] = []
        local: list[str] = []
        for source in instruction.sources:
            if isinstance(instruction, model.Add) and (is_git(source) or is_url(source)):
                parts.append(self._remote(instruction, source, excludes))
            else:
                local.append(source)
        if local:
            from_stage = instruction.from_stage if isinstance(instruction, model.Copy) else ""
            unpacks = "never"
            if isinstance(instruction, model.Add):
                unpacks = {None: "local", True: "always", False: "never"}[instruction.unpack]
            parts.insert(
                0,
                CopyPart(
                    source=self._find(from_stage),
                    patterns=tuple(local),
                    excludes=excludes,
                    parents=isinstance(instruction, model.Copy) and instruction.parents,
                    unpacks=unpacks,
                ),
            )
        if instruction.files:
            contents = {file.path: file.content for file in instruction.files}
            parts.append(
                CopyPart(
                    source=self._worker.inline(contents),
                    patterns=tuple(posixpath.basename(name) for name in contents),
                )
            )
        return parts

    def _remote(self, instruction: model.Add, source: str, excludes: Any) -> CopyPart:
        if is_git(source):
            files = self._worker.clone(
                source, instruction.checksum, keep_git_dir=bool(instruction.keep_git_dir)
            )
            return CopyPart(source=files, patterns=("/",), excludes=excludes)
        files = self._worker.download(source, instruction.checksum)
        unpacks = "always" if instruction.unpack else "never"
        return CopyPart(source=files, patterns=(url_name(source),), unpacks=unpacks)

    # -- RUN ---------------------------------------------------------------------------------------

    def _run(self, step: Step, instruction: model.Run) -> None:
        state, own = self._state, self._state.own
        self._check_entitled(instruction)
        argv = instruction.command.argv(own.shell or configs.DEFAULT_SHELL)
        if not argv:
            raise InvalidInput("RUN has no command")
        variables = dict(step.environment)
        mounts = [self._mount(mount) for mount in instruction.mounts]
        script = instruction.command.script
        what = RunStep(
            below=self._below,
            config=state.config,
            argv=argv,
            env=variables,
            hidden_env=self._rules.proxies,
            user=own.user,
            workdir=own.working_dir or "/",
            network=instruction.network,
            security=instruction.security,
            devices=tuple((device.name, device.is_required) for device in instruction.devices),
            mounts=tuple(mounts),
            files={} if script is None else {script.path: script.content},
        )
        key = self._key(
            "run",
            argv=argv,
            env=variables,
            user=own.user,
            workdir=what.workdir,
            network=instruction.network,
            security=instruction.security,
            devices=what.devices,
            files=what.files,
            mounts=[self._mount_key(mount) for mount in mounts],
            inputs=self._rules.run_inputs,
        )
        name = self._name(step)

        def on_output(stream: str, content: bytes) -> None:
            self._tell("output", step, name, output=content, stream=stream)

        layer = self._layer(step, key, lambda: self._worker.run(what, on_output), name)
        state.told(configs.run_text(argv, step.build_args.items()), layer)

    def _check_entitled(self, instruction: model.Run) -> None:
        for asked, entitlement in (
            (instruction.network == "host", "network.host"),
            (instruction.security == "insecure", "security.insecure"),
        ):
            if asked and entitlement not in self._rules.entitlements:
                raise InvalidInput(
                    f"it asks for {entitlement}, which this build does not allow; "
                    f"pass allow=[{entitlement!r}]"
                )

    def _mount(self, mount: model.Mount) -> RunMount:
        target = mount.target
        if mount.kind == "secret" and not target and not mount.env:
            target = f"{_SECRET_HOME}/{mount.id}"
        if target:
            target = posixpath.normpath(posixpath.join("/", self._state.own.working_dir or "/", target))
            if target == "/":
                raise InvalidInput(f"--mount=type={mount.kind}: the target is the root itself")
        source = None
        if mount.kind == "bind" or (mount.kind == "cache" and mount.from_stage):
            source = self._find(mount.from_stage)
        return RunMount(
            kind=mount.kind,
            target=target,
            source=source,
            path=posixpath.normpath(posixpath.join("/", mount.source)).lstrip("/"),
            id=mount.id
            or (
                target
                if mount.kind == "cache"
                else "default"
                if mount.kind == "ssh"
                else posixpath.basename(target)
            ),
            sharing=mount.sharing or "shared",
            is_read_only=mount.is_read_only and mount.kind in ("bind", "cache"),
            is_required=mount.is_required,
            size_bytes=mount.size_bytes,
            mode=mount.mode,
            uid=mount.uid or 0,
            gid=mount.gid or 0,
            env=mount.env or "",
        )

    def _mount_key(self, mount: RunMount) -> Any:
        """What of a mount decides over the step: of a secret or a cache its place, never what is in it."""
        content = ""
        if mount.source is not None and mount.kind == "bind":
            content = self._worker.checksum(CopyPart(source=mount.source, patterns=(mount.path or "/",)))
        return (
            mount.kind, mount.target, content, mount.path if content else "", mount.id, mount.is_read_only,
            mount.size_bytes, mount.mode, mount.uid, mount.gid, mount.env,
        )  # fmt: skip
