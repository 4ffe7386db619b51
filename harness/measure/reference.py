"""What lossless systems must reproduce: plain greedy decoding of every prompt, alone.

Our own engine decodes it with all experts resident, and stock transformers, loaded beside it with none of our code, is
asked about the first of these texts and the longest: whether each token is what it would have written. Where it is not,
the reference is what stock transformers writes there, so that every system which shares the engine's error diverges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.config.bench import BenchConfig
from harness.measure.device_memory import give_back, is_exhausted
from harness.records.provenance import scrub
from harness.verdict.margins import TOLERANCE
from systems import api
from systems.api import Request

FIRST = 2
"""Prompts that stock transformers is asked about besides the longest: a reading of each, whatever a run's length."""


@dataclass(frozen=True)
class Reference:
    """Tokens by request, or None with the reason why they are `missing`; `source` says what decoded where it was not
    the target with all experts resident."""

    tokens: Mapping[str, Sequence[int]] | None
    missing: str = ""
    source: str = ""


def find(
    config: BenchConfig,
    pair: api.ModelPair,
    requests: Sequence[Request],
    traces: api.Recording | None,
    budget: int,
    costs: api.Costs,
    note: Callable[[str], None],
) -> Reference:
    """Decode the reference, and correct what stock transformers would not have written; a recording has it already.

    A device that does not hold all experts decodes it from as many slots as the systems have.

    Args:
        budget: fast memory of the systems (bytes).
        note: told where stock transformers cannot be asked.
    """
    if config.reference is None or config.measure.sampling.temperature > 0:
        return Reference(None, "sampled outputs have no single reference" if config.reference else "switched off")
    if traces is not None:
        return Reference({r.id: _cut(traces.greedy(r), r, pair.stop_tokens) for r in requests})
    try:
        tokens = _greedy(config.reference, pair.expert_bytes, pair, requests, costs)
        return Reference(_asked(config, pair, requests, tokens, note))
    except Exception as error:
        failure = scrub(f"the reference run failed: {error}")
        if not is_exhausted(error):
            return Reference(None, failure)
    give_back()
    offloaded = replace(config.reference, residency={"part": "lru"})
    try:
        tokens = _greedy(offloaded, budget, pair, requests, costs)
        return Reference(_asked(config, pair, requests, tokens, note), source="offloaded")
    except Exception as error:
        return Reference(None, scrub(f"{failure}; from offloaded experts, too: {error}"))


def _asked(
    config: BenchConfig,
    pair: api.ModelPair,
    requests: Sequence[Request],
    tokens: dict[str, Sequence[int]],
    note: Callable[[str], None],
) -> Mapping[str, Sequence[int]]:
    """Return the tokens as stock transformers corrects them."""
    asked = {request.id: request for request in requests[:FIRST]}
    longest = max(requests, key=lambda request: len(request.prompt) + len(tokens[request.id]))
    asked[longest.id] = longest
    try:
        rated = api.stock_ratings(pair, [(request.prompt, tokens[id]) for id, request in asked.items()])
    except api.DidNotFit as error:
        note(f"reference: our own plain decoding, which stock transformers was not asked about ({error})")
        return tokens
    corrected = (_corrected(tokens[id], rating, config.model.dtype) for id, rating in zip(asked, rated, strict=True))
    return tokens | dict(zip(asked, corrected, strict=True))


def _corrected(tokens: Sequence[int], rated: Sequence[tuple[int, float]], dtype: str) -> list[int]:
    """Return `tokens` up to the first that is rated worse than rounding explains, and the best in its place."""
    for place, (best, gap) in enumerate(rated):
        if gap > TOLERANCE[dtype]:
            return [*tokens[:place], best]
    return list(tokens)


def _greedy(
    config: api.SystemConfig, budget: int, pair: api.ModelPair, requests: Sequence[Request], costs: api.Costs
) -> dict[str, Sequence[int]]:
    system = api.build_system(config, pair, budget, None, costs)
    try:
        return {request.id: _decode(system, request, pair) for request in requests}
    finally:
        system.close()


def _decode(system: api.System, request: Request, pair: api.ModelPair) -> list[int]:
    meter = api.NullMeter([request.max_new_tokens], pair.stop_tokens)
    system.generate([request], meter)
    return meter.tokens[0]


def _cut(tokens: Sequence[int], request: Request, stop: frozenset[int]) -> list[int]:
    meter = api.NullMeter([request.max_new_tokens], stop)
    meter.commit(0, tokens)
    return meter.tokens[0]
