"""The same task over many items, in as many processes as there are processors."""

from __future__ import annotations

import gc
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any, TypeVar

from harness.records.provenance import cpus
from systems.api import BadInput

C = TypeVar("C")
T = TypeVar("T")
R = TypeVar("R")


class Worker:
    """What a process does: one task, made when it starts."""

    task: Callable[[Any], Any]

    @classmethod
    def begin(cls, make: Callable[[Any], Callable[[Any], Any]], config: Any) -> None:
        """The process has started. It leaves interrupts to the one that started it."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        cls.task = staticmethod(make(config))
        gc.freeze()  # what the task has read stays, and need not be looked through again and again

    @classmethod
    def do(cls, item: Any) -> Any:
        """Take an item."""
        return _whole(cls.task, item)


def side_by_side(
    make: Callable[[C], Callable[[T], R]], config: C, items: Sequence[T], workers: int | None
) -> Iterator[R]:
    """Return what the task `make(config)` returns for each item, in their order, as it comes.

    The task is made here at once, so that what is wrong with it is told before any item is taken.

    Args:
        make: importable, since each process makes a task of its own.
        workers: how many processes; with 1 this one does it all. None: one per processor.
    """
    task = make(config)
    count = min(cpus() if workers is None else workers, len(items))
    return map(partial(_whole, task), items) if count < 2 else _spread(make, config, items, count)


def _whole(task: Callable[[T], R], item: T) -> R:
    """Take an item; its garbage is looked for when it is done, and not a hundred times before."""
    gc.disable()
    try:
        return task(item)
    finally:
        gc.enable()


def _spread(make: Callable[[C], Callable[[T], R]], config: C, items: Sequence[T], count: int) -> Iterator[R]:
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), Worker.begin, (make, config))
    try:
        yield from pool.map(Worker.do, items)
    finally:
        pool.shutdown(cancel_futures=True)


def ensure_positive(workers: int | None) -> None:
    """Refuse a number of processes that is none.

    Raises:
        BadInput: it is below 1.
    """
    if workers is not None and workers < 1:
        raise BadInput(f"`workers` is {workers}; 1 or more processes are needed, or null for one per processor")
