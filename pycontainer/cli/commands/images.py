"""`pycontainer images`, `rmi`, `tag`, `untag` and `history`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.completing import images as complete_images
from pycontainer.cli.edge import tell
from pycontainer.cli.filters import filter_option
from pycontainer.cli.formatting import Field, Listing, ago, decimal_size, tabulate, zone_time
from pycontainer.cli.pairs import split_words
from pycontainer.cli.session import Session, pass_session
from pycontainer.errors import InvalidInput, NotFound, PycontainerError

if TYPE_CHECKING:
    from pycontainer.engine import Engine, HistoryEntry, Image

__all__ = ["history", "images", "remove", "tag", "untag"]

_NONE = "<none>"
_ID_DIGITS = 12


def made_at(text: str) -> datetime | None:
    """The time that an image says of itself; None for one that says none."""
    try:
        made = datetime.fromisoformat(text)
    except ValueError:
        return None
    return made.replace(tzinfo=UTC) if made.tzinfo is None else made


def _age(text: str) -> str:
    made = made_at(text)
    return "N/A" if made is None else f"{ago(max(0.0, (datetime.now(UTC) - made).total_seconds()))} ago"


class _Shown(NamedTuple):
    """A line of the list: an image by one of its names."""

    image: Image
    repository: str
    tag: str
    is_whole: bool

    @property
    def id(self) -> str:
        return self.image.id if self.is_whole else self.image.id.removeprefix("sha256:")[:_ID_DIGITS]


_LISTING: Listing[_Shown] = Listing(
    {
        "ID": Field("IMAGE ID", lambda each: each.id),
        "Repository": Field("REPOSITORY", lambda each: each.repository),
        "Tag": Field("TAG", lambda each: each.tag),
        "Digest": Field("DIGEST", lambda each: each.image.digest),
        "CreatedSince": Field("CREATED", lambda each: _age(each.image.config.created)),
        "CreatedAt": Field("CREATED AT", lambda each: _created_at(each.image)),
        "Size": Field("SIZE", lambda each: decimal_size(each.image.unpacked_bytes, 3)),
        "VirtualSize": Field("SIZE", lambda each: decimal_size(each.image.unpacked_bytes, 3)),
        "SharedSize": Field("SHARED SIZE", lambda each: "N/A"),
        "UniqueSize": Field("UNIQUE SIZE", lambda each: "N/A"),
        "Containers": Field("CONTAINERS", lambda each: "N/A"),
    },
    ("Repository", "Tag", "ID", "CreatedSince", "Size"),
)


def _created_at(image: Image) -> str:
    made = made_at(image.config.created)
    return "N/A" if made is None else zone_time(made)


def _lines(image: Image, is_whole: bool, repository: str | None) -> Iterator[_Shown]:
    from pycontainer.oci import Reference

    names = [Reference.parse(tag) for tag in image.tags]
    for name in names:
        if repository is None or name.familiar_repository == repository:
            yield _Shown(image, name.familiar_repository, name.tag or _NONE, is_whole)
    if not names:
        yield _Shown(image, _NONE, _NONE, is_whole)


@command("images")
@flag("-a", "--all", help="Without effect: there are no intermediate images.")
@flag("--digests", help="Show the digests of what was pulled.")
@filter_option
@click.option("--format", "form", metavar="FORMAT", help="table, json, or a template.")
@flag("--no-trunc", "is_whole", help="Do not shorten what is long.")
@flag("-q", "--quiet", help="Print ids alone.")
@flag("--tree", "as_tree", help="Show the platforms of each image.")
@click.argument("name", metavar="[REPOSITORY[:TAG]]", required=False, shell_complete=complete_images)
@pass_session
def images(
    session: Session,
    all: bool,
    digests: bool,
    filters: Mapping[str, list[str]],
    form: str | None,
    is_whole: bool,
    quiet: bool,
    as_tree: bool,
    name: str | None,
) -> None:
    """List images by their names, the newest first."""
    from pycontainer.engine import Image

    if as_tree and (quiet or form or is_whole or digests):
        raise click.UsageError("--tree goes not with --quiet, --format, --no-trunc or --digests")
    wanted = dict(filters)
    if name is not None:
        wanted["reference"] = [*wanted.get("reference", []), name]
    found = Image.list(filters=wanted, engine=session.engine)
    repository = name if name is not None and not set(name) & set("*?[:@") else None
    shown = [line for image in found for line in _lines(image, is_whole, repository)]
    if as_tree:
        for line in tabulate(_tree(shown, session.engine)):
            click.echo(line)
        return
    if quiet and not form:
        for line in dict.fromkeys(each.id for each in shown):
            click.echo(line)
        return
    columns = list(_LISTING.columns)
    if digests:
        columns.insert(2, "Digest")
    for line in _LISTING.lines(shown, session.form(form, "imagesFormat"), columns):
        click.echo(line)


def _tree(shown: Iterable[_Shown], engine: Engine) -> Iterator[tuple[str, str, str, str]]:
    """Rows: each name, below it the images of its platforms, and whether a container was made of it."""
    from pycontainer.engine import Container, Image

    used = set()
    for container in Container.list(all=True, engine=engine):
        with suppress(NotFound):  # it has gone meanwhile, with its container
            used.add(container.image.id)
    yield ("IMAGE", "ID", "DISK USAGE", "EXTRA")
    for line in shown:
        is_named = line.tag != _NONE
        name = f"{line.repository}:{line.tag}" if is_named else "<untagged>"
        parts = (
            [Image.get(name, platform=each, engine=engine) for each in line.image.platforms]
            if is_named
            else [line.image]
        )
        total = sum(each.unpacked_bytes for each in parts)
        yield (name, line.id, decimal_size(total, 3), "U" if used & {each.id for each in parts} else "")
        for number, each in enumerate(parts, 1):
            branch = "└─" if number == len(parts) else "├─"
            short = each.id.removeprefix("sha256:")[:_ID_DIGITS]
            size = decimal_size(each.unpacked_bytes, 3)
            yield (f"{branch} {each.platform}", short, size, "U" if each.id in used else "")


@command("rmi")
@flag("-f", "--force", help="Also with several names, or when containers were made from it.")
@flag("--no-prune", help="Without effect: there are no untagged parents.", hidden=True)
@click.option("--platform", "platforms", multiple=True, metavar="PLATFORM", help="Only these of the name.")
@click.argument("names", metavar="IMAGE...", nargs=-1, required=True, shell_complete=complete_images)
@pass_session
def remove(
    session: Session, force: bool, no_prune: bool, platforms: tuple[str, ...], names: tuple[str, ...]
) -> int:
    """Take names of images away, and remove images without one."""
    code = 0
    wanted: list[str | None] = [*split_words(platforms)]
    for name, platform in product(names, wanted or [None]):
        try:
            _remove(session, name, platform, force)
        except NotFound as error:
            tell(error)
            code = code if force else 1
        except PycontainerError as error:
            tell(error)
            code = 1
    return code


def _remove(session: Session, name: str, platform: str | None, force: bool) -> None:
    from pycontainer.engine import Image

    image = Image.get(name, engine=session.engine)
    if platform is not None:
        variant = Image.get(name, platform=platform, engine=session.engine)
        image.remove(platform=platform, force=force)
        click.echo(f"Deleted: {variant.id}")
        return
    before = set(image.tags)
    image.remove(name if _is_name(image, name) else None, force=force)
    try:
        after = set(Image.get(image.id, engine=session.engine).tags)
        is_gone = False
    except NotFound:
        after, is_gone = set(), True
    for tag in sorted(before - after):
        click.echo(f"Untagged: {tag}")
    if is_gone:
        click.echo(f"Deleted: {image.id}")


def _is_name(image: Image, text: str) -> bool:
    from pycontainer.oci import Reference

    try:
        return Reference.parse(text).familiar in image.tags
    except InvalidInput:
        return False


@command("tag")
@click.argument("source", metavar="IMAGE", shell_complete=complete_images)
@click.argument("target", metavar="NAME[:TAG]")
@pass_session
def tag(session: Session, source: str, target: str) -> None:
    """Give an image another name, taking it from whatever had it."""
    from pycontainer.engine import Image

    Image.get(source, engine=session.engine).tag(target)


@command("untag")
@click.argument("name", metavar="IMAGE", shell_complete=complete_images)
@click.argument("tags", metavar="[NAME[:TAG]]...", nargs=-1)
@pass_session
def untag(session: Session, name: str, tags: tuple[str, ...]) -> None:
    """Take names of an image away, or all of them; the image stays."""
    from pycontainer.engine import Image

    image = Image.get(name, engine=session.engine)
    for each in tags or image.tags:
        image.untag(each)


class _Step(NamedTuple):
    entry: HistoryEntry
    image_id: str
    is_whole: bool
    is_human: bool

    @property
    def id(self) -> str:
        short = self.image_id.removeprefix("sha256:")[:_ID_DIGITS]
        return self.image_id if self.is_whole or self.image_id == "<missing>" else short

    @property
    def created_by(self) -> str:
        text = self.entry.created_by.replace("\t", " ")
        return text if self.is_whole or len(text) <= 45 else f"{text[:44]}…"

    @property
    def size(self) -> str:
        size = self.entry.size_bytes
        return decimal_size(size, 3) if self.is_human else str(size)


_HISTORY: Listing[_Step] = Listing(
    {
        "ID": Field("IMAGE", lambda each: each.id),
        "CreatedSince": Field("CREATED", lambda each: _age(each.entry.created)),
        "CreatedAt": Field("CREATED AT", lambda each: each.entry.created),
        "CreatedBy": Field("CREATED BY", lambda each: each.created_by),
        "Size": Field("SIZE", lambda each: each.size),
        "Comment": Field("COMMENT", lambda each: each.entry.comment),
    },
    ("ID", "CreatedSince", "CreatedBy", "Size", "Comment"),
)


@command("history")
@click.option("--format", "form", metavar="FORMAT", help="table, json, or a template.")
@flag("-H", "--human", default=True, help="Sizes and times as people read them.")
@flag("--no-trunc", "is_whole", help="Do not shorten what is long.")
@click.option("--platform", metavar="PLATFORM", help="Which of several of the name.")
@flag("-q", "--quiet", help="Print ids alone.")
@click.argument("name", metavar="IMAGE", shell_complete=complete_images)
@pass_session
def history(
    session: Session,
    form: str | None,
    human: bool,
    is_whole: bool,
    platform: str | None,
    quiet: bool,
    name: str,
) -> None:
    """Show how an image was made, the last step first."""
    from pycontainer.engine import Image

    image = Image.get(name, platform=platform, engine=session.engine)
    entries = image.history()[::-1]
    ids = (image.id, *["<missing>"] * len(entries))
    steps = [_Step(entry, each, is_whole, human) for entry, each in zip(entries, ids, strict=False)]
    if quiet and not form:
        for step in steps:
            click.echo(step.id)
        return
    columns = list(_HISTORY.columns)
    if not human:
        columns[1] = "CreatedAt"
    for line in _HISTORY.lines(steps, form or "", columns):
        click.echo(line)
