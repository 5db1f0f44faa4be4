"""How a link is made worse: what delays, loses or slows the packets that leave by it, as the kernel takes it.

A rate alone is a token bucket (tbf), which more kernels have; all else is netem's. Source:
include/uapi/linux/pkt_sched.h; net/sched/sch_netem.c, sch_tbf.c; tc-netem(8), tc-tbf(8).
"""

from __future__ import annotations

import struct

from attrs import frozen

from pycontainer.kernel.nfnetlink import attribute

__all__ = ["Shape"]

_KIND, _OPTIONS = 1, 2  # TCA_KIND, TCA_OPTIONS
_NETEM_RATE, _NETEM_RATE64, _NETEM_LATENCY64, _NETEM_JITTER64 = 6, 8, 10, 11
_TBF_PARMS, _TBF_RATE64, _TBF_BURST = 1, 4, 6
_ETHERNET = 1  # TC_LINKLAYER_ETHERNET: the kernel counts by itself and needs no table
_MAX_RATE32 = (1 << 32) - 1
_LEAST_BURST_BYTES = 64 << 10  # what the kernel hands over as one packet
_BURST_S, _QUEUE_S = 0.01, 0.1
_NETEM_PACKETS = 20_000  # of those under way; else what is in flight on a long, fast link would be lost


@frozen(kw_only=True)
class Shape:
    """What becomes of packets. latency_s, jitter_s: how late each is, and by how much more or less at random;
    loss: the part that is lost, 0 to 1; rate: bytes a second, 0 for no limit.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    rate: int = 0

    @property
    def kind(self) -> str:
        """The queue discipline that does it."""
        return "netem" if self.latency_s or self.jitter_s or self.loss else "tbf"

    def attributes(self) -> bytes:
        """Kind and options, as a message that makes it has them (rtnetlink(7))."""
        options = self._netem() if self.kind == "netem" else self._tbf()
        return attribute(_KIND, self.kind.encode() + b"\0") + attribute(_OPTIONS, options)

    def _netem(self) -> bytes:
        lost = min(round(self.loss * (1 << 32)), (1 << 32) - 1)
        options = struct.pack("=6I", 0, _NETEM_PACKETS, lost, 0, 0, 0)  # struct tc_netem_qopt
        options += attribute(_NETEM_LATENCY64, struct.pack("=q", round(self.latency_s * 1e9)))
        options += attribute(_NETEM_JITTER64, struct.pack("=q", round(self.jitter_s * 1e9)))
        if self.rate:
            rate = struct.pack("=IiIi", min(self.rate, _MAX_RATE32), 0, 0, 0)  # struct tc_netem_rate
            options += attribute(_NETEM_RATE, rate)
            options += attribute(_NETEM_RATE64, struct.pack("=Q", self.rate))
        return options

    def _tbf(self) -> bytes:
        burst = max(_LEAST_BURST_BYTES, round(self.rate * _BURST_S))
        queue = min(burst + max(_LEAST_BURST_BYTES, round(self.rate * _QUEUE_S)), _MAX_RATE32)
        # struct tc_ratespec of the rate and of no peak rate; limit, buffer (see TCA_TBF_BURST), mtu.
        rate = struct.pack("=BBHhHI", 0, _ETHERNET, 0, 0, 0, min(self.rate, _MAX_RATE32))
        options = attribute(_TBF_PARMS, rate + bytes(12) + struct.pack("=III", queue, 0, 0))
        options += attribute(_TBF_RATE64, struct.pack("=Q", self.rate))
        return options + attribute(_TBF_BURST, struct.pack("=I", min(burst, _MAX_RATE32)))
