"""Wrong systems are refused by name; budgets are enforced."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from systems.api import BadInput, DidNotFit, ModelConfig, build_system, load_pair
from systems.runtime.pair import Pair
from tests.systems.tiny import COSTS, SYSTEMS, save_draft, save_target, save_tokenizer


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drafter": {"part": "modle"}}, r"drafter.part=modle is unknown; did you mean model\?"),
        ({"residency": {"part": "lfu"}}, "residency.part=lfu is unknown"),
        ({"drafter": {"part": "model", "draft_lenght": 3}}, r"did you mean draft_length\?"),
        ({"drafter": {"part": "model", "draft_length": 0}}, "drafter.draft_length=0 must be at least 1"),
        ({"drafter": {"part": "model", "draft_length": "two"}}, "drafter.draft_length='two' is not int"),
        ({"prefetch": {"part": "cutoff", "cutoff": "deep"}}, "prefetch.cutoff='deep'"),
        ({"prefetch": {"part": "cutoff", "cutoff": -1}}, "prefetch.cutoff=-1 must be"),
        ({"prefetch": {"part": "cutoff", "batch_io": 0}}, "prefetch.batch_io=0"),
        ({"drafter": {"part": "none"}}, "listens to the drafter; set drafter.part=model"),
        ({"prefetch": {"part": "none"}}, "needs prefetch.part=cutoff"),
        ({"residency": {"part": "belady"}}, "go together"),
        ({"residency": {"part": "none"}}, r"residency.part=none keeps nothing, so predictor.part=draft_attention"),
        (
            {"residency": {"part": "adaptive_layers"}},
            "residency.part=adaptive_layers divides the slots by what next_gate",
        ),
        ({"residency": {"part": "adaptive_layers", "buffer": 0}}, r"residency\.buffer=0 must be at least 1"),
    ],
)
def test_wrong_parts_are_named(changes: dict[str, Any], message: str, pair: Pair) -> None:
    with pytest.raises(BadInput, match=message):
        build_system(dataclasses.replace(SYSTEMS["sp_moe"], **changes), pair, 10**9, None, COSTS)


def test_a_budget_below_one_layers_experts_does_not_fit(pair: Pair) -> None:
    least = pair.draft_bytes + pair.top_k * pair.record_bytes
    build_system(SYSTEMS["sp_moe"], pair, least, None, COSTS).close()
    with pytest.raises(DidNotFit, match=f"{least:,}"):
        build_system(SYSTEMS["sp_moe"], pair, least - 1, None, COSTS)
    build_system(SYSTEMS["offload"], pair, least - 1, None, COSTS).close()


@pytest.mark.parametrize("name", ["offload", "sd_offload", "sp_moe"])
def test_no_system_holds_more_than_its_budget(name: str, pair: Pair) -> None:
    budget = pair.draft_bytes + 7 * pair.record_bytes + 5
    system = build_system(SYSTEMS[name], pair, budget, None, COSTS)
    assert budget - pair.record_bytes < system.fast_bytes <= budget
    assert system.fast_bytes == system.cache.slots.slab.nbytes + system.drafter.fast_bytes  # type: ignore[attr-defined]
    system.close()


def test_an_unaligned_draft_is_refused_by_the_predictor_only(tmp_path: Path) -> None:
    save_target(tmp_path / "target")
    save_draft(tmp_path / "draft", num_hidden_layers=3)
    save_tokenizer(tmp_path)
    pair = load_pair(ModelConfig("tiny", "target", "draft", "."), tmp_path)
    build_system(SYSTEMS["sd_offload"], pair, 10**9, None, COSTS).close()
    with pytest.raises(BadInput, match="3 layers"):
        build_system(SYSTEMS["sp_moe"], pair, 10**9, None, COSTS)


def test_a_draft_is_needed_where_one_is_asked_for(tmp_path: Path) -> None:
    save_target(tmp_path / "target")
    save_tokenizer(tmp_path)
    pair = load_pair(ModelConfig("tiny", "target", None, "."), tmp_path)
    with pytest.raises(BadInput, match=r"model\.draft"):
        build_system(SYSTEMS["sd_offload"], pair, 10**9, None, COSTS)
