"""How much a Dockerfile may ask for. Whoever wrote it is not trusted; each limit is far above real ones."""

from __future__ import annotations

MAX_FILE = 16 << 20  # bytes of a Dockerfile, here-documents included; BuildKit's transfer limit
MAX_LINE = 65535  # characters of one line without its end; BuildKit's scanner has the same
MAX_INSTRUCTIONS = 20_000  # each costs 70 us and 1 KiB until all is checked; MAX_FILE has room for 2 million
MAX_INSTRUCTION = 1 << 20  # characters of an instruction after joining its lines
MAX_HEREDOCS = 256  # here-documents of one instruction
MAX_NESTING = 100  # of `${a:-${b:-…}}`
MAX_WORD = 1 << 20  # characters a word may expand to; the kernel takes 128 KiB in a variable
MAX_WORK = 8 << 20  # characters of all that is put together on the way to it
MAX_EXPANDED = 64 << 20  # characters that all expansions of one stage may make
MAX_MATCHING = 50_000_000  # characters of a pattern times those of the value it is looked for in
MAX_STAGES = 10_000
