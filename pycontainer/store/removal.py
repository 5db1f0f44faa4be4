"""Removing images and containers: names first, then what only they needed."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from pycontainer.checkpoints import reached
from pycontainer.errors import BadReference, InUse, NotFound
from pycontainer.oci import Digest, Reference, parse_digest
from pycontainer.store.images import ImageTable
from pycontainer.store.records import ContainerRecord, ImageRecord
from pycontainer.store.statedb import StateDB
from pycontainer.values import Value

__all__ = ["KILL_POINTS", "RemovedImage", "find_image", "forget_image"]

KILL_POINTS = ("remove.image.forgotten",)  # the database knows it no more, its files are still there

_HEX = frozenset("0123456789abcdef")


@frozen(kw_only=True, eq=False, repr=False)
class RemovedImage(Value):
    """What became of an image: names it lost, its id if it is gone as a whole, bytes freed."""

    untagged: tuple[str, ...] = ()
    deleted: Digest | None = None
    freed_bytes: int = 0


def find_image(images: ImageTable, text: str) -> tuple[ImageRecord, str | None]:
    """The image meant by a full id, a name, or a unique prefix of an id; and the tag, if that found it.

    Raises: NotFound; InvalidInput if several ids begin so.
    """
    digits = text.removeprefix("sha256:")
    is_hex = 0 < len(digits) <= 64 and _HEX.issuperset(digits)
    if is_hex and (len(digits) == 64 or digits is not text):
        record = images.with_id_prefix(digits)
        if record is not None:
            return record, None
    name = _canonical(text)
    if name is not None:
        record = images.tagged(str(name))
        if record is not None:
            return record, str(name)
        if name.digest is not None:
            record = images.with_digest(name.repository, parse_digest(name.digest))
            if record is not None:
                return record, None
    if is_hex:
        record = images.with_id_prefix(digits)
        if record is not None:
            return record, None
    raise NotFound(f"no such image: {text}; pull it first")


def _canonical(text: str) -> Reference | None:
    try:
        return Reference.parse(text)
    except BadReference:
        return None


def forget_image(db: StateDB, text: str, *, force: bool = False) -> RemovedImage:
    """Drop a name, and the image with its last name; its files become garbage.

    A name is dropped alone while the image has others. An id removes the image and all its names; forced, one
    that a container was made from loses its names alone, since the container is nothing without it.
    Raises: NotFound; InUse if the image would go and a container was made from it, or it has several
    names, unless forced.
    """
    with db.transaction():
        record, name = find_image(db.images, text)
        tags = tuple(tag.name for tag in db.images.tags(record.id))
        if name is not None and len(tags) > 1:
            db.images.untag(name)
            return RemovedImage(untagged=(name,))
        users = db.containers.of_image(record.id)
        if not force:
            _check_unused(users, tags, text)
        if users:
            for tag in tags:
                db.images.untag(tag)
            return RemovedImage(untagged=tags)
        db.images.delete(record.id)
    reached("remove.image.forgotten")
    return RemovedImage(untagged=tags, deleted=record.id)


def _check_unused(users: Sequence[ContainerRecord], tags: Sequence[str], text: str) -> None:
    if users:
        named = ", ".join(user.name for user in users[:5]) + (" and others" if len(users) > 5 else "")
        raise InUse(f"image {text} is used by container {named}; remove that first, or force")
    if len(tags) > 1:
        more = " and others" if len(tags) > 5 else ""
        raise InUse(f"image {text} has the names {', '.join(tags[:5])}{more}; remove these, or force")
