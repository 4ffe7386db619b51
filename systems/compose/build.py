"""From a system's YAML to a running system."""

from __future__ import annotations

from typing import cast

from systems.compose.live import LiveAssembly
from systems.compose.running import RunningSystem
from systems.contract.config import SystemConfig
from systems.contract.costs import Costs, LinkSpec
from systems.contract.pair import ModelPair
from systems.contract.system import System
from systems.policies.composition import Composition, check_system, part
from systems.policies.memory import Memory
from systems.policies.orders import Shape
from systems.runtime.pair import Pair


def build_system(
    config: SystemConfig, pair: ModelPair, budget_bytes: int, link: LinkSpec | None, costs: Costs
) -> System:
    """Make a peer, or compose a system from its parts.

    Raises:
        BadInput: an unknown part or option, with the nearest valid one.
        DidNotFit: the budget cannot hold the draft and one layer's top-k experts.
        Unsupported: a peer that is not installed, or does not run this model on this device.
    """
    check_system(config)
    engine, loaded = part("engine", config.engine), cast("Pair", pair)
    if not engine.does_nothing:
        peer: System = engine.build(loaded, budget_bytes, link)
        return peer
    return _compose(Composition.of(config), loaded, budget_bytes, link, costs)


def _compose(composition: Composition, pair: Pair, budget_bytes: int, link: LinkSpec | None, costs: Costs) -> System:
    drafter, residency, record = composition.drafter, composition.residency, pair.record_bytes
    residency.check_model(composition, pair.top_k, pair.num_experts)
    drafting = drafter.fast_bytes(pair) + residency.copies_bytes(pair)
    memory = Memory(pair.num_layers, pair.store.shape.count, pair.top_k, record, budget_bytes, drafting)
    count, beside = residency.afford(memory, drafter.optional)
    shape = Shape(pair.num_layers, pair.num_experts, count)
    virtual = link is not None and link.virtual
    parts = LiveAssembly(composition, pair, shape, link, costs, virtual).parts(beside)
    position = pair.position_bytes + (pair.draft_position_bytes if drafter.needs_draft else 0)
    return RunningSystem(pair, parts, costs, memory.held(count, beside), position)
