"""The default policy and its compilation, run instruction by instruction."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from pycontainer.errors import InvalidOption, Unsupported
from pycontainer.runtime import seccomp
from pycontainer.runtime.defaults import CAPABILITIES
from pycontainer.runtime.seccomp.profile import ArgTest, Profile, Rule
from tests.unit.runtime.bpf import ALLOW, AUDIT, ENOSYS, EPERM, ERRNO, KILL_PROCESS, X32_BIT, run_filter

HOSTS = {"x86_64": ("x86_64", "x86", "x32"), "aarch64": ("aarch64", "arm")}
EVERY_TABLE = [(host, table) for host, tables in HOSTS.items() for table in tables]


def verdict(program: bytes, table: str, name: str | int, *args: int) -> int:
    number = seccomp.syscall_table(table)[name] if isinstance(name, str) else name
    if table == "x32":
        return run_filter(program, number | X32_BIT, AUDIT["x86_64"], args)
    return run_filter(program, number, AUDIT[table], args)


def compiled(*caps: str, host: str = "x86_64", kernel: tuple[int, int] = (6, 1)) -> bytes:
    return seccomp.compile(seccomp.default_profile(), (*CAPABILITIES, *caps), host, kernel)


def without(capability: str) -> bytes:
    caps = [name for name in CAPABILITIES if name != capability]
    return seccomp.compile(seccomp.default_profile(), caps, "x86_64", (6, 1))


BLOCKED = """
    mount umount2 pivot_root unshare setns fsopen fsmount move_mount open_tree mount_setattr bpf
    perf_event_open keyctl add_key request_key userfaultfd io_uring_setup io_uring_enter
    io_uring_register kexec_load kexec_file_load init_module finit_module delete_module swapon
    swapoff quotactl open_by_handle_at reboot acct settimeofday clock_settime iopl ioperm vhangup
    lookup_dcookie syslog fanotify_init kcmp pidfd_getfd process_madvise nfsservctl move_pages
    migrate_pages mbind set_mempolicy get_mempolicy sethostname setdomainname ustat sysfs uselib
    lsm_get_self_attr
