"""Registries: login, logout and search."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.edge import Failed
from pycontainer.cli.filters import filter_option
from pycontainer.cli.formatting import Field, Listing
from pycontainer.cli.session import Session, pass_session

__all__ = ["login", "logout", "search"]

_HUB = "docker.io"
_HUB_SEARCH = "https://index.docker.io/v1/search"
_SEARCH_TIMEOUT_S = 30.0
_MAX_ANSWER = 4 << 20


@command("login")
@click.option("-u", "--username", metavar="NAME", help="Name of the account.")
@click.option(
    "-p", "--password", metavar="TEXT", help="Its password or token; others see it in lists of processes."
)
@flag("--password-stdin", help="Read the password from standard input.")
@click.argument("server", metavar="[REGISTRY]", default=_HUB)
@pass_session
def login(
    session: Session, username: str | None, password: str | None, password_stdin: bool, server: str
) -> None:
    """Ask a registry whether an account is good, and keep it where Docker does; docker.io by default."""
    from pycontainer.engine import login as keep

    if password_stdin and password is not None:
        raise click.UsageError("--password and --password-stdin go not together; leave one out")
    if password_stdin:
        if username is None:
            raise click.UsageError("--password-stdin needs --username")
        password = sys.stdin.read().rstrip("\r\n")
    elif password is not None:
        click.echo("WARNING! Using --password via the CLI is insecure. Use --password-stdin.", err=True)
    elif not sys.stdin.isatty():
        raise Failed("Error: cannot ask for a password without a terminal; use --password-stdin")
    if username is None:
        username = click.prompt("Username", err=True)
    if password is None:
        password = click.prompt("Password", hide_input=True, err=True)
    keep(_host(server), username, password, engine=session.engine)
    click.echo("Login Succeeded")


def _host(server: str) -> str:
    """Of a registry's address, as https://index.docker.io/v1/."""
    host = server.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return _HUB if host == "index.docker.io" else host


@command("logout")
@click.argument("server", metavar="[REGISTRY]", default=_HUB)
@pass_session
def logout(session: Session, server: str) -> None:
    """Forget an account of a registry; docker.io by default."""
    from pycontainer.engine import logout as forget

    host = _host(server)
    if forget(host, engine=session.engine):
        click.echo(f"Removing login credentials for {host}")
    else:
        click.echo(f"Not logged in to {host}")


class _Found(NamedTuple):
    name: str
    description: str
    stars: int
    is_official: bool
    is_whole: bool

    @property
    def shown_description(self) -> str:
        text = " ".join(self.description.split())
        return text if self.is_whole or len(text) <= 45 else f"{text[:44]}…"


_LISTING: Listing[_Found] = Listing(
    {
        "Name": Field("NAME", lambda each: each.name),
        "Description": Field("DESCRIPTION", lambda each: each.shown_description),
        "StarCount": Field("STARS", lambda each: str(each.stars)),
        "IsOfficial": Field("OFFICIAL", lambda each: "[OK]" if each.is_official else ""),
    },
    ("Name", "Description", "StarCount", "IsOfficial"),
)


@command("search")
@filter_option
@click.option("--format", "form", metavar="FORMAT", help="table, json, or a template.")
@click.option("--limit", type=click.IntRange(1, 100), default=25, help="Most lines; 25 unless given.")
@flag("--no-trunc", "is_whole", help="Do not shorten descriptions.")
@click.argument("term", metavar="[REGISTRY/]TERM")
@pass_session
def search(
    session: Session,
    filters: Mapping[str, list[str]],
    form: str | None,
    limit: int,
    is_whole: bool,
    term: str,
) -> None:
    """Look for images on Docker Hub, or in a registry that lists what it has."""
    from pycontainer.oci import Reference

    if unknown := set(filters) - {"is-official", "stars"}:
        raise click.UsageError(f"searches have no filter {min(unknown)!r}; there are is-official and stars")
    domain, _, name = term.partition("/")
    is_other = bool(name) and Reference.parse(f"{domain}/name").domain != _HUB
    if is_other:
        from pycontainer.engine import RemoteImage

        names = RemoteImage.repositories(domain, f"*{name}*", engine=session.engine)
        found = [_Found(each, "", 0, False, is_whole) for each in names]
    else:
        found = [_Found(*each, is_whole) for each in _of_hub(term.removeprefix(f"{_HUB}/"), limit)]
    least = max((int(text) for text in filters.get("stars", ()) if text.isdigit()), default=0)
    wants = {text.lower() for text in filters.get("is-official", ())}
    shown = [
        each
        for each in found
        if each.stars >= least and (not wants or str(each.is_official).lower() in wants)
    ]
    for line in _LISTING.lines(shown[:limit], form or ""):
        click.echo(line)


def _of_hub(term: str, limit: int) -> list[tuple[str, str, int, bool]]:
    """What Docker Hub's index finds. Source: Docker Registry v1 API, GET /v1/search."""
    from urllib.error import URLError
    from urllib.parse import urlencode
    from urllib.request import urlopen

    try:
        with urlopen(
            f"{_HUB_SEARCH}?{urlencode({'q': term, 'n': limit})}", timeout=_SEARCH_TIMEOUT_S
        ) as answer:
            document: Any = json.loads(answer.read(_MAX_ANSWER))
    except (URLError, TimeoutError) as error:
        raise Failed(f"Error: {_HUB_SEARCH}: {getattr(error, 'reason', error)}") from None
    except ValueError:
        raise Failed(f"Error: {_HUB_SEARCH} answers something that is no list of images") from None
    results = document.get("results") if isinstance(document, dict) else None
    return [
        (
            str(each.get("name", "")),
            str(each.get("description") or ""),
            int(each.get("star_count") or 0),
            bool(each.get("is_official")),
        )
        for each in (results or ())
        if isinstance(each, dict)
    ]
