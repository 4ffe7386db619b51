"""The system calls that no program in the sandbox may make, compiled once with libseccomp."""

from __future__ import annotations

import errno
import functools
import tempfile

NEVER = (
    "execveat", "fork", "vfork", "kill", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal",
    "ptrace", "process_vm_readv", "process_vm_writev", "connect", "bind", "listen", "accept", "accept4", "mount",
    "umount2", "pivot_root", "chroot", "unshare", "setns", "bpf", "perf_event_open", "keyctl", "add_key",
    "request_key", "io_uring_setup", "userfaultfd", "init_module", "finit_module", "delete_module", "kexec_load",
    "reboot", "swapon", "swapoff", "open_by_handle_at", "name_to_handle_at", "quotactl", "acct", "sethostname",
    "setdomainname", "settimeofday", "clock_settime", "adjtimex", "syslog", "memfd_create", "mknod", "mknodat",
)  # fmt: skip
"""Processes, signals to others, network, and what widens the ways into the kernel.

`execve` is not among them: it makes no process, and the program's own interpreter is started under this filter.
"""
THREAD, UNIX = 0x10000, 1
"""`CLONE_THREAD` and `AF_UNIX`: threads may start, and a pair of local sockets may be made (asyncio does)."""


@functools.cache
def compiled() -> bytes:
    """Return the filter as the kernel's instructions; empty where libseccomp or its bindings are not installed."""
    try:
        import pyseccomp as seccomp
    except (ImportError, RuntimeError):  # the bindings' own answer to a missing library
        return b""
    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    for name in NEVER:
        try:
            rules.add_rule(seccomp.KILL_PROCESS, name)
        except (OSError, ValueError):
            continue  # not on this architecture
    rules.add_rule(seccomp.KILL_PROCESS, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, THREAD, 0))
    # Its flags lie behind a pointer that no filter can follow: libc falls back to `clone`.
    rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    rules.add_rule(seccomp.KILL_PROCESS, "socket", seccomp.Arg(0, seccomp.NE, UNIX))
    rules.add_rule(seccomp.KILL_PROCESS, "prlimit64", seccomp.Arg(2, seccomp.NE, 0))
    with tempfile.TemporaryFile() as stream:
        rules.export_bpf(stream)
        stream.seek(0)
        return stream.read()
