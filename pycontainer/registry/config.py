"""Everything the registry client can be told, as data.

Nothing here looks at the process's environment but `RegistryConfig.from_environment`, which is given
one explicitly; so a test or a program that embeds the engine decides alone what applies.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import attrs

from pycontainer.errors import InvalidOption
from pycontainer.oci import MANIFEST_HARD_LIMIT, MANIFEST_LIMIT
from pycontainer.registry.redact import redact_url
from pycontainer.registry.rules import RegistryRule, load_rules, rule_files

__all__ = ["Credentials", "Limits", "Mirror", "Proxies", "RegistryConfig", "Retries", "Timeouts"]

DEFAULT_CERTS_DIRS = (Path("/etc/containers/certs.d"), Path("/etc/docker/certs.d"))
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What credential helpers of clouds and desktops need to find their own configuration; all else is
# withheld from them, loader and interpreter variables above all.
HELPER_VARIABLES = ("HOME", "USER", "LOGNAME", "LANG", "DISPLAY", "WAYLAND_DISPLAY", "GPG_TTY", "GNUPGHOME")
HELPER_PREFIXES = (
    "XDG_",
    "DBUS_SESSION_",
    "PASSWORD_STORE_",
    "AWS_",
    "AZURE_",
    "GOOGLE_",
    "CLOUDSDK_",
    "ECR_",
)
PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@attrs.frozen(kw_only=True)
class Credentials:
    """One account of one registry; its repr shows no secret.

    identity_token is an OAuth2 refresh token, registry_token a bearer token used as it is.
    """

    username: str = ""
    password: str = attrs.field(default="", repr=False)
    identity_token: str = attrs.field(default="", repr=False)
    registry_token: str = attrs.field(default="", repr=False)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it to authenticate with."""
        return not (self.password or self.identity_token or self.registry_token)


def _without_slash(url: str) -> str:
    return url.rstrip("/")


@attrs.frozen(kw_only=True)
class Mirror:
    """Another server with the content of one registry.

    url: `https://mirror.example`, with a path where the mirror sits below one.
    registry: the domain it serves, as in a reference; Docker's mirrors serve docker.io only.
    resolves_tags: whether its word counts for what a tag means; digests are verified in any case.
    """

    url: str = attrs.field(converter=_without_slash, repr=redact_url)
    registry: str = "docker.io"
    resolves_tags: bool = True

    @url.validator
    def _check(self, _attribute: object, value: str) -> None:
        if not value.startswith(("http://", "https://")):
            raise InvalidOption(f"mirror {redact_url(value)!r} must start with http:// or https://")


@attrs.frozen(kw_only=True)
class Proxies:
    """Proxies by scheme of the target, and the hosts that need none.

    bypass: host names (with their subdomains), `host:port`, addresses and CIDR networks; `*` is all.
    Loopback is never reached through a proxy.
    """

    http: str | None = attrs.field(default=None, repr=lambda url: repr(url and redact_url(url)))
    https: str | None = attrs.field(default=None, repr=lambda url: repr(url and redact_url(url)))
    bypass: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Timeouts:
    """Seconds. minimum_rate is in bytes per second, measured over each rate_window_s of a transfer."""

    connect_s: float = 15.0
    read_gap_s: float = 60.0
    minimum_rate: float = 512.0
    rate_window_s: float = 60.0
    helper_s: float = 30.0


@attrs.frozen(kw_only=True)
class Retries:
    """How often and how patiently a request that failed for a passing reason is repeated.

    attempts counts the first one too. The wait doubles from base_s up to cap_s, and a random part of
    it is really waited. A server may ask for up to retry_after_cap_s; more is an error at once.
    """

    attempts: int = 5
    base_s: float = 0.5
    cap_s: float = 20.0
    retry_after_cap_s: float = 60.0


@attrs.frozen(kw_only=True)
class Limits:
    """Bounds on what a server may send, in bytes, and how much goes on at once."""

    manifest_bytes: int = attrs.field(default=MANIFEST_LIMIT)
    parallel_downloads: int = attrs.field(default=3, validator=attrs.validators.ge(1))
    parallel_uploads: int = attrs.field(default=5, validator=attrs.validators.ge(1))
    upload_chunk_bytes: int = attrs.field(default=64 << 20, validator=attrs.validators.ge(1 << 10))
    monolithic_upload_bytes: int = 256 << 20  # a larger blob is sent in chunks, so that it can resume

    @manifest_bytes.validator
    def _check(self, _attribute: object, value: int) -> None:
        if not 0 < value <= MANIFEST_HARD_LIMIT:
            raise InvalidOption(f"manifest_bytes {value} is not between 1 and {MANIFEST_HARD_LIMIT}")


