"""A small assembler for classic BPF that writes a program from its end to its beginning.

Written backwards, every jump's target is already placed when the jump is written, so that its distance is
known and nothing needs patching. A place in the program is the number of instructions from it to the end.
Conditional jumps reach 255 instructions; beyond, an unconditional one is put between.
Source: kernel Documentation/networking/filter.rst; linux/bpf_common.h.
"""

from __future__ import annotations

import struct

from pycontainer.errors import InvalidOption

LOAD = 0x20  # A = 32-bit word at an offset of seccomp_data
AND = 0x54
JUMP = 0x05
JUMP_EQUAL = 0x15
JUMP_GREATER = 0x25
JUMP_GREATER_EQUAL = 0x35
RETURN = 0x06
MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
_REACH = 255


class Assembler:
    """A program in the making; every method returns the place of what it wrote."""

    def __init__(self) -> None:
        self._reversed: list[tuple[int, int, int, int]] = []
        self._returns: dict[int, int] = {}

    def _put(self, code: int, value: int, if_true: int = 0, if_false: int = 0) -> int:
        self._reversed.append((code, if_true, if_false, value))
        return len(self._reversed)

    def ret(self, value: int) -> int:
        """End with a verdict; one nearby that says the same is used again."""
        place = self._returns.get(value)
        if place is None or len(self._reversed) - place > _REACH // 2:
            place = self._returns[value] = self._put(RETURN, value)
        return place

    def load(self, offset: int, then: int) -> int:
        """A = the word at offset of seccomp_data."""
        self._follow(then)
        return self._put(LOAD, offset)

    def mask(self, bits: int, then: int) -> int:
        """A &= bits."""
        self._follow(then)
        return self._put(AND, bits)

    def jump_if(self, test: int, value: int, if_true: int, if_false: int) -> int:
        """Compare A with a value, unsigned."""
        # A far target costs a jump in between, which moves the other target one further away.
        if len(self._reversed) - if_true >= _REACH:
            if_true = self._jump(if_true)
        if len(self._reversed) - if_false > _REACH:
            if_false = self._jump(if_false)
        here = len(self._reversed)
        return self._put(test, value, here - if_true, here - if_false)

    def _jump(self, target: int) -> int:
        return self._put(JUMP, len(self._reversed) - target)

    def _follow(self, then: int) -> None:
        """Make `then` the next instruction."""
        if len(self._reversed) != then:
            self._jump(then)

    def program(self, start: int) -> bytes:
        """The instructions as struct sock_filter, in the order of running.

        Raises: InvalidOption when the kernel would not take that many.
        """
        self._follow(start)
        if len(self._reversed) > MAX_INSTRUCTIONS:
            raise InvalidOption(
                f"the seccomp profile compiles to {len(self._reversed)} instructions, and the kernel takes "
                f"{MAX_INSTRUCTIONS}; use fewer rules with argument tests"
            )
        return b"".join(struct.pack("=HBBI", *instruction) for instruction in reversed(self._reversed))
