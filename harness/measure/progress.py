"""What a person sees while it runs: a live bar on a terminal, sparse lines in a log."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

QUIET_SECONDS = 20.0
"""Least time between two lines when nobody watches."""


class Display:
    """Counts generations and shows what each system does at the moment."""

    def __init__(self, console: Console, total: int) -> None:
        self._console, self._total, self._done = console, total, 0
        self._live = console.is_terminal
        self._printed = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not self._live,
        )
        self._task: TaskID = self._bar.add_task("measuring", total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        """Say what goes on now, in the bar or as a line of its own."""
        self._bar.update(self._task, description=text)
        if not self._live:
            self._console.print(text, highlight=False)

    def advance(self, label: str, tokens: int, seconds: float) -> None:
        """Count one generation of a system and show its rate."""
        self._done += 1
        text = f"{label}: {tokens / seconds:.1f} tokens/s" if seconds else label
        self._bar.update(self._task, advance=1, description=text)
        if not self._live and time.monotonic() - self._printed > QUIET_SECONDS:
            self._printed = time.monotonic()
            self._console.print(f"{self._done}/{self._total}  {text}", highlight=False)
