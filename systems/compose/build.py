"""From a system's YAML to a running system."""

from __future__ import annotations

from typing import Any, cast

from systems.compose.budget import divided
from systems.compose.combination import check_combination, check_pinned
from systems.compose.live import LiveAssembly
from systems.compose.options.drafters import ModelDrafterOptions, QuantisedSelfOptions
from systems.compose.options.residency import AllResidentOptions, Int4Options
from systems.compose.parts import Options, part
from systems.compose.running import RunningSystem
from systems.contract.config import SystemConfig
from systems.contract.costs import Costs, LinkSpec
from systems.contract.errors import BadInput, DidNotFit
from systems.contract.options import NoPart
from systems.contract.pair import ModelPair
from systems.contract.shape import int4_bytes
from systems.contract.system import System
from systems.methods.moe_speq.quantised import check
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
    engine = part("engine", config.engine)
    if not isinstance(engine, NoPart):
        from systems.compose.peers import build_peer

        return build_peer(engine, config, cast("Pair", pair), budget_bytes, link)
    options = Options.of(config)
    check_combination(config, options)
    return _compose(options, cast("Pair", pair), budget_bytes, link, costs)


def _compose(options: Options, pair: Pair, budget_bytes: int, link: LinkSpec | None, costs: Costs) -> System:
    drafting = _draft_bytes(options.drafter, pair) + _copies_bytes(options.residency, pair)
    everything = isinstance(options.residency, AllResidentOptions)
    count = beside = pair.store.shape.count
    if isinstance(options.residency, Int4Options):
        count = beside = 0
        if drafting > budget_bytes:
            raise DidNotFit(f"budget {budget_bytes:,} B is below {drafting:,} B: all experts in INT4, and a draft")
    elif not everything:
        check_pinned(options, pair.top_k, pair.num_experts)
        layers, record = pair.num_layers, pair.record_bytes
        count, beside = divided(options, layers, count, pair.top_k, record, budget_bytes, drafting)
    shape = Shape(pair.num_layers, pair.num_experts, count)
    virtual = link is not None and link.virtual
    parts = LiveAssembly(options, pair, shape, link, costs, virtual).parts(beside)
    position = pair.position_bytes
    if isinstance(options.drafter, ModelDrafterOptions):
        position += pair.draft_position_bytes
    held = max(count * pair.record_bytes, beside * pair.record_bytes + drafting)
    return RunningSystem(pair, parts, costs, held, position)


def _copies_bytes(options: Any, pair: Pair) -> int:
    """Fast memory of the copies that stand for all experts (bytes)."""
    return _int4_bytes(options.group, pair) if isinstance(options, Int4Options) else 0


def _int4_bytes(group: int, pair: Pair) -> int:
    shape = pair.store.shape
    check(shape.hidden, shape.intermediate, group, pair.target.device)
    return shape.count * int4_bytes(shape.hidden, shape.intermediate, group)


def _draft_bytes(options: Any, pair: Pair) -> int:
    """Fast memory of the draft (bytes)."""
    if isinstance(options, QuantisedSelfOptions):
        return _int4_bytes(options.group, pair)
    if not isinstance(options, ModelDrafterOptions):
        return 0
    if pair.draft is None:
        raise BadInput(f"drafter.part=model needs a draft, and model {pair.name} has none; set `model.draft`")
    return pair.draft_bytes


def required_packages(config: SystemConfig) -> tuple[str, ...]:
    """Return the packages that a system runs on beyond the project's own dependencies.

    Raises:
        BadInput: as `build_system`, of its engine.
    """
    packages: tuple[str, ...] = getattr(part("engine", config.engine), "packages", ())
    return packages
