"""Runs one program to its last statement, and vouches for that with a secret that the program cannot get at.

This is a fresh interpreter that started confined: nothing in it can address memory, and what set it up is gone.
"""

from __future__ import annotations

import errno
import os
import sys
from _operator import call
from collections.abc import Callable, Iterator
from functools import partial
from types import CodeType, ModuleType, TracebackType

from .messages import read_message
from .watch import Tampered, forbid, guard_builtins

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
    report = task["report"]
    say, code = partial(os.write, report), 1
    try:
        program = compile(task["source"], NAME, "exec", dont_inherit=True)
        module = _main_module()
        forbid(task["visible"], task["folder"], say)
        # A chain of C functions: while the program runs, the secret lies in no frame, variable or module. It is
        # written if, and only if, every link before it returned.
        tuple(map(call, _links(program, module, report, task["nothing"])))
        code = 0
    except BaseException as error:
        say(_explain(error)[:LONGEST])
    finally:
        os._exit(code)


def _links(program: CodeType, module: ModuleType, report: int, nothing: int) -> Iterator[Callable[[], object]]:
    secret = os.read(0, SECRET)
    os.dup2(nothing, 0)
    run = partial(exec, program, vars(module))
    return iter((run, guard_builtins(), partial(os.write, report, b"passed " + secret)))


def _main_module() -> ModuleType:
    """Make what the program will find as its own module, and nothing else of ours."""
    module = ModuleType("__main__")
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
