"""Running one program in the strongest sandbox that this machine grants."""

from __future__ import annotations

import contextlib
import functools
import itertools
import marshal
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.sandbox.filter import compiled
from harness.sandbox.inside.enclose import FOLDER
from harness.sandbox.inside.execute import SECRET
from harness.sandbox.inside.messages import message
from harness.sandbox.inside.supervise import NOTHING, REPORT
from harness.sandbox.levels import FIRST_USER, USERS, Level, candidates, readable
from harness.sandbox.outcome import DEFAULT, Limits, Outcome, Verdict
from systems.api import BadInput

HERE = str(Path(__file__).parent)
START = "import sys; sys.path.insert(0, {!r}); from inside.{} import main; main()"
"""What an interpreter is told that runs a module of `inside`."""
GRACE = 20.0
"""Seconds beyond its wall-clock limit after which a sandbox that does not answer is killed from outside."""
CANARY = "import collections, json, math, re, typing\nassert json.loads('[1]') == [1]\n"
PATIENT = Limits(wall=60)
"""A busy machine is no reason for less isolation."""
REPORTS = {
    b"failed": Verdict.FAILED,
    b"exhausted": Verdict.CRASHED,
    b"forbidden": Verdict.FORBIDDEN,
    b"broken": Verdict.CRASHED,  # by the sandbox itself, before the program began
}
_users = itertools.count(os.getpid())


def run_program(source: str, limits: Limits = DEFAULT) -> Outcome:
    """Run a program, its tests included, as `__main__` in a sandbox of its own; it passes at its last statement."""
    return run_at(strongest(), source, limits)


@functools.cache
def strongest() -> Level:
    """Return the first level at which a harmless program passes; found once.

    Raises:
        BadInput: there is none.
    """
    tried = "programs are executed on Linux only"
    for level in candidates():
        outcome = run_at(level, CANARY, PATIENT)
        if outcome.passed:
            return level
        tried = f"a harmless program {outcome.verdict}: {outcome.detail}"
    raise BadInput(f"no sandbox works on this machine ({tried}); leave code execution off")


def run_at(level: Level, source: str, limits: Limits) -> Outcome:
    """Run a program at a given level of isolation."""
    secret, started = secrets.token_bytes(SECRET), time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = FOLDER
        if not level.enclosed:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sandbox-"))
        messages = _messages(level, source, limits, folder)
        ending = _serve(level, messages + secret, limits.wall + GRACE)
    verdict, detail = _judge(ending, secret, limits)
    return Outcome(verdict, detail, time.monotonic() - started, level.isolation, ending.get("cpu", 0.0))


def _messages(level: Level, source: str, limits: Limits, folder: str) -> bytes:
    """Return what the supervisor is asked, and the task of the interpreter that it starts."""
    where = {"visible": [*readable(), HERE], "folder": folder}
    how = {
        "enclosed": level.enclosed,
        "fenced": level.fenced,
        "user": FIRST_USER + next(_users) % USERS if level.changes_user else None,
        "syscalls": compiled(),
        "command": _python("execute"),
    }
    allowed = asdict(limits)
    if not level.enclosed:
        allowed["processes"] = None  # outside, those of the whole account would be counted
    task = {"source": source, "report": REPORT, "nothing": NOTHING}
    return message(allowed | where | how) + message(where | task)


def _python(module: str) -> list[str]:
    """Return the command that runs a module of `inside`, without site packages."""
    return [os.path.realpath(sys.executable), "-s", "-S", "-P", "-c", START.format(HERE, module)]


def _serve(level: Level, messages: bytes, patience: float) -> dict[str, Any]:
    """Start a sandbox, hand it the messages, and return the ending it reports."""
    command = [*level.command, *_python("supervise")]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1", "LANG": "C.UTF-8"},
        start_new_session=True,
    )
    try:
        answer, complaint = process.communicate(messages, timeout=patience)
    except subprocess.TimeoutExpired:
        return {"over": "wall"}
    finally:
        _kill(process)
    try:
        return dict(marshal.loads(answer))
    except (EOFError, ValueError, TypeError):
        return {"silent": complaint.decode(errors="replace").strip()[-300:]}


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.communicate()


def _judge(ending: dict[str, Any], secret: bytes, limits: Limits) -> tuple[Verdict, str]:
    """Turn an ending into a verdict; whatever does not prove that the program passed is something else."""
    if "silent" in ending:
        return Verdict.CRASHED, f"the sandbox ended without a report: {ending['silent']}"
    over = ending["over"]
    if over == "wall":
        return Verdict.TIMED_OUT, f"{limits.wall:g} s of wall-clock time"
    if over:
        return Verdict.CRASHED, f"more than {limits.output} bytes of output" if over == "output" else "false reports"
    report, status = ending["report"], ending["status"]
    if report == b"passed " + secret:
        return Verdict.PASSED, "ran to its last statement"
    kind, _, detail = report.partition(b" ")
    if kind in REPORTS:
        return REPORTS[kind], detail.decode(errors="replace")
    return _died(status, ending["cpu"], limits)


def _died(status: int, cpu: float, limits: Limits) -> tuple[Verdict, str]:
    """Explain an end that the program did not report."""
    if status >= 0:
        return Verdict.FAILED, f"left with exit code {status} before its last statement"
    name = signal.Signals(-status).name
    if name == "SIGSYS":
        return Verdict.FORBIDDEN, "a forbidden system call"
    if cpu > limits.cpu - 0.5:
        return Verdict.TIMED_OUT, f"{limits.cpu} s of CPU time"
    return Verdict.CRASHED, f"killed by {name}"
