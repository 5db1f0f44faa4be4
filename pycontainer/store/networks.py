"""Networks and the places of containers in them: rows, and what must be unique."""

from __future__ import annotations

import json
import sqlite3
from functools import lru_cache

from pycontainer.errors import AlreadyExists, InUse, NotFound
from pycontainer.store.database import Database
from pycontainer.store.records import EndpointRecord, NetworkRecord, SubnetRecord

__all__ = ["EndpointTable", "NetworkTable", "insert_endpoint"]

_COLUMNS = "id, name, driver, bridge, created_at, options, labels"
_SUBNETS = """(
    SELECT group_concat(subnet || char(9) || gateway || char(9) || ip_range, char(10))
    FROM (SELECT * FROM subnets WHERE network_id = networks.id ORDER BY instr(subnet, ':'), subnet)
)"""
_ENDPOINT_COLUMNS = "network_id, container_id, ipv4, ipv6, mac, ifname, options"


class NetworkTable:
    """Networks by id, by unique prefix of it, or by name. Each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(self, record: NetworkRecord) -> None:
        """Add a network. Raises: AlreadyExists if its name, its bridge or one of its subnets is taken."""
        with self._database.transaction() as connection:
            for made in record.subnets:
                _check_free(connection, made.subnet)
            try:
                connection.execute(
                    f"INSERT INTO networks ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", _row(record)
                )
            except sqlite3.IntegrityError:
                raise AlreadyExists(
                    f"a network named {record.name!r} exists already; remove it, or choose another name"
                ) from None
            connection.executemany(
                "INSERT INTO subnets (subnet, network_id, gateway, ip_range) VALUES (?, ?, ?, ?)",
                [(each.subnet, record.id, each.gateway, each.ip_range) for each in record.subnets],
            )

    def get(self, network_id: str) -> NetworkRecord | None:
        """The network with this full id."""
        found = self._select("WHERE id = ?", network_id)
        return found[0] if found else None

    def find(self, text: str) -> NetworkRecord:
        """The network with this full id, else this name, else an id that alone begins so.

        Raises: NotFound.
        """
        found = self._select("WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC LIMIT 1", text)
        if not found and text and set(text) <= set("0123456789abcdef"):
            found = self._select("WHERE id >= ?1 AND id < ?1 || 'g' LIMIT 2", text)
        if len(found) != 1:
            raise NotFound(f"network {text} not found")
        return found[0]

    def delete(self, network_id: str) -> bool:
        """Drop a network and free its subnets; False if there was none.

        Raises: InUse, naming them, while containers have a place in it.
        """
        with self._database.transaction() as connection:
            users = connection.execute(
                "SELECT c.name FROM endpoints e JOIN containers c ON c.id = e.container_id "
                "WHERE e.network_id = ?",
                (network_id,),
            ).fetchall()
            if users:
                names = ", ".join(sorted(name for (name,) in users))
                raise InUse(f"network {network_id[:12]} has containers: {names}; disconnect or remove them")
            changed = connection.execute("DELETE FROM networks WHERE id = ?", (network_id,)).rowcount
        return changed > 0

    def _select(self, rest: str, *values: object) -> list[NetworkRecord]:
        rows = self._database.query(f"SELECT {_COLUMNS}, {_SUBNETS} FROM networks {rest}", values)
        return [_record(*row) for row in rows]

    def list(self) -> list[NetworkRecord]:
        """All networks, the oldest first."""
        return self._select("ORDER BY created_at, id")


# A start asks for the same few again and again, and records do not change.
@lru_cache(maxsize=256)
def _record(
    id: str,
    name: str,
    driver: str,
    bridge: str | None,
    created_at: float,
    options: str,
    labels: str,
    subnets: str | None,
) -> NetworkRecord:
    made = [line.split("\t") for line in (subnets or "").splitlines()]
    return NetworkRecord(
        id=id,
        name=name,
        driver=driver,
        bridge=bridge,
        created_at=created_at,
        options=json.loads(options),
        labels=json.loads(labels),
        subnets=tuple(
            SubnetRecord(subnet=subnet, gateway=gateway, ip_range=ip_range)
            for subnet, gateway, ip_range in made
        ),
    )


class EndpointTable:
    """Places of containers in networks; a container's go with its row. Each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(self, record: EndpointRecord) -> None:
        """Give a container its place.

        Raises: AlreadyExists if it has one; InUse if an address is another's; NotFound.
        """
        with self._database.transaction() as connection:
            insert_endpoint(connection, record)

    def of_container(self, container_id: str) -> list[EndpointRecord]:
        """A container's places, by the names of its interfaces."""
        return self._select("WHERE container_id = ? ORDER BY length(ifname), ifname", container_id)

    def of_network(self, network_id: str) -> list[EndpointRecord]:
        """All places in a network."""
        return self._select("WHERE network_id = ? ORDER BY container_id", network_id)

    def delete(self, network_id: str, container_id: str) -> bool:
        """Take a container's place away, which frees its addresses; False if there was none."""
        with self._database.transaction() as connection:
            changed = connection.execute(
                "DELETE FROM endpoints WHERE network_id = ? AND container_id = ?", (network_id, container_id)
            ).rowcount
        return changed > 0

    def _select(self, rest: str, *values: object) -> list[EndpointRecord]:
        rows = self._database.query(f"SELECT {_ENDPOINT_COLUMNS} FROM endpoints {rest}", values)
        return [
            EndpointRecord(
                network_id=row[0],
                container_id=row[1],
                ipv4=row[2],
                ipv6=row[3],
                mac=row[4],
                ifname=row[5],
                options=json.loads(row[6]),
            )
            for row in rows
        ]

    def list(self) -> list[EndpointRecord]:
        """All places in all networks."""
        return self._select("")


