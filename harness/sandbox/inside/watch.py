"""Refuses, by name, what no program here may do, and keeps it from the checks that judge it.

CPython tells an audit hook of such calls before they happen. This is what turns them into the verdict `forbidden`;
on the weaker levels it is also the fence, which native code could climb.
"""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Callable, Iterable

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


def forbid(readable: Iterable[str], folder: str, report: Callable[[bytes], object]) -> None:
    """From now on report the first forbidden call of this process and end it there."""
    home = (_folder(folder),)
    roots = (*map(_folder, readable), *home)
    leave = os._exit

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
            return values[1] == "__code__"
        return event in NEVER or event.startswith("ctypes.")

    def hook(event: str, values: tuple[object, ...]) -> None:
        if refused(event, values):
            shown = ", ".join(repr(value) for value in values if type(value) in (str, bytes, int))
            report(f"forbidden {event} {shown}".encode(errors="replace")[:200])
            leave(1)

    sys.addaudithook(hook)


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


def guard_builtins() -> Callable[[], None]:
    """Return a check that the builtins are still those of this moment."""
    before = dict(vars(builtins))

    def check() -> None:
        now = vars(builtins)
        changed = [name for name in before.keys() | now.keys() if before.get(name) is not now.get(name)]
        if changed:
            raise Tampered(f"changed the builtins {', '.join(sorted(changed))}")

    return check


class Tampered(BaseException):
    """The program changed what judges it."""
