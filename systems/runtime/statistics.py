"""What a warm-up run tells the cutoff's latency model."""

from __future__ import annotations

from collections.abc import Sequence

from systems.contract.costs import Costs
from systems.contract.meter import NullMeter
from systems.contract.requests import Request
from systems.contract.traffic import Traffic
from systems.policies.cutoff import StepProfile


class StepStatistics(NullMeter):
    """Averages needs, misses and hints over the steps of an unmeasured run with prefetch at every layer."""

    def __init__(self, layers: int, draft_length: int, stop_tokens: frozenset[int]) -> None:
        super().__init__([], stop_tokens)
        self._stop_tokens = stop_tokens
        self._needed, self._missed, self._predicted = [0] * layers, [0] * layers, [0] * layers
        self._hinted = [[0] * layers for _ in range(draft_length)]
        self._steps = 0
        self._forward, self._last_layer = 0, -1

    def begin(self, requests: Sequence[Request]) -> None:
        """Go on with another batch; averages run over all of them."""
        super().__init__([request.max_new_tokens for request in requests], self._stop_tokens)

    def hint(self, layer: int, ordered: int) -> None:
        """A draft forward has reached `layer` and ordered experts for it; layers come in order."""
        if layer <= self._last_layer:
            self._forward += 1
        self._last_layer = layer
        self._hinted[self._forward][layer] += ordered

    def step(self, rows: Sequence[int], drafted: Sequence[int], accepted: Sequence[int]) -> None:
        """A step has ended."""
        self._steps += 1
        self._forward, self._last_layer = 0, -1

    def traffic(self, traffic: Traffic) -> None:
        """Add the needs of a step."""
        if traffic.phase == "decode":
            for layer, needs in enumerate(traffic.layers):
                self._needed[layer] += needs.needed
                self._missed[layer] += needs.demand - needs.overtaken
                self._predicted[layer] += needs.on_time + needs.late + needs.overtaken

    def profile(self, costs: Costs, slots: int) -> StepProfile:
        """Return the means per step beside the measured costs."""
        steps = max(self._steps, 1)
        hinted = [max(sum(forward), 1) for forward in zip(*self._hinted, strict=True)]
        return StepProfile(
            draft_layer=costs.at(costs.draft_layer, 1),
            verify_layer=costs.at(costs.target_layer, len(self._hinted) + 1),
            transfer=costs.transfer,
            hinted=[[count / steps for count in forward] for forward in self._hinted],
            useful=[min(used / given, 1.0) for used, given in zip(self._predicted, hinted, strict=True)],
            missed=[count / steps for count in self._missed],
            union=[count / steps for count in self._needed],
            slots=slots,
        )
