"""Recording a trace from the live models."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from systems.compose.composed import Parts
from systems.compose.live import kind_of_experts
from systems.compose.resident import recorded_parts
from systems.contract.config import SystemConfig
from systems.contract.errors import BadInput
from systems.contract.meter import NullMeter
from systems.contract.pair import ModelPair
from systems.contract.requests import Request
from systems.drafters.model import ModelDrafter
from systems.files.model_files import TOP_K
from systems.methods.moe_speq.drafter import QuantisedSelf
from systems.policies.composition import part
from systems.policies.listening import Chosen, PhaseListener
from systems.replay.trace import NOTHING, Header, Record, Trace
from systems.runtime.drafting import Drafter
from systems.runtime.loop import generate
from systems.runtime.pair import Pair, loaded
from systems.runtime.sampling import Chooser

DEPTH = 2
"""How many layers ahead the next gates are asked."""


def record(pair: Pair, drafter: dict[str, Any], requests: Sequence[Request]) -> Trace:
    """Decode every request greedily, draft and verify at every position, and keep what is said.

    Args:
        drafter: the options of a drafter as in a system's YAML; its draft length is the longest that can be replayed.

    Raises:
        BadInput: a request that is not greedy.
    """
    if (reason := part("drafter", drafter).untold()) is not None:
        raise BadInput(f"{reason}; leave such systems out of `systems`")
    if any(request.sampling.temperature for request in requests):
        raise BadInput("a trace follows greedy decoding; set measure.sampling.temperature=0")
    config = SystemConfig("recorder", "", drafter=drafter, residency={"part": "all"})
    with recorded_parts(pair, config) as parts:
        records = {request.id: _Recorder(pair, parts, request).record() for request in requests}
        return Trace(_header(pair, drafter["part"], parts.drafter), records)


def decoded_routing(model_pair: ModelPair, requests: Sequence[Request]) -> NDArray[np.int64]:
    """Decode greedily, and return where the target routes every decoded token, `(tokens, layers, k)`, the requests one
    behind the other.

    Raises:
        BadInput: a request that is not greedy.
    """
    pair = loaded(model_pair)
    trace = record(pair, {"part": "none"}, requests)
    return np.concatenate([record.routed[:, 0] for record in trace.records.values()]).astype(np.int64)


def _header(pair: Pair, name: str, drafter: Drafter) -> Header:
    ordinals = {layer: ordinal for ordinal, layer in enumerate(pair.store.shape.layers)}
    drafting: Any = pair.draft if name == "model" else pair.target
    layers: int = drafting.config.get_text_config().num_hidden_layers
    return Header(
        drafter=name,
        draft_length=drafter.draft_length,
        layers=pair.num_layers,
        experts=pair.num_experts,
        top_k=pair.top_k,
        decoder_layers=pair.decoder_layers,
        draft_ordinals=[ordinals.get(layer, NOTHING) for layer in range(layers)],
        depth=DEPTH,
        record_bytes=pair.record_bytes,
        draft_bytes=drafter.fast_bytes,
        stop_tokens=sorted(pair.stop_tokens),
        facts=pair.describe(),
        numbers=_numbers(pair),
    )


def _numbers(pair: Pair) -> dict[str, int]:
    """See `Header.numbers`."""
    from transformers import AutoConfig

    own: Any = AutoConfig.from_pretrained(pair.config.target, local_files_only=True)
    return {
        "own_top_k": getattr(own, TOP_K, pair.top_k),
        "vocab_size": pair.vocab_size,
        "context_length": pair.context_length,
    }


class _OneByOne(Chooser):
    """Commits one token per step whatever is right, so that every position is drafted from; remembers what was."""

    steps: list[tuple[list[int], list[int]]]

    def verify(
        self, logits: Tensor, drafts: Tensor, proposals: Tensor | None, lengths: Sequence[int]
    ) -> list[list[int]]:
        """Note drafts and answers of the only row; return the target's next token."""
        answers = logits.argmax(-1)[0].tolist()
        type(self).steps.append((drafts[0, : lengths[0]].tolist(), answers[: lengths[0] + 1]))
        return [answers[:1]]


class _Endless(NullMeter):
    """Has drafts as long as may be up to the last position: beside a row that ends, others go on."""

    def left(self, row: int) -> int:
        """No draft is too long."""
        return sys.maxsize


class _Tap:
    """An `AttentionListener` that has the target's routers choose for every draft layer beside one of theirs."""

    def __init__(self, pair: Pair, keep: Callable[[list[list[int]]], object]) -> None:
        self._routers, self._keep = pair.routers, keep
        draft, target = pair.draft.config.get_text_config(), pair.target.config.get_text_config()
        self._ordinals: dict[int, int] = {}
        if draft.hidden_size == target.hidden_size:
            self._ordinals = {layer: ordinal for ordinal, layer in enumerate(pair.store.shape.layers)}

    def cares(self, layer: int) -> bool:
        """Whether there is one."""
        return layer in self._ordinals

    def choose(self, layer: int, hidden: Tensor) -> Tensor:
        """Choose as the target would."""
        return self._routers[self._ordinals[layer]](hidden)

    def hint(self, layer: int, chosen: list[list[int]]) -> None:
        """Keep it."""
        self._keep(chosen)


