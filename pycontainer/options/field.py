"""`option()`: one declaration per container option, from which everything else is derived.

The keyword of the SDK, its static type, the command line's flag, the Docker API's name, the place in the
runtime-spec, the reference page and the checks all read the metadata written here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import attrs

from pycontainer.options.kinds import Kind

_KEY = "pycontainer.option"


class OptionInfo(NamedTuple):
    """What one declaration says.

    `spec` is a dotted path of the runtime-spec ("linux.resources.pids.limit"), "specgen:function" where a
    value is computed, or "engine:what" where it never reaches the runtime-spec.
    """

    flag: str
    kind: Kind
    api: str
    spec: str
    unit: str
    doc: str
    update: bool


def option(
    flag: str,
    *,
    kind: Kind,
    spec: str,
    doc: str,
    api: str = "",
    unit: str = "text",
    update: bool = False,
    default: Any = None,
    is_secret: bool = False,
) -> Any:
    """Declare an option as an attrs field; the returned value is for attrs only.

    Args: flag as on the command line; kind: the accepted forms; spec: see OptionInfo; api: Docker's name;
    unit: of the number, or "text"; update: whether a running container takes a new value; is_secret: whether
    the value is kept out of the options' repr.
    """
    info = OptionInfo(flag, kind, api, spec, unit, doc, update)
    return attrs.field(default=default, repr=not is_secret, metadata={_KEY: info})


def info_of(attribute: attrs.Attribute[Any]) -> OptionInfo:
    """The declaration behind an attrs attribute made by option()."""
    info = attribute.metadata[_KEY]
    assert isinstance(info, OptionInfo)
    return info
