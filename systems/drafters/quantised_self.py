"""The target as its own draft, with INT4 experts and everything else shared, the KV cache included (MoE-SpeQ)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor

from systems.drafters.base import Draft
from systems.drafters.self_draft import SelfDrafter
from systems.policies.governor import Governor
from systems.policies.lookahead import LookaheadScheduler
from systems.runtime.clock import Pace
from systems.runtime.decoder import Decoder
from systems.runtime.experts import Arithmetic, ExpertPort
from systems.runtime.quantised import QuantisedExperts
from systems.runtime.sampling import Chooser

OnRouted = Callable[[int, list[list[int]], list[list[float]]], None]
"""Called with a layer's ordinal, and per row the chosen experts and their weights."""


class QuantisedSelf(SelfDrafter):
    """Drafts with the quantised experts.

    Args:
        scheduler: fetches what the draft's routing names; None: nobody does. An emulated clock stands still for it: in
            the paper (arXiv 2511.14102) the host fills the buffer while the device drafts on.
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
        super().__init__(port, draft_length, experts.nbytes)
        self.governor = governor
        self._experts, self._scheduler = experts, scheduler
        self._pace, self._layer_time = pace, layer_time
        self.on_routed: OnRouted | None = scheduler.routed if scheduler is not None else None
        """Told where a layer routes what is being drafted."""
        self._drafted = 0
        self._fresh: list[bool] = []
        """Rows that nothing was drafted for yet."""
        self._accepted: list[int] = []
        self._began: float | None = None
        """When the cycle began whose end nobody has seen."""
        self._seconds: float | None = None

    def begin(self, prompts: Sequence[Sequence[int]], target: Decoder) -> None:
        """Share the target's decoder, whose cache holds the prompts."""
        self._fresh = []
        super().begin(prompts, target)

    def join(self, prompts: Sequence[Sequence[int]]) -> None:
        """Nothing was drafted for these rows yet."""
        super().join(prompts)
        self._began = None
        self._fresh += [True for _ in prompts]

    def propose(self, chooser: Chooser) -> Draft:
        """Draft as many tokens as the governor wants."""
        self._learn()
        self._drafted = self.draft_length if self.governor is None else self.governor.choose()
        self._fresh = [False for _ in self._fresh]
        self._began = None if self._pace is None else self._pace.clock.now()
        if self._scheduler is not None:
            self._scheduler.begin_step(self._drafted)
        return self._draft(chooser, self._drafted)

    def observe(self, row: int, tokens: Sequence[int]) -> None:
        """Note how many of the row's drafts were accepted, if it had any."""
        super().observe(row, tokens)
        if self._began is not None and self._pace is not None:
            self._seconds, self._began = self._pace.clock.now() - self._began, None
        if not self._fresh[row]:
            self._accepted.append(len(tokens) - 1)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop finished rows."""
        super().keep(rows)
        self._fresh = [self._fresh[row] for row in rows]

    def end(self) -> None:
        """Learn from the last step."""
        self._learn()

    def _begin_token(self) -> None:
        if self._scheduler is not None:
            self._scheduler.begin_token()

    def _end_token(self, drafted: int, wanted: int) -> None:
        if self._scheduler is not None:
            with self._beside():
                self._scheduler.end_token(drafted, wanted)

    def _beside(self) -> AbstractContextManager[None]:
        return nullcontext() if self._pace is None else self._pace.clock.stopped()

    def _mix(self, layer: int, hidden: Tensor, chosen: Tensor, weights: Tensor, arithmetic: Arithmetic) -> Tensor:
        """Compute the quantised experts, and note what was routed where."""
        if self._pace is not None:
            self._pace.self_layer(self._layer_time)
        if self.on_routed is not None:
            with self._beside():
                self.on_routed(layer, chosen.tolist(), weights.tolist())
        return self._experts(layer, hidden, chosen, weights, arithmetic)

    def _learn(self) -> None:
        """Tell the governor how the last step went."""
        if self.governor is not None and self._accepted:
            fresh = self._scheduler.fresh if self._scheduler is not None else [0] * self._drafted
            self.governor.observe(self._drafted, self._accepted, fresh, self._seconds)
        self._accepted, self._seconds = [], None
