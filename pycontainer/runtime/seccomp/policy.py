"""The default system call policy, as data: what any container may call, and what its capabilities add.

The same as Docker's default in effect: everything not named fails with EPERM, calls newer than the policy
with ENOSYS so that programs fall back. Verdicts, not code, follow moby/profiles seccomp (July 2026).
Left out on purpose, among others: keyrings, io_uring, userfaultfd, kexec, swap, new mounts and namespaces,
and socket families whose code is gone or dangerous (AF_ALG: CVE-2026-31431; AF_VSOCK reaches the host).
On 32-bit x86 socketcall hides the family behind a pointer, where no filter sees it.
"""

from __future__ import annotations

import functools

from pycontainer.runtime.seccomp.profile import ArgTest, Profile, Rule, allow

_ENOSYS = 38
_CLONE_NEW_ANY = 0x7E020000  # new cgroup, uts, ipc, user, pid, net and mount namespaces

_FILES = """
access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64
fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync
ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat ioctl lchown lchown32
lgetxattr link linkat listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat
lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pipe pipe2 pread64
preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr removexattrat
rename renameat renameat2 rmdir sendfile sendfile64 setxattr setxattrat splice stat stat64 statfs statfs64
statmount statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat
utime utimensat utimensat_time64 utimes vmsplice write writev cachestat
"""
_EVENTS = """
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel
io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit _newselect poll ppoll
ppoll_time64 pselect6 pselect6_time64 select signalfd signalfd4 timerfd_create timerfd_gettime
timerfd_gettime64 timerfd_settime timerfd_settime64
"""
_PROCESSES = """
capget capset execve execveat exit exit_group fork getegid getegid32 geteuid geteuid32 getgid getgid32
getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getresgid getresgid32 getresuid getresuid32
getrlimit getrusage getsid gettid getuid getuid32 get_robust_list get_thread_area ioprio_get ioprio_set kill
pause pidfd_open pidfd_send_signal prctl prlimit64 process_mrelease restart_syscall rseq rt_sigaction
rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam
sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval
sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setpgid setpriority setregid
setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setuid setuid32
set_robust_list set_thread_area set_tid_address sigaltstack sigprocmask sigreturn tgkill tkill ugetrlimit
vfork wait4 waitid waitpid
"""
_MEMORY = """
brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2
mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages
"""
_IPC = """
futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake ipc mq_getsetattr mq_notify mq_open
mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv
msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget
"""
_SOCKETS = """
accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64
recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair
"""
_TIME_AND_SYSTEM = """
adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
clock_nanosleep clock_nanosleep_time64 getcpu getitimer getrandom gettimeofday landlock_add_rule
landlock_create_ruleset landlock_restrict_self nanosleep riscv_hwprobe seccomp setitimer sysinfo time
timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 times
uname uretprobe
"""

_SYS_ADMIN = """
bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl
quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare
"""
_ARM = "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"
_BY_CAPABILITY = {
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_ADMIN": _SYS_ADMIN,
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module init_module finit_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYSLOG": "syslog",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
}

# Families of socket(2) beyond the run 0-11 (unspecified, unix, inet, ax25, ipx, appletalk, netrom, bridge,
# atmpvc, x25, inet6, rose): netbeui, security, key, netlink, packet, ash, rds, sna, pppox, llc, ib, mpls,
# can, tipc, bluetooth, iucv, rxrpc, phonet, ieee802154, nfc, kcm, qipcrtr, smc, xdp, mctp.
_LAST_OF_RUN = 11
_FAMILIES = (
    *(13, 14, 15, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29, 30, 31, 32, 33, 35, 36),
    *(39, 41, 42, 43, 44, 45),
)
# Linux, 32-bit with and without short inodes, and the query of the current one.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)


@functools.cache
def default_profile() -> Profile:
    """The policy of every container that does not name another."""
    free = " ".join((_FILES, _EVENTS, _PROCESSES, _MEMORY, _IPC, _SOCKETS, _TIME_AND_SYSTEM))
    rules = [
        allow(free),
        # Before 4.8 a tracer could change a call after the filter had seen it.
        allow("process_vm_readv process_vm_writev ptrace", min_kernel=(4, 8)),
        allow("socket", args=(ArgTest(0, "lt", _LAST_OF_RUN + 1),)),
        *(allow("socket", args=(ArgTest(0, "eq", family),)) for family in _FAMILIES),
        *(allow("personality", args=(ArgTest(0, "eq", value),)) for value in _PERSONALITIES),
        allow(_ARM, arches=("aarch64",)),
        allow("arch_prctl modify_ldt", arches=("x86_64",)),
        allow("riscv_flush_icache", arches=("riscv64",)),
        *(allow(names, caps=(capability,)) for capability, names in _BY_CAPABILITY.items()),
        allow("clone", args=(ArgTest(0, "masked_eq", _CLONE_NEW_ANY, 0),), not_caps=("CAP_SYS_ADMIN",)),
        # Its flags are behind a pointer: refuse as unknown, so that C libraries fall back to clone.
        Rule(("clone3",), "errno", _ENOSYS, not_caps=("CAP_SYS_ADMIN",)),
    ]
    return Profile(tuple(rules), default_action="errno", default_errno=1)
