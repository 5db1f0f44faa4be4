"""A plan carried out: bases found, stages beside each other, the target's result.

Theory of operation. Each stage has a thread, which waits for another stage only where it comes to need that:
for the one it is built on at once, for one it copies from when it comes to the COPY. Stages are ordered so
that none waits for one that waits for it. The first error has all others give up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait

from attrs import evolve, frozen

from pycontainer.build.dockerfile.plan import Plan, PlannedStage
from pycontainer.build.dockerfile.scope import Step
from pycontainer.build.dockerfile.variables import SCAN_CONTEXT, SCAN_STAGE
from pycontainer.build.events import BuildEvent
from pycontainer.build.executor import MAKES_LAYER, Rules, StageExecutor
from pycontainer.build.expanding import Contexts, expanded, image_of
from pycontainer.build.steps import Built, StageState, chain_of, key_of
from pycontainer.build.worker import Base, CopyPart, CopyStep, FileSource, GivenUp, Worker
from pycontainer.errors import DeadlineExceeded
from pycontainer.kernel import interrupts
from pycontainer.oci import Platform

__all__ = ["Solved", "solve"]


@frozen(kw_only=True)
class Solved:
    """target: what was asked for. scanned: other stages by title, whose software is to be listed, too; and
    whether that of the context is.
    """

    target: Built
    scanned: Mapping[str, Built]
    scans_context: bool


def solve(
    plan: Plan,
    worker: Worker,
    rules: Rules,
    contexts: Contexts,
    give_up: threading.Event,
    timeout_s: float | None = None,
) -> Solved:
    """What the target is. All of the plan is expanded, and checked, before any step is carried out.

    give_up: is set when the build fails, or was interrupted; whoever has the event may set it, too.
    Raises: BuildError, DockerfileError, DeadlineExceeded, and what finding an image raises.
    """
    with interrupts.calling(give_up.set):
        return _Solving(plan, worker, rules, contexts, give_up).result(timeout_s)


class _Solving:
    def __init__(
        self, plan: Plan, worker: Worker, rules: Rules, contexts: Contexts, give_up: threading.Event
    ) -> None:
        self._plan = plan
        self._worker = worker
        self._rules = rules
        self._contexts = contexts
        self._give_up = give_up
        self._bases: dict[tuple[str, str], Base] = {}
        self._guard = threading.Lock()
        self._stages: dict[int, Future[Built]] = {}
        self._steps: Mapping[int, tuple[Step, ...]] = {}

    def result(self, timeout_s: float | None) -> Solved:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._expand()
        needed = self._plan.stages
        pool = ThreadPoolExecutor(len(needed), thread_name_prefix="pycontainer-build")
        try:
            for planned in needed:
                self._stages[planned.index] = Future()
            running = [pool.submit(self._guarded, planned) for planned in needed]
            # In slices, so that a signal is seen in between.
            while not wait(running, timeout=0.5, return_when=FIRST_EXCEPTION).done.issuperset(running):
                if any(future.done() and future.exception() for future in running):
                    break
                if deadline is not None and time.monotonic() > deadline:
                    raise DeadlineExceeded(f"the build took longer than {timeout_s:g} s", timeout_s=timeout_s)
            for future in running:
                if future.done():
                    future.result()
            return self._solved()
        except BaseException:
            self._give_up.set()
            for waited in self._stages.values():
                waited.cancel()
            raise
        finally:
            pool.shutdown(wait=True)

    def _solved(self) -> Solved:
        scanned = self._plan.scanned(SCAN_STAGE, self._steps)
        return Solved(
            target=self._stages[self._plan.target].result(),
            scanned={
                self._plan.stage(index).stage.title: self._stages[index].result()
                for index in scanned
                if index != self._plan.target
            },
            scans_context=bool(self._plan.scanned(SCAN_CONTEXT, self._steps)),
        )

    def _guarded(self, planned: PlannedStage) -> None:
        try:
            built = self._built(planned)
        except BaseException as error:
            with self._guard:
                future = self._stages[planned.index]
                if not future.done():
                    future.set_exception(GivenUp("another stage failed"))
            if not isinstance(error, GivenUp):
                raise
            return
        with self._guard:
            future = self._stages[planned.index]
            if not future.done():
                future.set_result(built)

    def _await(self, index: int) -> Built:
        while True:
            future = self._stages[index]
            wait([future], timeout=0.5)
            if future.done():
                return future.result()
            if self._give_up.is_set():
                raise GivenUp("another stage failed")

    # -- bases -------------------------------------------------------------------------------------

    def _base(self, reference: str, platform: Platform | None) -> Base:
        wanted = platform or self._plan.variables.target_platform
        key = (reference, str(wanted))
        found = self._bases.get(key)
        if found is None:
            found = self._worker.base(reference, wanted)
            with self._guard:
                self._bases[key] = found
        return found

    # -- stages ------------------------------------------------------------------------------------

    def _expand(self) -> None:
        self._plan, self._steps = expanded(
            self._plan, self._contexts, lambda reference, platform: self._base(reference, platform).config
        )
        for found in self._plan.checks.warnings:
            self._worker.tell(BuildEvent.of_warning(found))

    def _built(self, planned: PlannedStage) -> Built:
        index = planned.index
        total = 1 + sum(isinstance(made, MAKES_LAYER) for made in planned.instructions)
        state = self._start(planned)
        title = planned.stage.title
        is_alone = len(self._plan.stages) == 1
        name = f"[{'' if is_alone else title + ' '}1/{total}] FROM {planned.base.name}"
        lines = planned.stage.start.lines
        self._worker.tell(BuildEvent(action="done", step=name, stage=title, lines=(lines.first, lines.last)))
        executor = StageExecutor(
            self._worker, self._rules, state, lambda name: self._files(planned, name),
            title=title, total=total, is_alone=is_alone,
        )  # fmt: skip
        return executor.run(self._steps[index])

    def _start(self, planned: PlannedStage) -> StageState:
        platform = planned.platform or self._plan.variables.target_platform
        base = planned.base
        reference = image_of(base, self._contexts)
        if reference is not None:
            found = self._base(reference, planned.platform)
            state = StageState.on_image(found)
            state.change(evolve(state.own, on_build=()))
            return state
        if base.stage is not None:
            built = self._await(base.stage)
            state = StageState.on_stage(built)
            state.change(evolve(state.own, on_build=()))
            return state
        state = StageState.on_nothing(platform)
        files = self._contexts[base.name] if base.kind == "context" else ""
        if not isinstance(files, str):
            part = CopyPart(source=files, patterns=("/",))
            key = key_of("context", "", sum=self._worker.checksum(part))
            layer = self._worker.cached(key) or self._worker.keep(
                key, self._worker.copy(CopyStep(below=(), parts=(part,), destination="/")), base.name
            )
            state.told(f"FROM {base.name}", layer)
        return state

    def _files(self, planned: PlannedStage, name: str) -> FileSource:
        """The files that an instruction calls by a name."""
        if not name:
            found = self._contexts[""]
            assert not isinstance(found, str)
            return found
        source = planned.sources[name]
        if source.kind == "context" and not isinstance(self._contexts[source.name], str):
            files = self._contexts[source.name]
            assert not isinstance(files, str)
            return files
        if source.stage is not None:
            layers = self._await(source.stage).layers
        else:
            reference = image_of(source, self._contexts)
            layers = () if reference is None else self._base(reference, planned.platform).layers
        return FileSource(
            name=f"{source.kind} {name}",
            snapshots=tuple(layer.snapshot for layer in layers),
            identity=chain_of(layers),
        )
