"""Logits with offloaded experts equal the stock ones, for every family, with no code per family: bit for bit where all
other modules compute as the family's do, but for rounding where they compute by fewer operators."""

from pathlib import Path
from typing import Any

import pytest
import torch

from systems.api import LinkSpec, ModelConfig, SystemConfig, build_system, load_pair
from systems.modeling.experts import CachedExperts
from systems.runtime.pair import Pair
from tests.systems.tiny import COSTS, FAMILIES, VOCABULARY, save_target, save_tokenizer


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("slots", [3, 24], ids=["fewer-slots-than-experts", "plenty"])
@pytest.mark.parametrize("operators", ["stock", "fused"])
def test_logits_equal_the_stock_experts(family: str, slots: int, operators: Any, tmp_path: Path) -> None:
    stock = save_target(tmp_path / "target", family)
    save_tokenizer(tmp_path)
    pair = load_pair(ModelConfig(family, "target", None, ".", operators=operators), tmp_path)
    assert isinstance(pair, Pair)
    assert not [name for name, _ in pair.target.named_parameters() if ".experts." in name]
    system = build_system(SystemConfig(family, ""), pair, slots * pair.record_bytes, LinkSpec(1e9, 0.0), COSTS)
    pair.port.mixer = CachedExperts(system.cache)  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        for width in (1, 2, 7, 40):
            tokens = torch.randint(VOCABULARY, (2, width), generator=generator)
            ours, theirs = pair.target(tokens).logits, stock(tokens).logits
            difference = (ours - theirs).abs().max()
            assert difference <= (0 if operators == "stock" else 1e-4), f"width {width}: max difference {difference}"
    system.close()


def test_a_failing_load_restores_the_family(tmp_path: Path) -> None:
    from transformers import MixtralConfig
    from transformers.models.mixtral import modeling_mixtral

    from systems.modeling.offloaded import OffloadedExperts
    from systems.modeling.skeleton import experts_left_out

    stock = modeling_mixtral.MixtralExperts
    inside: list[type] = []

    def fail() -> None:
        with experts_left_out(MixtralConfig(), lambda _: None):
            inside.append(modeling_mixtral.MixtralExperts)
            raise RuntimeError("constructor failed")

    with pytest.raises(RuntimeError, match="constructor"):
        fail()
    assert issubclass(inside[0], OffloadedExperts)
    assert issubclass(inside[0], stock)
    assert modeling_mixtral.MixtralExperts is stock
