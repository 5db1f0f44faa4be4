"""Whether this kernel can delay and lose packets."""

from __future__ import annotations

import subprocess

__all__ = ["has_netem"]


def has_netem() -> bool:
    """Whether the kernel delays packets, as tc finds it."""
    add = ["unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]
    return subprocess.run(add, check=False, capture_output=True).returncode == 0
