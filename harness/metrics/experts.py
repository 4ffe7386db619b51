"""Where needed experts were found, and what moving them cost.

A hit rate means nothing without its axes. Here: unit is the unique (layer, expert) of one forward of the
target (what the link sees; under speculation the union over draft length + 1 tokens); moment is when the
expert kernel would start (a prefetch in flight is `late`, not a hit, and one that is still queued is neither: the layer
fetches that expert itself); phase is decode only; shared experts
are not counted.
"""

from __future__ import annotations

from collections.abc import Callable

from harness.metrics.base import Cell, Definition, Parts, Shown, Value
from harness.records.generation import Generation, needs
from systems.api import Traffic

NO_NEEDS = "the system reports no expert needs"
NO_PREFETCH = "nothing was prefetched"


def _from_needs(parts: Callable[[dict[str, int]], tuple[float, float]]) -> Parts:
    return lambda generation: parts(needs(generation.traffic("decode")))


def _precision(generation: Generation) -> tuple[float, float]:
    traffic = generation.traffic("decode")
    used = traffic.useful_bytes + traffic.late_bytes
    return used, used + traffic.wasted_bytes


def _recall(generation: Generation) -> tuple[float, float]:
    if not _prefetched(generation.traffic("decode")):
        return 0, 0
    counts = needs(generation.traffic("decode"))
    return counts["on_time"], counts["needed"] - counts["resident"]


def _prefetched(traffic: Traffic) -> int:
    return traffic.useful_bytes + traffic.late_bytes + traffic.wasted_bytes


def _per_token(name: str) -> Parts:
    return lambda generation: (getattr(generation.traffic("decode"), name), generation.decode_tokens)


def _per_step(generation: Generation) -> tuple[float, float]:
    return generation.traffic("decode").moved_bytes, len(generation.steps)


HIT_RATE = Definition(
    "hit_rate@1",
    "-",
    "higher",
    "(resident + prefetched on time) / needed, decode, per forward",
    parts=_from_needs(lambda n: (n["resident"] + n["on_time"], n["needed"])),
    shown=Shown("hit rate", 3, place=10, brief="hit rate"),
    gated="counted",
)
PRECISION = Definition(
    "prefetch_precision@2",
    "-",
    "higher",
    "bytes of prefetches used / bytes of prefetches that started, decode",
    parts=_precision,
)
RECALL = Definition(
    "prefetch_recall@1", "-", "higher", "prefetched on time / (needed - resident), decode", parts=_recall
)
LATE = Definition(
    "late@2",
    "-",
    "lower",
    "prefetched, started and still in flight when needed / needed, decode",
    parts=_from_needs(lambda n: (n["late"], n["needed"])),
)
ELSEWHERE = Definition(
    "computed_elsewhere@1",
    "-",
    "neither",
    "computed in slow memory, where they lie / needed, decode, per forward",
    parts=_from_needs(lambda n: (n["elsewhere"], n["needed"])),
)
WASTED = Definition(
    "wasted_bytes@1",
    "bytes/token",
    "lower",
    "bytes prefetched and never used / token, decode",
    parts=_per_token("wasted_bytes"),
)
MOVED = Definition(
    "bytes_per_token@1",
    "bytes/token",
    "lower",
    "expert bytes over the link / token, decode",
    parts=_per_token("moved_bytes"),
    shown=Shown("MiB/token", 3, 2**-20, place=40, brief="MiB/token"),
    gated="counted",
)
WRITTEN_BACK = Definition(
    "written_back_bytes@1",
    "bytes/token",
    "lower",
    "evicted expert bytes copied back to slow memory / token, decode; not in bytes_per_token",
    parts=_per_token("written_back_bytes"),
)
STEP_BYTES = Definition(
    "bytes_per_step@1", "bytes", "lower", "expert bytes over the link / cycle of the batch, decode", parts=_per_step
)
SHARES = {
    HIT_RATE: NO_NEEDS, PRECISION: NO_PREFETCH, RECALL: NO_PREFETCH, LATE: NO_NEEDS, ELSEWHERE: NO_NEEDS,
}  # fmt: skip
"""Shares, and why one is unknown where it is."""
AMOUNTS = (WASTED, MOVED, WRITTEN_BACK, STEP_BYTES)


def measure(cell: Cell) -> dict[str, Value]:
    """Hit rate, the quality of prefetches, and bytes per token."""
    values = {share.name: share.of(cell, reason) for share, reason in SHARES.items()}
    if values["hit_rate"].value is None:
        return values | {amount.name: amount.unknown(NO_NEEDS) for amount in AMOUNTS}
    amounts = {amount.name: amount.of(cell, "nothing was decoded") for amount in (WASTED, MOVED, WRITTEN_BACK)}
    return values | amounts | {STEP_BYTES.name: STEP_BYTES.of(cell, "the system reports no steps")}
