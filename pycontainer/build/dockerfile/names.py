"""What a name after FROM, in `COPY --from` or in `RUN --mount=from` means.

Source: moby/buildkit, frontend/dockerfile/dockerfile2llb/convert.go.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from attrs import frozen

from pycontainer.build.dockerfile import model
from pycontainer.build.dockerfile.source import Problem, nearest
from pycontainer.errors import BadReference
from pycontainer.oci import Reference

__all__ = ["SCRATCH", "Base", "Names", "reference_of"]

SCRATCH = "scratch"


@frozen(kw_only=True)
class Base:
    """Where files come from.

    Attributes: kind, name (of the image, named context or stage, as the Dockerfile has it after expansion;
    for a context the key it was given under), stage (the number of a stage, else None).
    """

    kind: Literal["scratch", "stage", "image", "context"]
    name: str
    stage: int | None = None


@frozen(kw_only=True)
class Names:
    """All that can be named.

    Attributes: stages (numbers by name, of two with one name the last), count (of stages), contexts (the
    keys of named contexts), references (the same keys by the image they stand for).
    """

    stages: Mapping[str, int]
    count: int
    contexts: frozenset[str]
    references: Mapping[Reference, str]

    @classmethod
    def of(cls, dockerfile: model.Dockerfile, contexts: Collection[str]) -> Names:
        read = {key: reference_of(key) for key in sorted(contexts)}
        return cls(
            stages={stage.name: stage.index for stage in dockerfile.stages if stage.name},
            count=len(dockerfile.stages),
            contexts=frozenset(contexts),
            references={reference: key for key, reference in read.items() if reference is not None},
        )

    def base(self, name: str, stages: Mapping[str, int]) -> Base:
        """What a name means to FROM. Args: stages, those above by name."""
        if name in stages:
            return Base(kind="stage", name=name, stage=stages[name])
        if name == SCRATCH:
            return Base(kind="scratch", name=SCRATCH)
        if name in self.contexts:
            return Base(kind="context", name=name)
        # A context given for `alpine` also replaces docker.io/library/alpine:latest.
        wanted = reference_of(name)
        key = self.references.get(wanted) if wanted is not None else None
        return Base(kind="image", name=name) if key is None else Base(kind="context", name=key)

    def source(self, name: str) -> Base:
        """What a name means to `COPY --from` and `RUN --mount=from`. Raises: Problem."""
        if name.lower() in self.stages:
            return Base(kind="stage", name=name.lower(), stage=self.stages[name.lower()])
        if name.isascii() and name.lstrip("-").isdigit():
            index = int(name[:9])
            if not 0 <= index < self.count:
                raise Problem(f"invalid stage index {name[:20]}", expected=f"0 to {self.count - 1}")
            return Base(kind="stage", name=name, stage=index)
        base = self.base(name, {})
        if base.kind == "image" and reference_of(name) is None:
            problem = f'failed to parse stage name "{name[:200]}": invalid reference format'
            raise Problem(problem, suggestion=nearest(name, self.stages))
        return base


def reference_of(name: str) -> Reference | None:
    """The image a name means; None for a name no image can have."""
    try:
        return Reference.parse(name)
    except BadReference:
        return None
