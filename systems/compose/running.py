"""A system that runs: its parts around a loaded target."""

from __future__ import annotations

from collections.abc import Sequence

from systems.compose.composed import ComposedSystem, Parts
from systems.contract.costs import Costs
from systems.contract.meter import Meter
from systems.contract.requests import Request
from systems.methods.adapmoe.gating import AdaptiveGating
from systems.modeling.decoder import Decoder
from systems.modeling.experts import nothing
from systems.runtime.likelihood import log_likelihood
from systems.runtime.loop import generate, positions
from systems.runtime.pair import Pair


class RunningSystem(ComposedSystem):
    """`systems.contract.system.System` around a pair, which it shares with others. Built by `systems.compose.build`.

    Args:
        position_bytes: keys and values of one position of one row, the draft model's included.
    """

    def __init__(self, pair: Pair, parts: Parts, costs: Costs, fast_bytes: int, position_bytes: int) -> None:
        super().__init__(parts, costs, fast_bytes, pair.num_layers, pair.stop_tokens)
        self._pair, self._position_bytes = pair, position_bytes

    def generate(self, requests: Sequence[Request], meter: Meter, at_once: int | None = None) -> None:
        """Generate for a batch; see `systems.contract.system.System`."""
        parts = self._parts
        self._pair.port.mixer = parts.mixer
        generate(
            self._pair.target,
            parts.drafter,
            parts.cache,
            parts.listener,
            requests,
            meter,
            at_once,
            decoder=parts.decoder,
            governor=parts.governor,
            ahead=parts.ahead,
        )

    def close(self) -> None:
        """Stop transfers, free the slots, and leave the target to others."""
        super().close()
        if self._pair.port.mixer is self._parts.mixer:
            self._pair.port.mixer = nothing

    def kv_bytes(self, requests: Sequence[Request], at_once: int | None = None) -> int:
        """The target's and the drafter's; see `systems.contract.system.System`."""
        rows = min(at_once or len(requests), len(requests))
        return rows * positions(requests, self.drafter.draft_length) * self._position_bytes

    def log_likelihood(self, tokens: Sequence[int]) -> list[float]:
        """Read a text; see `systems.contract.system.Reading`."""
        parts = self._parts
        self._pair.port.mixer = parts.mixer
        return log_likelihood(self._pair.target, parts.cache, parts.listener, tokens, self.drafter.draft_length + 1)

    def calibrate(self, requests: Sequence[Request]) -> None:
        """Let gating learn from the prompts first, where there is some; see `ComposedSystem`."""
        if self._parts.gating is not None:
            self._profile_gating(self._parts.gating, requests)
        super().calibrate(requests)

    def _profile_gating(self, gating: AdaptiveGating, requests: Sequence[Request]) -> None:
        self._pair.port.mixer = gating
        self.cache.enter("prefill")
        self._parts.listener.begin(1)
        self._parts.listener.reading(0, [])  # nothing is to be predicted: prompts stream past the slots
        longest = max(len(request.prompt) for request in requests)
        gating.profile(Decoder(self._pair.target, 1, longest), [request.prompt for request in requests])
        self._parts.listener.end()
        self.cache.take_traffic()
