"""Runs one program to its last statement, and vouches for that with a secret that the program cannot get at.

This is a fresh interpreter that started confined: nothing in it can address memory, and what set it up is gone.
"""

from __future__ import annotations

import builtins
import errno
import os
import sys
from _operator import call

from .messages import read_message
from .watch import Tampered, forbid, unchanged

TYPE_CHECKING = False
if TYPE_CHECKING:  # these take longer to load than all the rest
    from collections.abc import Iterator
    from types import CodeType, ModuleType, TracebackType
    from typing import Any

NAME = "<program>"
SECRET = 32
"""Bytes of the secret that waits on stdin."""
EXHAUSTED = (errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.EAGAIN)
REFUSED = (errno.EPERM, errno.EACCES, errno.EROFS, errno.ENETUNREACH, errno.ENETDOWN)
LONGEST = 300


def main() -> None:
    """Run the program that waits on stdin, report how it ended, and exit.

    After the marshalled task follows the secret. `task["report"]` is the descriptor to report to, and
    `task["nothing"]` is open on /dev/null, for the program's stdin.
    """
    task = read_message()
    report, code = task["report"], 1
    try:
        program = compile(task["source"], NAME, "exec", dont_inherit=True)
        forbid(task["visible"], task["folder"], report)
        # While the program runs, the secret lies on no Python stack, in no variable and in no module: only in a chain
        # of C functions, which writes it if, and only if, every link before returned.
        tuple(map(call, *_links(program, _main_module(), report, task["nothing"])))
        code = 0
    except BaseException as error:
        os.write(report, _explain(error)[:LONGEST])
    finally:
        os._exit(code)


def _links(program: CodeType, module: ModuleType, report: int, nothing: int) -> tuple[Iterator[Any], ...]:
    """Return what is called one after the other: functions, their first arguments, and their second."""
    secret = os.read(0, SECRET)
    os.dup2(nothing, 0)
    return (
        iter((exec, unchanged, unchanged, os.write)),
        iter((program, dict(vars(builtins)), {"__builtins__": builtins}, report)),
        iter((vars(module), vars(builtins), vars(module), b"passed " + secret)),
    )


def _main_module() -> ModuleType:
    """Make what the program will find as its own module, and nothing else of ours."""
    module = type(sys)("__main__")
    module.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = module
    sys.argv = [NAME]
    del sys.path[0]
    sys.dont_write_bytecode = True
    return module


def _explain(error: BaseException) -> bytes:
    """Say which verdict an exception means, and why; the exception may be of the program's own making."""
    try:
        text = f"{_place(error.__traceback__)}{type(error).__name__}: {error}"
    except BaseException:
        text = "an exception that cannot be shown"
    return f"{_kind(error)} {text}".encode(errors="replace")


def _kind(error: BaseException) -> str:
    if isinstance(error, Tampered):
        return "forbidden"
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and error.args == ("can't start new thread",)
    ):
        return "exhausted"
    if isinstance(error, OSError):
        return "exhausted" if error.errno in EXHAUSTED else "forbidden" if error.errno in REFUSED else "failed"
    return "failed"


def _place(traceback: TracebackType | None) -> str:
    """Line of the program where an exception passed last."""
    line = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == NAME:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return "" if line is None else f"line {line}: "
