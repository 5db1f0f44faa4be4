"""Write pycontainer/runtime/seccomp/tables from the kernel's own headers; run by hand when these change.

    python tests/unit/runtime/make_syscall_tables.py [--check]

Needs a C preprocessor and Debian's linux-libc-dev, linux-libc-dev-arm64-cross and
linux-libc-dev-armhf-cross. Calls newer than those headers have one number on every architecture
(kernel scripts/syscall.tbl) and are listed here.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

TABLES = Path(__file__).parents[3] / "pycontainer/runtime/seccomp/tables"
X86 = "/usr/include/x86_64-linux-gnu/asm"
SOURCES = {
    "x86_64": ["/usr/include", "/usr/include/x86_64-linux-gnu", "-include", f"{X86}/unistd_64.h"],
    "x86": ["/usr/include", "/usr/include/x86_64-linux-gnu", "-include", f"{X86}/unistd_32.h"],
    "x32": [
        "/usr/include",
        "/usr/include/x86_64-linux-gnu",
        "-D__X32_SYSCALL_BIT=0",
        "-include",
        f"{X86}/unistd_x32.h",
    ],
    "aarch64": ["/usr/aarch64-linux-gnu/include", "", "-include", "asm/unistd.h"],
    "arm": [
        "/usr/arm-linux-gnueabihf/include",
        "",
        "-D__ARM_EABI__",
        "-U__x86_64__",
        "-include",
        "asm/unistd.h",
    ],
}
LATER = {
    "cachestat": 451,
    "fchmodat2": 452,
    "map_shadow_stack": 453,
    "futex_wake": 454,
    "futex_wait": 455,
    "futex_requeue": 456,
    "statmount": 457,
    "listmount": 458,
    "lsm_get_self_attr": 459,
    "lsm_set_self_attr": 460,
    "lsm_list_modules": 461,
    "mseal": 462,
    "setxattrat": 463,
    "getxattrat": 464,
    "listxattrat": 465,
    "removexattrat": 466,
    "open_tree_attr": 467,
    "file_getattr": 468,
    "file_setattr": 469,
}
# Of one architecture only, and newer than its headers.
OWN = {"x86_64": {"uretprobe": 335, "uprobe": 336}}
ABSENT = {"x32": {"map_shadow_stack"}}


def table(architecture: str) -> dict[str, int]:
    first, second, *options = SOURCES[architecture]
    command = [
        "cpp",
        "-dM",
        "-nostdinc",
        "-I",
        first,
        *(["-I", second] if second else []),
        *options,
        "/dev/null",
    ]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    macros = dict(re.findall(r"^#define (\w+) (.+)$", output, re.MULTILINE))

    def value(text: str) -> int:
        return int(
            eval(
                re.sub(r"\b[A-Za-z_]\w*", lambda match: str(value(macros[match[0]])), text.replace("UL", ""))
            )
        )

    found = {}
    for name, text in macros.items():
        match = re.fullmatch(r"__(?:ARM_)?NR_(?!SYSCALL|OABI|BASE|syscalls|arch_specific)(\w+)", name)
        if match and not name.endswith("_BASE"):
            found[match[1]] = value(text)
    found |= LATER | OWN.get(architecture, {})
    return {name: found[name] for name in found if name not in ABSENT.get(architecture, ())}


def text_of(architecture: str) -> str:
    lines = sorted((number, name) for name, number in table(architecture).items())
    return "".join(f"{number} {name}\n" for number, name in lines)


def main() -> int:
    stale = 0
    for architecture in SOURCES:
        path, text = TABLES / f"{architecture}.txt", text_of(architecture)
        if sys.argv[1:] == ["--check"]:
            stale += path.read_text() != text
        else:
            path.write_text(text)
    return int(stale > 0)


if __name__ == "__main__":
    sys.exit(main())
