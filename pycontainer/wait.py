"""What a container can be waited for: `Container(..., wait=pc.wait.port(6379))`, `c.wait_until(...)`.

Each function makes a value that composes: `a & b` is both, `a | b` the first of them, `a.within(5)` sets a
deadline in seconds.
"""

from __future__ import annotations

from pycontainer.engine.waits import Wait, exec, exit, file, healthy, http, log, port

__all__ = ["Wait", "exec", "exit", "file", "healthy", "http", "log", "port"]
