"""Which parts of a system go together."""

from __future__ import annotations

from typing import Any

from systems.api import BadInput, SystemConfig
from systems.parts import (
    PARTS,
    ActivationMatrixOptions,
    BeladyOptions,
    CutoffPrefetchOptions,
    DraftAttentionOptions,
    InOrderOptions,
    LookaheadBufferOptions,
    ModelDrafterOptions,
    NextGateOptions,
    NextLayersOptions,
    NoPart,
    Options,
    PeerResidencyOptions,
    PhasesOptions,
    PriorityOptions,
    QuantisedSelfOptions,
    RehearsalOptions,
)

ACTS_ON = {
    DraftAttentionOptions: CutoffPrefetchOptions,
    NextGateOptions: NextLayersOptions,
    ActivationMatrixOptions: PriorityOptions,
    LookaheadBufferOptions: PhasesOptions,
    RehearsalOptions: InOrderOptions,
    NoPart: NoPart,
}
"""Which prefetch part acts on which predictor."""
LISTENS_TO = {DraftAttentionOptions: ModelDrafterOptions, LookaheadBufferOptions: QuantisedSelfOptions}
"""Predictors that listen to one kind of drafter."""


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


def _name(group: str, kind: type[Any]) -> str:
    return next(name for name, known in PARTS[group].items() if known is kind)
