"""Which parts of a system go together."""

from __future__ import annotations

from typing import Any

from systems.cache.options import InLineOptions
from systems.compose.options.computing import ChunkedAttentionOptions, ExpertBudgetOptions
from systems.compose.options.drafters import (
    CachedSelfOptions,
    ModelDrafterOptions,
    PromptLookupOptions,
    QuantisedSelfOptions,
    ResidentSelfOptions,
)
from systems.compose.options.prefetching import (
    ActivationMatrixOptions,
    CutoffPrefetchOptions,
    DraftAndGatesOptions,
    DraftAttentionOptions,
    IdleLinkOptions,
    InOrderOptions,
    LayerStreamOptions,
    LookaheadBufferOptions,
    MissedOptions,
    NextGateOptions,
    NextLayersOptions,
    NextNeedsOptions,
    PhasesOptions,
    PriorityOptions,
    RehearsalOptions,
    RowCountersPredictorOptions,
)
from systems.compose.options.residency import ActivationAwareOptions, AllResidentOptions, BeladyOptions, Int4Options
from systems.compose.parts import PARTS, Options
from systems.contract.config import SystemConfig
from systems.contract.errors import BadInput
from systems.contract.options import NoPart
from systems.methods.adapmoe.adaptive_layers import AdaptiveLayersOptions
from systems.methods.arbiter.arbitration import ArbitratedOptions
from systems.methods.arbiter.value import ValueOptions
from systems.methods.moe_infinity.visit_count import VisitCountOptions
from systems.methods.moe_spac.row_counters import RowCountersOptions
from systems.methods.spec_moe.repinning import PinnedOptions
from systems.peers.options import PeerResidencyOptions

ACTS_ON = {
    DraftAttentionOptions: CutoffPrefetchOptions,
    DraftAndGatesOptions: ArbitratedOptions,
    NextGateOptions: NextLayersOptions,
    ActivationMatrixOptions: PriorityOptions,
    LookaheadBufferOptions: PhasesOptions,
    RehearsalOptions: InOrderOptions,
    NextNeedsOptions: InOrderOptions,
    LayerStreamOptions: NextLayersOptions,
    MissedOptions: IdleLinkOptions,
    RowCountersPredictorOptions: PriorityOptions,
    NoPart: NoPart,
}
"""Which prefetch part acts on which predictor."""
LISTENS_TO = {DraftAttentionOptions: ModelDrafterOptions, LookaheadBufferOptions: QuantisedSelfOptions}
"""Predictors that listen to one kind of drafter."""
IN_PARTS = (NoPart, ModelDrafterOptions, PromptLookupOptions, LayerStreamOptions)
"""Drafters and predictors that do not ask which rows of the batch a layer is computing."""


def check_combination(config: SystemConfig, options: Options) -> None:
    """Refuse parts that would silently do nothing together.

    Raises:
        BadInput: naming the part that is missing or too many.
    """
    if isinstance(options.residency, PeerResidencyOptions):
        raise BadInput("residency.part=peer leaves it to the engine, and engine.part=composed has none of its own")
    predictor = config.predictor.get("part", "none")
    wanted = LISTENS_TO.get(type(options.predictor))
    if wanted is not None and not isinstance(options.drafter, wanted):
        name = _name("drafter", wanted)
        raise BadInput(f"predictor.part={predictor} listens to the drafter; set drafter.part={name}")
    acting = ACTS_ON[type(options.predictor)]
    if not isinstance(options.prefetch, acting):
        raise BadInput(f"predictor.part={predictor} needs prefetch.part={_name('prefetch', acting)}, and the reverse")
    if isinstance(options.residency, NoPart) and not isinstance(options.predictor, NoPart):
        raise BadInput(
            f"residency.part=none keeps nothing, so predictor.part={predictor} has no slot to fetch into; "
            "set residency.part=lru, or predictor.part=none and prefetch.part=none"
        )
    if isinstance(options.residency, BeladyOptions) != isinstance(options.predictor, RehearsalOptions):
        raise BadInput("residency.part=belady and predictor.part=rehearsal go together: set both, or neither")
    if isinstance(options.residency, AdaptiveLayersOptions) and not isinstance(options.predictor, NextGateOptions):
        raise BadInput(
            f"residency.part=adaptive_layers divides the slots by what next_gate has foretold, and predictor.part="
            f"{predictor} foretells nothing of that; set predictor.part=next_gate, or residency.part=lru"
        )
    if getattr(options.drafter, "optional", False) and not isinstance(options.residency, ValueOptions):
        raise BadInput("drafter.optional=true may give its memory to further slots, which residency.part=value fills")
    if isinstance(options.prefetch, ArbitratedOptions):
        _check_arbitrated(options)
    if isinstance(options.residency, RowCountersOptions) != isinstance(options.predictor, RowCountersPredictorOptions):
        raise BadInput("residency.part=row_counters and predictor.part=row_counters go together: set both, or neither")
    if isinstance(options.predictor, MissedOptions) and isinstance(options.placement, NoPart):
        raise BadInput("predictor.part=missed admits what was computed in slow memory; set placement.part=cpu")
    if isinstance(options.drafter, ResidentSelfOptions):
        _check_self(config, options)
    if isinstance(options.drafter, CachedSelfOptions) and isinstance(options.residency, NoPart | Int4Options):
        name = config.residency["part"]
        raise BadInput(f"drafter.part=cached_self drafts with what slots hold, and residency.part={name} has none")
    if isinstance(options.residency, Int4Options) and not isinstance(options.predictor, NoPart):
        raise BadInput(f"residency.part=int4 moves nothing, so predictor.part={predictor} would; set it to none")
    if isinstance(options.gating, ExpertBudgetOptions) and isinstance(options.drafter, NoPart):
        raise BadInput("gating.part=expert_budget limits what a verification reads; set drafter.part=model")
    if not isinstance(options.governor, NoPart):
        _check_governor(config, options)
    if isinstance(options.transfer, InLineOptions):
        _check_in_line(config, options)
    _check_parts(config, options)


