"""A system replayed: the composition is the live one, models and tensors are a trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from systems.compose.assembly import wants_stored
from systems.compose.budget import divided
from systems.compose.combination import check_combination
from systems.compose.composed import ComposedSystem
from systems.compose.options.residency import AllResidentOptions, Int4Options
from systems.compose.parts import Options
from systems.contract.config import SystemConfig
from systems.contract.costs import Costs, LinkSpec
from systems.contract.errors import BadInput
from systems.contract.meter import Meter
from systems.contract.options import NoPart
from systems.contract.recording import Traces
from systems.contract.requests import Request
from systems.contract.system import System
from systems.replay.assembly import ReplayAssembly
from systems.replay.loop import Replay
from systems.replay.trace import UNKNOWN_DRAFTS, Header, Record, Trace
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
        options = Options.of(config)
        _check(config, options, trace.header)
        check_combination(config, options)
        header = trace.header
        drafting = 0 if isinstance(options.drafter, NoPart) else header.draft_bytes
        everything = isinstance(options.residency, AllResidentOptions)
        count = header.layers * header.experts
        beside = count
        if not everything:
            count, beside = divided(
                options, header.layers, count, header.top_k, header.record_bytes, budget_bytes, drafting
            )
        link = NO_LINK if everything else link
        stored = activations() if wants_stored(options) else None
        self._assembly = self._assemble(options, header, count, link, costs, stored)
        parts = self._assembly.parts(beside)
        held = max(count * header.record_bytes, beside * header.record_bytes + drafting)
        super().__init__(parts, costs, held, header.layers, frozenset(header.stop_tokens))
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
        self, options: Options, header: Header, slots: int, link: LinkSpec, costs: Costs, stored: Stored | None
    ) -> ReplayAssembly:
        return ReplayAssembly(options, header, slots, link, costs, stored)

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


def _check(config: SystemConfig, options: Options, header: Header) -> None:
    if config.engine.get("part", "composed") != "composed":
        raise BadInput(f"engine.part={config.engine['part']} cannot be replayed; leave {config.name} out of `systems`")
    if not isinstance(options.gating, NoPart):
        raise BadInput("gating changes what is generated, which a trace cannot tell; set gating.part=none")
    if isinstance(options.residency, Int4Options):
        raise BadInput("residency.part=int4 changes what is generated, which a trace cannot tell; leave it out")
    part, length = config.drafter.get("part", "none"), getattr(options.drafter, "draft_length", 0)
    if part in UNKNOWN_DRAFTS:
        raise BadInput(f"{UNKNOWN_DRAFTS[part]}; leave {config.name} out of `systems`")
    if part not in ("none", header.drafter):
        raise BadInput(f"the trace was recorded with drafter.part={header.drafter} and the system has {part}")
    if length > header.draft_length:
        raise BadInput(f"drafter.draft_length={length} is beyond the {header.draft_length} of the trace; record longer")
