"""Metrics: one idea per file, pure functions of a `Cell`.

A file of this folder that has a function `measure(cell)` is a family of metrics. Its definitions say the rest: how
tables show them, and whether result sets are compared by them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import ModuleType

from harness.metrics.base import Cell, Definition, Value


def measure(cell: Cell) -> dict[str, Value]:
    """Return every metric of one system by name."""
    values: dict[str, Value] = {}
    for module in modules():
        if hasattr(module, "measure"):
            values |= module.measure(cell)
    return values


@cache
def modules() -> tuple[ModuleType, ...]:
    """All files of this folder."""
    names = sorted(item.name for item in pkgutil.iter_modules(__path__))
    return tuple(importlib.import_module(f"{__name__}.{name}") for name in names)


@cache
def definitions() -> Mapping[str, Definition]:
    """Every definition of this folder by name."""
    known = [value for module in modules() for value in vars(module).values() if isinstance(value, Definition)]
    return {definition.name: definition for definition in known}