def insert_endpoint(connection: sqlite3.Connection, record: EndpointRecord) -> None:
    """Give a container its place, in the transaction of a connection; see EndpointTable.insert."""
    for table, key, what in (
        ("networks", record.network_id, "network"),
        ("containers", record.container_id, "container"),
    ):
        if not connection.execute(f"SELECT 1 FROM {table} WHERE id = ?", (key,)).fetchone():
            raise NotFound(f"{what} {key[:12]} was removed meanwhile")
    _check_place(connection, record)
    connection.execute(
        f"INSERT INTO endpoints ({_ENDPOINT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            record.network_id, record.container_id, record.ipv4, record.ipv6, record.mac,
            record.ifname, json.dumps(dict(record.options)),
        ),
    )  # fmt: skip


def _check_place(connection: sqlite3.Connection, record: EndpointRecord) -> None:
    rows = connection.execute(
        "SELECT e.container_id, e.ipv4, c.name FROM endpoints e JOIN containers c "
        "ON c.id = e.container_id "
        "WHERE e.network_id = ?1 AND (e.container_id = ?2 OR e.ipv4 = ?3 OR e.ipv6 = ?4)",
        (record.network_id, record.container_id, record.ipv4, record.ipv6),
    ).fetchall()
    for container_id, ipv4, name in rows:
        if container_id == record.container_id:
            raise AlreadyExists(
                f"container {name} is connected to network {record.network_id[:12]} already; "
                "disconnect it first"
            )
        address = record.ipv4 if ipv4 == record.ipv4 else record.ipv6
        raise InUse(f"address {address} is that of container {name}; choose another, or leave it out")


def _check_free(connection: sqlite3.Connection, subnet: str) -> None:
    from ipaddress import ip_network

    wanted = ip_network(subnet)
    for taken, name in connection.execute(
        "SELECT s.subnet, n.name FROM subnets s JOIN networks n ON n.id = s.network_id"
    ):
        other = ip_network(taken)
        if wanted.version == other.version and wanted.overlaps(other):
            raise AlreadyExists(
                f"subnet {subnet} overlaps {taken} of network {name}; choose another, or leave it out"
            )


def _row(record: NetworkRecord) -> tuple[object, ...]:
    return (
        record.id,
        record.name,
        record.driver,
        record.bridge,
        record.created_at,
        json.dumps(dict(record.options)),
        json.dumps(dict(record.labels)),
    )
