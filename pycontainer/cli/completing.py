"""What a shell completes names from: the store, looked at when the tab key is pressed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click

from pycontainer.cli.session import Session

__all__ = ["containers", "images", "networks", "volumes"]

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def _session(ctx: click.Context) -> Session:
    """The session of a completion, which has none yet: the options before the command were only read."""
    session = ctx.ensure_object(Session)
    root = ctx.find_root().params.get("root")
    if root is not None:
        session.root = root
    return session


def _matching(names: Iterable[str], beginning: str) -> list[str]:
    return sorted(name for name in names if name.startswith(beginning))


def containers(*states: str) -> Completer:
    """Names of containers in these states, or of all."""

    def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
        from pycontainer.engine import Container

        found = Container.list(all=True, engine=_session(ctx).engine)
        return _matching((each.name for each in found if not states or each.state in states), incomplete)

    return complete


def images(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Names of images."""
    from pycontainer.engine import Image

    found = Image.list(engine=_session(ctx).engine)
    return _matching((tag for image in found for tag in image.tags), incomplete)


def networks(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Names of networks."""
    from pycontainer.engine import Network

    return _matching((each.name for each in Network.list(engine=_session(ctx).engine)), incomplete)


def volumes(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Names of volumes."""
    from pycontainer.engine import Volume

    return _matching((each.name for each in Volume.list(engine=_session(ctx).engine)), incomplete)
