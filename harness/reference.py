"""What lossless systems must reproduce: every prompt decoded alone, greedily, by the target itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.config import BenchConfig
from harness.device_memory import give_back, is_exhausted
from harness.provenance import scrub
from systems import api
from systems.api import Request


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
) -> Reference:
    """Decode the reference; a recording has it already.

    A device that does not hold all experts decodes it from as many slots as the systems have.

    Args:
        budget: fast memory of the systems (bytes).
    """
    if config.reference is None or config.measure.sampling.temperature > 0:
        return Reference(None, "sampled outputs have no single reference" if config.reference else "switched off")
    if traces is not None:
        return Reference({r.id: _cut(traces.greedy(r), r, pair.stop_tokens) for r in requests})
    try:
        return Reference(_greedy(config.reference, pair.expert_bytes, pair, requests, costs))
    except Exception as error:
        failure = scrub(f"the reference run failed: {error}")
        if not is_exhausted(error):
            return Reference(None, failure)
    give_back()
    offloaded = replace(config.reference, residency={"part": "lru"})
    try:
        return Reference(_greedy(offloaded, budget, pair, requests, costs), source="offloaded")
    except Exception as error:
        return Reference(None, scrub(f"{failure}; from offloaded experts, too: {error}"))


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
