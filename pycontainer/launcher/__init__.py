"""The helper process, its jobs, and the caller's client of it. Standard library only."""

from pycontainer.launcher.client import Helper, Job

__all__ = ["Helper", "Job"]
