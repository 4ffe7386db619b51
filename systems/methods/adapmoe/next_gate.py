"""AdapMoE's predictor (arXiv 2408.10284): the next layer's gate reads the current layer's hidden state."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from systems.methods.adapmoe.adaptive_layers import AdaptiveLayers
from systems.methods.adapmoe.allocation import Missed, allocate, expected_loads, missed
from systems.policies.hinting import Hinting, Predict
from systems.policies.listening import Chosen, PhaseListener, distinct
from systems.policies.orders import Shape


@dataclass(frozen=True, slots=True)
class Division:
    """What the division of slots is based on.

    Attributes:
        residency: whose slots are divided.
        least: slots of a layer at least, as many as a token uses.
        room: slots that the buffer may have at most.
    """

    residency: AdaptiveLayers
    least: int
    room: int


class NextGate(PhaseListener):
    """Names the next layers' experts, and orders the first of them that are missing.

    The released code (PKU-SEC-Lab/AdapMoE @2cfe8df, `src/custom_layers.py`) does so for single-token forwards only, and
    orders one expert per layer; here every token of a verification is read, and as many are ordered as cross the link
    in the time of a layer, at least one. More would be on the link when the layer asks for what it really needs. Where
    nothing is missing in the next layer, it looks one layer further, up to `depth`.

    Args:
        predict: asks the router of a later layer about what this layer's router read.
        depth: how many layers ahead are looked at most.
        hides: transfers that fit into the time of a layer over so many tokens.
        always: order experts even where the warm-up has shown that it costs more than it saves; see `pays`.
        division: how slots are divided among the layers after the warm-up; None: they are left alone.
    """

    def __init__(
        self,
        predict: Predict,
        hinting: Hinting,
        shape: Shape,
        depth: int,
        hides: Callable[[int], float],
        always: bool,
        division: Division | None,
    ) -> None:
        super().__init__()
        self._predict, self._hinting, self._shape, self._depth = predict, hinting, shape, depth
        self._hides, self._always, self._division = cache(hides), always, division
        self._profile = Profile(shape.layers)
        self._profiling = False
        self.looks = True
        """Whether experts are ordered ahead; what the warm-up decides."""

    def routed(self, layer: int, hidden: Any, chosen: Chosen) -> None:
        """Predict the next layers."""
        if self._prefill:
            return
        hides = self._hides(len(chosen))
        if self._profiling:
            self._profile.met(layer, sorted(set(distinct(chosen))), hides)
        elif not self.looks:
            return
        most = max(1, int(min(hides, self._shape.experts)))
        for ahead in range(layer + 1, min(layer + self._depth, self._shape.layers - 1) + 1):
            named = self._predict(ahead, hidden)
            if self._profiling and ahead == layer + 1:
                self._profile.named(ahead, named, self._hinting.absent(ahead, named))
            if self._hinting.prefetch(ahead, named, most):
                break

    def learn(self, on: bool) -> None:
        """Profile the warm-up; when it ends, decide whether to look ahead, and divide the slots among the layers."""
        self._profiling = on
        profile = self._profile
        if on or not profile.forwards:
            return
        even = min(self._shape.experts, self._shape.slots // self._shape.layers)
        self.looks = self._always or pays(profile.precision, profile.busy(even), profile.hides)
        if self._division is not None:
            self._divide(self._division)

    def describe(self) -> dict[str, Any]:
        """What was decided, for the record."""
        return {"looks_ahead": self.looks}

    def _divide(self, division: Division) -> None:
        """Give the buffer what `depth` layers of prefetches need, and each layer what the programme finds."""
        profile, buffer = self._profile, 0
        if self.looks:
            buffer = min(division.room, self._depth * max(1, int(min(profile.hides, self._shape.experts))))
        slots = self._shape.slots - buffer
        misses = profile.missed(min(self._shape.experts, slots))
        accuracies = profile.accuracies if self.looks else [0.0] * self._shape.layers
        loads = [expected_loads(m, share, profile.hides) for m, share in zip(misses, accuracies, strict=True)]
        division.residency.divide(allocate(loads, slots, division.least), buffer)


class Profile:
    """What a warm-up shows: each layer's needs, and what the layer before said of them."""

    def __init__(self, layers: int) -> None:
        self._needs: list[list[list[int]]] = [[] for _ in range(layers)]
        self._named: list[Collection[int]] = [()] * layers
        self._absent: list[Collection[int]] = [()] * layers
        self._foretold = [0] * layers
        self._ordered = self._right = 0
        self._hidden = 0.0

    def named(self, layer: int, experts: Sequence[int], absent: Sequence[int]) -> None:
        """The layer before names these experts, of which some are `absent`."""
        self._named[layer], self._absent[layer] = experts, absent

    def met(self, layer: int, needed: list[int], hides: float) -> None:
        """A layer needs these experts; in its time the link carries `hides` of them."""
        self._needs[layer].append(needed)
        self._foretold[layer] += len(set(needed).intersection(self._named[layer]))
        self._ordered += len(self._absent[layer])
        self._right += len(set(needed).intersection(self._absent[layer]))
        self._named[layer] = self._absent[layer] = ()
        self._hidden += hides

    @property
    def forwards(self) -> int:
        """Layers that were met, over all forwards."""
        return sum(map(len, self._needs))

    @property
    def hides(self) -> float:
        """Transfers that fit into the time of a layer, on average."""
        return self._hidden / self.forwards

    @property
    def accuracies(self) -> list[float]:
        """Per layer the share of its needs that were named; 0 for the first layer, which no gate comes before."""
        asked = [sum(map(len, needs)) for needs in self._needs]
        return [met / total if total else 0.0 for met, total in zip(self._foretold, asked, strict=True)]

    @property
    def precision(self) -> float:
        """Share of the experts that were named and absent which were then needed; 1 if there were none."""
        return self._right / self._ordered if self._ordered else 1.0

    def busy(self, slots: int) -> float:
        """Share of the layers' visits that miss something in a cache of so many slots per layer."""
        return sum(int((misses[:, slots] > 0).sum()) for misses in self.missed(slots)) / self.forwards

    def missed(self, most: int) -> list[Missed]:
        """Misses of each layer; see `allocation.missed`."""
        return [missed(needs, most) for needs in self._needs]


def pays(precision: float, busy: float, hides: float) -> bool:
    """Whether an expert that is ordered one layer ahead saves more waiting than it causes.

    What a layer itself misses crosses the link first; then only what follows, about half of a layer's time, is left
    to hide something behind. So a prefetch that is right saves h = min(1, hides x (1 - busy / 2)) of a transfer. One
    that is wrong keeps the next layer's own misses, if it has some, waiting for the rest of it:

        precision x h > (1 - precision) x busy x (1 - h)

    On a link that takes several layers for an expert nobody's gate is right often enough. The paper does not ask:
    with experts of two bits, as in its released code, a transfer is short.

    Args:
        precision: share of the experts named and missing that are needed.
        busy: share of layers that miss something.
        hides: transfers that fit into the time of a layer.
    """
    hidden = min(1.0, hides * (1 - busy / 2))
    return precision * hidden > (1 - precision) * busy * (1 - hidden)
