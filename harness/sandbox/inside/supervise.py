"""The first process inside: sets the sandbox up, starts the program in a child, and reports how it ended.

It reads one request from stdin, leaves the program and the secret that follow to the child, and writes one marshalled
ending to stdout. In a process namespace it is process 1: the program cannot signal it, and when it ends
the kernel kills all that is left.
"""

from __future__ import annotations

import marshal
import os
import select
import time

from .confine import adopt_orphans, confine, die_with_parent
from .enclose import enclose
from .fence import fence
from .messages import read_message

TYPE_CHECKING = False
if TYPE_CHECKING:  # these take longer to load than all the rest
    from typing import Any

MOST_REPORT = 4096
"""Bytes of report at which a program is stopped: it is not for the program to write there."""
BLOCK = 1 << 16
KILL = 9
REPORT, NOTHING = 10, 11
"""Descriptors of the program's interpreter: to report to, and on /dev/null. Above those that are open before."""


def main() -> None:
    """Serve one request."""
    request = read_message()
    if request["enclosed"]:
        enclose(request["visible"], request["files"])
    else:
        adopt_orphans()
    os.chdir(request["folder"])
    report, output = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        _become_program(request, report[1], output[1])
    for descriptor in (0, report[1], output[1]):
        os.close(descriptor)
    ending = _watch(child, report[0], output[0], request)
    _reap_orphans()
    os.write(1, marshal.dumps(ending))


def _become_program(request: dict[str, Any], report: int, output: int) -> None:
    """Confine this process and replace it by a fresh interpreter that runs the program."""
    try:
        die_with_parent()
        os.setsid()
        for given, wanted in ((output, 1), (output, 2), (report, REPORT), (os.open("/dev/null", os.O_RDONLY), NOTHING)):
            os.dup2(given, wanted)
        os.closerange(NOTHING + 1, NOTHING + 64)
        confine(*(request[name] for name in ("cpu", "memory", "processes", "files", "user", "syscalls")))
        if request["fenced"]:
            fence(request["visible"], request["folder"])
        home = {"HOME": request["folder"], "TMPDIR": request["folder"]}
        os.execve(request["command"][0], request["command"], os.environ | home)
    except BaseException as error:
        os.write(REPORT, f"broken the sandbox cannot be set up: {error}".encode())
        os._exit(1)


def _watch(child: int, report: int, output: int, request: dict[str, Any]) -> dict[str, Any]:
    """Follow a child until it ends or is stopped for overrunning a limit."""
    handle, poll = os.pidfd_open(child), select.poll()
    for descriptor in (handle, report, output):
        poll.register(descriptor, select.POLLIN)
    said, written, over = b"", 0, ""
    deadline = time.monotonic() + request["wall"]
    while not over:
        ready = {descriptor for descriptor, _ in poll.poll(max(deadline - time.monotonic(), 0) * 1000)}
        if output in ready:
            written += _drain(poll, output)
        if report in ready:
            got = os.read(report, BLOCK)
            said += got
            if not got:
                poll.unregister(report)
        if handle in ready and not ready & {report, output}:
            break
        over = _overrun(deadline, written > request["output"], len(said) > MOST_REPORT)
    if over:
        os.kill(child, KILL)
    _, status, usage = os.wait4(child, 0)
    cpu = usage.ru_utime + usage.ru_stime
    return {"report": said[:MOST_REPORT], "status": os.waitstatus_to_exitcode(status), "cpu": cpu, "over": over}


def _drain(poll: select.poll, descriptor: int) -> int:
    got = len(os.read(descriptor, BLOCK))
    if not got:
        poll.unregister(descriptor)
    return got


def _overrun(deadline: float, output: bool, report: bool) -> str:
    return "output" if output else "report" if report else "wall" if time.monotonic() > deadline else ""


def _reap_orphans() -> None:
    """Kill and collect every descendant that the program left; in a process namespace the kernel does it anyway."""
    while True:
        try:
            with open("/proc/thread-self/children") as stream:  # absent inside, where process 1 takes all with it
                for pid in stream.read().split():
                    os.kill(int(pid), KILL)
            os.wait()
        except OSError:
            return
