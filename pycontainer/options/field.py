"""`option()`: one declaration per container option, from which everything else is derived.

The keyword of the SDK, its static type, the command line's flag, the Docker API's name, the place in the
runtime-spec, the reference page and the checks all read the metadata written here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pycontainer.options.kinds import Kind
from pycontainer.records import field

if TYPE_CHECKING:
    import attrs

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
    """Declare an option as a field; the returned value is for the class's decorator only.

    Args: flag as on the command line; kind: the accepted forms; spec: see OptionInfo; api: Docker's name;
    unit: of the number, or "text"; update: whether a running container takes a new value; is_secret: whether
    the value is kept out of the options' repr.
    """
    info = OptionInfo(flag, kind, api, spec, unit, doc, update)
    return field(default=default, repr=not is_secret, metadata={_KEY: info})


def info_of(attribute: attrs.Attribute[Any]) -> OptionInfo:
    """The declaration behind a field made by option()."""
    info = attribute.metadata[_KEY]
    assert isinstance(info, OptionInfo)
    return info
