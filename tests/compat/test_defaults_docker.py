"""A container started with defaults beside Docker's: what programs in it see, and each difference by name.

The whole list of differences is in docs/design/differences.md; one that is not there fails here, and so does
one there that is none any more.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer.runtime import seccomp
from tests.support import peers
from tests.support.peers import Docker
from tests.unit.runtime.bpf import AUDIT, run_filter

pytestmark = [
    pytest.mark.needs("root", "overlay", "dockerd", "containerd", "nsenter"),
    pytest.mark.timeout(180),
]

PAGE = Path(__file__).parents[2] / "docs/design/differences.md"
NAME = "compared"
PROBE = r"""
section() { echo "== $1"; }
section status; cat /proc/self/status
section mounts; cat /proc/self/mountinfo
section dev; find /dev ! -type l ! -path '/dev/pts/[0-9]*' -exec stat -c '%n|%F|%a|%u:%g|%t:%T' {} ';'
section links; find /dev -type l -exec sh -c 'echo "$0|$(readlink $0)"' {} ';'
section env; env
section limits; cat /proc/self/limits
section oom; cat /proc/self/oom_score_adj
section names; cat /etc/hostname; hostname
section hosts; cat /etc/hosts
section resolver; cat /etc/resolv.conf
section masks
for path in MASKS; do
  if [ -d $path ]; then echo "$path|directory|$(ls -A $path | wc -l)"
  elif [ -e $path ]; then echo "$path|file|$(head -c 100 $path 2>/dev/null | wc -c)"
  else echo "$path|absent|"; fi
done
section sealed
for path in /proc/sys /proc/sysrq-trigger /proc/bus /proc/fs /proc/irq /sys /sys/kernel /sys/fs/cgroup; do
  [ ! -e $path ] || echo "$path|$(touch -c $path 2>&1 | sed 's/.*: //')"
done
section sysctls
cd /proc/sys
for name in net/ipv4/ip_unprivileged_port_start net/ipv4/ping_group_range kernel/shmmax fs/mqueue/msg_max; do
  echo "$name|$(cat $name)"
done
cd /
section cgroup; cat /proc/self/cgroup
section keys; cat /proc/self/loginuid 2>/dev/null; echo; id; tty; true
"""
MASKS = (
    "/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug "
    "/proc/scsi /proc/timer_list /proc/timer_stats /sys/firmware /sys/devices/virtual/powercap"
)
STATUS = ("Umask", "Uid", "Gid", "Groups", "SigBlk", "SigIgn", "SigCgt", "NoNewPrivs", "Seccomp")
SCRIPT = PROBE.replace("MASKS", MASKS)
Facts = dict[str, str]


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    with peers.namespace() as space, peers.docker(space) as made:
        yield made


@pytest.fixture(scope="module")
def listed_docker(docker: Docker) -> Docker:
    """Docker of the version, on a host of the kind, that the page's lists are of."""
    version = docker("version", "--format", "{{.Server.Version}}").decode().strip()
    if not version.startswith("20.10."):
        pytest.skip(
            f"the lists are of Docker 20.10, this is {version}: apt-get install docker.io on Debian 12"
        )
    if not Path("/sys/fs/cgroup/memory").is_dir():
        pytest.skip("the lists are of a host with cgroups version 1")
    return docker


@pytest.fixture(scope="module")
def facts(
    docker: Docker, warm_image: tuple[pc.Engine, pc.Image], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Facts, Facts]:
    """What the probe sees in Docker's container and in ours."""
    engine, image = warm_image
    archive = tmp_path_factory.mktemp("image") / "busybox.tar"
    image.save(archive, format="docker-archive")
    docker("load", "--input", archive)
    theirs = docker("run", "--rm", "--hostname", NAME, "busybox:latest", "sh", "-c", SCRIPT).decode()
    ours = pc.run(image, ["sh", "-c", SCRIPT], hostname=NAME, engine=engine).check().text
    return read(theirs), read(ours)


@pytest.fixture(scope="module")
def warm_image(
    tmp_path_factory: pytest.TempPathFactory, busybox_layout: Path
) -> Iterator[tuple[pc.Engine, pc.Image]]:
    with pc.Engine(tmp_path_factory.mktemp("engine") / "store") as engine:
        yield engine, pc.Image.load(busybox_layout, engine=engine)[0].tag("busybox:latest")


def read(text: str) -> Facts:
    """The probe's output as facts by name, without what differs between two runs of one engine."""
    sections: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("== "):
            current = sections.setdefault(line[3:], [])
        else:
            current.append(line)
    facts: Facts = {}
    for line in sections["status"]:
        name, _, value = line.partition(":")
        if name.startswith("Cap") or name in STATUS:
            facts[f"status {name}"] = " ".join(value.split())
    for line in sections["mounts"]:
        facts.update(_mount(line))
    for section in ("dev", "links", "masks", "sealed", "sysctls"):
        for line in sections[section]:
            name, _, value = line.partition("|")
            facts[f"{section} {name}"] = value
    for line in sections["env"]:
        name, _, value = line.partition("=")
        facts[f"env {name}"] = value
    for line in sections["limits"][1:]:
        name, *values = re.split(r"\s{2,}", line.strip())
        facts[f"limit {name}"] = " ".join(values)
    for section in ("oom", "names", "hosts", "resolver", "keys"):
        facts[section] = "\n".join(line for line in sections[section] if line and not line.startswith("#"))
    facts["cgroup"] = (
        "root" if all(line.endswith(":/") for line in sections["cgroup"]) else "path of the host"
    )
    return facts


