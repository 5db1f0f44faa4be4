"""Removing images and containers: names first, then what only they needed."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from pycontainer.checkpoints import reached
from pycontainer.errors import BadReference, InUse, NotFound
from pycontainer.oci import Digest, Reference, parse_digest
from pycontainer.store.images import ImageTable
from pycontainer.store.records import ImageRecord
from pycontainer.store.statedb import StateDB

__all__ = ["KILL_POINTS", "RemovedImage", "find_image", "forget_image"]

KILL_POINTS = ("remove.image.forgotten",)  # the database knows it no more, its files are still there

_HEX = frozenset("0123456789abcdef")


@frozen(kw_only=True)
class RemovedImage:
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
    raise NotFound(f"no image {text!r} in the store; pull it first")


def _canonical(text: str) -> Reference | None:
    try:
        return Reference.parse(text)
    except BadReference:
        return None


def forget_image(
    state: StateDB, text: str, *, names: Sequence[str] | None = None, force: bool = False
) -> RemovedImage:
    """Drop names of an image, and the image with its last one; its files become garbage.

    names: full canonical ones; without them, the name that `text` is, or all of them if it is an id.
    Raises: NotFound; InUse if the last name goes and a container was made from the image, unless forced.
    """
    with state.transaction():
        record, name = find_image(state.images, text)
        tags = {tag.name for tag in state.images.tags(record.id)}
        chosen = set(names) if names is not None else {name} if name is not None else tags
        unknown = chosen - tags
        if unknown:
            raise NotFound(f"image {text} has no name {min(unknown)!r}")
        if chosen != tags:
            for each in chosen:
                state.images.untag(each)
            return RemovedImage(untagged=tuple(sorted(chosen)))
        if not force:
            _check_unused(state, record, text)
        state.images.delete(record.id)
    reached("remove.image.forgotten")
    return RemovedImage(untagged=tuple(sorted(tags)), deleted=record.id)


def _check_unused(state: StateDB, record: ImageRecord, text: str) -> None:
    users = state.containers.of_image(record.id)
    if users:
        named = ", ".join(user.name for user in users[:5]) + (" and others" if len(users) > 5 else "")
        raise InUse(f"image {text} is used by container {named}; remove that first, or force")
