"""MoE-SpeQ's expert lookahead buffer, its three-phase scheduler and lookahead eviction (arXiv 2511.14102, 3.2-3.3).

The quantised draft routes with the target's own gates, so that the experts of every drafted token and layer are known,
with few errors, before verification starts. The paper gives neither the boundaries of the phases nor their
bandwidth caps; ours: the first drafted token primes (nothing is fetched, residents that are named are spared), the
following ones fetch what the link can carry until drafting ends, and with the last one, which may be the first,
everything still missing is fetched in the order of layers, each as soon as it has routed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from systems.policies.hinting import Hinting
from systems.policies.listening import distinct
from systems.policies.orders import DEMAND, Hint, Order, Shape
from systems.policies.residency import Evictable, Lru, Residency

Schedule = Literal["three_phase", "sooner", "later"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What one drafted token named in one layer: experts, and the router's weight of each (its confidence)."""

    layer: int
    experts: tuple[int, ...]
    confidences: tuple[float, ...]


class LookaheadBuffer:
    """Entries of the current step, drafted token by drafted token: k x layers in the paper's terms."""

    def __init__(self) -> None:
        self._tokens: list[list[Entry]] = []

    def clear(self) -> None:
        """A step begins."""
        self._tokens.clear()

    def start(self) -> None:
        """The next token is being drafted."""
        self._tokens.append([])

    def add(self, entry: Entry) -> None:
        """A layer has routed the token being drafted."""
        self._tokens[-1].append(entry)

    def confidences(self) -> dict[tuple[int, int], float]:
        """Total confidence of every (layer, expert) that any token named."""
        total: dict[tuple[int, int], float] = {}
        for entry in (entry for token in self._tokens for entry in token):
            for expert, confidence in zip(entry.experts, entry.confidences, strict=True):
                total[entry.layer, expert] = total.get((entry.layer, expert), 0.0) + confidence
        return total

    def hints(self) -> list[Hint]:
        """Everything named, in the order in which verification will need it; the more confident first."""
        found = self.confidences()
        order = sorted(found, key=lambda key: (key[0], -found[key]))
        return [Hint(layer, layer, expert) for layer, expert in order]


@dataclass(frozen=True, slots=True)
class Plan:
    """What the scheduler wants after a drafted token: experts to spare, and among them those to fetch."""

    hold: list[Hint]
    fetch: list[Hint]


@dataclass(frozen=True, slots=True)
class ThreePhases:
    """Decides after each drafted token what to fetch.

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
    def streams(self) -> bool:
        """Whether the last token's layers are fetched for as soon as they have routed: what all tokens have named is
        known then, layer by layer, and drafting goes on meanwhile."""
        return self.schedule == "three_phase"

    def after(self, buffer: LookaheadBuffer, drafted: int, length: int, missing: Collection[tuple[int, int]]) -> Plan:
        """Plan after `drafted` of `length` tokens.

        Args:
            missing: (layer, expert) pairs of the buffer that are not in fast memory.
        """
        hints = buffer.hints()
        wanted = [hint for hint in hints if (hint.layer, hint.expert) in missing]
        if drafted == length or self.schedule == "sooner":
            return Plan(hints, wanted)
        if drafted == 1 or self.schedule == "later":
            return Plan(hints, [])
        return Plan(hints, self._affordable(buffer, wanted, length - drafted))

    def _affordable(self, buffer: LookaheadBuffer, wanted: list[Hint], tokens_left: int) -> list[Hint]:
        """The most confident of the missing, as many as the link carries until drafting ends."""
        carried = int(tokens_left * self.token_time / self.transfer) if self.transfer else len(wanted)
        sure = buffer.confidences()
        chosen = sorted(wanted, key=lambda hint: -sure[hint.layer, hint.expert])[:carried]
        return sorted(chosen, key=lambda hint: (hint.layer, -sure[hint.layer, hint.expert]))


class LookaheadScheduler:
    """Turns the routing of a self-draft into hints, drafted token by drafted token.

    Args:
        absent: those of some expert ids that are not in fast memory.
    """

    def __init__(
        self, phases: ThreePhases, hinting: Hinting, absent: Callable[[Iterable[int]], list[int]], experts: int
    ) -> None:
        self._phases, self._hinting, self._absent, self._experts = phases, hinting, absent, experts
        self._buffer = LookaheadBuffer()
        self._known: list[dict[int, None]] = []
        """Experts named so far, by layer."""
        self._missing = self._place = self._length = 0
        self.fresh: list[int] = []
        """Missing experts named by the first 1, 2, ... tokens of the step."""

    def begin_step(self, length: int) -> None:
        """A step begins that drafts so many tokens."""
        self._buffer.clear()
        self._known, self.fresh = [], []
        self._missing, self._place, self._length = 0, 0, length

    def begin_token(self) -> None:
        """The next token is being drafted."""
        self._buffer.start()
        self._place += 1

    def routed(self, layer: int, chosen: Sequence[Sequence[int]], confidences: Sequence[Sequence[float]]) -> None:
        """A layer has routed the token that is being drafted, of every row."""
        for experts, weights in zip(chosen, confidences, strict=True):
            self._buffer.add(Entry(layer, tuple(experts), tuple(weights)))
        self._know(layer, distinct(chosen))
        if self._place == self._length and self._phases.streams:
            self._hinting.prefetch(layer, list(self._known[layer]))

    def end_token(self, drafted: int, length: int) -> None:
        """`drafted` of `length` tokens are drafted: let the phases decide."""
        named = {layer * self._experts + expert: (layer, expert) for layer, expert in self._buffer.confidences()}
        missing = {named[id] for id in self._absent(named)}
        self.fresh.append(self._missing)
        plan = self._phases.after(self._buffer, drafted, length, missing)
        self._hinting.plan(plan.fetch, plan.hold)

    def _know(self, layer: int, experts: Sequence[int]) -> None:
        """Count what a layer names for the first time in this step and is missing."""
        while len(self._known) <= layer:
            self._known.append({})
        new = [expert for expert in experts if expert not in self._known[layer]]
        if new:
            self._known[layer].update(dict.fromkeys(new))
            self._missing += len(self._hinting.absent(layer, new))


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


@dataclass(frozen=True, slots=True)
class LookaheadOptions:
    """`residency.part: lookahead`: MoE-SpeQ's."""

    def build(self, shape: Shape) -> Residency:
        """Make the policy."""
        return Lookahead(shape.experts)
