"""The target as its own draft, with INT4 experts and everything else shared, the KV cache included (MoE-SpeQ)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from systems.drafters.base import Draft
from systems.policies.governor import Governor
from systems.policies.lookahead import LookaheadScheduler
from systems.runtime.clock import Pace
from systems.runtime.decoder import Decoder
from systems.runtime.experts import Activation, ExpertPort, Mixer
from systems.runtime.quantised import QuantisedExperts
from systems.runtime.sampling import Chooser

OnRouted = Callable[[int, list[list[int]], list[list[float]]], None]
"""Called with a layer's ordinal, and per row the chosen experts and their weights."""


class QuantisedSelf:
    """Drafts with the target's own layers while `port` computes the quantised experts.

    Drafting writes keys and values at the positions of the drafted tokens; verification writes the target's own
    over them, and what is rejected lies behind every later query until it is overwritten.

    Args:
        scheduler: fetches what the draft's routing names; None: nobody does.
        governor: chooses how many tokens each step drafts; None: always `draft_length`.
        layer_time: seconds that a layer takes on a virtual clock.
    """

    def __init__(
        self,
        port: ExpertPort,
        experts: QuantisedExperts,
        draft_length: int,
        scheduler: LookaheadScheduler | None,
        governor: Governor | None,
        pace: Pace | None = None,
        layer_time: float = 0.0,
    ) -> None:
        self.draft_length, self.fast_bytes = draft_length, experts.nbytes
        self.governor = governor
        self._port, self._experts, self._scheduler = port, experts, scheduler
        self._pace, self._layer_time = pace, layer_time
        self.on_routed: OnRouted | None = scheduler.routed if scheduler is not None else None
        """Told where a layer routes what is being drafted."""
        self._target: Decoder
        self._lengths: list[int] = []
        self._last: list[int] = []
        self._accepted: list[int] = []
        self._drafted = 0

    def begin(self, prompts: Sequence[Sequence[int]], target: Decoder) -> None:
        """Share the target's decoder, whose cache holds the prompts."""
        self._target = target
        self._lengths = [len(prompt) - 1 for prompt in prompts]
        self._last = [prompt[-1] for prompt in prompts]
        self._accepted, self._drafted = [], 0

    def propose(self, chooser: Chooser) -> Draft:
        """Draft as many tokens as the governor wants."""
        self._learn()
        self._drafted = self.draft_length if self.governor is None else self.governor.choose()
        if self._scheduler is not None:
            self._scheduler.begin_step()
        choices = []
        tokens = torch.tensor(self._last, device=self._target.device)
        own: Mixer = self._port.mixer
        self._port.mixer = self._mix
        try:
            for place in range(self._drafted):
                if self._scheduler is not None:
                    self._scheduler.begin_token()
                starts = [length + place for length in self._lengths]
                choice = chooser.choose(self._target.forward(tokens[:, None], starts)[:, -1])
                choices.append(choice)
                tokens = choice.tokens
                if self._scheduler is not None:
                    self._scheduler.end_token(place + 1, self._drafted)
        finally:
            self._port.mixer = own
        probabilities = [choice.probabilities for choice in choices if choice.probabilities is not None]
        return Draft(
            torch.stack([choice.tokens for choice in choices], 1),
            torch.stack(probabilities, 1) if probabilities else None,
        )

    def observe(self, row: int, tokens: Sequence[int]) -> None:
        """Go on behind the tokens that are final."""
        self._lengths[row] += len(tokens)
        self._last[row] = tokens[-1]
        if self._drafted:
            self._accepted.append(len(tokens) - 1)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop finished rows."""
        self._lengths = [self._lengths[row] for row in rows]
        self._last = [self._last[row] for row in rows]

    def end(self) -> None:
        """Learn from the last step."""
        self._learn()

    def _mix(self, layer: int, hidden: Tensor, chosen: Tensor, weights: Tensor, activation: Activation) -> Tensor:
        """Compute the quantised experts, and note what was routed where."""
        if self._pace is not None:
            self._pace.self_layer(self._layer_time)
        if self.on_routed is not None:
            self.on_routed(layer, chosen.tolist(), weights.tolist())
        return self._experts(layer, hidden, chosen, weights, activation)

    def _learn(self) -> None:
        """Tell the governor how the last step went."""
        if self.governor is not None and self._accepted:
            fresh = self._scheduler.fresh if self._scheduler is not None else [0] * self._drafted
            self.governor.observe(self._drafted, self._accepted, fresh)
        self._accepted = []
