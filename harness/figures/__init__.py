"""Figures: one per file, each drawn from stored records alone."""

from __future__ import annotations

import importlib
import pkgutil

from harness.figures.drawing.base import Figure

FIGURES: dict[str, Figure] = {
    figure.name: figure
    for figure in (
        importlib.import_module(f"{__name__}.{file.name}").FIGURE
        for file in pkgutil.iter_modules(__path__)
        if file.name not in ("__main__", "drawing")
    )
}
"""Every file of this folder."""
