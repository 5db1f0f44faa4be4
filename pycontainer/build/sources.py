"""Sources that ADD takes from the network: which they are, what they are called, and how they are shown."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

__all__ = ["is_git", "is_url", "shown_url", "url_name"]

_SCP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[^:]+")


def is_git(text: str) -> bool:
    """Whether a source names a git repository. Source: Dockerfile reference, ADD; BuildKit, util/gitutil."""
    plain = text.partition("#")[0]
    if _SCP.fullmatch(plain):
        return True
    parts = urlsplit(plain) if "://" in plain else None
    if parts is None:
        return False
    return parts.scheme in ("git", "ssh") or (
        parts.scheme in ("http", "https") and parts.path.endswith(".git")
    )


def is_url(text: str) -> bool:
    """Whether a source is a file on a web server."""
    return text.startswith(("http://", "https://")) and not is_git(text)


def url_name(url: str) -> str:
    """What a file of this URL is called."""
    name = unquote(urlsplit(url).path).rstrip("/").rpartition("/")[2]
    return name if name not in ("", ".", "..") and "/" not in name and "\0" not in name else "__unnamed__"


def shown_url(url: str) -> str:
    """A URL as people are shown it: without what might be a password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="…" if parts.query else "").geturl()
