"""The target as its own draft, with INT4 experts and everything else shared, the KV cache included (MoE-SpeQ)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor

from systems.cache.clock import Pace
from systems.drafters.self_draft import SelfDrafter
from systems.methods.moe_speq.lookahead import LookaheadScheduler
from systems.methods.moe_speq.quantised import QuantisedExperts
from systems.modeling.experts import Arithmetic, ExpertPort
from systems.runtime.drafting import Draft
from systems.runtime.sampling import Chooser

OnRouted = Callable[[int, list[list[int]], list[list[float]]], None]
"""Called with a layer's ordinal, and per row the chosen experts and their weights."""


class QuantisedSelf(SelfDrafter):
    """Drafts with the quantised experts.

    Args:
        scheduler: fetches what the draft's routing names; None: nobody does. An emulated clock stands still for it: in
            the paper (arXiv 2511.14102) the host fills the buffer while the device drafts on.
        layer_time: seconds that a layer takes on a virtual clock.
    """

    def __init__(
        self,
        port: ExpertPort,
        experts: QuantisedExperts,
        draft_length: int,
        scheduler: LookaheadScheduler | None,
        pace: Pace | None = None,
        layer_time: float = 0.0,
    ) -> None:
        super().__init__(port, draft_length, experts.nbytes)
        self._experts, self._scheduler = experts, scheduler
        self._pace, self._layer_time = pace, layer_time
        self.on_routed: OnRouted | None = scheduler.routed if scheduler is not None else None
        """Told where a layer routes what is being drafted."""

    def propose(self, chooser: Chooser, length: int) -> Draft:
        """Draft, and let the scheduler fetch meanwhile."""
        if self._scheduler is not None:
            self._scheduler.begin_step(length)
        return super().propose(chooser, length)

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
