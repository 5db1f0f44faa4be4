"""A firewalld without systemd, on a bus of its own, in the network namespace of who starts it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

__all__ = ["Firewalld", "firewalld"]

_NAME = "org.fedoraproject.FirewallD1"
_READY_S = 60.0
_BUS = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
  <policy context="default">
    <allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/><allow user="*"/>
  </policy>
</busconfig>
"""
# What the doctor tells its administrator to set.
_TRUSTED = '<zone target="ACCEPT"><short>Trusted</short><interface name="pc+"/></zone>\n'


@attrs.frozen
class Firewalld:
    """One that runs."""

    environment: dict[str, str]

    def call(self, method: str, *arguments: str) -> str:
        """Its answer to a call, "" when there is none. Methods are those of org.fedoraproject.FirewallD1."""
        path = f"/{_NAME.replace('.', '/')}"
        command = ["dbus-send", "--system", "--print-reply", f"--dest={_NAME}", path, method, *arguments]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=60
        ).stdout

    def reload(self, *, whole: bool = False) -> None:
        """Have it take its rules away and make them anew. whole: with what it remembers of connections."""
        assert self.call(f"{_NAME}.{'completeReload' if whole else 'reload'}")

    @property
    def is_running(self) -> bool:
        """Whether it has made its rules."""
        asked = ("org.freedesktop.DBus.Properties.Get", f"string:{_NAME}", "string:state")
        return '"RUNNING"' in self.call(*asked)


@contextmanager
def firewalld(directory: Path) -> Iterator[Firewalld]:
    """One that trusts the bridges of containers, until the block ends. directory: for its files, new."""
    directory.mkdir()
    shutil.copytree("/etc/firewalld", directory / "etc")
    (directory / "etc/zones").mkdir(exist_ok=True)
    (directory / "etc/zones/trusted.xml").write_text(_TRUSTED)
    # The directories of tests have longer names than a socket can have (unix(7)).
    place = Path(tempfile.mkdtemp(prefix="bus-"))
    (directory / "bus.conf").write_text(_BUS.format(path=place / "bus"))
    address = f"unix:path={place / 'bus'}"
    made = Firewalld({**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": address})
    commands = (
        ["dbus-daemon", f"--config-file={directory / 'bus.conf'}", "--nofork", "--nopidfile"],
        ["firewalld", "--nofork", "--nopid", "--log-target=console", f"--system-config={directory / 'etc'}"],
    )
    are_ready = ((place / "bus").exists, lambda: made.is_running)
    running = []
    with (directory / "log").open("wb") as log:
        try:
            for command, is_ready in zip(commands, are_ready, strict=True):
                process = subprocess.Popen(command, env=made.environment, stdout=log, stderr=log)
                running.append(process)
                deadline = time.monotonic() + _READY_S
                while not is_ready():
                    told = (directory / "log").read_text()
                    assert process.poll() is None, told
                    assert time.monotonic() < deadline, told
                    time.sleep(0.02)
            yield made
        finally:
            for process in reversed(running):
                process.terminate()
                process.wait(60)
            shutil.rmtree(place)