@attrs.frozen(kw_only=True)
class RegistryConfig:
    """How to reach registries.

    credentials: explicit accounts by registry domain (`docker.io`, `ghcr.io`, `host:5000`) or by
        `domain/namespace`; they win over every file.
    auth_files: Docker or podman files, in the order in which they are asked.
    login_file: where `login` writes accounts; one of auth_files, so that they are found again.
    inline_auth: the content of such a file (Docker's DOCKER_AUTH_CONFIG), asked before the files.
    rules: what containers-registries.conf says of prefixes of names: other locations, mirrors, blocks.
    insecure: hosts, `host:port`, addresses or CIDR networks whose certificate is not checked, and
        which are asked over plain HTTP if HTTPS does not work there.
    secure: loopback registries that speak HTTPS. Loopback means plain HTTP unless it is listed here
        or has a directory in certs_dirs.
    helper_environment: all that credential helpers get to see of the environment.
    allow_foreign_urls: fetch foreign layers from the URLs their descriptors list.
    """

    credentials: Mapping[str, Credentials] = attrs.field(factory=dict)
    auth_files: tuple[Path, ...] = ()
    login_file: Path | None = None
    inline_auth: str = attrs.field(default="", repr=False)
    mirrors: tuple[Mirror, ...] = ()
    rules: tuple[RegistryRule, ...] = ()
    insecure: tuple[str, ...] = ()
    secure: tuple[str, ...] = ()
    certs_dirs: tuple[Path, ...] = DEFAULT_CERTS_DIRS
    ca_files: tuple[Path, ...] = ()
    proxies: Proxies = attrs.field(factory=Proxies)
    timeouts: Timeouts = attrs.field(factory=Timeouts)
    retries: Retries = attrs.field(factory=Retries)
    limits: Limits = attrs.field(factory=Limits)
    helper_path: str = DEFAULT_PATH
    helper_environment: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    allow_foreign_urls: bool = False
    user_agent: str = "pycontainer"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], **changes: object) -> RegistryConfig:
        """What Docker and podman would take from this environment; `changes` override fields.

        Reads podman's registries.conf, DOCKER_CONFIG, DOCKER_AUTH_CONFIG, REGISTRY_AUTH_FILE,
        XDG_RUNTIME_DIR, XDG_CONFIG_HOME, HOME, PATH, the proxy variables, SSL_CERT_FILE,
        CONTAINERS_REGISTRIES_CONF, and what credential helpers need.
        Raises: InvalidInput for a registries.conf that is broken.
        """
        helper_environment = {
            name: value
            for name, value in environ.items()
            if name in HELPER_VARIABLES or name in PROXY_VARIABLES or name.startswith(HELPER_PREFIXES)
        }
        auth_files = tuple(_auth_files(environ))
        rules = load_rules(rule_files(environ))
        config = cls(
            rules=rules,
            insecure=tuple(host for rule in rules for host in rule.hosts_without_tls),
            auth_files=auth_files,
            # REGISTRY_AUTH_FILE, or Docker's file, which podman and skopeo read too.
            login_file=auth_files[-1],
            inline_auth=environ.get("DOCKER_AUTH_CONFIG", ""),
            proxies=_proxies(environ),
            ca_files=tuple(Path(path) for path in [environ.get("SSL_CERT_FILE", "")] if path),
            helper_path=environ.get("PATH") or DEFAULT_PATH,
            helper_environment=helper_environment,
        )
        return attrs.evolve(config, **changes)  # type: ignore[arg-type]  # names are checked by attrs


def _auth_files(environ: Mapping[str, str]) -> list[Path]:
    """Auth files by precedence: podman's (they may be narrower), then Docker's."""
    if explicit := environ.get("REGISTRY_AUTH_FILE"):
        return [Path(explicit)]  # podman: the one file named, nothing else
    home = environ.get("HOME")
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/containers/{os.geteuid()}"
    subfolder = "containers" if environ.get("XDG_RUNTIME_DIR") else ""
    files = [Path(runtime, subfolder, "auth.json")]
    if settings := environ.get("XDG_CONFIG_HOME") or (home and os.path.join(home, ".config")):
        files.append(Path(settings, "containers", "auth.json"))
    if docker := environ.get("DOCKER_CONFIG") or (home and os.path.join(home, ".docker")):
        files.append(Path(docker, "config.json"))
    return files


def _proxies(environ: Mapping[str, str]) -> Proxies:
    def variable(name: str) -> str:
        return environ.get(name.lower()) or environ.get(name.upper()) or ""

    # HTTP_PROXY in upper case is settable by a client of a CGI program (httpoxy, CVE-2016-5385).
    is_cgi = "REQUEST_METHOD" in environ
    bypass = tuple(entry.strip() for entry in variable("no_proxy").split(",") if entry.strip())
    return Proxies(
        http=(environ.get("http_proxy") if is_cgi else variable("http_proxy")) or None,
        https=variable("https_proxy") or None,
        bypass=bypass,
    )
