"""A system replayed: the composition is the live one, models and tensors are a trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from systems.compose.composed import ComposedSystem
from systems.contract.config import SystemConfig
from systems.contract.costs import Costs, LinkSpec
from systems.contract.errors import BadInput
from systems.contract.meter import Meter
from systems.contract.recording import Traces
from systems.contract.requests import Request
from systems.contract.system import System
from systems.policies.composition import Composition, part
from systems.policies.memory import Memory
from systems.replay.assembly import ReplayAssembly
from systems.replay.loop import Replay
from systems.replay.trace import Header, Record, Trace
from systems.runtime.activation_file import Stored

NO_LINK = LinkSpec(bandwidth=float("inf"), latency=0.0, virtual=True)
"""The link of a system that keeps everything: it is loaded before the clock counts."""


class ReplayedSystem(ComposedSystem):
    """`systems.contract.system.System` over a trace; its times are predictions, on a virtual clock.

    Args:
        activations: asked for activation matrices that were collected before, where the system predicts from them.

    Raises:
        BadInput: the system drafts with another part, or longer, than the trace was recorded with, or changes outputs.
    """

    def __init__(
        self,
        config: SystemConfig,
        trace: Trace,
        budget_bytes: int,
        link: LinkSpec,
        costs: Costs,
        activations: Callable[[], Stored | None] = lambda: None,
    ) -> None:
        composition, header = Composition.of(config), trace.header
        _check(config, composition, header)
        composition.check()
        drafting = 0 if composition.drafter.does_nothing else header.draft_bytes
        experts, record = header.layers * header.experts, header.record_bytes
        memory = Memory(header.layers, experts, header.top_k, record, budget_bytes, drafting)
        count, beside = composition.residency.afford(memory, composition.drafter.optional)
        link = NO_LINK if composition.residency.keeps_all else link
        stored = activations() if composition.predictor.wants_activations else None
        self._assembly = self._assemble(composition, header, count, link, costs, stored)
        parts = self._assembly.parts(beside)
        super().__init__(parts, costs, memory.held(count, beside), header.layers, frozenset(header.stop_tokens))
        self._trace = trace

    def generate(self, requests: Sequence[Request], meter: Meter, at_once: int | None = None) -> None:
        """Replay a batch.

        Raises:
            BadInput: a request that the trace does not hold.
        """
        records = [self._trace.of(request) for request in requests]
        seats = at_once or len(records)
        self._replay(records, meter, seats).run()

    def _assemble(
        self, composition: Composition, header: Header, slots: int, link: LinkSpec, costs: Costs, stored: Stored | None
    ) -> ReplayAssembly:
        return ReplayAssembly(composition, header, slots, link, costs, stored)

    def _replay(self, records: Sequence[Record], meter: Meter, seats: int) -> Replay:
        return Replay(self._parts, self._assembly.pace, self._trace.header, records, meter, seats)

    def kv_bytes(self, requests: Sequence[Request], at_once: int | None = None) -> int:
        """0: a trace has no keys and values."""
        return 0


def build_replay(config: SystemConfig, traces: Traces, budget_bytes: int, link: LinkSpec, costs: Costs) -> System:
    """Compose a system whose models are a recording; its times are predictions.

    Raises:
        BadInput: as of a live one, or the recording does not hold what the system asks.
        DidNotFit: as of a live one.
    """
    trace = traces.of(config.drafter["part"])
    return ReplayedSystem(config, trace, budget_bytes, link, costs, traces.activations)


def _check(config: SystemConfig, composition: Composition, header: Header) -> None:
    drafter = composition.drafter
    for reason in (one.untold() for one in (part("engine", config.engine), *composition.parts)):
        if reason is not None:
            raise BadInput(f"{reason}; leave {config.name} out of `systems`")
    if drafter.part != header.drafter and not drafter.does_nothing:
        raise BadInput(f"the trace was recorded with drafter.part={header.drafter} and the system has {drafter.part}")
    if drafter.draft_length > header.draft_length:
        raise BadInput(
            f"drafter.draft_length={drafter.draft_length} is beyond the {header.draft_length} of the trace; record "
            "longer"
        )
