"""From options and an image to a running monitor: the record, the directory and the launch request."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from pycontainer import runtime
from pycontainer.checkpoints import reached
from pycontainer.engine import mounting, ordering, sharing
from pycontainer.engine.events import container_attributes, emit, uses
from pycontainer.engine.idranges import AUTO, with_own_ids
from pycontainer.engine.logdrivers import SPOOL_BYTES, log_settings, needs_spool
from pycontainer.engine.names import random_name
from pycontainer.engine.naming import linked, network_files
from pycontainer.engine.ownership import free_name, open_owner
from pycontainer.engine.recipes import Recipe, recipe
from pycontainer.engine.state import await_end
from pycontainer.errors import AlreadyExists, InUse, InvalidOption, KernelError, LaunchError, NotFound
from pycontainer.oci import Platform
from pycontainer.options import RunOptions, dump_run_options, is_network, parse_run_options
from pycontainer.store import ContainerRecord, Owner

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine
    from pycontainer.engine.images import Image
    from pycontainer.engine.naming import Membership
    from pycontainer.launcher import Job
    from pycontainer.oci import ImageConfig
    from pycontainer.oci import runtime as model
    from pycontainer.store import EndpointRecord

__all__ = ["KILL_POINTS", "create", "feed", "launch"]

KILL_POINTS = (
    "start.launch.requested",  # the helper has the request, the caller has no answer
    "start.launch.answered",
)

INLINE_OUTPUT_BYTES = 64 << 10
LAUNCH_TIMEOUT_S = 60.0
_NAME_ATTEMPTS = 8


def create(
    engine: Engine,
    image: Image,
    options: RunOptions,
    *,
    owner: Owner | None = None,
    reference: str = "",
    is_step: bool = False,
) -> tuple[ContainerRecord, Recipe]:
    """Record a container and make its directory. Raises AlreadyExists, InvalidOption, NotFound.

    is_step: it is a step of a build, on what is no image yet; no list shows it.
    """
    if options.userns == AUTO:
        with engine.store.id_ranges_lock():
            options = with_own_ids(engine, options)
            return create(engine, image, options, owner=owner, reference=reference, is_step=is_step)
    # The next one's monitor waits for it with what it has made; nobody waits for one with an init.
    container_id = secrets.token_hex(32) if options.init else engine.helper.next_id()
    options = mounting.resolved(engine, options, image.config)
    given = dump_run_options(options)
    # Before anything is made: a container whose spec cannot be built is no container.
    made = recipe(engine, container_id, image.id, options, image.config, given)
    if sharing.is_asked(options):
        sharing.check(engine, options)
    ordering.check(engine, options)
    record = ContainerRecord(
        id=container_id,
        name=options.name or random_name(),
        image_id="" if is_step else image.id,
        image_ref=reference or ("" if is_step else image.name),
        created_at=time.time(),
        options=given,
        snapshots=image.snapshots,
        auto_remove=options.auto_remove,
        owner=owner,
    )
    if options.replace:
        _make_room(engine, options)
    record = _insert(engine, record, options)
    try:
        mounting.claim(engine, record.id, options)
    except BaseException:
        engine.forget_container(record.id)
        raise
    emit(engine, "container", "create", record.id, container_attributes(record, options, image.config))
    return record, made


def _make_room(engine: Engine, options: RunOptions) -> None:
    """Remove the container that has the name. Raises InvalidOption without one."""
    from pycontainer.engine.containers import Container

    if options.name is None:
        raise InvalidOption("option replace takes the place of a container by its name; give name too")
    try:
        Container.get(options.name, engine=engine).remove(force=True)
    except NotFound:
        pass


def _insert(engine: Engine, record: ContainerRecord, options: RunOptions) -> ContainerRecord:
    for attempt in range(_NAME_ATTEMPTS):
        endpoints = _places(engine, record, options) if is_network(options.network) else ()
        try:
            engine.store.add_container(record, endpoints)
            return record
        except (InUse, NotFound):
            # Another process has taken an address or removed a network between our look and this.
            if attempt == _NAME_ATTEMPTS - 1:
                raise
        except AlreadyExists:
            if options.name is not None:
                if attempt or not free_name(engine, record.name):
                    raise
                continue
            if attempt == _NAME_ATTEMPTS - 1:
                raise
            record = evolve(record, name=random_name(with_number=True))
    raise AssertionError("unreachable")


def hook_state(record: ContainerRecord, spec: model.Spec, directory: Path) -> str:
    """What hooks are told of the container, as JSON; they find its specification and root in the bundle."""
    (directory / "rootfs").mkdir(mode=0o700, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    # It holds the variables, which may be secrets.
    with open(os.open(directory / "config.json", flags, 0o600), "w") as file:
        json.dump(spec.to_dict(), file)
    return json.dumps(
        {
            "ociVersion": spec.oci_version,
            "id": record.id,
            "status": "creating",
            "bundle": str(directory),
            "annotations": dict(spec.annotations),
        }
    )


def _places(engine: Engine, record: ContainerRecord, options: RunOptions) -> Sequence[EndpointRecord]:
    from pycontainer.engine import networking  # containers without networks do without

    return networking.choose_places(engine, record.id, options)


def files_of(
    engine: Engine, options: RunOptions, hostname: str, memberships: Sequence[Membership] = ()
) -> dict[str, str]:
    """The small files that are put over the image's, by path. Raises NotFound, InvalidOption."""
    found = network_files(hostname, options, memberships, linked(engine, options, memberships))
    if options.network.startswith("container:"):
        donor = sharing.whose_network(engine, options)
        if donor is not None:
            donor_id, donor_name, donors = donor
            if is_network(donors.network):
                from pycontainer.engine import networking  # see _places

                memberships = networking.memberships(engine, donor_id)
            links = linked(engine, donors, memberships, is_running=True)
            found.update(network_files(donor_name, donors, memberships, links))
            found["/etc/hostname"] = f"{hostname}\n"
    if options.tz is not None:
        found["/etc/localtime"] = runtime.time_zone(options.tz)
    return found


