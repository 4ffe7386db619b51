"""A recording of a model that is known by its numbers only."""

from __future__ import annotations

from dataclasses import dataclass

from systems.contract.costs import Costs
from systems.contract.errors import BadInput
from systems.contract.recording import Imagination
from systems.contract.requests import Request
from systems.contract.shape import DraftShape, ModelShape, int4_bytes
from systems.replay.statistics import Statistics
from systems.replay.synthetic import activation_matrices, synthesise
from systems.replay.trace import NOTHING, Header, Trace
from systems.runtime.activation_file import Stored

GROUP = 128
"""Weights to a scale in an INT4 self-draft, as MoE-SpeQ has it."""
EARLIER = 120
"""Sequences whose activation matrices are there before: as many as SP-MoE's comparison gives MoE-Infinity."""
AHEAD = 2
"""How many layers ahead statistics reach."""


@dataclass(frozen=True)
class Texts:
    """How much is generated: requests, tokens of each prompt and behind it, and the longest draft at every token."""

    requests: int
    prompt_tokens: int
    new_tokens: int
    draft_length: int
    seed: int


class Imagined:
    """`systems.contract.recording.Imagination`: generates a trace per kind of draft when a system asks for it.

    Raises:
        BadInput: statistics that cannot be.
    """

    def __init__(self, shape: ModelShape, costs: Costs, texts: Texts) -> None:
        self.costs = costs
        self._shape, self._texts = shape, texts
        self._drafts = {"model": shape.draft, "quantised_self": shape.self_draft}
        self._statistics = {part: _statistics(shape, draft) for part, draft in self._drafts.items()}
        self._made: dict[str, Trace] = {}
        self._stored: Stored | None = None

    def of(self, drafter: str) -> Trace:
        """Return the trace for a drafter part."""
        part = self._known(drafter)
        if part not in self._made:
            texts = self._texts
            self._made[part] = synthesise(
                self._header(part), self._statistics[part], texts.requests, texts.prompt_tokens, texts.new_tokens,
                texts.seed,
            )  # fmt: skip
        return self._made[part]

    def activations(self) -> Stored:
        """Activation matrices of further sequences of the same model."""
        if self._stored is None:
            part, texts = self._known("none"), self._texts
            counts = activation_matrices(
                self._header(part), self._statistics[part], EARLIER, texts.new_tokens, texts.seed
            )
            self._stored = Stored(f"{EARLIER} generated sequences", counts)
        return self._stored

    def draft_bytes(self, drafter: str) -> int:
        """Fast memory of the draft of a drafter part."""
        if drafter == "quantised_self":
            shape = self._shape
            return shape.moe_layers * shape.experts * int4_bytes(shape.hidden, shape.intermediate, GROUP)
        return 0 if drafter == "none" else self._drafts[self._known(drafter)].bytes

    @property
    def requests(self) -> list[Request]:
        """The requests that every trace holds, in order."""
        texts = self._texts
        records = self.of("none").records
        return [Request(name, tuple(record.prompt.tolist()), texts.new_tokens) for name, record in records.items()]

    def _known(self, drafter: str) -> str:
        """The kind of draft whose trace serves a drafter part: plain decoding follows any."""
        part = next(iter(self._made), "model") if drafter == "none" else drafter
        if part not in self._drafts:
            raise BadInput(f"drafter.part={drafter} has no statistics; leave such systems out of `systems`")
        return part

    def _header(self, part: str) -> Header:
        """Layers without experts come first, as in the models that have some; a draft is aligned at its last layer."""
        shape = self._shape
        first = shape.layers - shape.moe_layers
        draft_layers = self._drafts[part].layers or shape.layers
        ordinals = [layer + shape.layers - draft_layers - first for layer in range(draft_layers)]
        return Header(
            drafter=part,
            draft_length=self._texts.draft_length,
            layers=shape.moe_layers,
            experts=shape.experts,
            top_k=shape.top_k,
            decoder_layers=shape.layers,
            draft_ordinals=[ordinal if ordinal >= 0 else NOTHING for ordinal in ordinals],
            depth=AHEAD,
            record_bytes=shape.expert_bytes,
            draft_bytes=self.draft_bytes(part),
            stop_tokens=[],
            facts={"shape": shape.name, "source": shape.source},
        )


def imagine_traces(
    shape: ModelShape, costs: Costs, draft_length: int, requests: int, prompt_tokens: int, new_tokens: int, seed: int
) -> Imagination:
    """Generate a recording of a model that is not at hand; computations take what `costs` says.

    Raises:
        BadInput: statistics that cannot be.
    """
    return Imagined(shape, costs, Texts(requests, prompt_tokens, new_tokens, draft_length, seed))


def _statistics(shape: ModelShape, draft: DraftShape) -> Statistics:
    routing = dict(shape.statistics)
    ahead = tuple(routing.pop("ahead", (0.0, 0.0)))
    unknown = set(routing) - {"skew", "request_skew", "reuse"}
    if unknown or len(ahead) != AHEAD:
        raise BadInput("`shape.statistics` has skew, request_skew, reuse and ahead (two shares), and nothing else")
    return Statistics(**routing, ahead=(ahead[0], ahead[1]), recall=draft.recall, acceptance=draft.acceptance)
