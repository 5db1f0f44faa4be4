"""A container engine that is a library: pull, build and run OCI images in process, with no daemon.

    import pycontainer as pc

    result = pc.run("alpine:3.20", ["echo", "hi"])
    print(result.text)

Importing this package imports nothing else; each name below is loaded when it is first used (PEP 562).
Errors are in `pycontainer.errors`.
"""

from __future__ import annotations

__version__ = "0.1.0"

# Type checkers take this name for true; importing typing would cost more than all the rest here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer import aio as aio
    from pycontainer import errors as errors
    from pycontainer import services as services
    from pycontainer import wait as wait
    from pycontainer.build import BuildEvent as BuildEvent
    from pycontainer.compose import Compose as Compose
    from pycontainer.compose import ComposeLogLine as ComposeLogLine
    from pycontainer.compose import ComposeService as ComposeService
    from pycontainer.compose import PlannedChange as PlannedChange
    from pycontainer.compose import WatchEvent as WatchEvent
    from pycontainer.engine import Artifact as Artifact
    from pycontainer.engine import ArtifactFile as ArtifactFile
    from pycontainer.engine import Attachment as Attachment
    from pycontainer.engine import Change as Change
    from pycontainer.engine import Chunk as Chunk
    from pycontainer.engine import Container as Container
    from pycontainer.engine import ContainerPath as ContainerPath
    from pycontainer.engine import Copied as Copied
    from pycontainer.engine import DiskUsage as DiskUsage
    from pycontainer.engine import Engine as Engine
    from pycontainer.engine import EngineConfig as EngineConfig
    from pycontainer.engine import Event as Event
    from pycontainer.engine import Events as Events
    from pycontainer.engine import Exec as Exec
    from pycontainer.engine import ExecResult as ExecResult
    from pycontainer.engine import FailedStep as FailedStep
    from pycontainer.engine import Health as Health
    from pycontainer.engine import HealthResult as HealthResult
    from pycontainer.engine import Image as Image
    from pycontainer.engine import ImageIndex as ImageIndex
    from pycontainer.engine import Impairment as Impairment
    from pycontainer.engine import LockFile as LockFile
    from pycontainer.engine import LogLine as LogLine
    from pycontainer.engine import Logs as Logs
    from pycontainer.engine import Network as Network
    from pycontainer.engine import OutputLine as OutputLine
    from pycontainer.engine import Partition as Partition
    from pycontainer.engine import PortBinding as PortBinding
    from pycontainer.engine import Process as Process
    from pycontainer.engine import ProcessInfo as ProcessInfo
    from pycontainer.engine import Pruned as Pruned
    from pycontainer.engine import PrunedBuildCache as PrunedBuildCache
    from pycontainer.engine import RemoteImage as RemoteImage
    from pycontainer.engine import RunResult as RunResult
    from pycontainer.engine import Stats as Stats
    from pycontainer.engine import Usage as Usage
    from pycontainer.engine import Verified as Verified
    from pycontainer.engine import Volume as Volume
    from pycontainer.engine import VolumePath as VolumePath
    from pycontainer.engine import VolumeSnapshot as VolumeSnapshot
    from pycontainer.engine import copy as copy
    from pycontainer.engine import disk_usage as disk_usage
    from pycontainer.engine import info as info
    from pycontainer.engine import login as login
    from pycontainer.engine import logout as logout
    from pycontainer.engine import prune as prune
    from pycontainer.engine import prune_build_cache as prune_build_cache
    from pycontainer.engine import read_events as events
    from pycontainer.engine import run as run
    from pycontainer.engine import sign as sign
    from pycontainer.engine import verify as verify
    from pycontainer.image import Progress as Progress
    from pycontainer.integrations.executor import ContainerExecutor as ContainerExecutor
    from pycontainer.integrations.executor import RemoteFunction as RemoteFunction
    from pycontainer.integrations.executor import TaskFuture as TaskFuture
    from pycontainer.integrations.executor import function as function
    from pycontainer.oci import Platform as Platform
    from pycontainer.registry import Credentials as Credentials
    from pycontainer.registry import Limits as Limits
    from pycontainer.registry import Mirror as Mirror
    from pycontainer.registry import Proxies as Proxies
    from pycontainer.registry import Registry as Registry
    from pycontainer.registry import RegistryConfig as RegistryConfig
    from pycontainer.registry import Retries as Retries
    from pycontainer.registry import Timeouts as Timeouts
    from pycontainer.registry import TlsFiles as TlsFiles
    from pycontainer.store import Damage as Damage
    from pycontainer.trust import PublicKey as PublicKey
    from pycontainer.trust import SignaturePolicy as SignaturePolicy
    from pycontainer.trust import SigningKey as SigningKey

