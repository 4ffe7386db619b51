"""Refuses, by name, what no program here may do, and keeps it from the checks that judge it.

CPython tells an audit hook of such calls before they happen. This is what turns them into the verdict `forbidden`;
on the weaker levels it is also the fence, which native code could climb.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # these take longer to load than all the rest
    from collections.abc import Iterable, Mapping
    from typing import Any

NEVER = (
    "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.startfile",
    "subprocess.Popen", "pty.spawn", "os.kill", "os.killpg", "socket.connect", "socket.bind", "socket.sendto",
    "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "sys.settrace",
    "sys.setprofile", "sys._current_frames", "sys._current_exceptions", "sys.addaudithook", "gc.get_objects",
    "gc.get_referrers", "gc.get_referents", "resource.setrlimit", "resource.prlimit", "syslog.openlog",
)  # fmt: skip
"""Processes, signals, network, and looking into or changing the frames that judge the program."""
READING = ("os.listdir", "os.scandir", "os.walk")
WRITING = (
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.chown",
    "os.truncate", "os.utime", "os.setxattr", "os.removexattr", "os.chflags",
)  # fmt: skip
TWO_PATHS = ("os.rename", "os.link", "os.symlink")
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
NATIVE = ("ctypes", "_ctypes")
"""Modules that read and write any memory."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
UNIX = 1


def forbid(readable: Iterable[str], folder: str, report: int) -> None:
    """From now on write the first forbidden call of this process to the descriptor `report`, and end it there."""
    home = (_folder(folder),)
    roots = (*map(_folder, readable), *home)
    say, leave = os.write, os._exit  # not the program's to replace

    def refused(event: str, values: tuple[object, ...]) -> bool:
        if event == "open":
            flags = values[2]
            return not _within(values[0], home if isinstance(flags, int) and flags & WRITE_FLAGS else roots)
        if event in READING:
            return not _within(values[0], roots)
        if event in WRITING:
            return not all(_within(path, home) for path in values[: 2 if event in TWO_PATHS else 1])
        if event == "socket.__new__":
            return values[1] != UNIX
        if event == "import":  # with a file name: machine code, which a program could have written itself
            return values[0] in NATIVE or (values[1] is not None and _within(values[1], home))
        if event == "object.__setattr__":
            return values[1] == "__code__" and _is_ours(values[0])
        return event in NEVER or event.startswith("ctypes.")

    def hook(event: str, values: tuple[object, ...]) -> None:
        if refused(event, values):
            shown = ", ".join(repr(value) for value in values if type(value) in (str, bytes, int))
            say(report, f"forbidden {event} {shown}".encode(errors="replace")[:200])
            leave(1)

    sys.addaudithook(hook)


def _is_ours(function: Any) -> bool:
    """Whether a function is part of what judges the program; `types.coroutine` changes the code of others."""
    return bool(function.__code__.co_filename.startswith(os.path.dirname(__file__)))


def _folder(path: str) -> str:
    return os.path.realpath(path).rstrip("/") + "/"


def _within(path: object, roots: tuple[str, ...]) -> bool:
    """Whether a path lies in one of `roots`; what is open already does.

    Subclasses of str and bytes are read without their own methods: those are the program's.
    """
    if path is None or isinstance(path, int):
        return True
    text = os.fsdecode(bytes.__add__(b"", path)) if isinstance(path, bytes) else str.__str__(path)
    found = os.path.realpath(text)
    return found in DEVICES or f"{found}/".startswith(roots)


def unchanged(before: Mapping[str, object], now: Mapping[str, object]) -> None:
    """Check that names still mean what they did.

    Raises:
        Tampered: some do not.
    """
    if changed := [name for name in before if before[name] is not now.get(name)]:
        raise Tampered(f"changed {', '.join(sorted(changed))}")


class Tampered(BaseException):
    """The program changed what judges it."""
