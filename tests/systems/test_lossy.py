"""Systems that change what is generated: each saves what it says, and loses nothing where it leaves nothing out."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from systems.api import BadInput, DidNotFit, NullMeter, build_system
from systems.contract.shape import int4_bytes
from systems.runtime.pair import Pair
from tests.systems.test_mechanisms import generated, needs
from tests.systems.tiny import COSTS, SYSTEMS, make_pair, requests


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("lossy"))


def _spec(experts: int) -> dict[str, Any]:
    return {"part": "expert_budget", "experts": experts}


def test_an_expert_budget_limits_what_a_verification_reads(pair: Pair) -> None:
    batch = requests(1, 24, seed=3)
    whole, _ = generated("sd_offload", pair, 12, batch)
    limited, _ = generated("moe_spec", pair, 12, batch, gating=_spec(pair.top_k))
    decode = [report for report in limited.reports if report.phase == "decode"]
    assert max(layer.needed for report in decode for layer in report.layers) == pair.top_k
    assert needs(limited, "needed") / len(decode) < needs(whole, "needed") / len(decode)


def test_a_budget_of_all_experts_changes_nothing(pair: Pair) -> None:
    batch = requests(2, 24, seed=3)
    whole, _ = generated("sd_offload", pair, 12, batch)
    free, _ = generated("moe_spec", pair, 12, batch, gating=_spec(pair.num_experts))
    assert free.tokens == whole.tokens


@pytest.mark.parametrize("experts", [1, 99])
def test_a_budget_that_cannot_be(pair: Pair, experts: int) -> None:
    config = dataclasses.replace(SYSTEMS["moe_spec"], gating=_spec(experts))
    with pytest.raises(BadInput, match=f"gating.experts={experts} must be between"):
        build_system(config, pair, 10**9, None, COSTS)


def test_a_budget_without_verifications_is_refused(pair: Pair) -> None:
    config = dataclasses.replace(SYSTEMS["offload"], gating=_spec(4))
    with pytest.raises(BadInput, match="limits what a verification reads"):
        build_system(config, pair, 10**9, None, COSTS)


def test_int4_holds_all_experts_in_its_copies_and_moves_nothing(pair: Pair) -> None:
    shape = pair.store.shape
    copies = shape.count * int4_bytes(shape.hidden, shape.intermediate, 32)
    system = build_system(SYSTEMS["int4"], pair, copies, None, COSTS)
    meter = NullMeter([12])
    system.generate(requests(1, 12), meter)
    assert len(meter.tokens[0]) == 12
    assert system.fast_bytes == copies < pair.expert_bytes
    assert system.cache.take_traffic().moved_bytes == 0  # type: ignore[attr-defined]
    system.close()
    with pytest.raises(DidNotFit, match="all experts in INT4"):
        build_system(SYSTEMS["int4"], pair, copies - 1, None, COSTS)


def test_int4_computes_with_rounded_weights(pair: Pair) -> None:
    """Close to the target, and not the target: next-token logits through the port differ by rounding."""
    import torch

    from systems.modeling.decoder import Decoder

    tokens = torch.tensor([requests(1)[0].prompt])
    found = []
    for name in ("resident", "int4"):
        system: Any = build_system(SYSTEMS[name], pair, 10**9, None, COSTS)
        pair.port.mixer = system._parts.mixer
        system.cache.enter("prefill")
        with torch.inference_mode():
            found.append(Decoder(pair.target, 1, tokens.shape[1]).forward(tokens, [0]))
        system.close()
    error = (found[0] - found[1]).norm() / found[0].norm()
    assert 0.01 < error < 0.5


def test_int4_takes_no_predictor(pair: Pair) -> None:
    config = dataclasses.replace(
        SYSTEMS["adapmoe"], residency={"part": "int4", "group": 32}, predictor=SYSTEMS["adapmoe"].predictor
    )
    with pytest.raises(BadInput, match=r"residency\.part=int4 moves nothing"):
        build_system(config, pair, 10**9, None, COSTS)