class _Recorder(PhaseListener):
    """Hears one request."""

    def __init__(self, pair: Pair, parts: Parts, request: Request) -> None:
        super().__init__()
        self._pair, self._parts, self._request = pair, parts, request
        self._routers = pair.routers
        self._prompt: list[Chosen] = []
        self._routed: list[list[Chosen]] = [[]]
        self._ahead: list[list[list[Chosen]]] = [[]]
        self._hinted: list[list[list[list[int]]]] = [[]]
        self._confidences: list[list[list[list[float]]]] = [[]]

    def record(self) -> Record:
        """Run the request and return its record."""
        request, parts = self._request, self._parts
        mixer = kind_of_experts(self._pair)(parts.cache, self)
        self._pair.port.mixer = mixer
        drafter = self._tapped(parts.drafter)
        meter = _Endless([request.max_new_tokens], self._pair.stop_tokens)
        _OneByOne.steps = []
        generate(self._pair.target, drafter, parts.cache, self, [request], meter, chooser=_OneByOne)
        return self._packed(meter.tokens[0][0], _OneByOne.steps)

    def routed(self, layer: int, hidden: Any, chosen: Chosen) -> None:
        """Keep the routing, and what the next gates say."""
        if self._prefill:
            self._prompt.append(chosen)
            return
        self._routed[-1].append(chosen)
        ahead = range(layer + 1, min(layer + DEPTH, len(self._routers) - 1) + 1)
        self._ahead[-1].append([self._routers[other](hidden).tolist() for other in ahead])

    def end_step(self) -> None:
        """The next position."""
        for kept in (self._routed, self._ahead, self._hinted, self._confidences):
            kept.append([])

    def _tapped(self, drafter: Drafter) -> Drafter:
        """Let the drafter tell where it would route."""
        if isinstance(drafter, ModelDrafter):
            tap = _Tap(self._pair, lambda chosen: self._hinted[-1].append(chosen))
            return ModelDrafter(self._pair.draft, drafter.draft_length, drafter.fast_bytes, tap)
        if isinstance(drafter, QuantisedSelf):
            drafter.on_routed = self._self_routed
        return drafter

    def _self_routed(self, layer: int, chosen: list[list[int]], weights: list[list[float]]) -> None:
        self._hinted[-1].append(chosen)
        self._confidences[-1].append(weights)

    def _packed(self, first: int, steps: list[tuple[list[int], list[int]]]) -> Record:
        """Turn lists into padded arrays; see `Record` for the axes."""
        pair, longest = self._pair, self._parts.drafter.draft_length
        layers, top_k, count = pair.num_layers, pair.top_k, len(steps)
        drafts = np.full((count, longest), NOTHING, np.int32)
        answers = np.full((count, longest + 1), NOTHING, np.int32)
        routed = np.full((count, longest + 1, layers, top_k), NOTHING, np.int16)
        hinted = np.full((count, longest, layers, top_k), NOTHING, np.int16)
        confidences = np.zeros((count, longest, layers, top_k), np.float32)
        ahead = np.full((count, longest + 1, layers, DEPTH, top_k), NOTHING, np.int16)
        for place, (drafted, answered) in enumerate(steps):
            drafts[place, : len(drafted)] = drafted
            answers[place, : len(answered)] = answered
            for layer, chosen in enumerate(self._routed[place]):
                routed[place, : len(chosen), layer] = chosen
                for far, predicted in enumerate(self._ahead[place][layer]):
                    ahead[place, : len(predicted), layer, far] = predicted
            for number, chosen in enumerate(self._hinted[place]):
                hinted[place, number // layers, number % layers] = chosen[0]
            for number, weights in enumerate(self._confidences[place]):
                confidences[place, number // layers, number % layers] = weights[0]
        return Record(
            prompt=np.array(self._request.prompt, np.int32),
            prompt_routed=np.array(self._prompt, np.int16).transpose(1, 0, 2),
            first=first,
            drafts=drafts,
            agreed=np.array([_agreed(*step) for step in steps], np.int16),
            answers=answers,
            routed=routed,
            hinted=hinted,
            confidences=confidences,
            ahead=ahead,
        )


def _agreed(drafted: list[int], answered: list[int]) -> int:
    right = [ours == theirs for ours, theirs in zip(drafted, answered, strict=False)]
    return right.index(False) if False in right else len(right)