def _mount(line: str) -> Facts:
    fields, _, kind = line.partition(" - ")
    target, options = fields.split()[4], set(fields.split()[5].split(","))
    fstype, _source, rest = kind.split()
    kept = {
        word for word in rest.split(",") if not re.match(r"(lower|upper|work)dir|inode|xino|uuid|index", word)
    }
    if fstype == "overlay":
        kept &= {"ro", "rw"}
    return {f"mount {target}": f"{fstype} {','.join(sorted(options - {'relatime'} | kept - {'rw', 'ro'}))}"}


def differences(theirs: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    names = sorted({*theirs, *ours})
    return {
        name: (theirs.get(name, "none"), ours.get(name, "none"))
        for name in names
        if theirs.get(name) != ours.get(name)
    }


def _group(name: str) -> str:
    """The row of the page that speaks of a fact: cgroup mounts and the like are told of together."""
    if name.startswith("mount /sys/fs/cgroup"):
        return "mount /sys/fs/cgroup"
    return "mount of a masked path" if name.removeprefix("mount ") in MASKS.split() else name


def listed(heading: str) -> set[str]:
    """The facts that the page's table under a heading names."""
    part = PAGE.read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (`[^|]+`) \|", part, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


@pytest.mark.usefixtures("listed_docker")
def test_every_difference_is_on_the_page_and_the_page_names_no_other(facts: tuple[Facts, Facts]) -> None:
    found = differences(*facts)
    assert {_group(name) for name in found} == listed("What programs see, beside Docker"), repr(found)


def test_capabilities_devices_variables_and_limits_are_the_same(facts: tuple[Facts, Facts]) -> None:
    theirs, ours = facts
    for prefix in ("status Cap", "dev ", "env ", "limit ", "sysctls "):
        assert {k: v for k, v in ours.items() if k.startswith(prefix)} == {
            k: v for k, v in theirs.items() if k.startswith(prefix)
        }


# -- system calls --------------------------------------------------------------------------------------

_PTRACE_SEIZE, _PTRACE_INTERRUPT, _PTRACE_DETACH, _PTRACE_SECCOMP_GET_FILTER = 0x4206, 0x4207, 17, 0x420C
_ALLOW = 0x7FFF0000


def installed_filter(pid: int) -> bytes:
    """The system call filter that the kernel holds for a process, the last one installed."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    libc.ptrace.restype = ctypes.c_long

    def ptrace(request: int, address: int = 0, data: object = None) -> int:
        answer = int(libc.ptrace(request, pid, address, data))
        if answer < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return answer

    ptrace(_PTRACE_SEIZE)
    try:
        ptrace(_PTRACE_INTERRUPT)
        os.waitpid(pid, 0x40000000)  # __WALL
        length = ptrace(_PTRACE_SECCOMP_GET_FILTER)
        buffer = ctypes.create_string_buffer(length * 8)
        ptrace(_PTRACE_SECCOMP_GET_FILTER, 0, ctypes.cast(buffer, ctypes.c_void_p))
        return buffer.raw
    finally:
        ptrace(_PTRACE_DETACH)


def test_the_kernel_answers_system_calls_as_under_dockers_filter(
    listed_docker: Docker, warm_image: tuple[pc.Engine, pc.Image], facts: tuple[Facts, Facts]
) -> None:
    engine, image = warm_image
    docker = listed_docker
    name = docker("run", "--detach", "busybox:latest", "sleep", "1000").decode().strip()
    try:
        pid = int(docker("inspect", "--format", "{{.State.Pid}}", name))
        try:
            theirs = installed_filter(pid)
        except OSError as problem:
            pytest.skip(f"this kernel does not show filters (CONFIG_CHECKPOINT_RESTORE): {problem}")
    finally:
        docker("rm", "--force", name)
    with pc.Container(image, ["sleep", "1000"], engine=engine) as box:
        assert box.pid is not None
        ours = installed_filter(box.pid)
    machine = os.uname().machine
    values = (0, 16, 38, 40, 0x10000000, 0x20008, 2**64 - 1)
    found = set()
    for call, number in seccomp.syscall_table(machine).items():
        for value in values:
            args = (value, 2**64 - 1, 0, 0, 0, 0)
            verdicts = [run_filter(program, number, AUDIT[machine], args) for program in (theirs, ours)]
            if verdicts[0] != verdicts[1]:
                kinds = ["allowed" if verdict == _ALLOW else "refused" for verdict in verdicts]
                found.add(call if kinds[0] != kinds[1] else f"{call} (errno)")
    assert found == listed("System calls, beside Docker 20.10"), " ".join(sorted(found))
