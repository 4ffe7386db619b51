"""What isolation this machine grants: namespaces where it can be had, else a fence that says it is weaker."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from harness.sandbox.filter import compiled

SYSTEM = ("/usr", "/lib", "/lib64", "/lib32")
"""Where shared libraries lie that Python's own modules need."""
SPACES = ("--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child")
FIRST_USER, USERS = 60_000, 5_000
"""Ids that nobody owns: as each run has its own, one program's threads are not counted against another's."""


@dataclass(frozen=True, slots=True)
class Level:
    """One way to isolate: the command that starts the sandbox, and what it brings.

    `enclosed`: own file system, processes, network and host name. `changes_user`: root becomes nobody in there.
    `fenced`: the kernel refuses files, network and signals outside (the last two from Linux 6.7 and 6.12 on).
    """

    name: str
    command: tuple[str, ...] = ()
    enclosed: bool = False
    changes_user: bool = False
    fenced: bool = False

    @property
    def isolation(self) -> str:
        """Its name, and whether system calls are filtered too."""
        return f"{self.name} + seccomp" if compiled() else self.name


def candidates() -> tuple[Level, ...]:
    """Return what could work here, strongest first."""
    if sys.platform != "linux":
        return ()
    found = []
    if tool := shutil.which("unshare"):
        if os.geteuid() == 0:
            found.append(Level("namespaces", (tool, *SPACES), enclosed=True, changes_user=True))
        found.append(Level("user namespaces", (tool, "--user", "--map-root-user", *SPACES), enclosed=True))
    return (*found, FENCED, WEAK)


FENCED = Level("Landlock (weaker)", fenced=True)
"""A process like others, which the kernel keeps to its folder. It sees other processes; its threads are bounded by
memory alone, and its folder by the size of each file."""
WEAK = Level("process only (weaker)")
"""Limits, no privileges, and what the audit hook refuses: a fence against mistakes, not against intent."""


@functools.cache
def readable() -> tuple[str, ...]:
    """Return the folders of Python itself and of the system's libraries, none inside another."""
    own = [os.path.realpath(sys.base_prefix), os.path.realpath(sys.base_exec_prefix)]
    found: list[str] = []
    for path in (*SYSTEM, *own):
        if Path(path).exists() and not any(f"{path}/".startswith(f"{known}/") for known in found):
            found.append(path)
    return tuple(found)
