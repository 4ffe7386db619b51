"""Limits, privileges and system calls of one process, given up for good."""

from __future__ import annotations

import ctypes
import os
import resource

DESCRIPTORS = 64
"""Files a program may have open at once."""
NO_NEW_PRIVILEGES, SET_SECCOMP, SECCOMP_FILTER, DIE_WITH_PARENT, ADOPT = 38, 22, 2, 1, 36
"""Options of prctl(2)."""
CAPABILITIES = 0x20080522
"""Version 3 of capset(2)."""
INSTRUCTION = 8
"""Bytes of one instruction of a filter."""

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def confine(cpu: int, memory: int, processes: int | None, files: int, user: int | None, syscalls: bytes) -> None:
    """Limit this process, become `user` if one is given, drop all capabilities and apply a system call filter.

    Raises:
        OSError: the kernel refuses; nothing may run then.
    """
    _limit(cpu, memory, processes, files)
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    _prctl(NO_NEW_PRIVILEGES, 1)
    _drop_capabilities()
    if syscalls:
        program = _Program(len(syscalls) // INSTRUCTION, syscalls)
        _prctl(SET_SECCOMP, SECCOMP_FILTER, ctypes.byref(program))


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent dies."""
    _prctl(DIE_WITH_PARENT, 9)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that none is lost."""
    _prctl(ADOPT, 1)


def _limit(cpu: int, memory: int, processes: int | None, files: int) -> None:
    for kind, value in (
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_FSIZE, files),
        (resource.RLIMIT_NOFILE, DESCRIPTORS),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        if value is None:
            continue
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))


def _drop_capabilities() -> None:
    header = (ctypes.c_uint32 * 2)(CAPABILITIES, 0)
    if _libc.capset(header, (ctypes.c_uint32 * 6)()) < 0:
        raise OSError(ctypes.get_errno(), "capset")


def _prctl(option: int, *arguments: object) -> None:
    padded = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in (*arguments, 0, 0, 0, 0)[:4]]
    if _libc.prctl(option, *padded) < 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}: {os.strerror(ctypes.get_errno())}")
