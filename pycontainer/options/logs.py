"""What log_driver and log_opts mean together: where the output of a container goes, and how it is kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from pycontainer.options.units import parse_size
from pycontainer.values import Value

__all__ = ["LOG_DRIVERS", "TAG_FIELDS", "LogOptions"]

MIN_LOG_BYTES = 4096  # a record and its header must fit with room
DEFAULT_LOG_BYTES = 100 << 20  # per file: bounded unless asked otherwise, where Docker fills the disk
DEFAULT_LOG_FILES = 3
DEFAULT_LOG_BUFFER_BYTES = 1 << 20  # moby: daemon/logger/ring.go, defaultMaxBufferSize
SYSLOG_PORT = 514

LOG_DRIVERS = ("local", "json-file", "none", "journald", "syslog")
_COMMON = {"mode", "max-buffer-size"}
_ABOUT = {"tag", "labels", "labels-regex", "env", "env-regex"}
_FILES = {"max-size", "max-file", "compress"}
_CACHE = {"cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"}
_TLS = {"syslog-tls-ca-cert", "syslog-tls-cert", "syslog-tls-key", "syslog-tls-skip-verify"}
_SYSLOG = {"syslog-address", "syslog-facility", "syslog-format", *_TLS}
LOG_OPTIONS: Mapping[str, frozenset[str]] = {
    "local": frozenset(_COMMON | _FILES),
    "json-file": frozenset(_COMMON | _ABOUT | _FILES),
    "none": frozenset(),
    "journald": frozenset(_COMMON | _ABOUT | _CACHE),
    "syslog": frozenset(_COMMON | _ABOUT | _CACHE | _SYSLOG),
}
"""Keys of log_opts that each driver knows."""

TAG_FIELDS = ("ID", "FullID", "Name", "ImageID", "ImageFullID", "ImageName", "DaemonName")
"""What a tag may name as {{.ID}} (moby: daemon/logger/loggerutils/log_tag.go)."""

_FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("", "", "", "", *(f"local{number}" for number in range(8))),
)
"""By number (RFC 5424, 6.2.1; syslog.h)."""
_FORMATS = ("", "rfc3164", "rfc5424", "rfc5424micro")
_ADDRESS = r"(?a)(tcp|tcp\+tls|udp)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?"
_PATH = r"(?a)(unix|unixgram)://(/[^\0]*)"
_FIELD = r"\{\{(.*?)\}\}"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LogOptions(Value):
    """Where output goes; made by `of`, which checks it."""

    driver: str = "local"
    max_size: int = DEFAULT_LOG_BYTES
    """Bytes at which a file is rotated."""
    max_files: int = DEFAULT_LOG_FILES
    """Files kept, the current one counted."""
    compress: bool = False
    """Whether rotated files are compressed."""
    is_blocking: bool = True
    """Whether the program waits when the log cannot keep up; else lines are dropped."""
    max_buffer_size: int = DEFAULT_LOG_BUFFER_BYTES
    """Bytes that wait for the driver before lines are dropped, where it is not blocking."""
    tag: str = ""
    """Template of the name that messages carry, with TAG_FIELDS in it."""
    labels: tuple[str, ...] = ()
    labels_regex: str = ""
    """Which labels messages carry."""
    env: tuple[str, ...] = ()
    env_regex: str = ""
    """Which environment variables messages carry."""
    address: tuple[str, str, int] = ("local", "", 0)
    """Of syslog: local, tcp, tcp+tls, udp, unix or unixgram; host or path; port."""
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    """Files with who is trusted to vouch for the server, and with what this host shows of itself."""
    tls_skip_verify: bool = False
    facility: int = 3
    form: str = ""
    has_cache: bool = True
    """Whether what goes to a service is kept here too, to be read."""

    @classmethod
    def of(cls, driver: str, given: Mapping[str, str]) -> LogOptions:
        """Read log_driver and log_opts. Raises ValueError naming the key and what is accepted."""
        known = LOG_OPTIONS[driver]
        fields: dict[str, Any] = {"driver": driver}
        if "cache" in " ".join(known):
            fields.update(max_size=20 << 20, max_files=5, compress=True)  # Docker's cache (local.New)
        for key, value in given.items():
            if key not in known:
                names = ", ".join(sorted(known)) or "none at all"
                raise ValueError(f"the driver {driver} has no option {key!r}; it has {names}")
            name, read = _READERS[key]
            try:
                fields[name] = read(value)
            except ValueError as problem:
                raise ValueError(f"{key}={value!r}: {problem}") from None
        made = cls(**fields)
        if "max-buffer-size" in given and made.is_blocking:
            raise ValueError("max-buffer-size has a meaning with mode=non-blocking only")
        if _TLS & given.keys() and made.address[0] != "tcp+tls":
            raise ValueError("syslog-tls-... has a meaning with syslog-address=tcp+tls://host:port only")
        if bool(made.tls_cert) != bool(made.tls_key):
            raise ValueError("syslog-tls-cert and syslog-tls-key go together; give both")
        if given.get("compress") == "true" and made.max_files < 2:
            raise ValueError("compress=true has a meaning with max-file=2 or more only")
        return made


def _log_size(text: str) -> int:
    size = parse_size(text)
    if size < MIN_LOG_BYTES:
        raise ValueError(f"the smallest log file is {MIN_LOG_BYTES} bytes")
    return size


def _log_files(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= 1000:
        raise ValueError("give a number between 1 and 1000")
    return int(text)


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError('give "true" or "false"')
    return text == "true"


def _mode(text: str) -> bool:
    if text not in ("blocking", "non-blocking"):
        raise ValueError('give "blocking" or "non-blocking"')
    return text == "blocking"


def _buffer(text: str) -> int:
    size = parse_size(text)
    if size < 1:
        raise ValueError('give bytes as a whole number, or text as "4m"')
    return size


def _tag(text: str) -> str:
    if re.search(r"[\0-\x1f\x7f]", text):
        raise ValueError("a tag has no control characters")
    for field in re.findall(_FIELD, text):
        if field.strip().removeprefix(".") not in TAG_FIELDS or not field.strip().startswith("."):
            names = ", ".join(f"{{{{.{name}}}}}" for name in TAG_FIELDS)
            raise ValueError(f"{{{{{field}}}}} is none of {names}")
    return text


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as problem:
        raise ValueError(f"no regular expression: {problem}") from None
    return text


def _address(text: str) -> tuple[str, str, int]:
    path = re.fullmatch(_PATH, text)
    if path is not None:
        return path[1], path[2], 0
    found = re.fullmatch(_ADDRESS, text)
    port = int(found[3] or SYSLOG_PORT) if found is not None else 0
    if found is None or not 0 < port < 65536:
        raise ValueError(
            "give udp://host:port, tcp://host:port, tcp+tls://host:port, unix:///path or unixgram:///path"
        )
    return found[1], found[2].strip("[]"), port


def _file(text: str) -> str:
    if not text.startswith("/") or "\0" in text:
        raise ValueError("give an absolute path")
    return text


def _facility(text: str) -> int:
    if text in _FACILITIES and text:
        return _FACILITIES.index(text)
    if text.isascii() and text.isdigit() and len(text) <= 2 and int(text) < len(_FACILITIES):
        return int(text)
    raise ValueError(f"give a number to 23, or one of {', '.join(filter(None, _FACILITIES))}")


def _form(text: str) -> str:
    if text not in _FORMATS:
        raise ValueError(f"give one of {', '.join(_FORMATS[1:])}")
    return text


_READERS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "max-size": ("max_size", _log_size),
    "max-file": ("max_files", _log_files),
    "compress": ("compress", _truth),
    "mode": ("is_blocking", _mode),
    "max-buffer-size": ("max_buffer_size", _buffer),
    "tag": ("tag", _tag),
    "labels": ("labels", _names),
    "labels-regex": ("labels_regex", _pattern),
    "env": ("env", _names),
    "env-regex": ("env_regex", _pattern),
    "syslog-address": ("address", _address),
    "syslog-tls-ca-cert": ("tls_ca", _file),
    "syslog-tls-cert": ("tls_cert", _file),
    "syslog-tls-key": ("tls_key", _file),
    "syslog-tls-skip-verify": ("tls_skip_verify", _truth),
    "syslog-facility": ("facility", _facility),
    "syslog-format": ("form", _form),
    "cache-disabled": ("has_cache", lambda text: not _truth(text)),
    "cache-max-size": ("max_size", _log_size),
    "cache-max-file": ("max_files", _log_files),
    "cache-compress": ("compress", _truth),
}
"""Of each key the field it sets, and what reads it. A service's cache has the fields of a file."""
