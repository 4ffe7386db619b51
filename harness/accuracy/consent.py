"""Executing generated code needs a yes: `accuracy.allow_code_execution=true`, and at a terminal one answer to it.

The answer is asked for before anything is measured, and remembered in `.cache/`, so that it is asked for once.
Without a terminal the setting alone is the yes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from harness.config.bench import BenchConfig
from harness.datasets import spec_of
from harness.datasets.spec import Code
from harness.records.files import write_text

REMEMBERED = Path(".cache/code_execution_allowed")
WARNING = (
    "Programs that a model wrote are about to be executed, in a sandbox ({isolation}). A sandbox makes harm unlikely,"
    " not impossible."
)
SETTING = "generated code is executed only with accuracy.allow_code_execution=true"


def isolation() -> str:
    """Return what keeps programs in on this machine."""
    from harness.sandbox.run import strongest

    return strongest().isolation


def refusal(config: BenchConfig, console: Console) -> str | None:
    """Return why outputs of this run must not be executed; None where they may be, or need not."""
    if not isinstance(spec_of(config.dataset).task, Code):
        return None
    if not config.accuracy.allow_code_execution:
        return SETTING
    if REMEMBERED.is_file():
        return None
    console.print(WARNING.format(isolation=isolation()), highlight=False)
    if not sys.stdin.isatty():
        return None
    if console.input("Execute them? Asked this once. [y/N] ").strip().lower() not in ("y", "yes"):
        return "the execution of generated code was declined"
    REMEMBERED.parent.mkdir(parents=True, exist_ok=True)
    write_text(REMEMBERED, "Remove this file to be asked again.\n")
    return None
