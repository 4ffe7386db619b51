"""A recording of a model that is known by its numbers only."""

from __future__ import annotations

from systems.api import BadInput, Costs, DraftShape, ModelShape, Request
from systems.replay.synthetic import Statistics, synthesise
from systems.replay.trace import NOTHING, Header, Trace
from systems.runtime.quantised import int4_bytes

GROUP = 128
"""Weights to a scale in an INT4 self-draft, as MoE-SpeQ has it."""
AHEAD = 2
"""How many layers ahead statistics reach."""


class Imagined:
    """`systems.api.Traces` made of a shape's statistics; a trace per kind of draft."""

    def __init__(self, costs: Costs, traces: dict[str, Trace]) -> None:
        self.costs, self._traces = costs, traces

    def of(self, drafter: str) -> Trace:
        """Return the trace for a drafter part."""
        name = "model" if drafter == "none" else drafter
        if name not in self._traces:
            raise BadInput(f"drafter.part={drafter} has no statistics; leave such systems out of `systems`")
        return self._traces[name]


def imagine(
    shape: ModelShape, costs: Costs, draft_length: int, requests: int, prompt_tokens: int, new_tokens: int, seed: int
) -> tuple[Imagined, list[Request]]:
    """See `systems.api.imagine_traces`."""
    self_bytes = shape.moe_layers * shape.experts * int4_bytes(shape.hidden, shape.intermediate, GROUP)
    drafts = {"model": (shape.draft, shape.draft.bytes), "quantised_self": (shape.self_draft, self_bytes)}
    traces = {}
    for part, (draft, size) in drafts.items():
        statistics = _statistics(shape, draft)
        header = _header(shape, part, draft_length, draft.layers or shape.layers, size)
        traces[part] = synthesise(header, statistics, requests, prompt_tokens, new_tokens, seed)
    records = next(iter(traces.values())).records
    made = [Request(name, tuple(record.prompt.tolist()), new_tokens) for name, record in records.items()]
    return Imagined(costs, traces), made


def _statistics(shape: ModelShape, draft: DraftShape) -> Statistics:
    routing = dict(shape.statistics)
    ahead = tuple(routing.pop("ahead", (0.0, 0.0)))
    unknown = set(routing) - {"skew", "reuse"}
    if unknown or len(ahead) != AHEAD:
        raise BadInput("`shape.statistics` has skew, reuse and ahead (two shares)")
    return Statistics(**routing, ahead=(ahead[0], ahead[1]), recall=draft.recall, acceptance=draft.acceptance)


def _header(shape: ModelShape, part: str, draft_length: int, draft_layers: int, draft_bytes: int) -> Header:
    """Layers without experts come first, as in the models that have some; a draft is aligned at its last layer."""
    first = shape.layers - shape.moe_layers
    ordinals = [layer + shape.layers - draft_layers - first for layer in range(draft_layers)]
    return Header(
        drafter=part,
        draft_length=draft_length,
        layers=shape.moe_layers,
        experts=shape.experts,
        top_k=shape.top_k,
        decoder_layers=shape.layers,
        draft_ordinals=[ordinal if ordinal >= 0 else NOTHING for ordinal in ordinals],
        depth=AHEAD,
        record_bytes=shape.expert_bytes,
        draft_bytes=draft_bytes,
        stop_tokens=[],
        facts={"shape": shape.name, "source": shape.source},
    )
