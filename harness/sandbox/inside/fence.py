"""Files, network and signals of one process, fenced off by the kernel without a namespace: Landlock (Linux 5.13)."""

from __future__ import annotations

import ctypes
import os

CREATE, ADD_RULE, RESTRICT = 444, 445, 446
"""The numbers of the Landlock system calls, the same on all architectures."""
VERSION, BENEATH = 1, 1
EXECUTE, WRITE_FILE, READ_FILE, READ_FOLDER = 1 << 0, 1 << 1, 1 << 2, 1 << 3
RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
"""All rights to files that a version knows."""
SIZES = {1: 8, 4: 16, 6: 24}
"""Bytes of a ruleset from a version on: files; TCP from 6.7 on; signals and abstract sockets from 6.12 on."""
BIND_AND_CONNECT = ALL_SCOPES = 3
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")

_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def fence(readable: list[str], folder: str) -> None:
    """Let this process and its children only read below `readable`, and write below `folder`.

    Raises:
        OSError: the kernel has no Landlock.
    """
    version = _call(CREATE, None, ctypes.c_size_t(0), VERSION)
    rights = RIGHTS[min(version, max(RIGHTS))]
    wanted = _Ruleset(rights, BIND_AND_CONNECT, ALL_SCOPES)
    size = SIZES[max(known for known in SIZES if known <= version)]
    rules = _call(CREATE, ctypes.byref(wanted), ctypes.c_size_t(size), 0)
    for path in readable:
        _allow(rules, path, EXECUTE | READ_FILE | READ_FOLDER)
    for device in DEVICES:
        _allow(rules, device, READ_FILE | WRITE_FILE)
    _allow(rules, folder, rights & ~EXECUTE)
    _call(RESTRICT, rules, 0)
    os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    opened = os.open(path, os.O_PATH)
    _call(ADD_RULE, rules, BENEATH, ctypes.byref(_Beneath(rights, opened)), 0)
    os.close(opened)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"landlock: {os.strerror(ctypes.get_errno())}")
    return result