_HOMES = {
    "Artifact": "pycontainer.engine",
    "ArtifactFile": "pycontainer.engine",
    "Attachment": "pycontainer.engine",
    "BuildEvent": "pycontainer.build",
    "Change": "pycontainer.engine",
    "Chunk": "pycontainer.engine",
    "Compose": "pycontainer.compose",
    "ComposeLogLine": "pycontainer.compose",
    "ComposeService": "pycontainer.compose",
    "Container": "pycontainer.engine",
    "ContainerExecutor": "pycontainer.integrations.executor",
    "ContainerPath": "pycontainer.engine",
    "Copied": "pycontainer.engine",
    "Credentials": "pycontainer.registry",
    "Damage": "pycontainer.store",
    "DiskUsage": "pycontainer.engine",
    "Engine": "pycontainer.engine",
    "EngineConfig": "pycontainer.engine",
    "Event": "pycontainer.engine",
    "Events": "pycontainer.engine",
    "Exec": "pycontainer.engine",
    "ExecResult": "pycontainer.engine",
    "FailedStep": "pycontainer.engine",
    "Health": "pycontainer.engine",
    "HealthResult": "pycontainer.engine",
    "Image": "pycontainer.engine",
    "ImageIndex": "pycontainer.engine",
    "Impairment": "pycontainer.engine",
    "Limits": "pycontainer.registry",
    "LockFile": "pycontainer.engine",
    "LogLine": "pycontainer.engine",
    "Logs": "pycontainer.engine",
    "Mirror": "pycontainer.registry",
    "Network": "pycontainer.engine",
    "OutputLine": "pycontainer.engine",
    "Partition": "pycontainer.engine",
    "PlannedChange": "pycontainer.compose",
    "Platform": "pycontainer.oci",
    "PortBinding": "pycontainer.engine",
    "Process": "pycontainer.engine",
    "ProcessInfo": "pycontainer.engine",
    "Progress": "pycontainer.image",
    "Proxies": "pycontainer.registry",
    "Pruned": "pycontainer.engine",
    "PrunedBuildCache": "pycontainer.engine",
    "PublicKey": "pycontainer.trust",
    "Registry": "pycontainer.registry",
    "RegistryConfig": "pycontainer.registry",
    "RemoteFunction": "pycontainer.integrations.executor",
    "RemoteImage": "pycontainer.engine",
    "Retries": "pycontainer.registry",
    "RunResult": "pycontainer.engine",
    "SignaturePolicy": "pycontainer.trust",
    "SigningKey": "pycontainer.trust",
    "Stats": "pycontainer.engine",
    "TaskFuture": "pycontainer.integrations.executor",
    "Timeouts": "pycontainer.registry",
    "TlsFiles": "pycontainer.registry",
    "Usage": "pycontainer.engine",
    "Verified": "pycontainer.engine",
    "Volume": "pycontainer.engine",
    "VolumePath": "pycontainer.engine",
    "VolumeSnapshot": "pycontainer.engine",
    "WatchEvent": "pycontainer.compose",
    "aio": "pycontainer",
    "copy": "pycontainer.engine",
    "disk_usage": "pycontainer.engine",
    "errors": "pycontainer",
    "events": "pycontainer.engine",
    "function": "pycontainer.integrations.executor",
    "info": "pycontainer.engine",
    "load_ipython_extension": "pycontainer.integrations.jupyter",
    "login": "pycontainer.engine",
    "logout": "pycontainer.engine",
    "prune": "pycontainer.engine",
    "prune_build_cache": "pycontainer.engine",
    "run": "pycontainer.engine",
    "services": "pycontainer",
    "sign": "pycontainer.engine",
    "verify": "pycontainer.engine",
    "wait": "pycontainer",
}

_NAMES = {"events": "read_events"}
"""Where a name is another one at home."""

__all__ = [
    "Artifact",
    "ArtifactFile",
    "Attachment",
    "BuildEvent",
    "Change",
    "Chunk",
    "Compose",
    "ComposeLogLine",
    "ComposeService",
    "Container",
    "ContainerExecutor",
    "ContainerPath",
    "Copied",
    "Credentials",
    "Damage",
    "DiskUsage",
    "Engine",
    "EngineConfig",
    "Event",
    "Events",
    "Exec",
    "ExecResult",
    "FailedStep",
    "Health",
    "HealthResult",
    "Image",
    "ImageIndex",
    "Impairment",
    "Limits",
    "LockFile",
    "LogLine",
    "Logs",
    "Mirror",
    "Network",
    "OutputLine",
    "Partition",
    "PlannedChange",
    "Platform",
    "PortBinding",
    "Process",
    "ProcessInfo",
    "Progress",
    "Proxies",
    "Pruned",
    "PrunedBuildCache",
    "PublicKey",
    "Registry",
    "RegistryConfig",
    "RemoteFunction",
    "RemoteImage",
    "Retries",
    "RunResult",
    "SignaturePolicy",
    "SigningKey",
    "Stats",
    "TaskFuture",
    "Timeouts",
    "TlsFiles",
    "Usage",
    "Verified",
    "Volume",
    "VolumePath",
    "VolumeSnapshot",
    "WatchEvent",
    "aio",
    "copy",
    "disk_usage",
    "errors",
    "events",
    "function",
    "info",
    "login",
    "logout",
    "prune",
    "prune_build_cache",
    "run",
    "services",
    "sign",
    "verify",
    "wait",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    if home == __name__:
        return importlib.import_module(f"{home}.{name}")
    found: object = getattr(importlib.import_module(home), _NAMES.get(name, name))
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
