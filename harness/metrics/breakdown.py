"""TPOT adds up: draft + verify + exposed transfer + host (+ prefill of later rows) + residual = TPOT.

Spans and TPOT cover the same stretch, from the first to the last commit. The residual is what no span
claims; it is always printed, and above 5 % the other parts are refused: a breakdown with a hole in it
invites wrong conclusions.
"""

from __future__ import annotations

from harness.metrics import tpot
from harness.metrics.base import Cell, Definition, Parts, Value
from harness.records.generation import SPANS, Generation

MAX_RESIDUAL = 0.05
PART = Definition("breakdown@1", "s/token", "lower", "TPOT x share of the span in the time from first to last commit")
RESIDUAL = Definition("residual@1", "-", "lower", "share of that time in no span")


def _residual(generation: Generation) -> tuple[float, float]:
    return generation.window.get("", 0), generation.window_time


def _part(name: str) -> Parts:
    def parts(generation: Generation) -> tuple[float, float]:
        seconds, tokens = tpot.parts(generation)
        # Rows of a batch overlap in time, so the batch's spans are scaled to the rows' summed time.
        share = generation.window.get(name, 0) / max(generation.window_time, 1)
        return seconds * share, tokens

    return parts


def measure(cell: Cell) -> dict[str, Value]:
    """Parts of TPOT in seconds per token, `breakdown_<span>`, and the residual as a share."""
    residual = RESIDUAL.ratio(cell, _residual, "nothing was decoded")
    names: dict[str, str] = {"residual": ""} | {str(name): name for name in SPANS}
    if residual.value is None or residual.value > MAX_RESIDUAL:
        reason = residual.reason or f"the residual is {residual.value:.1%} of TPOT, more than {MAX_RESIDUAL:.0%}"
        return {"residual": residual} | {f"breakdown_{name}": PART.unknown(reason) for name in names}
    parts = {f"breakdown_{name}": PART.ratio(cell, _part(span), tpot.TOO_SHORT) for name, span in names.items()}
    return {"residual": residual} | parts
