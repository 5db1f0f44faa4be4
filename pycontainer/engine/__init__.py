"""The object model: engines, images, containers, and what running one gives back."""

from __future__ import annotations

from pycontainer.frontdoor import opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.engine import waits as waits
    from pycontainer.engine.artifacts import Artifact, ArtifactFile
    from pycontainer.engine.attaching import Attachment, Chunk
    from pycontainer.engine.building import (
        FailedStep,
        PrunedBuildCache,
        clone_git,
        commit_of_git,
        prune_build_cache,
    )
    from pycontainer.engine.changed import Change
    from pycontainer.engine.config import EngineConfig
    from pycontainer.engine.containers import Container
    from pycontainer.engine.copying import Copied
    from pycontainer.engine.diskusage import (
        BuildCacheUsage,
        ContainerUsage,
        DiskUsage,
        ImageUsage,
        VolumeUsage,
        disk_usage,
        volume_usages,
    )
    from pycontainer.engine.engine import Engine, close_last, current_engine, kept_ahead, use_helper
    from pycontainer.engine.eventstream import Event, Events, read_events
    from pycontainer.engine.execs import Exec
    from pycontainer.engine.forking import forked_options
    from pycontainer.engine.hostinfo import info
    from pycontainer.engine.images import HistoryEntry, Image
    from pycontainer.engine.impairing import Impairment
    from pycontainer.engine.indexes import ImageIndex
    from pycontainer.engine.innerhttp import HTTP_POOL, http_settings
    from pycontainer.engine.locking import LockFile
    from pycontainer.engine.logs import LogLine, Logs
    from pycontainer.engine.networking import expect as expect_network
    from pycontainer.engine.networks import Network
    from pycontainer.engine.partitioning import Partition
    from pycontainer.engine.paths import ContainerPath, VolumePath
    from pycontainer.engine.process import ExecResult, OutputLine, Process
    from pycontainer.engine.processes import ProcessInfo, Top
    from pycontainer.engine.progress import events_shown
    from pycontainer.engine.pruning import Pruned, prune
    from pycontainer.engine.publishing import PortBinding
    from pycontainer.engine.remote import RemoteImage, login, logout
    from pycontainer.engine.result import RunResult, Usage
    from pycontainer.engine.running import run
    from pycontainer.engine.snapshots import VolumeSnapshot
    from pycontainer.engine.stats import NetworkStats, Stats, StatsStream
    from pycontainer.engine.supervision import Health, HealthResult
    from pycontainer.engine.transferring import copy
    from pycontainer.engine.trusting import Verified, sign, verify
    from pycontainer.engine.volumes import Volume

__all__ = [
    "Artifact",
    "ArtifactFile",
    "Attachment",
    "BuildCacheUsage",
    "Change",
    "Chunk",
    "Container",
    "ContainerPath",
    "ContainerUsage",
    "Copied",
    "DiskUsage",
    "Engine",
    "EngineConfig",
    "Event",
    "Events",
    "Exec",
    "ExecResult",
    "FailedStep",
    "HTTP_POOL",
    "Health",
    "HealthResult",
    "HistoryEntry",
    "Image",
    "ImageIndex",
    "ImageUsage",
    "Impairment",
    "LockFile",
    "LogLine",
    "Logs",
    "Network",
    "NetworkStats",
    "OutputLine",
    "Partition",
    "PortBinding",
    "Process",
    "ProcessInfo",
    "Pruned",
    "PrunedBuildCache",
    "RemoteImage",
    "RunResult",
    "Stats",
    "StatsStream",
    "Top",
    "Usage",
    "Verified",
    "Volume",
    "VolumePath",
    "VolumeSnapshot",
    "VolumeUsage",
    "clone_git",
    "close_last",
    "commit_of_git",
    "copy",
    "current_engine",
    "disk_usage",
    "events_shown",
    "expect_network",
    "forked_options",
    "http_settings",
    "info",
    "kept_ahead",
    "login",
    "logout",
    "prune",
    "prune_build_cache",
    "read_events",
    "run",
    "sign",
    "use_helper",
    "verify",
    "volume_usages",
    "waits",
]

_HOMES = {
    "Artifact": "artifacts",
    "ArtifactFile": "artifacts",
    "Attachment": "attaching",
    "BuildCacheUsage": "diskusage",
    "Change": "changed",
    "Chunk": "attaching",
    "Container": "containers",
    "ContainerPath": "paths",
    "ContainerUsage": "diskusage",
    "Copied": "copying",
    "DiskUsage": "diskusage",
    "Engine": "engine",
    "EngineConfig": "config",
    "Event": "eventstream",
    "Events": "eventstream",
    "Exec": "execs",
    "ExecResult": "process",
    "FailedStep": "building",
    "HTTP_POOL": "innerhttp",
    "Health": "supervision",
    "HealthResult": "supervision",
    "HistoryEntry": "images",
    "Image": "images",
    "ImageIndex": "indexes",
    "ImageUsage": "diskusage",
    "Impairment": "impairing",
    "LockFile": "locking",
    "LogLine": "logs",
    "Logs": "logs",
    "Network": "networks",
    "NetworkStats": "stats",
    "OutputLine": "process",
    "Partition": "partitioning",
    "PortBinding": "publishing",
    "Process": "process",
    "ProcessInfo": "processes",
    "Pruned": "pruning",
    "PrunedBuildCache": "building",
    "RemoteImage": "remote",
    "RunResult": "result",
    "Stats": "stats",
    "StatsStream": "stats",
    "Top": "processes",
    "Usage": "result",
    "Verified": "trusting",
    "Volume": "volumes",
    "VolumePath": "paths",
    "VolumeSnapshot": "snapshots",
    "VolumeUsage": "diskusage",
    "clone_git": "building",
    "close_last": "engine",
    "commit_of_git": "building",
    "copy": "transferring",
    "current_engine": "engine",
    "disk_usage": "diskusage",
    "events_shown": "progress",
    "forked_options": "forking",
    "http_settings": "innerhttp",
    "info": "hostinfo",
    "kept_ahead": "engine",
    "login": "remote",
    "logout": "remote",
    "prune": "pruning",
    "prune_build_cache": "building",
    "read_events": "eventstream",
    "run": "running",
    "sign": "trusting",
    "expect_network": "networking:expect",
    "use_helper": "engine",
    "verify": "trusting",
    "volume_usages": "diskusage",
    "waits": "",
}


def __getattr__(name: str) -> object:
    return opened(__name__, _HOMES, name)
