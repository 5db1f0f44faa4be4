"""Records are what attrs would have made of the same declaration, seen from outside."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import ClassVar

import attrs
import pytest

from pycontainer import records


@records.frozen(kw_only=True)
class Port:
    """Declared as most are."""

    number: int
    protocol: str = "tcp"
    names: list[str] = records.Factory(list)
    secret: str = records.field(default="", repr=False, metadata={"why": "hidden"})
    LARGEST: ClassVar[int] = 65535


@records.frozen(kw_only=True)
class Published(Port):
    """One that adds to another, and checks itself."""

    host: int = 0
    _inner: Port | None = None

    def __attrs_post_init__(self) -> None:
        if self.host > self.LARGEST:
            raise ValueError(self.host)


@records.frozen
class Pair:
    """By position."""

    left: int
    right: int = 2


@attrs.frozen(kw_only=True)
class AsAttrs:
    """The same as Port."""

    number: int
    protocol: str = "tcp"
    names: list[str] = attrs.Factory(list)
    secret: str = attrs.field(default="", repr=False)


@pytest.fixture(autouse=True, params=["first", "second", "third"])
def objects_made_before(request: pytest.FixtureRequest) -> None:
    """The first object of a class is made in another way than those after it."""
    for cls in (Port, Published):
        cls.__init__ = records._init_first  # type: ignore[attr-defined, method-assign]
    for number in range(("first", "second", "third").index(request.param)):
        Port(number=number)
        Published(number=number)


def test_fields_have_what_was_given_and_their_defaults() -> None:
    made = Published(number=80, host=8080, inner=Port(number=1))
    assert (made.number, made.protocol, made.names, made.host) == (80, "tcp", [], 8080)
    assert made._inner == Port(number=1)
    assert (Pair(1), Pair(1, right=3).right) == (Pair(left=1, right=2), 3)


def test_each_object_has_a_default_of_its_own() -> None:
    assert Port(number=1).names is not Port(number=1).names


@pytest.mark.parametrize("given", [{}, {"number": 1, "nmber": 2}])
def test_what_is_missing_or_unknown_is_a_type_error_that_names_it(given: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="nmber" if given else "number"):
        Port(**given)


def test_positions_are_for_those_that_take_them() -> None:
    with pytest.raises(TypeError):
        Port(1)  # type: ignore[misc]


def test_an_object_may_refuse_to_be_made() -> None:
    with pytest.raises(ValueError, match="65536"):
        Published(number=1, host=65536)


def test_nothing_can_be_changed() -> None:
    made = Port(number=1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        made.number = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del made.number
    assert made.number == 1


def test_equal_objects_have_equal_hashes_and_classes() -> None:
    assert Pair(1, 2) == Pair(1)
    assert hash(Pair(1, 2)) == hash(Pair(1))
    assert Pair(1) != Pair(2)
    assert Port(number=1) != Published(number=1)


def test_a_repr_is_attrs_own_and_keeps_secrets() -> None:
    ours, theirs = Port(number=1, secret="x"), AsAttrs(number=1, secret="x")
    assert repr(ours) == repr(theirs).replace("AsAttrs", "Port")
    assert "x" not in repr(ours)


def test_copies_are_equal() -> None:
    made = Published(number=1, names=["a"], inner=Port(number=2))
    for again in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert again == made
        assert again is not made
    assert records.evolve(made, number=3, inner=None) == Published(number=3, names=["a"])


def test_attrs_takes_them_for_its_own() -> None:
    made = Published(number=1, inner=Port(number=2))
    assert attrs.evolve(made, number=3).number == 3
    assert [each.name for each in attrs.fields(Port)] == [each.name for each in attrs.fields(AsAttrs)]
    assert attrs.fields(Port).secret.metadata == {"why": "hidden"}
    assert attrs.asdict(made) == records.asdict(made)
    assert records.asdict(made)["_inner"]["number"] == 2


def test_a_signature_tells_how_they_are_made() -> None:
    assert list(inspect.signature(Published).parameters) == [
        *("number", "protocol", "names", "secret", "host", "inner")
    ]
    assert inspect.signature(Pair).parameters["right"].default == 2
