"""How this command tells its caller what went wrong: on standard error and in the log that was asked for."""

from __future__ import annotations

import json
import os
import sys
import time

__all__ = ["Log"]


class Log:
    """The destination of messages; containerd and conmon read the last error of the file."""

    def __init__(self, file: str | None, form: str, is_debug: bool) -> None:
        self.file = file
        self.form = form
        self.is_debug = is_debug

    def error(self, message: str) -> None:
        """Tell why the command failed."""
        self._write("error", message)
        print(f"pycontainer-runtime: {message}", file=sys.stderr)

    def warning(self, message: str) -> None:
        """Tell what was left out or did not work, though the command goes on."""
        self._write("warning", message)
        if not self.file:
            print(f"pycontainer-runtime: warning: {message}", file=sys.stderr)

    def debug(self, message: str) -> None:
        """Tell what is done, if that was asked for."""
        if self.is_debug:
            self._write("debug", message)
            if not self.file:
                print(f"pycontainer-runtime: debug: {message}", file=sys.stderr)

    def _write(self, level: str, message: str) -> None:
        if not self.file:
            return
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self.form == "json":
            line = json.dumps({"level": level, "msg": message, "time": when})
        else:
            line = f"time={json.dumps(when)} level={level} msg={json.dumps(message)}"
        try:
            fd = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError:
            return  # the message is on standard error still
        with open(fd, "w") as file:
            file.write(line + "\n")