""".split()


@pytest.mark.parametrize("name", BLOCKED)
def test_a_dangerous_call_is_refused_without_its_capability(name: str) -> None:
    assert verdict(compiled(), "x86_64", name) == EPERM


@pytest.mark.parametrize(
    ("capability", "names"),
    [
        (
            "CAP_SYS_ADMIN",
            "mount umount2 unshare setns bpf fsopen clone3 quotactl sethostname lsm_get_self_attr",
        ),
        ("CAP_SYS_MODULE", "init_module finit_module delete_module"),
        ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
        ("CAP_SYS_TIME", "settimeofday clock_settime"),
        ("CAP_SYS_NICE", "mbind set_mempolicy get_mempolicy set_mempolicy_home_node"),
        ("CAP_SYS_BOOT", "reboot"),
        ("CAP_SYS_PACCT", "acct"),
        ("CAP_SYS_RAWIO", "iopl ioperm"),
        ("CAP_SYS_TTY_CONFIG", "vhangup"),
        ("CAP_SYSLOG", "syslog"),
        ("CAP_BPF", "bpf"),
        ("CAP_PERFMON", "perf_event_open"),
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ],
)
def test_a_capability_opens_its_calls_and_no_others(capability: str, names: str) -> None:
    plain, opened = compiled(), compiled(capability)
    table = seccomp.syscall_table("x86_64")
    changed = {
        name
        for name in table
        if verdict(plain, "x86_64", name, 0x10000000) != verdict(opened, "x86_64", name, 0x10000000)
    }
    assert changed.issuperset(names.split())
    assert all(verdict(opened, "x86_64", name) == ALLOW for name in names.split())
    by_capability = {
        name for rule in seccomp.default_profile().rules if capability in rule.caps for name in rule.names
    }
    assert changed <= by_capability


def test_chroot_goes_with_its_capability() -> None:
    assert verdict(compiled(), "x86_64", "chroot") == ALLOW
    assert verdict(without("CAP_SYS_CHROOT"), "x86_64", "chroot") == EPERM


@pytest.mark.parametrize(("host", "table"), EVERY_TABLE)
def test_ordinary_programs_run_on_every_table(host: str, table: str) -> None:
    program = compiled(host=host)
    for name in (
        "read",
        "write",
        "execve",
        "openat",
        "exit_group",
        "futex",
        "prctl",
        "statx",
        "clock_nanosleep",
    ):
        assert verdict(program, table, name) == ALLOW
    for name in ("unshare", "mount", "keyctl", "bpf", "io_uring_setup"):
        assert verdict(program, table, name) == EPERM


NEW_NAMESPACES = [0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000]


@pytest.mark.parametrize("flag", NEW_NAMESPACES)
def test_clone_may_not_make_a_namespace(flag: int) -> None:
    assert verdict(compiled(), "x86_64", "clone", flag | 17) == EPERM
    assert verdict(compiled("CAP_SYS_ADMIN"), "x86_64", "clone", flag | 17) == ALLOW


def test_clone_makes_processes_and_threads() -> None:
    for flags in (17, 0x3D0F00, 0x1200011, 0xFFFFFFFF00000011):
        assert verdict(compiled(), "x86_64", "clone", flags) == ALLOW


def test_clone3_is_unknown_so_that_programs_fall_back() -> None:
    assert verdict(compiled(), "x86_64", "clone3") == ENOSYS


@pytest.mark.parametrize(
    ("persona", "expected"),
    [
        (0, ALLOW),
        (8, ALLOW),
        (0x20000, ALLOW),
        (0x20008, ALLOW),
        (0xFFFFFFFF, ALLOW),
        (0x40000, EPERM),  # ADDR_NO_RANDOMIZE
        (0x100000000, EPERM),
        (0xFFFFFFFFFFFFFFFF, EPERM),
    ],
)
def test_only_five_personalities_can_be_taken(persona: int, expected: int) -> None:
    assert verdict(compiled(), "x86_64", "personality", persona) == expected


@pytest.mark.parametrize("family", range(64))
def test_sockets_of_gone_and_dangerous_families_are_refused(family: int) -> None:
    gone = {12, 19, 20, 23, 25, 34, 37}
    dangerous = {38, 40}  # AF_ALG, AF_VSOCK
    expected = EPERM if family in gone | dangerous or family > 45 else ALLOW
    assert verdict(compiled(), "x86_64", "socket", family) == expected
    assert verdict(compiled("CAP_SYS_ADMIN"), "x86_64", "socket", family) == expected
    assert verdict(compiled(host="aarch64"), "arm", "socket", family) == expected


def test_the_upper_half_of_an_argument_counts() -> None:
    assert verdict(compiled(), "x86_64", "socket", 2 | 1 << 32) == EPERM


@pytest.mark.parametrize(("host", "table"), EVERY_TABLE)
def test_calls_newer_than_the_policy_are_unknown_not_forbidden(host: str, table: str) -> None:
    program = compiled(host=host)
    for number in (467, 468, 480, 511, 600, 9999, 0x3FFFFFFF):
        assert verdict(program, table, number) == ENOSYS
    assert run_filter(program, 0xFFFFFFFF, AUDIT[host]) == ENOSYS


def test_numbers_that_are_no_call_are_unknown() -> None:
    assert verdict(compiled(), "x86_64", 400) == ENOSYS


@pytest.mark.parametrize("arch", [0, 0xC0000015, 0x40000028, 0xFFFFFFFF])
def test_a_foreign_architecture_ends_the_process(arch: int) -> None:
    assert run_filter(compiled(), 1, arch) == KILL_PROCESS


def test_ptrace_needs_a_kernel_that_filters_after_it() -> None:
    assert verdict(compiled(kernel=(4, 8)), "x86_64", "ptrace") == ALLOW
    assert verdict(compiled(kernel=(4, 7)), "x86_64", "ptrace") == EPERM


def test_calls_of_one_architecture_are_open_there() -> None:
    assert verdict(compiled(), "x86_64", "arch_prctl") == ALLOW
    assert verdict(compiled(), "x86", "modify_ldt") == ALLOW
    for name in ("set_tls", "cacheflush", "breakpoint", "arm_fadvise64_64", "sync_file_range2"):
        assert verdict(compiled(host="aarch64"), "arm", name) == ALLOW
    assert verdict(compiled(host="aarch64"), "arm", "usr32") == EPERM


def _expected(profile: Profile, name: str, args: list[int]) -> int:
    """What the rules mean, written without a compiler."""
    rules = [rule for rule in profile.rules if name in rule.names]
    codes = {"allow": ALLOW, "errno": ERRNO, "kill": 0, "log": 0x7FFC0000, "trap": 0x30000}
    plain = [rule for rule in rules if not rule.args]
    for rule in plain[-1:] or rules:
        if all(_holds(test, args[test.position]) for test in rule.args):
            code = profile.default_errno if rule.errno is None else rule.errno
            return codes[rule.action] | (code if rule.action == "errno" else 0)
    return ERRNO | profile.default_errno


def _holds(test: ArgTest, value: int) -> bool:
    return {
        "eq": value == test.value,
        "ne": value != test.value,
        "lt": value < test.value,
        "le": value <= test.value,
        "gt": value > test.value,
        "ge": value >= test.value,
        "masked_eq": value & test.value == test.value_two,
    }[test.operator]


@pytest.mark.parametrize("seed", range(40))
def test_any_profile_means_what_its_rules_say(seed: int) -> None:
    chance = random.Random(seed)
    values = [0, 1, 2, 7, 0xFFFFFFFF, 0x100000000, 0x100000001, 2**64 - 1, 0xABCD00000000]
    names = list(seccomp.syscall_table("x86_64"))[:350]
    rules = []
    for _ in range(chance.choice([5, 30, 60])):
        args = tuple(
            ArgTest(
                chance.randrange(6),
                chance.choice(["eq", "ne", "lt", "le", "gt", "ge", "masked_eq"]),
                chance.choice(values),
                chance.choice(values),
            )
            for _ in range(chance.choice([0, 1, 1, 2, 3]))
        )
        rules.append(
            Rule(
                tuple(chance.sample(names, chance.choice([1, 3]))),
                chance.choice(["allow", "errno", "kill", "log"]),
                chance.choice([None, 22]),
                args,
            )
        )
    profile = Profile(tuple(rules), "errno", 13)
    program = seccomp.compile(profile, (), "x86_64")
    table = seccomp.syscall_table("x86_64")
    newest = max(table[name] for rule in rules for name in rule.names)
    for name in names:
        args_given = [chance.choice(values) for _ in range(6)]
        expected = _expected(profile, name, args_given) if table[name] <= newest else ENOSYS
        assert verdict(program, "x86_64", name, *args_given) == expected, name


def test_several_tests_of_one_argument_are_alternatives() -> None:
    """As runc reads them; tests of different arguments hold together."""
    tests = [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"} for value in (100, 9001)]
    both = [{"index": index, "value": 7, "op": "SCMP_CMP_EQ"} for index in (0, 1)]
    document = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22, "args": tests},
            {"names": ["write"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22, "args": both},
        ],
    }
    program = seccomp.compile(seccomp.parse(document), (), "x86_64")
    refused, allowed = verdict(program, "x86_64", "read", 100), verdict(program, "x86_64", "read", 1)
    assert refused == verdict(program, "x86_64", "read", 9001) != allowed
    assert verdict(program, "x86_64", "write", 7, 7) == refused
    assert verdict(program, "x86_64", "write", 7, 8) == verdict(program, "x86_64", "write", 8, 7) == allowed


def test_a_filter_is_compiled_once(tmp_path: Path) -> None:
    assert compiled() is compiled()
    profile = seccomp.default_profile()._replace(default_errno=5)
    first = seccomp.compile(profile, (), "x86_64", cache_directory=tmp_path / "filters")
    (stored,) = (tmp_path / "filters").iterdir()
    other = profile._replace(default_errno=6)
    assert seccomp.compile(other, (), "x86_64") != first
    stored.write_bytes(stored.read_bytes()[:-8])  # a write that a full disk cut short
    compiler: Any = sys.modules["pycontainer.runtime.seccomp.compile"]
    compiler._cache.clear()
    assert seccomp.compile(profile, (), "x86_64", cache_directory=tmp_path / "filters") == first
    compiler._cache.clear()
    assert seccomp.compile(profile, (), "x86_64", cache_directory=tmp_path / "filters") == first


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    profile = seccomp.default_profile()._replace(default_errno=7)
    assert seccomp.compile(profile, (), "x86_64", cache_directory=tmp_path / "file" / "below")


def test_an_architecture_without_tables_is_unsupported() -> None:
    with pytest.raises(Unsupported, match=r"riscv64.*unconfined"):
        seccomp.compile(seccomp.default_profile(), (), "riscv64")


DOCKER_FORM = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 2,
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
        {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
        {"name": "getpid", "action": "SCMP_ACT_LOG", "args": None},
        {
            "names": ["personality"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}],
        },
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}},
        {
            "names": ["clone3"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 38,
            "excludes": {"caps": ["CAP_SYS_ADMIN"]},
        },
    ],
}


def test_dockers_json_form_is_read(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(DOCKER_FORM))
    profile = seccomp.load(path)
    program = seccomp.compile(profile, (), "x86_64", (6, 1))
    assert verdict(program, "x86_64", "read") == ALLOW
    assert verdict(program, "x86_64", "getpid") == 0x7FFC0000
    assert verdict(program, "x86_64", "personality", 8) == ALLOW
    assert verdict(program, "x86_64", "personality", 9) == ERRNO | 2
    assert verdict(program, "x86_64", "mount") == ERRNO | 2
    assert verdict(seccomp.compile(profile, ["CAP_SYS_ADMIN"], "x86_64"), "x86_64", "mount") == ALLOW
    assert verdict(seccomp.compile(profile, (), "x86_64", (4, 7)), "x86_64", "ptrace") == ERRNO | 2
    assert verdict(program, "x86_64", "clone3") == ENOSYS
    assert verdict(seccomp.compile(profile, (), "aarch64"), "aarch64", "read") == ALLOW


@pytest.mark.parametrize(
    "document",
    [
        "",
        "[]",
        "{}",
        '{"defaultAction": "NOPE"}',
        '{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5000}',
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_ALLOW"}]}',
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [3], "action": "SCMP_ACT_ALLOW"}]}',
        (
            '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_ERRNO",'
            ' "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}'
        ),
        (
            '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_ERRNO",'
            ' "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_X"}]}]}'
        ),
        "[" * 5000,
    ],
)
def test_a_broken_profile_is_an_error_naming_the_file(tmp_path: Path, document: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(document)
    with pytest.raises(InvalidOption, match=r"profile\.json"):
        seccomp.load(path)


def test_a_profile_that_is_missing_or_huge_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="No such file"):
        seccomp.load(tmp_path / "none.json")
    (tmp_path / "huge.json").write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(InvalidOption, match="larger"):
        seccomp.load(tmp_path / "huge.json")


def test_a_profile_with_a_listener_is_unsupported(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text('{"defaultAction": "SCMP_ACT_NOTIFY"}')
    with pytest.raises(Unsupported, match="listening process"):
        seccomp.load(path)


def test_a_profile_too_large_for_the_kernel_is_refused() -> None:
    rules = tuple(
        Rule((name,), "allow", None, tuple(ArgTest(index, "eq", number) for index in range(6)))
        for name, number in seccomp.syscall_table("x86_64").items()
    )
    with pytest.raises(InvalidOption, match="4096"):
        seccomp.compile(Profile(rules, "errno"), (), "x86_64")


def test_the_filter_stays_far_below_the_kernels_limit() -> None:
    assert len(compiled()) // 8 < 1024
