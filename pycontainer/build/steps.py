"""One stage as it grows: its configuration, its layers, and the history that tells how they came about."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Sequence
from typing import Any

from attrs import Factory, define, evolve, frozen

from pycontainer.build import config as configs
from pycontainer.build.dockerfile import DEFAULT_PATH
from pycontainer.build.worker import Base, Layer
from pycontainer.errors import InvalidInput
from pycontainer.oci import ContainerConfig, History, ImageConfig, Platform, chain_ids, sha256

__all__ = ["Built", "StageState", "chain_of", "destination", "key_of", "mode_of"]

_FORMAT = 2  # counts up where equal steps make something else than before: no cache has that
_CHANGE = re.compile(r"([ugoa]*)([-+=])([ugo]|[rwxXst]*)")
_OCTAL = re.compile(r"[0-7]{1,8}")


@frozen(kw_only=True)
class Built:
    """What a stage made. latest: when the newest of its layers was made, "" for never. from_base: how many of
    the layers are those of the image it was begun with.
    """

    config: ImageConfig
    layers: tuple[Layer, ...]
    latest: str
    from_base: int


@define(kw_only=True)
class StageState:
    """A stage while its instructions are carried out."""

    config: ImageConfig
    layers: list[Layer] = Factory(list)
    history: list[History] = Factory(list)
    latest: str = ""
    from_base: int = 0
    has_cmd: bool = False

    @classmethod
    def on_nothing(cls, platform: Platform) -> StageState:
        """FROM scratch."""
        own = ContainerConfig(working_dir="/", env=(f"PATH={DEFAULT_PATH}",))
        image = ImageConfig(
            architecture=platform.architecture, os=platform.os, variant=platform.variant, config=own
        )
        return cls(config=image)

    @classmethod
    def on_image(cls, base: Base) -> StageState:
        """FROM an image."""
        image = base.config
        return cls(
            config=evolve(image, history=(), diff_ids=()),
            layers=list(base.layers),
            history=list(image.history),
            latest=image.created,
            from_base=len(base.layers),
        )

    @classmethod
    def on_stage(cls, built: Built) -> StageState:
        """FROM a stage."""
        return cls(
            config=evolve(built.config, history=(), diff_ids=()),
            layers=list(built.layers),
            history=list(built.config.history),
            latest=built.latest,
            from_base=built.from_base,
        )

    @property
    def own(self) -> ContainerConfig:
        """What containers of it are given."""
        return self.config.config

    def change(self, own: ContainerConfig) -> None:
        """Take another configuration for containers."""
        self.config = evolve(self.config, config=own)

    @property
    def chain(self) -> str:
        """Chain id of the layers so far, "" without one."""
        return chain_of(self.layers)

    def told(self, text: str, layer: Layer | None = None) -> None:
        """Add a line to the history, and the layer it made."""
        if layer is not None:
            self.layers.append(layer)
            self.latest = layer.created or self.latest
        self.history.append(
            History(created=self.latest, created_by=text, comment=configs.COMMENT, empty_layer=layer is None)
        )

    def built(self) -> Built:
        """What it is now."""
        image = evolve(
            self.config,
            diff_ids=tuple(layer.diff_id for layer in self.layers),
            history=tuple(self.history),
            created=self.latest,
        )
        return Built(config=image, layers=tuple(self.layers), latest=self.latest, from_base=self.from_base)


def chain_of(layers: Sequence[Layer]) -> str:
    """The chain id of layers, "" of none."""
    ids = chain_ids(layer.diff_id for layer in layers)
    return ids[-1] if ids else ""


def key_of(operation: str, parent: str, **of: Any) -> str:
    """The cache key of a step: a digest of all that what it makes depends on."""
    told = {"format": _FORMAT, "operation": operation, "parent": parent, **of}
    return sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode("utf-8", "surrogatepass"))


def destination(own: ContainerConfig, written: str) -> str:
    """An absolute destination; it keeps the slash that says it is a directory."""
    joined = posixpath.join("/", own.working_dir or "/", written)
    is_directory = written.endswith(("/", "/.")) or written in (".", "..", "")
    clean = "/" + posixpath.normpath(joined).lstrip("/")
    return clean.rstrip("/") + "/" if is_directory or clean == "/" else clean


def mode_of(text: str) -> int | tuple[tuple[str, str, str], ...] | None:
    """What --chmod says: bits, or the changes of chmod(1). Raises: InvalidInput."""
    if not text:
        return None
    if _OCTAL.fullmatch(text):
        if int(text, 8) > 0o7777:
            raise InvalidInput(f"--chmod={text}: give an octal number up to 7777")
        return int(text, 8)
    changes = []
    for clause in text.split(","):
        who = re.match(r"[ugoa]*", clause)
        assert who is not None
        rest = clause[who.end() :]
        if not rest:
            raise InvalidInput(f"--chmod={text}: {clause!r} is neither octal nor like u+x, go=rX")
        while rest:
            found = _CHANGE.match(who[0] + rest)
            if found is None or found.end() <= len(who[0]):
                raise InvalidInput(f"--chmod={text}: {clause!r} is neither octal nor like u+x, go=rX")
            changes.append((who[0], found[2], found[3]))
            rest = (who[0] + rest)[found.end() :]
    return tuple(changes)
