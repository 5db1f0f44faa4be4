"""Docker's filters: names with values, of which the known are checked and the rest refused.

Values of one name are alternatives, several names must all fit; labels must all fit, too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TypeAlias

from pycontainer.engine.moments import Moment, to_nanoseconds
from pycontainer.errors import InvalidInput, InvalidOption

__all__ = ["FilterValues", "Filters"]

FilterValues: TypeAlias = Mapping[str, object]
"""Filter name to a value, or a list of them. label takes "key", "key=value" or a dict of labels as well."""


class Filters:
    """The filters of one call. what: what is filtered, for the error. known: the names that exist.

    Raises: InvalidInput for another name, or a value that is no text, number, truth value or moment.
    """

    def __init__(self, given: FilterValues | None, known: Collection[str], what: str) -> None:
        self._values: dict[str, tuple[object, ...]] = {}
        for name, value in (given or {}).items():
            if name not in known:
                import difflib  # only to tell of a mistake

                near = difflib.get_close_matches(name, known, 1)
                hint = f"do you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"
                raise InvalidInput(f"{what} have no filter {name!r}; {hint}")
            self._values[name] = tuple(_each(name, value))

    def __contains__(self, name: str) -> bool:
        return bool(self._values.get(name))

    def texts(self, name: str) -> tuple[str, ...]:
        """The values of a filter as texts; none when it is not given."""
        return tuple(_text(value) for value in self._values.get(name, ()))

    def flag(self, name: str, otherwise: bool) -> bool:
        """The value of a filter that is true or false. Raises: InvalidInput."""
        texts = set(self.texts(name)) or {str(otherwise).lower()}
        if len(texts) == 1 and (text := texts.pop().lower()) in ("true", "1", "false", "0"):
            return text in ("true", "1")
        raise InvalidInput(f"filter {name}={self._values[name]!r}: give true or false")

    def moment_ns(self, name: str) -> int | None:
        """The moment that a filter names, in nanoseconds since the epoch. Raises: InvalidInput."""
        values = self._values.get(name, ())
        if len(values) > 1:
            raise InvalidInput(f"filter {name} is given {len(values)} times; give one moment")
        if not values:
            return None
        moment: Moment = values[0]  # type: ignore[assignment]  # checked by the callee
        try:
            return to_nanoseconds(moment, name)
        except InvalidOption as error:
            raise InvalidInput(f"filter {error}") from None

    def has_any(self, name: str, *texts: str) -> bool:
        """Whether the filter is not given, or one of its values is one of these."""
        return name not in self or bool(set(texts).intersection(self.texts(name)))

    def has_prefix_of(self, name: str, *texts: str) -> bool:
        """Whether the filter is not given, or one of these begins with one of its values."""
        return name not in self or any(text.startswith(self.texts(name)) for text in texts)

    def has_pattern_in(self, name: str, *texts: str) -> bool:
        """Whether the filter is not given, or one of its values is found in one of these: a regular
        expression, as Docker has it for names and ids. Raises: InvalidInput for one that is none.
        """
        if name not in self:
            return True
        try:
            patterns = [re.compile(value) for value in self.texts(name)]
        except re.error as error:
            raise InvalidInput(f"filter {name}: {error} in the pattern {error.pattern!r}") from None
        return any(pattern.search(text) for pattern in patterns for text in texts)

    def has_labels(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels have all that filter label asks for, and nothing that label! names."""
        return all(_has(labels, wanted) for wanted in self.texts("label")) and not any(
            _has(labels, unwanted) for unwanted in self.texts("label!")
        )


def _has(labels: Mapping[str, str], wanted: str) -> bool:
    key, separator, value = wanted.partition("=")
    return key in labels and (not separator or labels[key] == value)


def _each(name: str, value: object) -> Iterable[object]:
    if isinstance(value, Mapping) and name.startswith("label"):
        return [f"{key}={text}" if text is not None else str(key) for key, text in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        return value
    return (value,)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int):
        return str(value)
    raise InvalidInput(f"filter value {value!r}: give a text, or a list of texts")
