"""What lossless systems must reproduce: plain greedy decoding of every prompt, alone.

Our own engine decodes it with all experts resident, and stock transformers, loaded beside it with none of our code, is
asked about the first of these texts and the longest: whether each token is what it would have written. Where it is not,
the reference is what stock transformers writes there, so that every system which shares the engine's error diverges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from harness.config import BenchConfig
from harness.lossless.margins import TOLERANCE
from systems import api
from systems.api import Request

FIRST = 2
"""Prompts that stock transformers is asked about besides the longest: a reading of each, whatever a run's length."""


def recorded(traces: api.Recording, requests: Sequence[Request], pair: api.ModelPair) -> dict[str, list[int]]:
    """Return what was recorded, cut to what is asked for now."""
    return {request.id: _cut(traces.greedy(request), request, pair.stop_tokens) for request in requests}


def decoded(
    config: BenchConfig, pair: api.ModelPair, requests: Sequence[Request], costs: api.Costs, note: Callable[[str], None]
) -> Mapping[str, Sequence[int]]:
    """Decode, and correct what stock transformers would not have written.

    Args:
        note: told where stock transformers cannot be asked.
    """
    assert config.reference is not None
    system = api.build_system(config.reference, pair, pair.expert_bytes, None, costs)
    try:
        found = {request.id: _decode(system, request, pair) for request in requests}
    finally:
        system.close()
    asked = {request.id: request for request in requests[:FIRST]}
    longest = max(requests, key=lambda request: len(request.prompt) + len(found[request.id]))
    asked[longest.id] = longest
    try:
        rated = api.stock_ratings(pair, [(request.prompt, found[id]) for id, request in asked.items()])
    except api.DidNotFit as error:
        note(f"reference: our own plain decoding, which stock transformers was not asked about ({error})")
        return found
    corrected = (_corrected(found[id], rating, config.model.dtype) for id, rating in zip(asked, rated, strict=True))
    return found | dict(zip(asked, corrected, strict=True))


def _corrected(tokens: Sequence[int], rated: Sequence[tuple[int, float]], dtype: str) -> list[int]:
    """Return `tokens` up to the first that is rated worse than rounding explains, and the best in its place."""
    for place, (best, gap) in enumerate(rated):
        if gap > TOLERANCE[dtype]:
            return [*tokens[:place], best]
    return list(tokens)


def _decode(system: api.System, request: Request, pair: api.ModelPair) -> list[int]:
    meter = api.NullMeter([request.max_new_tokens], pair.stop_tokens)
    system.generate([request], meter)
    return meter.tokens[0]


def _cut(tokens: Sequence[int], request: Request, stop: frozenset[int]) -> list[int]:
    meter = api.NullMeter([request.max_new_tokens], stop)
    meter.commit(0, tokens)
    return meter.tokens[0]