def _check_arbitrated(options: Options) -> None:
    """Refuse an arbiter that does not know what experts are worth, and one that listens to no draft."""
    if not isinstance(options.residency, ValueOptions):
        raise BadInput("prefetch.part=arbitrated weighs experts by what residency.part=value knows of them; set both")
    if options.predictor.draft and not isinstance(options.drafter, ModelDrafterOptions):
        raise BadInput("predictor.draft=true listens to the drafter; set drafter.part=model, or predictor.draft=false")


def check_pinned(options: Options, top_k: int, experts: int) -> None:
    """Refuse to pin more experts than a layer has, or to draft with fewer than a token uses.

    Raises:
        BadInput: `residency.per_layer` is out of range.
    """
    if not isinstance(options.residency, PinnedOptions):
        return
    least = top_k if isinstance(options.drafter, ResidentSelfOptions) else 1
    if not least <= options.residency.per_layer <= experts:
        raise BadInput(
            f"residency.per_layer={options.residency.per_layer} must be from {least} to {experts}: a token uses"
            f" {top_k} of the {experts} experts of a layer, and drafts are computed by those that are pinned"
        )


def _check_in_line(config: SystemConfig, options: Options) -> None:
    """Refuse prefetches, which nobody waits for, and systems that move nothing."""
    if not isinstance(options.prefetch, NoPart):
        name = config.prefetch["part"]
        raise BadInput(f"transfer.part=in_line carries nothing ahead; set prefetch.part=none in place of {name}")
    if isinstance(options.residency, AllResidentOptions | Int4Options):
        name = config.residency["part"]
        raise BadInput(
            f"residency.part={name} moves nothing, which transfer.part=in_line would; set transfer.part=beside"
        )


def _check_governor(config: SystemConfig, options: Options) -> None:
    """Refuse to govern what does not draft, or goes by a table of its own."""
    name = config.governor["part"]
    if isinstance(options.drafter, NoPart):
        raise BadInput(f"governor.part={name} has no drafter to govern; set drafter.part, or governor.part=none")
    if getattr(options.drafter, "by_positions", None) is not None:
        raise BadInput(
            f"drafter.by_positions chooses draft lengths, too; set it to null, or governor.part={name} to none"
        )


def _check_self(config: SystemConfig, options: Options) -> None:
    """Refuse what would move the experts that the target drafts with, or compute others."""
    if not isinstance(options.residency, PinnedOptions):
        raise BadInput("drafter.part=resident_self drafts with the experts that stay; set residency.part=pinned")
    for group in ("prefetch", "placement", "gating"):
        if not isinstance(getattr(options, group), NoPart):
            name = getattr(config, group)["part"]
            raise BadInput(f"{group}.part={name} does not go with drafter.part=resident_self; set {group}.part=none")


def _check_parts(config: SystemConfig, options: Options) -> None:
    """Refuse to divide a batch among parts that count its rows."""
    if isinstance(options.attention, ChunkedAttentionOptions) and options.attention.micro_batches > 1:
        for group in ("drafter", "predictor"):
            if not isinstance(getattr(options, group), IN_PARTS):
                name = getattr(config, group)["part"]
                raise BadInput(f"{group}.part={name} needs the whole batch at once; set attention.micro_batches=1")
        if not isinstance(options.placement, NoPart):
            raise BadInput("placement.part=cpu takes the processor of chunked attention; set attention.micro_batches=1")
        if isinstance(options.residency, ActivationAwareOptions | VisitCountOptions):
            name = config.residency["part"]
            raise BadInput(f"residency.part={name} needs the whole batch; set attention.micro_batches=1")
    if isinstance(options.predictor, DraftAttentionOptions) and options.drafter.split > 1:
        raise BadInput("predictor.part=draft_attention listens to the whole batch at once; set drafter.split=1")


def _name(group: str, kind: type[Any]) -> str:
    return next(name for name, known in PARTS[group].items() if known is kind)
