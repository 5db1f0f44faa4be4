"""What the models of the runtime-spec share: how they are made, become JSON, and are read from it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar, NamedTuple, Self, TypeVar, dataclass_transform

import attrs

from pycontainer.errors import InvalidInput

__all__ = ["Extra", "Model", "model"]

_T = TypeVar("_T")
Extra = dict[str, Any]
"""Properties without an attribute, by key."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(attrs.field,))
def model(**nested: str) -> Any:
    """Make a model: attrs data whose generic methods come from Model; `nested` names models of attributes."""

    def decorate(cls: type[_T]) -> type[_T]:
        # eq and repr generated per class would double the import time; Model has them once.
        made = attrs.define(frozen=True, kw_only=True, eq=False, repr=False)(cls)
        made._nested = nested  # type: ignore[attr-defined]
        return made

    return decorate


# Keys that are not the camel case of their attribute.
_SPECIAL_KEYS = {
    "additional_gids": "additionalGids",
    "container_id": "containerID",
    "host_id": "hostID",
    "class_id": "classID",
    "block_io": "blockIO",
    "kernel_tcp": "kernelTCP",
    "disable_oom_killer": "disableOOMKiller",
    "throttle_read_iops_device": "throttleReadIOPSDevice",
    "throttle_write_iops_device": "throttleWriteIOPSDevice",
}


def _key(attribute: str) -> str:
    if attribute in _SPECIAL_KEYS:
        return _SPECIAL_KEYS[attribute]
    first, *rest = attribute.split("_")
    return first + "".join(word.capitalize() for word in rest)


class _Field(NamedTuple):
    """How one attribute is written: its name, its JSON key, the model in it, list or dict where it is one.

    The model is a name, since few documents have all that there may be in them.
    """

    name: str
    key: str
    kind: str | None
    shape: type | None


def _named(kind: str) -> type[Model]:
    found: type[Model] = getattr(import_module("pycontainer.oci.runtime"), kind)
    return found


def _shape(default: object) -> type | None:
    if default == ():
        return list
    return dict if getattr(default, "factory", None) is dict else None


class Model:
    """Conversion from and to JSON-like dicts, comparison and a short repr, for every model here."""

    __slots__ = ()
    _nested: ClassVar[dict[str, str]] = {}
    _table: ClassVar[tuple[_Field, ...]]
    extra: dict[str, Any]

    @classmethod
    def _fields(cls) -> tuple[_Field, ...]:
        table = cls.__dict__.get("_table")
        if table is None:
            table = cls._table = tuple(
                _Field(item.name, _key(item.name), cls._nested.get(item.name), _shape(item.default))
                for item in attrs.fields(cls)  # type: ignore[arg-type]
                if item.name != "extra"
            )
        return table

    def to_dict(self) -> dict[str, Any]:
        """The JSON object; attributes that are None or empty are left out."""
        made: dict[str, Any] = {}
        for name, key, kind, _ in self._fields():
            value = getattr(self, name)
            if value is None or value == () or value == {}:
                continue
            if kind is not None:
                value = [item.to_dict() for item in value] if type(value) is tuple else value.to_dict()
            elif type(value) is tuple:
                value = list(value)
            made[key] = value
        if self.extra:
            made.update(self.extra)
        return made

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Read a JSON object; properties without an attribute go to `extra`.

        Raises: InvalidInput when a property has the wrong JSON type or a required one is missing.
        """
        if not isinstance(document, Mapping):
            raise InvalidInput(f"{cls.__name__} is {type(document).__name__} where an object belongs")
        left = dict(document)
        values: dict[str, Any] = {}
        for name, key, kind, shape in cls._fields():
            value = left.pop(key, None)
            if value is None:
                continue
            wanted = shape or (dict if isinstance(value, list) else None)
            if wanted is not None and not isinstance(value, wanted):
                raise InvalidInput(f"{cls.__name__}.{key} is of the wrong JSON type: {type(value).__name__}")
            if isinstance(value, list):
                value = tuple(value if kind is None else map(_named(kind).from_dict, value))
            elif kind is not None:
                value = _named(kind).from_dict(value)
            values[name] = value
        try:
            return cls(**values, extra=left)  # type: ignore[call-arg]
        except TypeError as problem:
            raise InvalidInput(f"{cls.__name__} lacks a required property: {problem}") from None

    @classmethod
    def has_path(cls, path: str) -> bool:
        """Whether a dotted path of JSON keys, as "linux.resources.pids.limit", names an attribute here."""
        first, _, rest = path.partition(".")
        for _, key, kind, _ in cls._fields():
            if key == first:
                return not rest or (kind is not None and _named(kind).has_path(rest))
        return False

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name, *_ in self._fields()) and (
            self.extra == other.extra
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.to_dict()!r})"
