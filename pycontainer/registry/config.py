"""Everything the registry client can be told, as data.

Nothing here looks at the process's environment but `RegistryConfig.from_environment`, which is given
one explicitly; so a test or a program that embeds the engine decides alone what applies.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

from pycontainer.errors import InvalidOption
from pycontainer.oci import MANIFEST_HARD_LIMIT, MANIFEST_LIMIT
from pycontainer.registry.redact import redact_url
from pycontainer.registry.rules import RegistryRule, load_rules, rule_files

__all__ = ["Credentials", "Limits", "Mirror", "Proxies", "RegistryConfig", "Retries", "Timeouts"]

DEFAULT_CERTS_DIRS = tuple(Path("/etc", name, "certs.d") for name in ("containers", "docker", "containerd"))
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
PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


_Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _is(kind: type, give: str) -> _Validator:
    """One value of a type; values are not shown, as they may be secrets."""

    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, kind):
            raise InvalidOption(f"option {attribute.name}: {type(value).__name__} will not do; give {give}")

    return check


def _are(kind: type, give: str) -> _Validator:
    """Several values of a type."""

    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        name = attribute.name
        if not isinstance(value, tuple | list):
            raise InvalidOption(f"option {name}: {type(value).__name__} is no tuple; give {name}=({give},)")
        wrong = next((entry for entry in value if not isinstance(entry, kind)), None)
        if wrong is not None:
            raise InvalidOption(
                f"option {name}: {type(wrong).__name__} in it will not do; give {name}=({give},)"
            )

    return check


def _number(least: float, kind: type = int) -> _Validator:
    """A number from `least` on; for float an int will do."""
    kinds = (int, float) if kind is float else int

    def check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not isinstance(value, kinds) or isinstance(value, bool) or not value >= least:
            raise InvalidOption(f"option {attribute.name}={value!r}: give {kind.__name__} from {least} on")

    return check


def _as_path(value: str | os.PathLike[str]) -> Path:
    try:
        return Path(value)
    except TypeError:
        return value  # type: ignore[return-value]  # refused by the validator, which knows the option


def _as_paths(values: Iterable[str | os.PathLike[str]]) -> tuple[Path, ...]:
    return tuple(map(_as_path, values)) if isinstance(values, tuple | list) else values  # type: ignore[return-value]


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
    return str(url).rstrip("/")


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

    http, https: `http://host:port`, with `user:password@` where it asks for them; `https://` speaks TLS to
        the proxy itself, and `socks5://` needs the package httpx[socks]. A bare `host:port` is HTTP.
    bypass: host names (with their subdomains), `host:port`, addresses and CIDR networks; `*` is all.
    Loopback is never reached through a proxy.
    Raises: InvalidOption for another kind of proxy.
    """

    http: str | None = attrs.field(default=None, repr=lambda url: repr(url and redact_url(url)))
    https: str | None = attrs.field(default=None, repr=lambda url: repr(url and redact_url(url)))
    bypass: tuple[str, ...] = attrs.field(default=(), validator=_are(str, '"internal.example"'))

    @http.validator
    @https.validator
    def _check(self, attribute: attrs.Attribute[str | None], value: object) -> None:
        if value is not None and (problem := _problem_of_proxy(value)):
            raise InvalidOption(f"option proxies.{attribute.name}: {problem}")


def _problem_of_proxy(value: object) -> str:
    if not isinstance(value, str):
        return f'{type(value).__name__} will not do; give "http://host:port"'
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in PROXY_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        is_usable = False
    if is_usable:
        return ""
    # Of one that cannot be read, nobody knows which part is the password.
    shown = f"{url.partition('://')[0]}://..." if "@" in url else redact_url(url)
    return f"{shown!r} is no proxy; give http://host:port or https://host:port"


@attrs.frozen(kw_only=True)
class Timeouts:
    """Seconds. minimum_rate is in bytes per second, measured over each rate_window_s of a transfer."""

    connect_s: float = attrs.field(default=15.0, validator=_number(0, float))
    read_gap_s: float = attrs.field(default=60.0, validator=_number(0, float))
    minimum_rate: float = attrs.field(default=512.0, validator=_number(0, float))
    rate_window_s: float = attrs.field(default=60.0, validator=_number(0, float))
    helper_s: float = attrs.field(default=30.0, validator=_number(0, float))


@attrs.frozen(kw_only=True)
class Retries:
    """How often and how patiently a request that failed for a passing reason is repeated.

    attempts counts the first one too. The wait doubles from base_s up to cap_s, and a random part of
    it is really waited. A server may ask for up to retry_after_cap_s; more is an error at once.
    """

    attempts: int = attrs.field(default=5, validator=_number(1))
    base_s: float = attrs.field(default=0.5, validator=_number(0, float))
    cap_s: float = attrs.field(default=20.0, validator=_number(0, float))
    retry_after_cap_s: float = attrs.field(default=60.0, validator=_number(0, float))


