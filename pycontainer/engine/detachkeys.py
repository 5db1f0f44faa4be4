"""The keys that leave a container's terminal without ending anything: read as text, seen in what is typed.

No I/O. Source: moby/term, ascii.go and proxy.go.
"""

from __future__ import annotations

from pycontainer.errors import InvalidOption

__all__ = ["DEFAULT", "KeyMatcher", "parse_keys"]

DEFAULT = "ctrl-p,ctrl-q"

_MAX_KEYS = 32


def parse_keys(text: str) -> bytes:
    """The bytes that keys such as "ctrl-p,ctrl-q" or "ctrl-a,d" send; "" for no such keys.

    A key is one ASCII character, or ctrl- and one of a-z @ [ \\ ] ^ _. Raises InvalidOption.
    """
    if not text:
        return b""
    found = bytearray()
    for key in text.split(","):
        name = key.removeprefix("ctrl-") if len(key) > 1 else key
        code = ord(name) if len(name) == 1 and name.isascii() else 0
        if code and key == name:
            found.append(code)
        elif code and (name.islower() or name in "@[\\]^_"):
            found.append(code & 0x1F)
        else:
            raise InvalidOption(
                f"detach_keys={text!r}: {key!r} is no key; give characters and ctrl-a to ctrl-z, "
                f"as {DEFAULT!r}"
            )
    if len(found) > _MAX_KEYS:
        raise InvalidOption(f"detach_keys={text!r}: {len(found)} keys are more than {_MAX_KEYS}")
    return bytes(found)


class KeyMatcher:
    """Looks for the keys in what is typed, and holds back what may be their beginning."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = 0  # how many of the keys were typed just now

    def feed(self, typed: bytes) -> tuple[bytes, bool]:
        """What is to be passed on, and whether the keys were typed; what follows them is dropped."""
        if not self._keys:
            return typed, False
        passed = bytearray()
        for code in typed:
            pending = self._keys[: self._held] + bytes((code,))
            # The longest end of what is pending that the keys begin with may still become all of them.
            while not self._keys.startswith(pending):
                passed.append(pending[0])
                pending = pending[1:]
            self._held = len(pending)
            if self._held == len(self._keys):
                self._held = 0
                return bytes(passed), True
        return bytes(passed), False

    def rest(self) -> bytes:
        """What is held back still, when nothing more is typed."""
        held, self._held = self._keys[: self._held], 0
        return held
