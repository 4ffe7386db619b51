"""What must add up in every run. A violated identity makes the cell `failed`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from harness.metrics import acceptance
from harness.records.generation import Generation


def violations(generations: Sequence[Generation]) -> list[str]:
    """Return one sentence with the numbers per violated identity; empty when all hold."""
    return [
        f"repeat {generation.repeat}, batch {generation.batch}: {broken}"
        for generation in generations
        for check in CHECKS
        for broken in check(generation)
    ]


def _needs(generation: Generation) -> Iterator[str]:
    for report in generation.reports:
        for layer, found in enumerate(report.traffic.layers):
            met = found.resident + found.on_time + found.late + found.demand + found.elsewhere
            if met != found.needed:
                yield (
                    f"step {report.steps}, layer {layer}: needed {found.needed} experts, but resident"
                    f" {found.resident} + on time {found.on_time} + late {found.late} + demand {found.demand}"
                    f" + elsewhere {found.elsewhere} = {met}"
                )


def _bytes(generation: Generation) -> Iterator[str]:
    """Bytes are settled when the generation ends, and only in sum over phases."""
    total = generation.traffic()
    known = total.demand_bytes + total.useful_bytes + total.late_bytes + total.wasted_bytes
    if known != total.moved_bytes:
        yield (
            f"moved {total.moved_bytes} bytes, but demand {total.demand_bytes} + useful {total.useful_bytes}"
            f" + late {total.late_bytes} + wasted {total.wasted_bytes} = {known}"
        )


def _written_back(generation: Generation) -> Iterator[str]:
    """A system copies every evicted expert back, or none: as many bytes for each as a demanded one."""
    total = generation.traffic()
    demanded = sum(layer.demand for layer in total.layers)
    if total.written_back_bytes and total.written_back_bytes * demanded != total.evictions * total.demand_bytes:
        yield (
            f"{total.written_back_bytes} bytes were written back, but there were {total.evictions} evictions;"
            f" {demanded} demanded experts are {total.demand_bytes} bytes"
        )


def _acceptance(generation: Generation) -> Iterator[str]:
    """1 + the sum of marginals is the acceptance length, counted from the steps and from the histogram."""
    reported = Counter(pair for step in generation.steps for pair in zip(step.drafted, step.accepted, strict=True))
    for (drafted, accepted), number in reported.items():
        if not 0 <= accepted <= drafted:
            yield f"{number} steps accepted {accepted} of {drafted} drafts"
    counts = acceptance.histogram(generation)
    longest = max((drafted for drafted, _ in counts), default=0)
    marginals = sum(n for (_, a), n in counts.items() for i in range(1, longest + 1) if a >= i)
    accepted = sum(accepted for *_, accepted in generation.accepted_by_row())
    if marginals != accepted:
        yield f"accepted {accepted} drafts, but the marginals by position add up to {marginals}"


def _tokens(generation: Generation) -> Iterator[str]:
    """Each step commits its accepted drafts and one token of the target, the prefill commits one."""
    if not generation.steps:
        return
    expected = [1] * len(generation.rows)
    for step in generation.steps:
        for index, accepted in zip(step.rows, step.accepted, strict=True):
            expected[index] += accepted + 1
    for row, number in zip(generation.rows, expected, strict=True):
        if row.handed != number:
            yield f"request {row.id!r}: {row.handed} tokens committed, but 1 + accepted + steps = {number}"


CHECKS: tuple[Callable[[Generation], Iterator[str]], ...] = (_needs, _bytes, _written_back, _acceptance, _tokens)
