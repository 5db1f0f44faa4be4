"""Log options of a container become what its monitor needs, and tell where its log is to be read."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycontainer.errors import DeadlineExceeded, InvalidOption, NotFound
from pycontainer.options import LogOptions

if TYPE_CHECKING:
    from pycontainer.oci import ImageConfig
    from pycontainer.options import RunOptions
    from pycontainer.store import ContainerRecord

__all__ = [
    "JOURNAL",
    "SPOOL",
    "SPOOL_BYTES",
    "json_log_name",
    "log_options",
    "log_settings",
    "needs_spool",
    "readable_log",
]

JOURNAL = "/run/systemd/journal/socket"
"""Where systemd's journal listens."""

SPOOL = "output"
"""The log that a monitor keeps besides for a caller who waits for all output (launcher.monitor.streams)."""

SPOOL_BYTES = 100 << 20
"""Size at which output that is kept for its caller goes to another file; there are three."""

_RESOLVE_S = 5.0
_SHORT = 12
_FIELD = re.compile(r"\{\{\s*\.(\w+)\s*\}\}")
_DEFAULT_TAG = "{{.ID}}"


def log_options(options: RunOptions) -> LogOptions:
    """What log_driver and log_opts of a container mean."""
    return LogOptions.of(options.log_driver, options.log_opts or {})


def json_log_name(container_id: str) -> str:
    """The name of a json-file log, which collectors of Docker's logs look for."""
    return f"{container_id}-json.log"


def log_settings(record: ContainerRecord, options: RunOptions, config: ImageConfig) -> dict[str, Any]:
    """The launch request's "log".

    Raises: InvalidOption when a syslog server's name is unknown; DeadlineExceeded when nobody says.
    """
    chosen = log_options(options)
    kind = chosen.driver
    files = {"max_size": chosen.max_size, "max_files": chosen.max_files, "compress": chosen.compress}
    if kind in ("local", "none"):
        return {"driver": kind, **files}
    if kind == "json-file":
        attrs = _extra(chosen, record, options, config)
        if chosen.tag:
            attrs["tag"] = _tag(chosen.tag, record)
        return {"driver": kind, "name": json_log_name(record.id), "attrs": attrs, **files}
    settings: dict[str, Any] = {"driver": kind}
    if not chosen.is_blocking:
        settings["buffer_bytes"] = chosen.max_buffer_size
    if chosen.has_cache:
        settings["cache"] = files
    tag = _tag(chosen.tag or _DEFAULT_TAG, record)
    if kind == "journald":
        fields = _journal_fields(record, tag)
        for name, value in _extra(chosen, record, options, config).items():
            key = re.sub(r"[^A-Z0-9]", "_", name.upper()).lstrip("_")
            if key:
                fields.setdefault(key, value)
        return {**settings, "address": JOURNAL, "address_text": JOURNAL, "fields": fields}
    form, place, port = _resolved(chosen.address)
    return {
        **settings,
        "kind": form,
        "address": place,
        "port": port,
        "address_text": _shown(chosen.address),
        "format": chosen.form,
        "facility": chosen.facility,
        "tag": tag,
        "encryption": _encryption(chosen) if form == "tcp+tls" else None,
    }


def needs_spool(options: RunOptions) -> bool:
    """Whether output that a caller waits for has to be kept besides: the log does not hold all of it."""
    return options.log_driver != "local" or bool(options.log_opts)


def _tag(template: str, record: ContainerRecord) -> str:
    image = record.image_id.partition(":")[2] or record.image_id
    values = {
        "ID": record.id[:_SHORT],
        "FullID": record.id,
        "Name": record.name,
        "ImageID": image[:_SHORT],
        "ImageFullID": record.image_id,
        "ImageName": record.image_ref,
        "DaemonName": "pycontainer",
    }
    return _FIELD.sub(lambda found: values[found[1]], template)


def _extra(
    chosen: LogOptions, record: ContainerRecord, options: RunOptions, config: ImageConfig
) -> dict[str, str]:
    """Labels and variables that every message carries; an image's cannot take another name's place."""
    env = dict(line.partition("=")[::2] for line in config.config.env)
    env.update({key: value for key, value in (options.env or {}).items() if value is not None})
    labels = {**config.config.labels, **(options.labels or {})}
    found = _selected(labels, chosen.labels, chosen.labels_regex)
    return {**found, **_selected(env, chosen.env, chosen.env_regex)}


def _selected(values: Mapping[str, str], names: tuple[str, ...], pattern: str) -> dict[str, str]:
    return {
        name: value
        for name, value in values.items()
        if name in names or (pattern and re.search(pattern, name) is not None)
    }


def _journal_fields(record: ContainerRecord, tag: str) -> dict[str, str]:
    return {
        "CONTAINER_ID": record.id[:_SHORT],
        "CONTAINER_ID_FULL": record.id,
        "CONTAINER_NAME": record.name,
        "CONTAINER_TAG": tag,
        "IMAGE_NAME": record.image_ref,
        "SYSLOG_IDENTIFIER": tag,
    }


def _encryption(chosen: LogOptions) -> dict[str, Any]:
    """What the monitor needs to encrypt; the files are read by it, at every start."""
    return {
        "name": chosen.address[1],
        "ca": chosen.tls_ca,
        "cert": chosen.tls_cert,
        "key": chosen.tls_key,
        "skip_verify": chosen.tls_skip_verify,
    }


def _resolved(address: tuple[str, str, int]) -> tuple[str, str, int]:
    """With the numeric address of a host: no process of a container looks up names."""
    kind, place, port = address
    if kind not in ("tcp", "tcp+tls", "udp"):
        return address
    style = socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM
    from queue import Empty, SimpleQueue  # only to find a log server

    answers: SimpleQueue[str | OSError] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(str(socket.getaddrinfo(place, port, type=style)[0][4][0]))
        except OSError as error:
            answers.put(error)

    # The C library's own time limit is that of its servers, several times 5 seconds, and nothing ends it.
    threading.Thread(target=ask, name="pycontainer-resolve", daemon=True).start()
    try:
        found = answers.get(timeout=_RESOLVE_S)
    except Empty:
        raise DeadlineExceeded(
            f"option log_opts: syslog-address: no name server answered for {place!r} within "
            f"{_RESOLVE_S:g} s; give the numeric address",
            timeout_s=_RESOLVE_S,
        ) from None
    if isinstance(found, OSError):
        raise InvalidOption(
            f"option log_opts: syslog-address: the host {place!r} is not known: {found.strerror}"
        )
    return kind, found, port


def _shown(address: tuple[str, str, int]) -> str:
    kind, place, port = address
    if kind == "local":
        return "this host's syslog (/dev/log)"
    return f"{kind}://{place}:{port}" if port else f"{kind}://{place}"


def readable_log(directory: Path, container_id: str, options: RunOptions) -> tuple[Path, str]:
    """Where the log is read, and its form: "local" or "json-file". Raises NotFound when nothing is kept."""
    chosen = log_options(options)
    if chosen.driver == "none" or not chosen.has_cache:
        raise NotFound(
            f"the log driver {chosen.driver} keeps no output here to be read; "
            "choose another, or leave out cache-disabled"
        )
    if chosen.driver == "json-file":
        return directory / json_log_name(container_id), "json-file"
    return directory / "log", "local"
