"""Which prompts are read together, so that each expert that they need crosses the link once for all of them."""

from __future__ import annotations

from collections.abc import Sequence

AT_ONCE = 8192
"""Tokens that are read together at most, since all of them are held at every layer: SGLang's chunk of prefill on large
devices. At Mixtral's width they take about the gigabyte that SpecMoEOff (arXiv 2508.21706) leaves for activations."""


def together(lengths: Sequence[int], most: int = AT_ONCE) -> list[slice]:
    """Cut prompts of these lengths into neighbours that have `most` tokens at most; a longer one is read alone.

    Raises:
        ValueError: no prompts.
    """
    if not lengths:
        raise ValueError("there is no prompt to read")
    found, first, tokens = [], 0, 0
    for row, length in enumerate(lengths):
        if row > first and tokens + length > most:
            found.append(slice(first, row))
            first, tokens = row, 0
        tokens += length
    return [*found, slice(first, len(lengths))]