def launch(
    engine: Engine,
    record: ContainerRecord,
    options: RunOptions,
    config: ImageConfig,
    *,
    is_owned: bool,
    made: Recipe | None = None,
    stdin: int | None = None,
    inline_output: int = 0,
    lets_go: bool = False,
    attach: tuple[int, dict[str, Any]] | None = None,
    secret_files: Mapping[str, tuple[str, int, int, int]] | None = None,
    is_volatile: bool = False,
) -> Job:
    """Start the container's process and return the channel to its monitor.

    lets_go: the container does not end with the channel, only with its owner if it has one. attach: a socket
    to serve from the first byte on, and how (see engine.attaching). secret_files: files in memory by path:
    content, permission bits, uid, gid. is_volatile: what it writes need not reach the disk when it ends. The
    program is running when this returns. Raises LaunchError, Unsupported, KernelError.
    """
    store = engine.store
    if options.userns == AUTO:
        options = parse_run_options(**record.options)  # with the ids that were chosen
    if options.requires:
        ordering.start_required(engine, record, options)
    if made is None:
        made = recipe(engine, record.id, record.image_id, options, config, record.options)
    directory = str(store.container_dir(record.id))
    params: dict[str, Any] = {
        "rootfs": {
            "overlay": {
                "lower": [str(path) for path in (store.init_layer, *store.lower_dirs(record.snapshots))],
                "upper": f"{directory}/upper",
                "work": f"{directory}/work",
                # Nothing of it outlives the container, so nothing needs to reach the disk.
                "volatile": record.auto_remove or is_volatile,
            }
        },
        "container_dir": directory,
        "owned": is_owned,
        "lets_go": lets_go,
        "auto_remove": record.auto_remove,
        "log": log_settings(record, options, config),
        "inline_output": inline_output,
        "events_dir": str(store.events_dir),
        "event_attributes": container_attributes(record, options, config),
        "uses": uses(engine, record, options),
    }
    if secret_files:
        params["secrets"] = secret_files
    if options.run_timeout is not None:
        params["run_timeout_s"] = options.run_timeout
    if made.spec.hooks:
        params["hook_state"] = hook_state(record, made.spec, Path(directory))
    with ExitStack() as cleanup:
        fds: dict[str, int] = {}
        if stdin is not None:
            fds["stdin"] = stdin
        if attach is not None:
            fds["attach"], params["attach"] = attach
        if inline_output and needs_spool(options):
            params["spool"] = SPOOL_BYTES
        if is_owned:
            fds["caller"] = open_owner(record)
            cleanup.callback(os.close, fds["caller"])
            if record.owner is not None and record.owner.pid == os.getpid():
                fds["lifeline"] = engine.lifeline
        if sharing.is_asked(options):
            fds.update(cleanup.enter_context(sharing.opened(engine, options)))
        if record.options.get("mounts"):
            given, params["sources"] = mounting.opened(engine, record, cleanup)
            fds.update(given)
        memberships: Sequence[Membership] = ()
        prepared = None
        if is_network(options.network):
            from pycontainer.engine import networking  # containers without networks do without

            prepared = networking.prepare(
                engine, record, options, config, cleanup, spec=made.spec, users=fds.get("ns:user")
            )
            fds.update(prepared.fds)
            params.update(prepared.params)
            memberships = prepared.memberships
        params["files"] = files_of(engine, options, options.hostname or record.id[:12], memberships)
        if made.program is not None:
            fds["seccomp"] = _sealed_memory("pycontainer-seccomp", made.program)
            cleanup.callback(os.close, fds["seccomp"])
        params["fd_names"] = {name: index for index, name in enumerate(fds)}
        text = f'{{"id":"{record.id}",{made.text_for(record.id)},{json.dumps(params)[1:]}'
        job = engine.helper.launch(
            record.id, text, list(fds.values()), has_init=options.init, has_names="dns" in params
        )
        if prepared is not None and prepared.connect is not None:
            _connect(job, prepared.connect, store.container_dir(record.id))
    reached("start.launch.requested")
    try:
        _await_started(job, store.container_dir(record.id))
    except (LaunchError, KernelError) as error:
        job.close()
        raise _explained(error, config) from None
    except BaseException:
        job.close()
        raise
    reached("start.launch.answered")
    if prepared is not None:
        from pycontainer.engine import netahead, networking  # see above

        networking.recheck(engine)
        netahead.begin(engine, prepared.namespace)
    return job


