"""Python functions in containers: an executor, and functions that are bound to an image."""

from __future__ import annotations

from pycontainer.integrations.executor.functions import RemoteFunction, function
from pycontainer.integrations.executor.pool import ContainerExecutor, LimitedExecutor, TaskFuture

__all__ = ["ContainerExecutor", "LimitedExecutor", "RemoteFunction", "TaskFuture", "function"]
