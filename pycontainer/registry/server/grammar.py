"""What the server accepts as a name, a tag, a digest and a range; nothing else reaches the disk.

A repository component cannot begin with a dot or an underscore, and a tag cannot begin with a dot, so a
checked name is safe as a path below the repositories directory, where everything of ours begins with "_".
Source: OCI distribution-spec 1.1, "Pulling manifests"; image-spec, "Digests"; RFC 9110 section 14.
"""

from __future__ import annotations

import re
from typing import Final

from pycontainer.registry.server.refusals import Refusal

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_UPLOAD_ID: Final = re.compile(r"[0-9a-f]{32}")
_CONTENT_RANGE: Final = re.compile(r"([0-9]{1,19})-([0-9]{1,19})")
_BYTE_RANGE: Final = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})")

# Docker's limit; also keeps every component below NAME_MAX.
REPOSITORY_MAX_CHARS: Final = 255


def is_repository(text: str) -> bool:
    """Whether text is a repository name of at most 255 characters."""
    return len(text) <= REPOSITORY_MAX_CHARS and _REPOSITORY.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether text is a tag."""
    return _TAG.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Whether text is a lower-case sha256 or sha512 digest of the right length."""
    return _DIGEST.fullmatch(text) is not None


def is_upload_id(text: str) -> bool:
    """Whether text has the form of the upload ids this server hands out."""
    return _UPLOAD_ID.fullmatch(text) is not None


def repository(text: str) -> str:
    """Return text if it is a repository name. Raises: Refusal NAME_INVALID."""
    if not is_repository(text):
        raise Refusal(400, "NAME_INVALID", f"{text[:300]!r} is not a repository name")
    return text


def digest(text: str) -> str:
    """Return text if it is a digest this server can check. Raises: Refusal DIGEST_INVALID."""
    if not is_digest(text):
        raise Refusal(400, "DIGEST_INVALID", f"{text[:200]!r} is not a sha256 or sha512 digest")
    return text


def content_range(text: str) -> tuple[int, int]:
    """Parse the "first-last" of an upload chunk, both inclusive. Raises: Refusal 416."""
    found = _CONTENT_RANGE.fullmatch(text)
    if found is None or int(found[2]) < int(found[1]):
        raise Refusal(
            416, "BLOB_UPLOAD_INVALID", f"content range {text[:100]!r} is not of the form first-last"
        )
    return int(found[1]), int(found[2])


def byte_range(text: str, size: int) -> tuple[int, int] | None:
    """Turn a Range header into (first, last), both inclusive and inside size.

    None means "send the whole": another unit, several ranges or nonsense, which RFC 9110 lets a server
    ignore. Raises: Refusal 416 when the range is well formed and holds no byte.
    """
    found = _BYTE_RANGE.fullmatch(text.replace(" ", ""))
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        first, last = max(0, size - int(found[2])), size - 1
    else:
        first, last = int(found[1]), min(int(found[2] or size - 1), size - 1)
        if found[2] and int(found[2]) < first:
            return None
    if first >= size or first > last:
        raise Refusal(
            416,
            "SIZE_INVALID",
            f"range {text!r} is outside {size} bytes",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return first, last
