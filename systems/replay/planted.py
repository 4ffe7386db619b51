"""A trace replayed where copies and kernels are real: a model's sizes on a device, its routing planted.

For models whose weights are not at hand. What a layer needs, what is foretold and which drafts are right comes from a
trace; the experts' products run from slots that real transfers have filled, with the rows that the trace gives each;
all other weights of a layer are one matrix of as many bytes. Nobody looks at values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from systems.cache.clock import Clock, Pace, WallClock
from systems.cache.transport import HostTransport, Transport
from systems.compose.composed import Parts
from systems.contract.config import SystemConfig
from systems.contract.costs import Costs, LinkSpec
from systems.contract.meter import Meter
from systems.contract.recording import Imagination, Planted
from systems.contract.shape import ModelShape
from systems.contract.system import System
from systems.policies.composition import Composition
from systems.policies.listening import distinct
from systems.replay.assembly import ReplayAssembly
from systems.replay.loop import Replay
from systems.replay.routing import Forward
from systems.replay.system import ReplayedSystem
from systems.replay.trace import NOTHING, Header, Record, Trace
from systems.runtime.activation_file import Stored
from systems.runtime.timing import medians
from systems.store.checkpoint import ExpertShape
from systems.store.page_lock import aligned
from systems.store.slot_table import SlotTable
from systems.store.slots import Slots
from systems.store.store import RamStore

DTYPE = torch.bfloat16
MOST_ROWS = 1024
"""Tokens of a forward at most: a prompt is as long."""
TURNS = 2
"""Matrices that stand for all layers' in turn, so that none is found in the device's cache."""


class PlantedStore(RamStore):
    """Random records in host memory; `distinct` of them stand for all, since a copy does not care."""

    def __init__(self, shape: ExpertShape, distinct: int) -> None:
        self.shape, self.dtype = shape, DTYPE
        self.slab = aligned(min(distinct, shape.count), shape.record_bytes(DTYPE))
        for row in self.slab:
            row.view(DTYPE).fill_(0.01)

    def record(self, expert: int) -> Tensor:
        """One of the distinct records."""
        return self.slab[expert % len(self.slab)]


class PlantedModel:
    """A model in a shape's sizes on a device.

    Args:
        distinct: experts that are really in host memory.
    """

    def __init__(self, shape: ModelShape, device: str, distinct: int) -> None:
        self.shape, self.device = shape, torch.device(device)
        self.experts = ExpertShape(tuple(range(shape.moe_layers)), shape.experts, shape.hidden, shape.intermediate)
        self.store = PlantedStore(self.experts, distinct)
        draft = (shape.draft.active_bytes or shape.draft.bytes) // (shape.draft.layers or shape.layers)
        self._target, self._draft = self._matrices(shape.other_bytes // shape.layers), self._matrices(draft)
        self._rows = torch.full((MOST_ROWS, shape.hidden), 0.01, dtype=DTYPE, device=self.device)
        self._turn = 0

    def costs(self, widths: Sequence[int], seconds: float | None = None) -> Costs:
        """Time layers, experts resident, and transfers (s); see `systems.compose.calibration.measure_costs`."""
        slots = Slots(self.experts, DTYPE, self.shape.experts, self.device)
        times = medians([self._layer(slots, width) for width in widths], str(self.device), seconds)
        (draft,) = medians([lambda: self._settled(self.draft_layer, 1)], str(self.device), seconds)
        slots.close()
        return self._with_link(Costs(dict(zip(widths, times, strict=True)), {1: draft}, 0.0, 0.0), seconds)

    def half_layer(self, tokens: int) -> None:
        """All of a target layer but its experts."""
        self._multiply(self._target, tokens)

    def draft_layer(self, tokens: int) -> None:
        """A layer of the draft."""
        self._multiply(self._draft, tokens)

    def expert(self, slots: Slots, place: int, rows: int) -> Tensor:
        """One expert over so many rows."""
        gate_up, down = slots.matrices[place]
        gate, up = functional.linear(self._rows[:rows], gate_up).chunk(2, dim=-1)
        return functional.linear(functional.silu(gate) * up, down)

    def read(self, tokens: int) -> None:
        """The host reads the router's choice, as a live layer does before it can ask for experts."""
        self._rows[:tokens, : self.shape.top_k].tolist()

    def close(self) -> None:
        """Free everything."""
        self.store.close()
        self._target, self._draft = [], []

    def _matrices(self, nbytes: int) -> list[Tensor]:
        rows = max(1, nbytes // (DTYPE.itemsize * self.shape.hidden))
        size = (rows, self.shape.hidden)
        return [torch.full(size, 0.01, dtype=DTYPE, device=self.device) for _ in range(TURNS)]

    def _multiply(self, matrices: Sequence[Tensor], tokens: int) -> None:
        self._turn = (self._turn + 1) % TURNS
        functional.linear(self._rows[:tokens], matrices[self._turn])

    def _layer(self, slots: Slots, tokens: int) -> Callable[[], None]:
        """A layer over so many tokens that need as many experts as independent routing gives."""
        experts, k = self.shape.experts, self.shape.top_k
        used = max(1, round(experts * (1 - (1 - k / experts) ** tokens)))

        def run() -> None:
            self.half_layer(tokens)
            self.read(tokens)
            for place in range(used):
                self.expert(slots, place, max(1, tokens * k // used))

        return lambda: self._settled(run)

    def _settled(self, action: Callable[..., None], *arguments: int) -> None:
        action(*arguments)
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()

    def _with_link(self, layers: Costs, seconds: float | None) -> Costs:
        """Return the costs with what the link takes for a record, and for a copy however small."""
        if self.device.type == "cuda":
            from systems.runtime.cuda import with_link

            return with_link(layers, self.store, self.device)
        into = torch.empty_like(self.store.slab[0])
        return replace(layers, transfer=medians([lambda: self.store.read([0], [into])], str(self.device), seconds)[0])


class PlantedAssembly(ReplayAssembly):
    """A replayed system whose slots and transfers are real."""

    def __init__(
        self,
        composition: Composition,
        header: Header,
        slots: int,
        link: LinkSpec,
        costs: Costs,
        stored: Stored | None,
        model: PlantedModel,
    ) -> None:
        self.planted = model
        super().__init__(composition, header, slots, link, costs, stored)

    def _make_clock(self, virtual: bool) -> Clock:
        return WallClock()

    def slots(self) -> SlotTable:
        """A slab on the device."""
        return Slots(self.planted.experts, DTYPE, self.shape.slots, self.planted.device)

    def transport(self, slots: SlotTable) -> Transport:
        """Copies on the device's stream, or on the host."""
        assert isinstance(slots, Slots)
        if self.planted.device.type != "cuda":
            return HostTransport(self.planted.store, slots, self.clock)
        from systems.runtime.cuda import CudaTransport

        return CudaTransport(self.planted.store, slots, None)


class PlantedReplay(Replay):
    """The loop over a trace, which computes what the trace says is computed."""

    def __init__(
        self,
        parts: Parts,
        pace: Pace,
        header: Header,
        records: Sequence[Record],
        meter: Meter,
        seats: int,
        model: PlantedModel,
    ) -> None:
        super().__init__(parts, pace, header, records, meter, seats)
        assert isinstance(parts.cache.slots, Slots)
        self._model, self._slots = model, parts.cache.slots

    def _draft_forward(self, place: int, tokens: int) -> None:
        depth = self._depth() if self._depth is not None else 0
        for ordinal in self._header.draft_ordinals:
            self._model.draft_layer(tokens)
            if NOTHING < ordinal < depth:
                self._model.read(tokens)
                self._hinting.prefetch(ordinal, distinct([row.hinted(place, ordinal) for row in self._rows]))

    def _forward(self, layers: Forward) -> None:
        cache, model = self._cache, self._model
        tokens = len(layers[0].chosen)
        for layer, routing in enumerate(layers):
            model.half_layer(tokens)
            model.read(tokens)
            arriving = cache.visit(layer, routing.needed)
            self._listener.routed(layer, routing.ahead, routing.chosen)
            for expert, place in arriving:
                model.expert(self._slots, place, routing.needed[expert])
        model.read(tokens)  # as the live loop reads what the target says
        cache.tell_waits()


class PlantedSystem(ReplayedSystem):
    """`systems.contract.system.System` over a trace and a planted model; its times are this machine's."""

    def __init__(
        self, config: SystemConfig, trace: Trace, budget_bytes: int, costs: Costs, stored: Stored, model: PlantedModel
    ) -> None:
        self._model = model
        super().__init__(config, trace, budget_bytes, costs.link(trace.header.record_bytes), costs, lambda: stored)

    def _assemble(
        self, composition: Composition, header: Header, slots: int, link: LinkSpec, costs: Costs, stored: Stored | None
    ) -> ReplayAssembly:
        return PlantedAssembly(composition, header, slots, link, costs, stored, self._model)

    def _replay(self, records: Sequence[Record], meter: Meter, seats: int) -> Replay:
        pace, header = self._assembly.pace, self._trace.header
        return PlantedReplay(self._parts, pace, header, records, meter, seats, self._model)


def plant_model(shape: ModelShape, device: str, distinct: int) -> Planted:
    """Make what has a model's sizes on a device: matrices of its layers there, `distinct` of its experts in page-locked
    host memory, which stand for all."""
    return PlantedModel(shape, device, distinct)


def build_planted(config: SystemConfig, traces: Imagination, budget_bytes: int, costs: Costs, model: Planted) -> System:
    """Compose a system that replays generated traces over a planted model: its copies and kernels are real.

    Raises:
        BadInput: as `build_replay`.
        DidNotFit: as `build_replay`.
    """
    assert isinstance(model, PlantedModel)
    return PlantedSystem(config, traces.of(config.drafter["part"]), budget_bytes, costs, traces.activations(), model)
