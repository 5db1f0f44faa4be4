"""How commands write what they found: Docker's templates, tables, JSON, sizes and ages. No I/O here."""

from __future__ import annotations

from pycontainer.cli.formatting.listing import Field, Listing, Row
from pycontainer.cli.formatting.table import tabulate
from pycontainer.cli.formatting.template import Template, TemplateError
from pycontainer.cli.formatting.units import ago, binary_size, decimal_size, zone_time

__all__ = [
    "Field",
    "Listing",
    "Row",
    "Template",
    "TemplateError",
    "ago",
    "binary_size",
    "decimal_size",
    "tabulate",
    "zone_time",
]
