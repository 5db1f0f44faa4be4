"""How a media's index names its images: annotations on descriptors, in several engines' habits.

`org.opencontainers.image.ref.name` is a tag for Docker and skopeo, the whole reference for podman;
`io.containerd.image.name` is the whole reference.
Source: OCI image-spec, annotations.md; containerd, core/images/annotations.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from attrs import evolve

from pycontainer.errors import BadReference, NotFound
from pycontainer.oci import DEFAULT_TAG, Descriptor, Reference

__all__ = ["CONTAINERD_NAME", "REF_NAME", "named_entries", "names_annotations", "names_of"]

CONTAINERD_NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"


def names_of(entry: Descriptor) -> tuple[Reference, ...]:
    """The reference an index entry carries, if any; a tag alone names no repository."""
    for key in (CONTAINERD_NAME, REF_NAME):
        text = entry.annotations.get(key, "")
        if "/" in text or ":" in text:
            try:
                return (Reference.parse(text),)
            except BadReference:
                continue
    return ()


def names_annotations(
    entry: Descriptor, names: Iterable[Reference], *, full_ref_name: bool
) -> list[Descriptor]:
    """The entry once per name, annotated as containerd does; once without, if there is no name.

    full_ref_name: the whole reference as ref.name too, as podman does, rather than the tag.
    """
    entries = []
    for name in names:
        annotations = {
            CONTAINERD_NAME: str(name),
            REF_NAME: str(name) if full_ref_name else name.tag or DEFAULT_TAG,
        }
        entries.append(evolve(entry, annotations={**entry.annotations, **annotations}))
    return entries or [entry]


def named_entries(
    entries: Sequence[Descriptor], name: str | Reference | None, where: str
) -> tuple[Descriptor, ...]:
    """The entries of an index under a name (a reference, a `ref.name` annotation, a tag or a digest), or all
    of the only image there is.

    Raises: NotFound listing the names there are in `where`.
    """
    found = tuple(entry for entry in entries if name is None or _is_named(entry, name))
    if not found:
        raise NotFound(f"{where} has no image {name or 'at all'}; there are: {_shown(entries)}")
    if len({entry.digest for entry in found}) > 1 and len({names_of(entry) for entry in found}) > 1:
        raise NotFound(f"{where} holds {len(found)} images; name one of: {_shown(entries)}")
    return found


def _is_named(entry: Descriptor, name: str | Reference) -> bool:
    if str(name) in (entry.digest, entry.annotations.get(REF_NAME)):
        return True
    for known in names_of(entry):
        if str(name) in (str(known), known.familiar, known.tag):
            return True
        with suppress(BadReference):
            if Reference.parse(str(name)) == known:
                return True
    return False


def _shown(entries: Iterable[Descriptor]) -> str:
    entries = list(entries)
    named = [str(name) for entry in entries for name in names_of(entry)]
    return ", ".join(named or [entry.digest for entry in entries]) or "none"
