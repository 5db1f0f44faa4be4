"""`pycontainer doctor`: what this host can do, what follows where it cannot, and the remedy."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from pycontainer import network
from pycontainer.kernel import probe

__all__ = ["command", "examine"]


def examine(store: Path) -> list[probe.Finding]:
    """Every finding about this host, packet filter included; store is where images would be kept."""
    return [*probe.examine(str(store)), network.nft_finding(), network.forward_finding()]


def _print(findings: list[probe.Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    grid = Table.grid(padding=(0, 2))
    for finding in findings:
        mark, style = ("ok", "green") if finding.is_ok else ("missing", "red")
        if not finding.is_ok and not finding.is_required:
            mark, style = "limited", "yellow"
        told = Text(finding.detail)
        if not finding.is_ok:
            told.append(f"\nthen: {finding.consequence}", "dim")
            told.append(f"\nremedy: {finding.remedy}")
        grid.add_row(Text(mark, style), Text(finding.name, "bold"), told)
    console.print(grid)
    missing = sum(1 for finding in findings if finding.is_required and not finding.is_ok)
    console.print(
        "this host can run containers" if not missing else f"{missing} required features are missing"
    )


@click.command("doctor")
@click.option("--json", "is_json", is_flag=True, help="Print the findings as JSON.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    help="The store's directory; default as for the library.",
)
def command(is_json: bool, root: Path | None) -> None:
    """Tell what this host can do, and the remedy for what it cannot.

    Exit code 0: containers run here, perhaps with limits; 1: something required is missing.
    """
    if root is None:
        from pycontainer.engine import EngineConfig

        root = EngineConfig.from_environment().root
    findings = examine(root)
    if is_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        _print(findings)
    sys.exit(1 if any(finding.is_required and not finding.is_ok for finding in findings) else 0)
