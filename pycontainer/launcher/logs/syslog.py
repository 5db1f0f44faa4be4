"""Messages for a syslog server, local or remote, in the forms that Docker's driver offers.

A stream carries one message a line (RFC 6587, 3.4.2), which the messages, being lines, cannot break.
Source: RFC 3164, RFC 5424; moby, daemon/logger/syslog/syslog.go and its srslog.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from pycontainer.launcher.logs.lines import Message
from pycontainer.launcher.logs.local import STDOUT
from pycontainer.launcher.logs.remote import Connection
from pycontainer.launcher.logs.tls import Encrypted

__all__ = ["LOCAL", "connect", "encoder"]

LOCAL = ("/dev/log", "/var/run/syslog", "/var/run/log")
"""Where a host's own server listens."""

_INFO, _ERROR = 6, 3
_UNSUITABLE = re.compile(r"[^!-~]")
_MAX_APP_NAME, _MAX_MESSAGE_ID = 48, 32  # RFC 5424, 6.2.5 and 6.2.7
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def connect(
    kind: str, place: str, port: int, encryption: Mapping[str, Any] | None = None
) -> Callable[[float], Connection]:
    """What calls the server.

    kind: tcp, tcp+tls, udp, unix, unixgram or local; place: numeric address or path; encryption: see
    Encrypted.
    """

    def call(wait_s: float) -> Connection:
        if kind == "local":
            return _call_local(wait_s)
        if encryption is not None:
            return _call_encrypted(place, port, encryption, wait_s)
        if kind in ("tcp", "udp"):
            family = socket.AF_INET6 if ":" in place else socket.AF_INET
            style = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
            return _call(family, style, (place, port), wait_s)
        style = socket.SOCK_STREAM if kind == "unix" else socket.SOCK_DGRAM
        return _call(socket.AF_UNIX, style, place, wait_s)

    return call


def _call(family: int, style: int, address: str | tuple[str, int], wait_s: float) -> socket.socket:
    sock = socket.socket(family, style | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(wait_s)
        try:
            sock.connect(address)
        except BlockingIOError:
            pass  # what is sent tells whether it succeeded
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _call_encrypted(place: str, port: int, encryption: Mapping[str, Any], wait_s: float) -> Encrypted:
    family = socket.AF_INET6 if ":" in place else socket.AF_INET
    sock = _call(family, socket.SOCK_STREAM, (place, port), wait_s)
    try:
        return Encrypted(sock, encryption, wait_s)
    except BaseException:
        sock.close()
        raise


def _call_local(wait_s: float) -> socket.socket:
    problem: OSError | None = None
    for style in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        for path in LOCAL:
            try:
                return _call(socket.AF_UNIX, style, path, wait_s)
            except OSError as error:
                problem = problem or error
    assert problem is not None
    raise problem


def encoder(form: str, facility: int, tag: str, *, is_counted: bool = False) -> Callable[[Message], bytes]:
    """What writes a message out. form: "" (as programs write to /dev/log), rfc3164, rfc5424, rfc5424micro.

    is_counted: its length comes first (RFC 5425, 4.3).
    """
    host, pid = os.uname().nodename, os.getpid()
    clean = _UNSUITABLE.sub("_", tag)
    app, message_id = clean[:_MAX_APP_NAME] or "-", clean[:_MAX_MESSAGE_ID] or "-"

    def encode(message: Message) -> bytes:
        priority = facility * 8 + (_INFO if message.stream == STDOUT else _ERROR)
        if form.startswith("rfc5424"):
            when = _rfc3339(message.at_ns, form == "rfc5424micro")
            head = f"<{priority}>1 {when} {host} {app} {pid} {message_id} - "
        else:
            place = f" {host}" if form == "rfc3164" else ""
            head = f"<{priority}>{_stamp(message.at_ns)}{place} {clean}[{pid}]: "
        whole = head.encode("utf-8", "surrogateescape") + message.content + b"\n"
        return b"%d %s" % (len(whole), whole) if is_counted else whole

    return encode


def _stamp(at_ns: int) -> str:
    """RFC 3164, 4.1.2: local time, the day padded with a blank."""
    at = time.localtime(at_ns // 10**9)
    return f"{_MONTHS[at.tm_mon - 1]} {at.tm_mday:2d} {at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d}"


def _rfc3339(at_ns: int, has_fraction: bool) -> str:
    at = time.localtime(at_ns // 10**9)
    fraction = f".{at_ns % 10**9 // 1000:06d}" if has_fraction else ""
    sign, offset = ("-", -at.tm_gmtoff) if at.tm_gmtoff < 0 else ("+", at.tm_gmtoff)
    zone = f"{sign}{offset // 3600:02d}:{offset % 3600 // 60:02d}" if offset else "Z"
    return time.strftime("%Y-%m-%dT%H:%M:%S", at) + fraction + zone
