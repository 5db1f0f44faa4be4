"""The lines of a .dockerignore file, and where it lies.

Source: moby/patternmatcher, ignorefile; docs.docker.com/build/concepts/context, "dockerignore files".
"""

from __future__ import annotations

import posixpath

from pycontainer.errors import InvalidInput

__all__ = ["clean", "ignore_files", "read_patterns"]

MAX_PATTERNS = 10_000
MAX_PATTERN = 4096  # characters; no path is longer


def ignore_files(dockerfile: str) -> tuple[str, str]:
    """The paths to look at, the first that exists counts alone: beside the Dockerfile, then at the top.

    Args: dockerfile, its path in the context: `docker/app.Dockerfile`.
    """
    return f"{dockerfile}.dockerignore", ".dockerignore"


def read_patterns(text: str) -> tuple[str, ...]:
    """The patterns of an ignore file, cleaned, those that take back in with `!` in front.

    Comments begin with `#` in the first column; a leading slash means nothing.
    Raises: InvalidInput for more patterns than anyone writes.
    """
    patterns = []
    for line in text.removeprefix("\ufeff").split("\n"):
        pattern = "" if line.startswith("#") else line.strip()
        if not pattern:
            continue
        negation, pattern = ("!", pattern[1:].strip()) if pattern.startswith("!") else ("", pattern)
        if pattern:
            pattern = clean(pattern)
            if len(pattern) > 1:
                pattern = pattern.removeprefix("/")
        patterns.append(negation + pattern)
        if len(patterns) > MAX_PATTERNS:
            raise InvalidInput(f"an ignore file has more than {MAX_PATTERNS} patterns")
    return tuple(patterns)


def clean(path: str) -> str:
    """As Go's path.Clean: no empty, `.` or resolvable `..` parts, no slash at the end."""
    cleaned = posixpath.normpath(path)
    # POSIX lets two slashes at the start mean something else; Go does not.
    return cleaned[1:] if cleaned.startswith("//") else cleaned
