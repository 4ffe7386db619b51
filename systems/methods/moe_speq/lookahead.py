"""MoE-SpeQ's expert lookahead buffer, its three-phase scheduler and lookahead eviction (arXiv 2511.14102, 3.2-3.3).

The quantised draft routes with the target's own gates, so that the experts of every drafted token and layer are known,
with few errors, before verification starts. Each layer is fetched for as soon as it has routed, and what it names is
spared. The paper gives neither the boundaries of the phases nor their bandwidth caps. Ours: the first drafted token
primes, the link carries no more than it can while that token is drafted; the following ones fetch what it can carry
until drafting ends, the surest first; with the last one, which may be the first, everything still missing is fetched.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from systems.policies.hinting import Hinting
from systems.policies.orders import DEMAND, Hint, Order
from systems.policies.residency import Evictable, Lru

Schedule = Literal["three_phase", "sooner", "later"]


class LookaheadBuffer:
    """What the drafted tokens of the current step have named, by layer: the paper's k x layers entries, added up over
    the tokens. Every expert has a confidence: the sum of the router's weights of it."""

    def __init__(self) -> None:
        self._layers: list[dict[int, float]] = []

    def clear(self) -> None:
        """A step begins."""
        self._layers.clear()

    def add(self, layer: int, experts: Sequence[int], confidences: Sequence[float]) -> list[int]:
        """A layer has routed the token being drafted; return those that it names for the first time in this step."""
        while len(self._layers) <= layer:
            self._layers.append({})
        known, new = self._layers[layer], list[int]()
        for expert, confidence in zip(experts, confidences, strict=True):
            if expert not in known:
                new.append(expert)
            known[expert] = known.get(expert, 0.0) + confidence
        return new

    def named(self, layer: int) -> list[int]:
        """Experts that have been named in a layer, the most confident first."""
        known = self._layers[layer]
        return sorted(known, key=lambda expert: -known[expert])

    def hints(self) -> list[Hint]:
        """Everything named, in the order in which verification will need it; the more confident first."""
        return [Hint(layer, layer, expert) for layer in range(len(self._layers)) for expert in self.named(layer)]


@dataclass(frozen=True, slots=True)
class Phases:
    """What is fetched when.

    Attributes:
        schedule: `three_phase`, or one of the single-prefetch variants of the paper's Table 3: `sooner` fetches
            all that a token named at once, `later` everything after the last token.
        token_time: seconds that drafting a token takes.
        transfer: seconds per expert over the link.
    """

    schedule: Schedule
    token_time: float
    transfer: float

    @property
    def by_layer(self) -> bool:
        """Whether experts are fetched as soon as a layer has named them, and not after each token."""
        return self.schedule == "three_phase"

    def most(self, place: int, length: int, ordered: int) -> int | None:
        """How many experts a layer of the `place`-th of `length` tokens may fetch ahead; None: all that are missing.

        Args:
            ordered: how many have been fetched in this step.
        """
        if place == length or not self.transfer:
            return None
        tokens = 1 if place == 1 else length
        return max(0, int(tokens * self.token_time / self.transfer) - ordered)

    def after(self, drafted: int, length: int) -> bool:
        """Whether everything that is missing is fetched after so many tokens: after the last, what has been evicted
        again too."""
        return drafted == length or self.schedule == "sooner"


class LookaheadScheduler:
    """Turns the routing of a self-draft into hints, drafted token by drafted token.

    Args:
        phases: when to fetch.
        hinting: takes the hints.
    """

    def __init__(self, phases: Phases, hinting: Hinting) -> None:
        self._phases, self._hinting = phases, hinting
        self._buffer = LookaheadBuffer()
        self._missing = self._place = self._length = self._ordered = 0
        self.fresh: list[int] = []
        """Missing experts named by the first 1, 2, ... tokens of the step."""

    def begin_step(self, length: int) -> None:
        """A step begins that drafts so many tokens."""
        self._buffer.clear()
        self.fresh = []
        self._missing, self._place, self._length, self._ordered = 0, 0, length, 0

    def begin_token(self) -> None:
        """The next token is being drafted."""
        self._place += 1

    def routed(self, layer: int, chosen: Sequence[Sequence[int]], confidences: Sequence[Sequence[float]]) -> None:
        """A layer has routed the token that is being drafted, of every row."""
        new = list[int]()
        for experts, weights in zip(chosen, confidences, strict=True):
            new += self._buffer.add(layer, experts, weights)
        if new:
            self._missing += len(self._hinting.absent(layer, new))
        if self._phases.by_layer:
            most = self._phases.most(self._place, self._length, self._ordered)
            self._ordered += self._hinting.prefetch(layer, self._buffer.named(layer), most)

    def end_token(self, drafted: int, length: int) -> None:
        """`drafted` of `length` tokens are drafted."""
        self.fresh.append(self._missing)
        fetch = self._phases.after(drafted, length)
        if fetch or not self._phases.by_layer:
            hints = self._buffer.hints()
            self._hinting.plan(hints if fetch else [], hints)


class Lookahead(Lru):
    """Evicts what the buffer does not name, least recent first; then what verification will need latest.

    What is named for a deeper layer gives way to what a shallower one needs (Belady over the window).
    """

    def __init__(self, experts: int) -> None:
        super().__init__()
        self._experts = experts

    def victim(self, order: Order, evictable: Evictable, held: Collection[int]) -> int | None:
        """Return the expert that is needed latest, as far as the buffer knows."""
        named: int | None = None
        for expert in self._order:
            if expert in held:
                later = named is None or expert // self._experts > named // self._experts
                if later and expert in evictable:
                    named = expert
            elif expert in evictable:
                return expert
        if named is None or order.kind == DEMAND:
            return named
        return named if named // self._experts > order.layer else None
