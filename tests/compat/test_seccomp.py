"""Our compiler against libseccomp: the same rules give the same verdict for every number and argument."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Sequence

import pytest

from pycontainer.runtime import seccomp
from pycontainer.runtime.defaults import CAPABILITIES
from pycontainer.runtime.seccomp.profile import Profile
from tests.unit.runtime.bpf import ALLOW, AUDIT, ENOSYS, EPERM, KILL_PROCESS, X32_BIT, run_filter

_OPERATORS = {"ne": 1, "lt": 2, "le": 3, "eq": 4, "ge": 5, "gt": 6, "masked_eq": 7}
_ACTIONS = {"allow": ALLOW, "errno": 0x00050000}
_TOKENS = {
    "x86_64": 0xC000003E,
    "x86": 0x40000003,
    "x32": 0x4000003E,
    "aarch64": 0xC00000B7,
    "arm": 0x40000028,
}


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


@pytest.fixture(scope="module")
def libseccomp() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("libseccomp is not installed: apt-get install libseccomp2")
    library.seccomp_init.restype = ctypes.c_void_p
    return library


def _reference(
    library: ctypes.CDLL, profile: Profile, caps: Sequence[str], host: str, tables: Sequence[str]
) -> bytes:
    """The same rules through libseccomp, as runc would add them."""
    context = ctypes.c_void_p(library.seccomp_init(_ACTIONS["errno"] | profile.default_errno))
    assert context.value
    try:
        if library.seccomp_arch_exist(context, _TOKENS[host]) != 0:
            library.seccomp_arch_remove(context, library.seccomp_arch_native())
            assert library.seccomp_arch_add(context, _TOKENS[host]) == 0
        for table in tables[1:]:
            assert library.seccomp_arch_add(context, _TOKENS[table]) == 0
        for rule in profile.rules:
            if not rule.applies(frozenset(caps), host, (6, 1)):
                continue
            action = _ACTIONS[rule.action] | (rule.errno or 0)
            tests = [_Comparison(test.position, _OPERATORS[test.operator], *test[2:]) for test in rule.args]
            array = (_Comparison * len(tests))(*tests)
            for name in rule.names:
                number = library.seccomp_syscall_resolve_name(name.encode())
                if number != -1:  # a call that this libseccomp does not know
                    code = library.seccomp_rule_add_array(context, action, number, len(tests), array)
                    assert code == 0, (name, code)
        with tempfile.TemporaryFile() as file:
            assert library.seccomp_export_bpf(context, file.fileno()) == 0
            file.seek(0)
            return file.read()
    finally:
        library.seccomp_release(context)


_VALUES = (
    0,
    1,
    8,
    16,
    38,
    40,
    0x20008,
    0x10000011,
    0x3D0F00,
    0xFFFFFFFF,
    0x100000000,
    0x10000000000,
    2**64 - 1,
)


@pytest.mark.parametrize(
    ("host", "tables"), [("x86_64", ("x86_64", "x32", "x86")), ("aarch64", ("aarch64", "arm"))]
)
@pytest.mark.parametrize("extra", [(), ("CAP_SYS_ADMIN",), ("CAP_SYS_PTRACE", "CAP_SYS_NICE")])
def test_every_call_gets_the_verdict_of_libseccomp(
    libseccomp: ctypes.CDLL, host: str, tables: tuple[str, ...], extra: tuple[str, ...]
) -> None:
    caps = (*CAPABILITIES, *extra)
    profile = seccomp.default_profile()
    ours = seccomp.compile(profile, caps, host, (6, 1))
    theirs = _reference(libseccomp, profile, caps, host, tables)
    differing = []
    for table in tables:
        by_number = {number: name for name, number in seccomp.syscall_table(table).items()}
        for number in sorted(by_number):
            if libseccomp.seccomp_syscall_resolve_name(by_number[number].encode()) == -1:
                continue  # a call newer than this libseccomp
            full = number | X32_BIT if table == "x32" else number
            audit = AUDIT["x86_64"] if table == "x32" else AUDIT[table]
            # A 32-bit program's arguments are 32-bit numbers; libseccomp looks no further.
            width = 2**32 - 1 if table in ("x86", "x32", "arm") else 2**64 - 1
            tests_arguments = any(rule.args and by_number[number] in rule.names for rule in profile.rules)
            for value in _VALUES if tests_arguments else (0,):
                args = (value & width, width, width, 0, 0, 0)
                mine, reference = run_filter(ours, full, audit, args), run_filter(theirs, full, audit, args)
                if mine != reference:
                    differing.append((table, by_number[number], hex(value), hex(mine), hex(reference)))
    assert not differing, differing


@pytest.mark.needs("seccomp")
def test_the_kernel_takes_the_filter_and_obeys_it() -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers below are those of x86_64")
    program = seccomp.compile(seccomp.default_profile(), CAPABILITIES, "x86_64", (6, 1))
    # unshare(user), clone3, keyctl, io_uring_setup, a call from the future, getpid
    calls = [(272, 0x10000000), (435, 0), (250, 0), (425, 1), (999, 0)]
    assert _errors_under(program, calls) == [1, 38, 1, 1, 38]
    expected = [EPERM, ENOSYS, EPERM, EPERM, ENOSYS]
    assert [run_filter(program, number, AUDIT["x86_64"], (first,)) for number, first in calls] == expected


def test_a_foreign_architecture_kills_in_every_filter() -> None:
    for host in ("x86_64", "aarch64"):
        program = seccomp.compile(seccomp.default_profile(), CAPABILITIES, host, (6, 1))
        assert run_filter(program, 1, 0xC0000015) == KILL_PROCESS


def _errors_under(program: bytes, calls: Sequence[tuple[int, int]]) -> list[int]:
    """errno of each call in a child process that runs under the filter."""
    from pycontainer.kernel import syscalls

    libc = ctypes.CDLL(None, use_errno=True)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            syscalls.prctl(38, 1)  # PR_SET_NO_NEW_PRIVS: else loading needs CAP_SYS_ADMIN
            syscalls.seccomp_load(program, 0)
            for number, first in calls:
                ctypes.set_errno(0)
                libc.syscall(
                    ctypes.c_long(number), ctypes.c_ulong(first), ctypes.c_ulong(0), ctypes.c_ulong(0)
                )
                os.write(writer, bytes([ctypes.get_errno()]))
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        answers = list(file.read())
    assert os.waitpid(child, 0)[1] == 0
    return answers
