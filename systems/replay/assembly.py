"""The parts of a replayed system: the policies and the cache of the live one over slots without memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from systems.cache.transport import EmulatedLink, Transport
from systems.compose.assembly import Assembly
from systems.compose.composed import Parts
from systems.contract.costs import Costs, LinkSpec
from systems.contract.errors import BadInput
from systems.policies.composition import Composition
from systems.policies.hinting import Predict
from systems.policies.listening import Listener
from systems.policies.orders import Shape
from systems.replay.trace import Header
from systems.runtime.activation_file import Stored
from systems.store.slot_table import SlotTable


class Source:
    """The model that a trace was recorded from, as far as numbers go."""

    def __init__(self, header: Header) -> None:
        self.top_k, self.record_bytes = header.top_k, header.record_bytes
        self.decoder_layers = header.decoder_layers
        self.draft_layers = len(header.draft_ordinals) if header.drafter == "model" else 0


@dataclass
class ReplayedDrafter:
    """Stands for the drafter: what it proposes is in the trace."""

    draft_length: int
    fast_bytes: int
    self_layer: float = 0.0
    """Seconds of a layer of a self-draft."""


class ReplayAssembly(Assembly):
    """A system over a trace; see `Assembly`."""

    def __init__(
        self,
        composition: Composition,
        header: Header,
        slots: int,
        link: LinkSpec,
        costs: Costs,
        stored: Stored | None = None,
    ) -> None:
        shape = Shape(header.layers, header.experts, slots)
        super().__init__(composition, Source(header), shape, link, costs, virtual=True, stored=stored)
        self._header = header
        self._link_spec = link

    def slots(self) -> SlotTable:
        """Bookkeeping only."""
        return SlotTable(self.shape.slots, self.shape.layers * self.shape.experts)

    def transport(self, slots: SlotTable) -> Transport:
        """A link in name."""
        return EmulatedLink(self._link_spec, self._header.record_bytes, self.clock)

    @property
    def draft_ordinals(self) -> Sequence[int]:
        """What was recorded."""
        return self._header.draft_ordinals

    def open_home(self, slots: SlotTable) -> None:
        """Nothing is read."""

    def predict(self) -> Predict:
        """What was recorded."""
        return lambda ahead, hidden: hidden.at(ahead)

    def make_mixer(self, listener: Listener | None) -> Any:
        """Nothing is computed."""
        return _no_tensors

    def plain(self) -> Any:
        """Decode plainly."""
        return ReplayedDrafter(0, 0)

    def finish(self, parts: Parts) -> None:
        """Let the trace draft.

        Raises:
            BadInput: drafts whose length follows the batch.
        """
        part = self.composition.drafter
        if part.follows_positions:
            raise BadInput("a replay drafts as many tokens in every step; set drafter.by_positions=null")
        drafter = ReplayedDrafter(part.draft_length, 0 if part.does_nothing else self._header.draft_bytes)
        drafter.self_layer = self.costs.at(self.costs.target_layer, 1)
        self.govern(drafter.draft_length, part.token_time(self))
        parts.drafter = drafter  # type: ignore[assignment]  # the replay's loop asks less of it than the live one


def _no_tensors(*_: Any) -> NoReturn:
    raise RuntimeError("a replayed system computes no experts")
