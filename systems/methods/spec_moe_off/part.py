"""SpecMoEOff (arXiv 2508.21706): layers in a stream, and attention on the host."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from systems.contract.errors import BadInput
from systems.contract.options import require
from systems.methods.spec_moe_off.streaming import LayerStream, Streaming
from systems.policies.decoding_part import AttentionPart
from systems.policies.listening import Listener
from systems.policies.part import HintingPart, ResidencyPart
from systems.policies.plain_parts import NextLayersPart
from systems.policies.residency import Residency

if TYPE_CHECKING:
    from systems.policies.composition import Composition
    from systems.runtime.site import LiveSite, Site


@dataclass(frozen=True, slots=True)
class LayerStreamPart(HintingPart):
    """`predictor.part: layer_stream`: the next layers' experts, all of them as SpecMoEOff streams them, or with
    `recent` those that a layer needed in as many forwards before."""

    recent: int | None = None

    part: ClassVar[str] = "layer_stream"
    acts_through: ClassVar[str] = "next_layers"
    in_parts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.recent is None or self.recent >= 1, "predictor.recent", self.recent, "at least 1, or null")

    def build(self, site: Site) -> Listener:
        """Make the predictor. While a draft runs, the link carries as much as there are slots."""
        prefetch, slots = site.composition.prefetch, site.shape.slots
        assert isinstance(prefetch, NextLayersPart)

        def carried(tokens: int) -> int:
            """Transfers in the time of a layer, and one more, so that the link never rests."""
            return math.ceil(site.hides(tokens)) + 1 if site.costs.transfer else slots

        between = carried(1) if site.composition.drafter.does_nothing else slots
        return LayerStream(site.hinting, site.shape, prefetch.depth, self.recent, site.cache.absent, carried, between)


@dataclass(frozen=True, slots=True)
class StreamingPart(ResidencyPart):
    """`residency.part: streaming`: what has just been read goes first; for systems that need all experts in turn."""

    part: ClassVar[str] = "streaming"

    def build(self, site: Site) -> Residency:
        """Make the policy; see `Streaming`."""
        return Streaming(site.shape, site.micro_batches)


@dataclass(frozen=True, slots=True)
class ChunkedAttentionPart(AttentionPart):
    """`attention.part: chunked`: verification attends on the host, keys and values read once for all drafted tokens.

    The rows are cut into `micro_batches`, so that the attention of one runs beside the experts of another; each is a
    need of its own in the counts of experts.
    """

    micro_batches: int = 2

    part: ClassVar[str] = "chunked"

    def __post_init__(self) -> None:
        require(self.micro_batches >= 1, "attention.micro_batches", self.micro_batches, "at least 1")

    def check(self, others: Composition) -> None:
        """Refuse to divide a batch among parts that count its rows."""
        if self.micro_batches == 1:
            return
        for other in (others.drafter, others.predictor):
            if not other.in_parts:
                raise BadInput(
                    f"{other.kind}.part={other.part} needs the whole batch at once; set attention.micro_batches=1"
                )
        if not others.residency.in_parts:
            raise BadInput(
                f"residency.part={others.residency.part} needs the whole batch; set attention.micro_batches=1"
            )

    def host_only(self, virtual: bool) -> str | None:
        """Keys and values are in host memory."""
        return "attention.part=chunked runs beside host slots only so far; set model.device=cpu"

    def build(self, site: LiveSite) -> Any:
        """Make what decodes in parts."""
        from systems.methods.spec_moe_off.split_decoder import MicroBatches, check_reach

        check_reach(site.pair.target)
        return partial(MicroBatches, parts=site.micro_batches, clock=site.clock)
