"""`pycontainer network`: create, ls, rm, connect, disconnect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.completing import containers, networks
from pycontainer.cli.edge import each, tell
from pycontainer.cli.filters import filter_option
from pycontainer.cli.formatting import Field, Listing, zone_time
from pycontainer.cli.hostnetworks import HOST_NETWORKS, HostNetwork, find_host_network
from pycontainer.cli.pairs import pairs, split_words
from pycontainer.cli.session import Session, pass_session
from pycontainer.errors import InvalidOption, NotFound

if TYPE_CHECKING:
    from pycontainer.engine import Network

__all__ = ["connect", "create", "disconnect", "ls", "remove"]


@command("create")
@flag("--attachable", help="Without effect: every network is.")
@click.option("--aux-address", "aux", multiple=True, metavar="NAME=ADDRESS", help="Not for containers.")
@click.option("-d", "--driver", default="bridge", metavar="NAME", help="bridge, macvlan or ipvlan.")
@click.option("--gateway", multiple=True, metavar="ADDRESS", help="The host's address in it.")
@flag("--internal", help="Let nothing in or out.")
@click.option("--ip-range", multiple=True, metavar="SUBNET", help="What containers get addresses of.")
@click.option("--ipam-driver", default="default", metavar="NAME", help="Who gives addresses: default.")
@click.option("--ipam-opt", multiple=True, metavar="KEY=VALUE", hidden=True)
@flag("--ipv4", default=True, help="Give IPv4 addresses.")
@flag("--ipv6", help="Give IPv6 addresses as well.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Labels.")
@click.option("-o", "--opt", "options", multiple=True, metavar="KEY=VALUE", help="Options of the driver.")
@click.option("--scope", default="local", metavar="NAME", help="local.", hidden=True)
@click.option("--subnet", multiple=True, metavar="SUBNET", help="Its addresses, as 10.1.0.0/24.")
@flag("--config-only", hidden=True)
@click.option("--config-from", hidden=True)
@flag("--ingress", hidden=True)
@click.argument("name", metavar="NETWORK")
@pass_session
def create(
    session: Session,
    attachable: bool,
    aux: Sequence[str],
    driver: str,
    gateway: Sequence[str],
    internal: bool,
    ip_range: Sequence[str],
    ipam_driver: str,
    ipam_opt: Sequence[str],
    ipv4: bool,
    ipv6: bool,
    labels: Sequence[str],
    options: Sequence[str],
    scope: str,
    subnet: Sequence[str],
    config_only: bool,
    config_from: str | None,
    ingress: bool,
    name: str,
) -> None:
    """Make a network, and print its id."""
    from pycontainer.engine import Network

    refused = {
        "--ipam-driver": ipam_driver != "default",
        "--ipam-opt": bool(ipam_opt),
        "--scope": scope != "local",
        "--config-only": config_only,
        "--config-from": bool(config_from),
        "--ingress": ingress,
    }
    for given, is_given in refused.items():
        if is_given:
            raise InvalidOption(f"network {name}: {given} is not here; leave it out")
    made = Network.create(
        name,
        driver=driver,  # type: ignore[arg-type]  # checked by the callee
        subnet=split_words(subnet) or None,
        gateway=split_words(gateway) or None,
        ip_range=split_words(ip_range) or None,
        ipv4=ipv4,
        ipv6=ipv6,
        internal=internal,
        labels=pairs(labels) or None,
        options=pairs(options) or None,
        aux_addresses=pairs(aux) or None,
        engine=session.engine,
    )
    click.echo(made.id)


class _Shown(NamedTuple):
    network: Network | HostNetwork
    is_whole: bool

    @property
    def id(self) -> str:
        return self.network.id if self.is_whole else self.network.id[:12]


_LISTING: Listing[_Shown] = Listing(
    {
        "ID": Field("NETWORK ID", lambda each: each.id),
        "Name": Field("NAME", lambda each: each.network.name),
        "Driver": Field("DRIVER", lambda each: each.network.driver),
        "Scope": Field("SCOPE", lambda each: "local"),
        "IPv4": Field("IPV4", lambda each: str(any("." in it for it in each.network.subnets)).lower()),
        "IPv6": Field("IPV6", lambda each: str(any(":" in it for it in each.network.subnets)).lower()),
        "Internal": Field("INTERNAL", lambda each: str(each.network.is_internal).lower()),
        "Labels": Field(
            "LABELS", lambda each: ",".join(f"{k}={v}" for k, v in sorted(each.network.labels.items()))
        ),
        "Label": Field("", lambda each: lambda name: each.network.labels.get(name, ""), is_method=True),
        "CreatedAt": Field("CREATED AT", lambda each: zone_time(each.network.created_at)),
    },
    ("ID", "Name", "Driver", "Scope"),
)


@command("ls")
@filter_option
@click.option("--format", "form", metavar="FORMAT", help="table, json, or a template.")
@flag("--no-trunc", "is_whole", help="Do not shorten ids.")
@flag("-q", "--quiet", help="Print ids alone.")
@pass_session
def ls(
    session: Session, filters: Mapping[str, list[str]], form: str | None, is_whole: bool, quiet: bool
) -> None:
    """List networks."""
    from pycontainer.engine import Network

    found: list[Network | HostNetwork] = [*Network.list(filters=filters, engine=session.engine)]
    found += [each for each in HOST_NETWORKS if each.fits(filters)]
    shown = [_Shown(each, is_whole) for each in sorted(found, key=lambda each: each.name)]
    if quiet and not form:
        for one in shown:
            click.echo(one.id)
        return
    for line in _LISTING.lines(shown, session.form(form, "networksFormat")):
        click.echo(line)


@command("rm")
@flag("-f", "--force", help="No error for one that does not exist.")
@click.argument("names", metavar="NETWORK...", nargs=-1, required=True, shell_complete=networks)
@pass_session
def remove(session: Session, force: bool, names: tuple[str, ...]) -> int:
    """Remove networks; print their names."""
    from pycontainer.engine import Network

    def remove_one(name: str) -> None:
        if (found := find_host_network(name)) is not None:
            raise InvalidOption(f"network {found.name} is predefined and cannot be removed")
        try:
            Network.get(name, engine=session.engine).remove()
        except NotFound as error:
            if not force:
                raise
            tell(error)
        else:
            click.echo(name)

    return each(names, remove_one, echoes=False)


@command("connect")
@click.option("--alias", multiple=True, metavar="NAME", help="Further names for others to find it by.")
@click.option("--driver-opt", multiple=True, metavar="KEY=VALUE", help="Options of the place.")
@click.option("--gw-priority", type=int, default=0, help="The highest one's gateway is the default route.")
@click.option("--ip", metavar="ADDRESS", help="Its IPv4 address.")
@click.option("--ip6", metavar="ADDRESS", help="Its IPv6 address.")
@click.option("--link", multiple=True, metavar="CONTAINER[:ALIAS]", help="A name of its own for another one.")
@click.option("--link-local-ip", multiple=True, metavar="ADDRESS", help="Addresses of the link alone.")
@click.option("--mac-address", metavar="ADDRESS", help="Its hardware address.")
@click.argument("network", metavar="NETWORK", shell_complete=networks)
@click.argument("container", metavar="CONTAINER", shell_complete=containers())
@pass_session
def connect(
    session: Session,
    alias: Sequence[str],
    driver_opt: Sequence[str],
    gw_priority: int,
    ip: str | None,
    ip6: str | None,
    link: Sequence[str],
    link_local_ip: Sequence[str],
    mac_address: str | None,
    network: str,
    container: str,
) -> None:
    """Give a container a place in a network, at once if it runs."""
    from pycontainer.engine import Network

    Network.get(network, engine=session.engine).connect(
        container,
        aliases=split_words(alias),
        ip=ip,
        ip6=ip6,
        mac_address=mac_address,
        gw_priority=gw_priority,
        link_local_ips=split_words(link_local_ip),
        driver_opts=pairs(driver_opt) or None,
        links=link,
    )


@command("disconnect")
@flag("-f", "--force", help="No error when it has none.")
@click.argument("network", metavar="NETWORK", shell_complete=networks)
@click.argument("container", metavar="CONTAINER", shell_complete=containers())
@pass_session
def disconnect(session: Session, force: bool, network: str, container: str) -> None:
    """Take a container's place in a network away, at once if it runs."""
    from pycontainer.engine import Network

    Network.get(network, engine=session.engine).disconnect(container, force=force)
