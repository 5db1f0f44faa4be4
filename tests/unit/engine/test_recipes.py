"""Recipes: the same for any container of an image and options, and made anew where the host may change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pycontainer.engine import recipes
from pycontainer.engine.config import EngineConfig
from pycontainer.engine.engine import Engine
from pycontainer.oci import ImageConfig
from pycontainer.options import dump_run_options, parse_run_options
from tests.support.hosts import HOST

IDS = ("ab" * 32, "cd" * 32)


class _Engine:
    """What a recipe needs of an engine."""

    def __init__(self) -> None:
        self.host = HOST
        self.store_tag = "tag"
        self.store = SimpleNamespace(root=Path("/dev/null/store"))  # where nothing can be kept
        self.config = EngineConfig(root=Path("/nowhere"))
        self.kept: dict[str, recipes.Recipe] = {}

    def recipe(self, key: str, make: Callable[[], recipes.Recipe]) -> recipes.Recipe:
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]


def made(engine: _Engine, container_id: str, **options: Any) -> recipes.Recipe:
    parsed = parse_run_options(command=["true"], **options)
    given = dump_run_options(parsed)
    config = ImageConfig(os="linux", architecture="amd64")
    return recipes.recipe(cast("Engine", engine), container_id, "sha256:1", parsed, config, given)


def test_a_container_gets_what_would_be_made_for_it_alone() -> None:
    shared = _Engine()
    for container_id in IDS:
        found = made(shared, container_id, memory="64m", env={"A": "1"}).text_for(container_id)
        alone = recipes._make(
            cast("Engine", _Engine()),
            container_id,
            parse_run_options(command=["true"], memory="64m", env={"A": "1"}),
            ImageConfig(os="linux", architecture="amd64"),
        )
        assert json.loads(f"{{{found}}}") == json.loads(f"{{{alone.text_for(container_id)}}}")
        assert json.loads(f"{{{found}}}")["spec"]["hostname"] == container_id[:12]
    assert len(shared.kept) == 1


@pytest.mark.parametrize("options", [{"memory": "32m"}, {"env": {"A": "2"}}, {"user": "web"}])
def test_other_options_are_another_recipe(options: dict[str, Any]) -> None:
    engine = _Engine()
    first, second = made(engine, IDS[0]), made(engine, IDS[0], **options)
    assert first.text_for(IDS[0]) != second.text_for(IDS[0])


def test_what_looks_at_the_host_is_made_anew_each_time() -> None:
    engine = _Engine()
    made(engine, IDS[0], devices=["/dev/fuse"])
    assert engine.kept == {}