@attrs.frozen(kw_only=True)
class Limits:
    """Bounds on what a server may send, in bytes, and how much goes on at once."""

    manifest_bytes: int = attrs.field(default=MANIFEST_LIMIT, validator=_number(1))
    parallel_downloads: int = attrs.field(default=3, validator=_number(1))
    parallel_uploads: int = attrs.field(default=5, validator=_number(1))
    upload_chunk_bytes: int = attrs.field(default=64 << 20, validator=_number(1 << 10))
    # A larger blob is sent in chunks, so that it can resume.
    monolithic_upload_bytes: int = attrs.field(default=256 << 20, validator=_number(0))

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
    certs_dirs: directories with one for each host, with its authorities, the client's certificates, and
        containerd's hosts.toml.
    allow_foreign_urls: fetch foreign layers from the URLs their descriptors list.
    """

    credentials: Mapping[str, Credentials] = attrs.field(
        factory=dict, validator=_is(Mapping, '{"ghcr.io": pc.Credentials(username="me", password="...")}')
    )
    auth_files: tuple[Path, ...] = attrs.field(
        default=(), converter=_as_paths, validator=_are(Path, '"/root/.docker/config.json"')
    )
    login_file: Path | None = attrs.field(default=None, converter=attrs.converters.optional(_as_path))
    inline_auth: str = attrs.field(default="", repr=False, validator=_is(str, "JSON as text"))
    mirrors: tuple[Mirror, ...] = attrs.field(
        default=(), validator=_are(Mirror, 'pc.Mirror(url="https://mirror.example")')
    )
    rules: tuple[RegistryRule, ...] = attrs.field(
        default=(), validator=_are(RegistryRule, "RegistryRule(...)")
    )
    insecure: tuple[str, ...] = attrs.field(default=(), validator=_are(str, '"registry.lan:5000"'))
    secure: tuple[str, ...] = attrs.field(default=(), validator=_are(str, '"localhost:5000"'))
    certs_dirs: tuple[Path, ...] = attrs.field(
        default=DEFAULT_CERTS_DIRS, converter=_as_paths, validator=_are(Path, '"/etc/docker/certs.d"')
    )
    ca_files: tuple[Path, ...] = attrs.field(
        default=(), converter=_as_paths, validator=_are(Path, '"/etc/ssl/my-ca.pem"')
    )
    proxies: Proxies = attrs.field(
        factory=Proxies, validator=_is(Proxies, 'pc.Proxies(https="http://proxy.example:3128")')
    )
    timeouts: Timeouts = attrs.field(factory=Timeouts, validator=_is(Timeouts, "pc.Timeouts(connect_s=5)"))
    retries: Retries = attrs.field(factory=Retries, validator=_is(Retries, "pc.Retries(attempts=3)"))
    limits: Limits = attrs.field(factory=Limits, validator=_is(Limits, "pc.Limits(parallel_downloads=3)"))
    helper_path: str = attrs.field(default=DEFAULT_PATH, validator=_is(str, "a search path as text"))
    helper_environment: Mapping[str, str] = attrs.field(
        factory=dict, repr=False, validator=_is(Mapping, "names and values")
    )
    allow_foreign_urls: bool = attrs.field(default=False, validator=_is(bool, "True or False"))
    user_agent: str = attrs.field(default="pycontainer", validator=_is(str, "text"))

    @credentials.validator
    def _check_credentials(self, _attribute: object, value: Mapping[str, object]) -> None:
        for host, account in value.items():
            if not isinstance(account, Credentials):
                raise InvalidOption(
                    f"option credentials: {type(account).__name__} for {host!r} will not do; "
                    'give pc.Credentials(username="me", password="...")'
                )

    @login_file.validator
    def _check_login_file(self, _attribute: object, value: object) -> None:
        if value is not None and not isinstance(value, Path):
            raise InvalidOption(f"option login_file: {type(value).__name__} will not do; give a path")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], **changes: object) -> RegistryConfig:
        """What Docker and podman would take from this environment; `changes` override fields.

        Reads podman's registries.conf, DOCKER_CONFIG, DOCKER_AUTH_CONFIG, REGISTRY_AUTH_FILE,
        XDG_RUNTIME_DIR, XDG_CONFIG_HOME, HOME, PATH, the proxy variables, SSL_CERT_FILE,
        CONTAINERS_REGISTRIES_CONF, and what credential helpers need.
        Raises: InvalidInput for a registries.conf that is broken; InvalidOption for a proxy that is none,
        naming its variable.
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
    def variable(name: str) -> tuple[str, str]:
        # HTTP_PROXY in upper case is settable by a client of a CGI program (httpoxy, CVE-2016-5385).
        is_cgi = name == "http_proxy" and "REQUEST_METHOD" in environ
        for spelling in (name,) if is_cgi else (name, name.upper()):
            if value := environ.get(spelling):
                return spelling, value
        return name, ""

    def proxy(name: str) -> str | None:
        spelling, value = variable(name)
        if value and (problem := _problem_of_proxy(value)):
            raise InvalidOption(f"the environment variable {spelling}: {problem}, or unset it")
        return value or None

    _, excepted = variable("no_proxy")
    bypass = tuple(entry.strip() for entry in excepted.split(",") if entry.strip())
    return Proxies(http=proxy("http_proxy"), https=proxy("https_proxy"), bypass=bypass)
