"""The keys of a compose file at its top level, each with its shape; those of services are in `serviceschema`.

Source: compose specification, 04 to 15, and its JSON schema.
"""

from __future__ import annotations

from typing import Any

from pycontainer.compose.places import is_remote
from pycontainer.compose.serviceschema import LABELS, OPTIONS, SERVICE_KEYS
from pycontainer.compose.shapes import (
    At,
    anything,
    boolean,
    fields,
    host_path,
    listed,
    mapped,
    own_path,
    path,
    text,
    texts,
)
from pycontainer.compose.yamlfile import Document

__all__ = ["canonical"]

_NAME = r"[a-zA-Z0-9._-]+"


def canonical(document: Document, base: str, *, keeps_variables: bool = False) -> dict[str, Any]:
    """A document with every value in its one form; tags of merging are kept. Raises: ComposeFileError.

    keeps_variables: leave a value whose form depends on its variables as it is written.
    """
    at = At(document=document, base=base, keeps_variables=keeps_variables)
    found: dict[str, Any] = _FILE({} if document.value is None else document.value, at)
    return found


def _external(value: Any, at: At) -> Any:
    if isinstance(value, dict):
        return fields({"name": text})(value, at)
    return boolean(value, at)


_NETWORK = fields(
    {
        "name": text,
        "driver": text,
        "driver_opts": OPTIONS,
        "ipam": fields(
            {
                "driver": text,
                "config": listed(
                    fields(
                        {
                            "subnet": text,
                            "ip_range": text,
                            "gateway": text,
                            "aux_addresses": mapped(text),
                        }
                    )
                ),
                "options": OPTIONS,
            }
        ),
        "external": _external,
        "internal": boolean,
        "enable_ipv4": boolean,
        "enable_ipv6": boolean,
        "attachable": boolean,
        "labels": LABELS,
    }
)


def _volume(value: Any, at: At) -> dict[str, Any]:
    found: dict[str, Any] = _VOLUME_KEYS(value, at)
    options = found.get("driver_opts")
    if isinstance(options, dict) and "bind" in str(options.get("o", "")).split(",") and options.get("device"):
        options["device"] = host_path(options["device"], at.child("driver_opts"))
    return found


_VOLUME_KEYS = fields(
    {"name": text, "driver": text, "driver_opts": OPTIONS, "external": _external, "labels": LABELS}
)
_SECRET = fields(
    {
        "name": text,
        "environment": text,
        "file": path,
        "content": text,
        "external": _external,
        "labels": LABELS,
        "driver": text,
        "driver_opts": OPTIONS,
        "template_driver": text,
    }
)
_CONFIG = fields(
    {
        "name": text,
        "content": text,
        "environment": text,
        "file": path,
        "external": _external,
        "labels": LABELS,
        "template_driver": text,
    }
)


def _include(value: Any, at: At) -> dict[str, Any]:
    shape = fields(
        {"path": texts, "env_file": texts, "project_directory": text},
        required=("path",),
        has_extensions=False,
    )
    found: dict[str, Any] = shape({"path": value} if isinstance(value, str) else value, at)
    found["path"] = [each if is_remote(each) else host_path(each, at) for each in found["path"]]
    if "env_file" in found:
        found["env_file"] = [own_path(each, at.child("env_file")) for each in found["env_file"]]
    if "project_directory" in found:
        found["project_directory"] = host_path(found["project_directory"], at)
    return found


_FILE = fields(
    {
        "version": anything,
        "name": text,
        "include": listed(_include),
        "services": mapped(fields(SERVICE_KEYS), keys=_NAME),
        "networks": mapped(_NETWORK, keys=_NAME, allows_none=True),
        "volumes": mapped(_volume, keys=_NAME, allows_none=True),
        "secrets": mapped(_SECRET, keys=_NAME),
        "configs": mapped(_CONFIG, keys=_NAME),
        "models": anything,
    }
)
