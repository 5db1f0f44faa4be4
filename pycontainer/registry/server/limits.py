"""What one client may cost the server."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class ServerLimits:
    """Bounds in bytes, seconds and counts; the defaults suit a developer's machine and its tests.

    manifest_bytes: largest manifest (distribution-spec asks for at least 4 MiB).
    blob_bytes: largest blob.
    head_s: time for the TLS handshake and for a whole request head, however it trickles.
    idle_s: time a kept connection may be silent between requests.
    stall_s, rate_bytes_s: a body may take stall_s plus its size at that rate, in either direction.
    connections: open connections; the longest idle one gives way to a new one.
    workers: requests served at the same time.
    uploads, upload_idle_s: blob uploads under way, and how long one may lie untouched.
    """

    manifest_bytes: int = 4 << 20
    blob_bytes: int = 64 << 30
    head_bytes: int = 32 << 10
    head_s: float = 10.0
    idle_s: float = 60.0
    stall_s: float = 30.0
    rate_bytes_s: int = 1 << 10
    connections: int = 512
    workers: int = 32
    uploads: int = 1024
    upload_idle_s: float = 3600.0
