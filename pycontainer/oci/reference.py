"""Image references: `[host[:port]/]path[:tag][@digest]`, normalised as Docker does.

`alpine` means `docker.io/library/alpine:latest`. A first component is a host only if it has a dot,
a colon or an upper-case letter, or is `localhost`. Stricter than Docker in three harmless points:
ports must lie in 1..65535, an IPv6 host must be a valid address, and a host is lower-cased where it
stays recognisable as a host, so that one registry has one name.
Source: github.com/distribution/reference, regexp.go and normalize.go.
"""

from __future__ import annotations

import re

from attrs import evolve, frozen

from pycontainer.errors import BadReference, InvalidInput
from pycontainer.oci.digest import Digest, parse_digest
from pycontainer.values import Value

__all__ = ["DEFAULT_DOMAIN", "DEFAULT_TAG", "Reference"]

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
LEGACY_DOMAIN = "index.docker.io"
DOCKER_HUB_HOST = "registry-1.docker.io"  # docker.io itself serves no registry API
OFFICIAL_PREFIX = "library/"
MAX_PATH = 255  # distribution/reference, RepositoryNameTotalLengthMax
MAX_DOMAIN = 261  # a DNS name of 255 and a port
MAX_TEXT = 1024  # nothing longer can be valid; spares the patterns hostile input

_ALNUM = r"[a-z0-9]+"
_COMPONENT = rf"{_ALNUM}(?:(?:\.|_|__|-+){_ALNUM})*"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_DOMAIN = re.compile(
    rf"(?:(?P<name>{_LABEL}(?:\.{_LABEL})*)|\[(?P<ipv6>[0-9a-fA-F:]+)\])(?::(?P<port>[0-9]+))?"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")


@frozen(kw_only=True, eq=False, repr=False)
class Reference(Value):
    """A complete, valid reference; comparing two compares what they name.

    Attributes: domain (`docker.io`, `localhost:5000`), path (`library/alpine`), tag and digest, of
    which at least one is set. Where both are, the digest decides.
    """

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    def __attrs_post_init__(self) -> None:
        _check_domain(self.domain)
        if not _PATH.fullmatch(self.path):
            raise BadReference(_path_problem(self.path))
        if len(self.path) > MAX_PATH:
            raise BadReference(f"repository name of {len(self.path)} characters is longer than {MAX_PATH}")
        if _split_domain(f"{self.domain}/{self.path}") != (self.domain, self.path):
            raise BadReference(f"{self.domain}/{self.path} is not in its normal form; use Reference.parse")
        if self.tag is not None and not _TAG.fullmatch(self.tag):
            raise BadReference(
                f"tag {self.tag[:128]!r} must be 1 to 128 letters, digits, '_', '.' or '-', "
                "and not start with '.' or '-'"
            )
        if self.digest is not None:
            _check_digest(self.digest)
        if self.tag is None and self.digest is None:
            raise BadReference(f"{self.domain}/{self.path} has neither tag nor digest")

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference as a user types it.

        Raises: BadReference saying which part is wrong.
        """
        if not isinstance(text, str):
            raise BadReference(f"image reference must be text, got {type(text).__name__}")
        if not text:
            raise BadReference("image reference is empty")
        if len(text) > MAX_TEXT:
            raise BadReference(f"image reference of {len(text)} characters; at most {MAX_TEXT} are allowed")
        if _IMAGE_ID.fullmatch(text):
            raise BadReference(f"{text} is an image id, not a name")
        name, at, digest = text.partition("@")
        checked = _check_digest(digest) if at else None
        domain, rest = _split_domain(name)
        path, colon, tag = rest.partition(":")
        if not colon:
            return cls(domain=domain, path=path, tag=None if checked else DEFAULT_TAG, digest=checked)
        return cls(domain=domain, path=path, tag=tag, digest=checked)

    @property
    def repository(self) -> str:
        """Domain and path: `docker.io/library/alpine`."""
        return f"{self.domain}/{self.path}"

    @property
    def identifier(self) -> str:
        """What to ask the registry for: the digest, else the tag."""
        return self.digest or self.tag or DEFAULT_TAG

    @property
    def registry_host(self) -> str:
        """Host and port that serve this domain's registry API."""
        return DOCKER_HUB_HOST if self.domain == DEFAULT_DOMAIN else self.domain

    @property
    def familiar(self) -> str:
        """The shortest text that parses to this reference: `alpine:3.20`."""
        return self.familiar_repository + self._suffix

    @property
    def familiar_repository(self) -> str:
        """The shortest name of the repository: `alpine`, `localhost:5000/app`."""
        if self.domain != DEFAULT_DOMAIN:
            return self.repository
        for short in (self.path.removeprefix(OFFICIAL_PREFIX), self.path):
            # docker.io/localhost/x must not shrink to localhost/x, which is another registry.
            if _split_domain(short) == (self.domain, self.path):
                return short
        return self.repository

    def with_tag(self, tag: str | None) -> Reference:
        """The same with another tag, or without one if there is a digest."""
        return evolve(self, tag=tag)

    def with_digest(self, digest: Digest | None) -> Reference:
        """The same with another digest, or without one if there is a tag."""
        return evolve(self, digest=digest)

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.repository + self._suffix


def _split_domain(name: str) -> tuple[str, str]:
    """Split into domain and rest, filling in what Docker leaves out."""
    first, slash, rest = name.partition("/")
    if not slash or not _is_domain(first):
        domain, rest = DEFAULT_DOMAIN, name
    else:
        domain = first.lower() if _is_domain(first.lower()) else first
    if domain == LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in rest:
        rest = OFFICIAL_PREFIX + rest
    return domain, rest


def _is_domain(component: str) -> bool:
    return component == "localhost" or "." in component or ":" in component or component != component.lower()


def _check_domain(domain: str) -> None:
    match = _DOMAIN.fullmatch(domain)
    if match is None or len(domain) > MAX_DOMAIN:
        raise BadReference(
            f"registry host {domain[:MAX_DOMAIN]!r} is not a host name or [IPv6] with an optional port"
        )
    port = match["port"]
    if port is not None and not (len(port) <= 5 and 0 < int(port) < 65536):
        raise BadReference(f"registry port {port} is not between 1 and 65535")
    if match["ipv6"] is not None:
        import ipaddress  # 4 ms, and almost never needed

        try:
            ipaddress.IPv6Address(match["ipv6"])
        except ValueError:
            raise BadReference(f"registry host [{match['ipv6']}] is not an IPv6 address") from None


def _check_digest(text: str) -> Digest:
    try:
        return parse_digest(text)
    except InvalidInput as error:
        raise BadReference(str(error)) from None


def _path_problem(path: str) -> str:
    shown = repr(path[:MAX_PATH])
    if path != path.lower():
        return f"repository name {shown} has upper-case letters; use {path[:MAX_PATH].lower()!r}"
    return (
        f"repository name {shown} must be lower-case letters and digits in components separated by '/', "
        "with single '.', '_', '__' or '-' only between them"
    )
