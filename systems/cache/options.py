"""How experts travel."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InLineOptions:
    """`transfer.part: in_line`: copies take turns with the computation, as on the stream that computes.

    A layer's missing experts are fetched one after the other while nothing is computed. With `write_back` an expert
    that is evicted is copied to slow memory before its slot is filled: two transfers per miss that evicts. That is
    how Mixtral-Offloading's code runs (dvmazur/mixtral-offloading @ce54518, `ExpertCache._swap`).
    """

    write_back: bool = False
