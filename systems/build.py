"""From a system's YAML to a running system."""

from __future__ import annotations

from typing import Any, cast

from systems.api import BadInput, Costs, DidNotFit, LinkSpec, ModelPair, System, SystemConfig
from systems.assembly import Assembly
from systems.composed import ComposedSystem
from systems.parts import (
    ActivationMatrixOptions,
    AllResidentOptions,
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
    part,
)
from systems.policies.orders import Shape
from systems.policies.residency import LruOptions
from systems.runtime.pair import Pair
from systems.runtime.quantised import check, int4_bytes

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


def build(config: SystemConfig, pair: ModelPair, budget_bytes: int, link: LinkSpec | None, costs: Costs) -> System:
    """Make a peer, or compose a system from its parts; see `systems.api.build_system`."""
    engine = part("engine", config.engine)
    if not isinstance(engine, NoPart):
        from systems.peers.build import build_peer

        return build_peer(engine, config, cast("Pair", pair), budget_bytes)
    options = Options.of(config)
    _check_combination(config, options)
    return _compose(options, cast("Pair", pair), budget_bytes, link, costs)


def _compose(options: Options, pair: Pair, budget_bytes: int, link: LinkSpec | None, costs: Costs) -> System:
    drafting = _draft_bytes(options.drafter, pair)
    everything = isinstance(options.residency, AllResidentOptions)
    count = pair.store.shape.count if everything else _slots(options, pair, budget_bytes, drafting)
    shape = Shape(pair.num_layers, pair.num_experts, count)
    virtual = link is not None and link.virtual
    parts = Assembly(options, pair, shape, None if everything else link, costs, virtual).parts()
    return ComposedSystem(pair, parts, costs, count * pair.record_bytes + drafting)


def _check_combination(config: SystemConfig, options: Options) -> None:
    """Refuse parts that would silently do nothing together."""
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
    if isinstance(options.residency, BeladyOptions) != isinstance(options.predictor, RehearsalOptions):
        raise BadInput("residency.part=belady and predictor.part=rehearsal go together: set both, or neither")


def _name(group: str, kind: type[Any]) -> str:
    from systems.parts import PARTS

    return next(name for name, known in PARTS[group].items() if known is kind)


def _draft_bytes(options: Any, pair: Pair) -> int:
    """Fast memory of the draft (bytes)."""
    if isinstance(options, QuantisedSelfOptions):
        shape = pair.store.shape
        check(shape.hidden, shape.intermediate, options.group, pair.target.device)
        return shape.count * int4_bytes(shape.hidden, shape.intermediate, options.group)
    if not isinstance(options, ModelDrafterOptions):
        return 0
    if pair.draft is None:
        raise BadInput(f"drafter.part=model needs a draft, and model {pair.name} has none; set `model.draft`")
    return pair.draft_bytes


def _slots(options: Options, pair: Pair, budget_bytes: int, draft_bytes: int) -> int:
    """Slots that the budget affords beside the draft.

    Raises:
        DidNotFit: fewer than one token's experts in one layer.
    """
    count = (budget_bytes - draft_bytes) // pair.record_bytes
    if count < pair.top_k:
        least = draft_bytes + pair.top_k * pair.record_bytes
        raise DidNotFit(
            f"budget {budget_bytes:,} B is below {least:,} B: draft {draft_bytes:,} B and one layer's "
            f"{pair.top_k} experts of {pair.record_bytes:,} B"
        )
    most = options.residency.slots if isinstance(options.residency, LruOptions) else None
    return min(count, pair.store.shape.count, most or count)
