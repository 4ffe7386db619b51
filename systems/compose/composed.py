"""A system: a drafter, an expert cache and what predicts and steers; what live and replayed ones have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from systems.cache.expert_cache import ExpertCache
from systems.contract.costs import Costs
from systems.contract.meter import Meter, NullMeter
from systems.contract.requests import Request
from systems.contract.traffic import Transfer
from systems.methods.arbiter.choice import Choice
from systems.methods.arbiter.stopwatch import Stopwatch
from systems.methods.moe_speq.lookahead import LookaheadScheduler
from systems.methods.sp_moe.chosen_by_replay import CutoffSearch
from systems.policies.depth import Depth
from systems.policies.draft_lengths import DraftGovernor
from systems.policies.hinting import Hinting
from systems.policies.listening import Listener, Rehearsing
from systems.policies.residency import Residency
from systems.runtime.ahead import DraftAhead

if TYPE_CHECKING:  # a replay needs no tensors, and none of what computes with them
    from systems.methods.adapmoe.gating import AdaptiveGating
    from systems.modeling.decoder import MakeDecoder
    from systems.modeling.experts import Mixer
    from systems.runtime.drafting import Drafter


@dataclass
class Parts:
    """What a system is made of. `gating`, `foresight` and `depth` are there in the systems that have them; `drafter`
    and `decoder` are set last, since they may need the others."""

    cache: ExpertCache
    hinting: Hinting
    mixer: Mixer
    residency: Residency
    listener: Listener
    drafter: Drafter = field(init=False)
    decoder: MakeDecoder = field(init=False)
    gating: AdaptiveGating | None = None
    foresight: Rehearsing | None = None
    depth: Depth | None = None
    scheduler: LookaheadScheduler | None = None
    governor: DraftGovernor | None = None
    """What chooses draft lengths at run time."""
    ahead: DraftAhead | None = None
    search: CutoffSearch | None = None
    """What sets an `auto` depth when the warm-up has been seen."""
    choices: list[Choice] = field(default_factory=list)
    """What the warm-up decides, in this order."""
    notes: list[Callable[[], dict[str, Any]]] = field(default_factory=list)
    """What parts have chosen, for the record."""
    closing: list[Callable[[], None]] = field(default_factory=list)
    """What frees memory beside that of the slots."""


class ComposedSystem(ABC):
    """`systems.contract.system.System` made of parts.

    Args:
        layers: MoE layers of the target; `stop_tokens` end its sequences.
    """

    def __init__(self, parts: Parts, costs: Costs, fast_bytes: int, layers: int, stop_tokens: frozenset[int]) -> None:
        self._parts, self._costs = parts, costs
        self._layers, self._stop_tokens = layers, stop_tokens
        self.fast_bytes = fast_bytes
        self.cache = parts.cache

    @property
    def drafter(self) -> Drafter:
        """What drafts; the warm-up may change it."""
        return self._parts.drafter

    @abstractmethod
    def generate(self, requests: Sequence[Request], meter: Meter, at_once: int | None = None) -> None:
        """Generate for a batch; see `systems.contract.system.System`."""

    def watch(self, hear: Callable[[Transfer], None]) -> None:
        """Tell of transfers; see `systems.contract.system.Watched`."""
        self.cache.watch(hear)

    @abstractmethod
    def kv_bytes(self, requests: Sequence[Request], at_once: int | None = None) -> int:
        """Keys and values of a batch; see `systems.contract.system.System`."""

    def calibrate(self, requests: Sequence[Request]) -> None:
        """Warm the slots up, and let the parts learn what they derive from a profile.

        May be called for several batches; what is derived rests on all of them.
        """
        parts = self._parts
        for choice in parts.choices:
            self._switch(choice, True)
        learners: list[Residency | Listener | DraftGovernor] = [parts.residency, parts.listener]
        if parts.governor is not None:
            learners.append(parts.governor)
        for learner in learners:
            learner.learn(True)
        self._warm_up(requests)
        for learner in learners:
            learner.learn(False)
        self._install_favourites()
        if parts.depth is not None and parts.search is not None:
            parts.depth.layers = parts.search.choose()
        for place, choice in enumerate(parts.choices):
            if self._weigh(requests, choice):
                for later in parts.choices[place + 1 :]:
                    later.forget()

    def rehearse(self, requests: Sequence[Request], at_once: int | None = None) -> None:
        """Let the oracle record the generation that follows, and put back what its slots held.

        It may start with what the warm-up used most instead, as those do who keep that.
        """
        if (foresight := self._parts.foresight) is None:
            return
        held = self.cache.slots.residents
        foresight.rehearse()
        self.generate(requests, self._unmeasured(requests), at_once)
        favourites = self._parts.residency.favourites()
        start = foresight.perform([held, favourites] if favourites else [held])
        self.cache.install(start)
        self.cache.take_traffic()  # none of the generation's

    def now_ns(self) -> int:
        """The time on the clock of the link (ns)."""
        return int(self.cache.clock.now() * 1e9)

    def describe(self) -> dict[str, Any]:
        """Slots, bytes, and what the parts have chosen."""
        facts: dict[str, Any] = {
            "slots": self.cache.open_slots,
            "fast_bytes": self.fast_bytes,
            "draft_bytes": self.drafter.fast_bytes,
            "draft_length": self.drafter.draft_length,
        }
        for note in self._parts.notes:
            facts |= note()
        return facts

    def close(self) -> None:
        """Stop the transfer thread, and free what parts hold."""
        self.cache.close()
        for close in self._parts.closing:
            close()

    def _weigh(self, requests: Sequence[Request], choice: Choice) -> bool:
        """Run the warm-up both ways, and go on with what was faster; return whether that has changed."""
        before = choice.kept
        for on in (True, False):
            self._switch(choice, on)
            watch = Stopwatch(requests, self._stop_tokens, self.cache.now)
            self.generate(requests, watch)
            choice.note(on, watch)
        self._switch(choice, choice.decide())
        return choice.kept is not before

    def _switch(self, choice: Choice, on: bool) -> None:
        """Do it or leave it; either way the slots start from what the warm-up used most."""
        choice.switch(self._parts, on)
        self._install_favourites()

    def _install_favourites(self) -> None:
        if favourites := self._parts.residency.favourites():
            self.cache.install(favourites)

    def _warm_up(self, requests: Sequence[Request]) -> None:
        """Generate unmeasured; where the cutoff is to be chosen, with hints for every layer."""
        depth, search, hinting = self._parts.depth, self._parts.search, self._parts.hinting
        if depth is None or search is None:
            self.generate(requests, self._unmeasured(requests))
            return
        depth.layers, hinting.on_hint = self._layers, search.warm_up.hint
        self.generate(requests, search.warm_up.meter(requests, self._stop_tokens))
        hinting.on_hint = None

    def _unmeasured(self, requests: Sequence[Request]) -> NullMeter:
        return NullMeter([request.max_new_tokens for request in requests], self._stop_tokens)
