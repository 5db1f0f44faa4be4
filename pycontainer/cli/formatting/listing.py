"""Lists of objects as Docker's `--format` has them: a table, JSON, or a line of the user's own for each.

The fields of a list are declared once: name, column header, and how it is read of an object. A row reads
only the fields that the format names, so that `ps -q` costs no look at sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from pycontainer.cli.formatting.table import tabulate
from pycontainer.cli.formatting.template import Template

__all__ = ["Field", "Listing", "Row"]

T = TypeVar("T")

_ESCAPES = {r"\t": "\t", r"\n": "\n"}


class Field(NamedTuple):
    """header: of its column. read: its value for an object. is_method: that is a function; not in JSON."""

    header: str
    read: Callable[[Any], Any]
    is_method: bool = False


class Row(Mapping[str, Any]):
    """One object, whose fields are read when they are asked for."""

    def __init__(self, fields: Mapping[str, Field], subject: object) -> None:
        self._fields = fields
        self._subject = subject

    def __getitem__(self, name: str) -> Any:
        return self._fields[name].read(self._subject)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(name for name, field in self._fields.items() if not field.is_method))

    def __len__(self) -> int:
        return sum(not field.is_method for field in self._fields.values())

    def __contains__(self, name: object) -> bool:
        return name in self._fields


class Listing(Generic[T]):
    """A kind of list: its fields by name, and the names of the usual columns."""

    def __init__(self, fields: Mapping[str, Field], columns: Iterable[str]) -> None:
        self.fields = fields
        self.columns: tuple[str, ...] = tuple(columns)

    def lines(self, objects: Iterable[T], form: str = "", columns: Iterable[str] | None = None) -> list[str]:
        """The lines to print.

        form: "" or "table", "table TEMPLATE", "json", or a template. columns: of the usual table, instead of
        its own. Raises: TemplateError.
        """
        rows = (Row(self.fields, each) for each in objects)
        form = form.strip()
        if form in ("", "table"):
            names = tuple(columns if columns is not None else self.columns)
            header = [self.fields[name].header for name in names]
            return tabulate([header, *([_cell(row[name]) for name in names] for row in rows)])
        if form == "json":
            form = "{{json .}}"
        for written, meant in _ESCAPES.items():
            form = form.replace(written, meant)
        if not form.startswith("table "):
            template = Template(form)
            return [line for row in rows for line in template.render(row).split("\n")]
        template = Template(form.removeprefix("table ").strip())
        headers = Row({name: _header(field) for name, field in self.fields.items()}, None)
        lines = [template.render(headers, is_header=True), *map(template.render, rows)]
        return tabulate(line.split("\t") for text in lines for line in text.split("\n"))


def _header(field: Field) -> Field:
    """What stands above a column; of a method it is the name it is asked for, as in Docker."""
    if field.is_method:
        return field._replace(read=lambda _: lambda name: str(name).upper())
    return field._replace(read=lambda _: field.header)


def _cell(value: object) -> str:
    return value if isinstance(value, str) else str(value)
