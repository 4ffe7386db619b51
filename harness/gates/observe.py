"""What systems do on a virtual clock, in counts: the same every time, so that a difference is a change of the code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.datasets import Selection
from harness.measure import one_by_one
from harness.metrics import acceptance, tpot
from harness.records.generation import BYTES, COUNTS, Generation, needs
from harness.verdict.identities import violations
from systems.api import System, SystemConfig

Observed = dict[str, Any]
"""Of one system: tokens by request, the histogram of accepted drafts, counts, and the predicted time (s)."""
Build = Callable[[SystemConfig], System]


def observe(
    systems: Mapping[str, SystemConfig], build: Build, selection: Selection, stop_tokens: frozenset[int]
) -> dict[str, Observed]:
    """Run every system over the prompts, one at a time, behind the warm-up."""
    return {
        label: _counts(one_by_one.generations(build(system), selection.warmup, selection.requests, stop_tokens))
        for label, system in systems.items()
    }


def _counts(generations: Sequence[Generation]) -> Observed:
    histogram: Counter[tuple[int, int]] = sum(map(acceptance.histogram, generations), Counter())
    total: Counter[str] = Counter()
    for generation in generations:
        for phase in ("prefill", "decode"):
            traffic = generation.traffic(phase)
            total.update({f"{phase} {name}": count for name, count in needs(traffic).items()})
            total.update({f"{phase} {name}": getattr(traffic, name) for name in (*BYTES, *COUNTS)})
    return {
        "tokens": {row.id: row.tokens for generation in generations for row in generation.rows},
        "steps": sum(len(generation.steps) for generation in generations),
        "acceptance": {f"{accepted} of {drafted}": n for (drafted, accepted), n in sorted(histogram.items())},
        "counts": dict(total),
        "identities": violations(generations),
        "seconds": sum(tpot.parts(generation)[0] for generation in generations),
    }


def differences(base: Mapping[str, Observed], found: Mapping[str, Observed], tolerance: float) -> list[str]:
    """Say, in a line each, what of the systems found is not as it was."""
    texts = [f"{label}: not in the baseline" for label in found if label not in base]
    for label in (label for label in base if label in found):
        texts += [f"{label}: {text}" for text in _of_system(base[label], found[label])]
    return [*texts, *_ratios(base, found, tolerance)]


def _of_system(base: Observed, found: Observed) -> list[str]:
    texts = [_of_tokens(id, base["tokens"].get(id), tokens) for id, tokens in found["tokens"].items()]
    for name in ("steps", "identities"):
        texts += [f"{name}: {found[name]}, was {base[name]}"] if found[name] != base[name] else []
    for group in ("acceptance", "counts"):
        one, other = base[group], found[group]
        names = [name for name in {**one, **other} if one.get(name, 0) != other.get(name, 0)]
        texts += [f"{group}: {name} {other.get(name, 0)}, was {one.get(name, 0)}" for name in names]
    return [text for text in texts if text]


def _of_tokens(id: str, base: Sequence[int] | None, found: Sequence[int]) -> str:
    if base is None:
        return f"tokens of {id}: not in the baseline"
    place = next((i for i, (one, other) in enumerate(zip(base, found, strict=False)) if one != other), None)
    if place is not None:
        return f"tokens of {id}: {found[place]} at position {place}, was {base[place]}"
    return "" if len(base) == len(found) else f"tokens of {id}: {len(found)} tokens, were {len(base)}"


def _ratios(base: Mapping[str, Observed], found: Mapping[str, Observed], tolerance: float) -> list[str]:
    """Compare times relative to those of the first system: no absolute time is ever judged."""
    labels = [label for label in base if label in found]
    texts = []
    for label in labels[1:]:
        before, after = (side[label]["seconds"] / side[labels[0]]["seconds"] for side in (base, found))
        if max(before / after, after / before) > 1 + tolerance:
            texts.append(f"{label}: {after:.3f} times as long as {labels[0]}, was {before:.3f}")
    return texts
