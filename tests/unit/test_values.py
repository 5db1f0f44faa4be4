"""Frozen data that inherits what attrs would make for each class."""

from __future__ import annotations

import pytest
from attrs import Factory, field, frozen

from pycontainer.values import Value


@frozen(kw_only=True, eq=False, repr=False)
class _Ours(Value):
    name: str
    sizes: tuple[int, ...] = ()
    secret: str = field(default="", repr=False)
    seen: int = field(default=0, eq=False)


@frozen(kw_only=True)
class _Theirs:
    name: str
    sizes: tuple[int, ...] = ()
    secret: str = field(default="", repr=False)
    seen: int = field(default=0, eq=False)


@frozen(eq=False, repr=False)
class _Other(Value):
    name: str
    labels: dict[str, str] = Factory(dict)


@pytest.mark.parametrize(
    "values",
    [{"name": "a"}, {"name": "a", "sizes": (1, 2), "secret": "s"}, {"name": "a", "seen": 3}],
    ids=["defaults", "all", "uncompared"],
)
def test_they_show_and_compare_as_attrs_has_it(values: dict[str, object]) -> None:
    ours, theirs = _Ours(**values), _Theirs(**values)  # type: ignore[arg-type]
    assert repr(ours) == repr(theirs).replace("_Theirs", "_Ours")
    assert (ours == _Ours(name="a")) == (theirs == _Theirs(name="a"))
    assert hash(ours) == hash(_Ours(**values))  # type: ignore[arg-type]
    assert (hash(ours) == hash(_Ours(name="a"))) == (hash(theirs) == hash(_Theirs(name="a")))


def test_another_class_with_the_same_values_is_not_equal() -> None:
    assert _Ours(name="a") != _Other("a")


def test_what_holds_a_dictionary_has_no_hash() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(_Other("a"))
