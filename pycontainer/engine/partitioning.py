"""Partitions of a network, for tests of what a program does when others cannot be reached.

Theory of operation. A partition is a file below its network's directory that names the pairs of addresses
cut off and the process that wants it so. What the kernel drops follows from all of these files together, and
is set as a whole under a lock: so partitions may overlap, and one that is healed leaves the others. The file
of a process that has died counts for nothing; whoever changes a partition next, or opens the store, takes it
away.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycontainer.checkpoints import reached
from pycontainer.engine import bridging, restoring
from pycontainer.engine.ownership import this_process
from pycontainer.errors import InvalidOption, NotFound, Unsupported
from pycontainer.kernel import pidfd
from pycontainer.launcher import status

if TYPE_CHECKING:
    from types import TracebackType

    from pycontainer.engine.containers import Container
    from pycontainer.engine.engine import Engine
    from pycontainer.store import NetworkRecord

__all__ = ["KILL_POINTS", "Partition", "owner_has_died", "pairs", "partition", "read", "sweep", "write"]

KILL_POINTS = ("partition.file.written", "partition.packets.dropped")

_LOCK = "partitions"
_LOCK_S = 30.0


class Partition:
    """Two groups of containers that do not reach each other, until it is healed. Made by Network.partition.

    In a with block it is healed with the block. It ends with the process that made it at the latest, as soon
    as another one opens the store. Addresses are those that the containers had when it was made.
    """

    def __init__(self, engine: Engine, file: Path) -> None:
        self._engine = engine
        self._file = file

    @property
    def is_healed(self) -> bool:
        """Whether the two reach each other again."""
        return not self._file.exists()

    def heal(self) -> None:
        """Let them reach each other again; idempotent. Raises KernelError, DeadlineExceeded."""
        with self._engine.store.container_lock(_LOCK, _LOCK_S):
            self._file.unlink(missing_ok=True)
            _apply(self._engine)

    def __enter__(self) -> Partition:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heal()


def partition(
    engine: Engine,
    network: NetworkRecord,
    a: Container | str | Iterable[Container | str],
    b: Container | str | Iterable[Container | str],
) -> Partition:
    """Cut the containers of one group off from those of the other, on this network. See Network.partition."""
    if network.bridge is None:
        raise Unsupported(
            f"network {network.name} is of driver {network.driver}: its packets pass no filter of the host",
            "partition a network of driver bridge",
        )
    left, right = (_addresses(engine, network, group) for group in (a, b))
    if left & right:
        raise InvalidOption("partition: a container is in both groups")
    cut = [pair for one, other in itertools.product(left, right) for pair in ((one, other), (other, one))]
    directory = _directory(engine, network.id)
    directory.mkdir(0o700, parents=True, exist_ok=True)
    made = Partition(engine, directory / f"{secrets.token_hex(8)}.json")
    with engine.store.container_lock(_LOCK, _LOCK_S):
        write(made._file, {"pairs": sorted(cut)})
        reached("partition.file.written")
        try:
            _apply(engine)
        except BaseException:
            made._file.unlink()
            with bridging.rules_lock(engine):
                restoring.write_base(engine)
            raise
    reached("partition.packets.dropped")
    return made


def sweep(engine: Engine) -> None:
    """Heal what processes have cut that are no more. Cheap where nothing was cut."""
    if any(owner_has_died(read(file)) for file in _files(engine)):
        with engine.store.container_lock(_LOCK, _LOCK_S):
            _apply(engine)


def _addresses(
    engine: Engine, network: NetworkRecord, group: Container | str | Iterable[Container | str]
) -> set[str]:
    """The addresses of the group's containers on the network. Raises NotFound, InvalidOption."""
    members = list(group) if isinstance(group, Iterable) and not isinstance(group, str) else [group]
    if not members:
        raise InvalidOption("partition: a group has no container")
    endpoints = {each.container_id: each for each in engine.store.state.endpoints.of_network(network.id)}
    found: set[str] = set()
    for member in members:
        key = member if isinstance(member, str) else member.id
        record = engine.store.state.containers.find(key)
        endpoint = endpoints.get(record.id)
        if endpoint is None:
            raise NotFound(f"container {record.name} is not on network {network.name}; connect it first")
        found |= {address for address in (endpoint.ipv4, endpoint.ipv6) if address}
    return found


def _directory(engine: Engine, network_id: str) -> Path:
    return engine.store.root / "networks" / network_id / "cuts"


def _files(engine: Engine) -> Iterator[Path]:
    return (engine.store.root / "networks").glob("*/cuts/*.json")


def write(file: Path, content: Mapping[str, Any]) -> None:
    """Write down a fault that this process wants."""
    owner = this_process()
    fields = {"pid": owner.pid, "start": owner.start, "boot_id": owner.boot_id, **content}
    new = file.with_suffix(".new")
    new.write_text(json.dumps(fields))
    os.rename(new, file)


def read(file: Path) -> dict[str, Any]:
    """What was written down; nothing when it has gone."""
    try:
        fields: dict[str, Any] = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return fields


def owner_has_died(fields: dict[str, Any]) -> bool:
    """Whether nobody is left who wants the fault."""
    if fields.get("boot_id") != status.BOOT_ID:
        return True
    process = pidfd.open_checked(int(fields["pid"]), int(fields["start"]))
    if process is not None:
        os.close(process)
    return process is None


def pairs(engine: Engine) -> set[tuple[str, str]]:
    """The addresses that living processes want cut off from each other."""
    wanted = (fields for file in _files(engine) if (fields := read(file)) and not owner_has_died(fields))
    return {(source, target) for fields in wanted for source, target in fields["pairs"]}


def _apply(engine: Engine) -> None:
    """Drop what the files of living processes say; with the lock held."""
    from pycontainer.network import cut

    for file in _files(engine):
        if owner_has_died(read(file)):
            with suppress(FileNotFoundError):
                file.unlink()
    with bridging.rules_lock(engine):
        # First what the monitors make again when the table goes: they see that from here on.
        restoring.write_base(engine)
        cut(engine.store_tag, pairs(engine))
