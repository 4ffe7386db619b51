"""From a system's YAML to a running system."""

from __future__ import annotations

from typing import Any, cast

import torch

from systems.api import BadInput, Costs, DidNotFit, LinkSpec, ModelPair, System, SystemConfig
from systems.composed import ComposedSystem, Depth
from systems.drafters.base import Drafter, NoDrafter
from systems.drafters.model import ModelDrafter
from systems.parts import (
    AllResidentOptions,
    CutoffPrefetchOptions,
    DraftAttentionOptions,
    ModelDrafterOptions,
    TransformersOptions,
    part,
)
from systems.policies.residency import Lru
from systems.runtime.draft_attention import DraftAttention, Prefetch
from systems.runtime.expert_cache import ExpertCache
from systems.runtime.ledger import Ledger
from systems.runtime.link import Link
from systems.runtime.occupancy import Occupancy
from systems.runtime.pair import Pair
from systems.runtime.slots import Slots
from systems.runtime.transport import HostTransport, Transport


def build(config: SystemConfig, pair: ModelPair, budget_bytes: int, link: LinkSpec | None, costs: Costs) -> System:
    """Make a peer, or compose a system from its parts; see `systems.api.build_system`."""
    if isinstance(part("engine", config.engine), TransformersOptions):
        from systems.peers.generate import TransformersGenerate

        return TransformersGenerate(cast("Pair", pair))
    return _compose(config, cast("Pair", pair), budget_bytes, link, costs)


def _compose(config: SystemConfig, pair: Pair, budget_bytes: int, link: LinkSpec | None, costs: Costs) -> System:
    drafter_options, predictor = part("drafter", config.drafter), part("predictor", config.predictor)
    prefetch, residency = part("prefetch", config.prefetch), part("residency", config.residency)
    _check_combination(drafter_options, predictor, prefetch)
    draft_bytes = _draft_bytes(drafter_options, pair)
    everything = isinstance(residency, AllResidentOptions)
    count = pair.store.shape.count if everything else _slots(pair, budget_bytes, draft_bytes)
    slots = Slots(pair.store.shape, pair.store.dtype, count, torch.device(pair.device))
    transport = _transport(pair, slots, None if everything else link)
    ledger = Ledger(pair.num_layers, pair.record_bytes)
    occupancy = Occupancy(slots, Lru() if everything else residency.build(), ledger)
    options = prefetch if isinstance(prefetch, CutoffPrefetchOptions) else CutoffPrefetchOptions(0)
    cache = ExpertCache(occupancy, transport, ledger, pair.num_experts, options.batch_io, options.worker)
    if everything:
        cache.fill()
    depth = Depth(options.cutoff, pair.num_layers)
    system = ComposedSystem(pair, cache, Link(cache, transport), depth, costs)
    system.drafter = _drafter(drafter_options, predictor, pair, depth, system.prefetch)
    system.fast_bytes = slots.nbytes + draft_bytes
    return system


def _check_combination(drafter: Any, predictor: Any, prefetch: Any) -> None:
    """Refuse parts that would silently do nothing together."""
    predicts, fetches = (
        isinstance(predictor, DraftAttentionOptions),
        isinstance(prefetch, CutoffPrefetchOptions),
    )
    if predicts and not isinstance(drafter, ModelDrafterOptions):
        raise BadInput("predictor.part=draft_attention listens to a draft model; set drafter.part=model")
    if predicts != fetches:
        raise BadInput("predictor and prefetch go together: set both, or both to none")


def _draft_bytes(options: Any, pair: Pair) -> int:
    if not isinstance(options, ModelDrafterOptions):
        return 0
    if pair.draft is None:
        raise BadInput(f"drafter.part=model needs a draft, and model {pair.name} has none; set `model.draft`")
    return pair.draft_bytes


def _slots(pair: Pair, budget_bytes: int, draft_bytes: int) -> int:
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
    return min(count, pair.store.shape.count)


def _transport(pair: Pair, slots: Slots, link: LinkSpec | None) -> Transport:
    if pair.device.startswith("cuda"):
        from systems.runtime.cuda import CudaTransport

        return CudaTransport(pair.store, slots, link)
    return HostTransport(pair.store, slots, link)


def _drafter(options: Any, predictor: Any, pair: Pair, depth: Depth, prefetch: Prefetch) -> Drafter:
    if not isinstance(options, ModelDrafterOptions):
        return NoDrafter(torch.device(pair.device))
    listener = DraftAttention(pair, depth, prefetch) if isinstance(predictor, DraftAttentionOptions) else None
    return ModelDrafter(pair.draft, options.draft_length, pair.draft_bytes, listener)
