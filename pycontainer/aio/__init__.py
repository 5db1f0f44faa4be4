"""The API for event loops: what blocks in `pycontainer` is awaited here, under the same names.

    from pycontainer import aio

    result = await aio.run("alpine:3.20", ["echo", "hi"])
    async with aio.Container("redis:7") as c:
        async for line in c.logs(follow=True):
            ...

Data is the same in both, and so are errors. What is written once is the blocking API; see `running`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer import errors as errors
    from pycontainer import wait as wait
    from pycontainer.aio._generated import *  # noqa: F403
    from pycontainer.aio.running import Stream as Stream
    from pycontainer.aio.streams import Reader as Reader
    from pycontainer.aio.streams import Writer as Writer
    from pycontainer.build import BuildEvent as BuildEvent
    from pycontainer.engine import ArtifactFile as ArtifactFile
    from pycontainer.engine import Change as Change
    from pycontainer.engine import Chunk as Chunk
    from pycontainer.engine import Copied as Copied
    from pycontainer.engine import DiskUsage as DiskUsage
    from pycontainer.engine import EngineConfig as EngineConfig
    from pycontainer.engine import Event as Event
    from pycontainer.engine import ExecResult as ExecResult
    from pycontainer.engine import Health as Health
    from pycontainer.engine import HealthResult as HealthResult
    from pycontainer.engine import LogLine as LogLine
    from pycontainer.engine import OutputLine as OutputLine
    from pycontainer.engine import PortBinding as PortBinding
    from pycontainer.engine import ProcessInfo as ProcessInfo
    from pycontainer.engine import Pruned as Pruned
    from pycontainer.engine import PrunedBuildCache as PrunedBuildCache
    from pycontainer.engine import RunResult as RunResult
    from pycontainer.engine import Stats as Stats
    from pycontainer.engine import Usage as Usage
    from pycontainer.engine import Verified as Verified
    from pycontainer.image import Progress as Progress
    from pycontainer.integrations.executor import ContainerExecutor as ContainerExecutor
    from pycontainer.integrations.executor import RemoteFunction as RemoteFunction
    from pycontainer.integrations.executor import TaskFuture as TaskFuture
    from pycontainer.integrations.executor import function as function
    from pycontainer.oci import Platform as Platform
    from pycontainer.registry import Credentials as Credentials
    from pycontainer.registry import RegistryConfig as RegistryConfig
    from pycontainer.trust import PublicKey as PublicKey
    from pycontainer.trust import SignaturePolicy as SignaturePolicy
    from pycontainer.trust import SigningKey as SigningKey

_OWN = {"Reader": "streams", "Stream": "running", "Writer": "streams"}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _OWN:
        return getattr(import_module(f"{__name__}.{_OWN[name]}"), name)
    mirrors = import_module(f"{__name__}._generated")
    if name in mirrors.__all__:
        return getattr(mirrors, name)
    # Data, errors and what waits for nothing are the same in both.
    blocking = import_module("pycontainer")
    if name in blocking.__all__ and name != "aio":
        return getattr(blocking, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    from importlib import import_module

    return sorted({*globals(), *_OWN, *import_module("pycontainer").__all__})
