"""Control groups: which the host has, what a container's limits become, and how they are used afterwards."""

from pycontainer.runtime.cgroups.detect import CgroupLayout, detect
from pycontainer.runtime.cgroups.plan import CgroupPlan, plan

__all__ = ["CgroupLayout", "CgroupPlan", "detect", "plan"]