def _connect(job: Job, connect: Callable[[], None], directory: Path) -> None:
    """Make the links while the launch goes on, which awaits them before anything of the container runs."""
    try:
        connect()
    except BaseException:
        job.close()
        with suppress(FileNotFoundError):  # removed meanwhile
            await_end(directory, LAUNCH_TIMEOUT_S)
        raise
    with suppress(BrokenPipeError, ConnectionResetError):  # it was killed, as the first look tells
        job.send({"links": True})


def _await_started(job: Job, directory: Path) -> None:
    message = job.receive(LAUNCH_TIMEOUT_S)
    if message is None:
        # Its channel closes a little before it has ended: till then the container would seem to run.
        try:
            await_end(directory, LAUNCH_TIMEOUT_S)
        except FileNotFoundError:
            pass  # removed meanwhile
        raise LaunchError(
            "the monitor was killed before the container started", step="monitor", reason="killed"
        )


def _explained(error: LaunchError | KernelError, config: ImageConfig) -> LaunchError | KernelError:
    """Say so when the program is another machine's, or what this host lacks."""
    from pycontainer.engine.refusals import remedy_of  # only for what failed

    if remedy := remedy_of(error):
        return _with_remedy(error, remedy)
    if isinstance(error, KernelError):
        return error
    made_for = Platform(os=config.os, architecture=config.architecture, variant=config.variant).normalized()
    here = Platform.host()
    if error.exit_code != 126 or made_for.architecture in ("", here.architecture):
        return error
    return LaunchError(
        f"{error}; the image is for {made_for}, this host is {here}: pull it for platform {str(here)!r}",
        step=error.step,
        reason=error.reason,
        exit_code=error.exit_code,
    )


def _with_remedy(error: LaunchError | KernelError, remedy: str) -> LaunchError | KernelError:
    if isinstance(error, KernelError):
        hint = f"{error.hint}; {remedy}" if error.hint else remedy
        return KernelError(error.errno, error.call, error.path, hint)
    return LaunchError(f"{error}; {remedy}", step=error.step, reason=error.reason, exit_code=error.exit_code)


def feed(content: bytes) -> int:
    """A descriptor that reads as these bytes and then ends; no thread has to write them."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        if len(content) <= fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ):
            os.write(writer, content)
            return reader
    finally:
        os.close(writer)
    os.close(reader)
    return _sealed_memory("pycontainer-stdin", content)


def _sealed_memory(name: str, content: bytes) -> int:
    """A descriptor, at its beginning, of memory that nobody can change or make grow."""
    memory = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(memory, view) :]
        os.lseek(memory, 0, os.SEEK_SET)
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        os.close(memory)
        raise
    return memory
