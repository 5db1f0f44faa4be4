"""The OCI runtime command `pycontainer-runtime`: what containerd, Docker and podman call instead of runc."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command the process's arguments name; ends the process with its exit code."""
    from pycontainer.ocicli.app import run

    run()
