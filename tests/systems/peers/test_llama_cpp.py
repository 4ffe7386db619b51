"""llama.cpp decodes the same weights to the same tokens, counts drafts as we do, and keeps what it is told to keep."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.measure.meter import RecordingMeter
from harness.metrics.correctness import first_divergence
from harness.verdict.identities import violations
from harness.verdict.margins import divergence
from systems.api import (
    BadInput,
    ModelConfig,
    Request,
    Sampling,
    System,
    SystemConfig,
    Unsupported,
    build_system,
    load_pair,
    next_logits,
)
from systems.runtime.pair import Pair
from tests.systems.test_exactness import plain
from tests.systems.tiny import COSTS, SYSTEMS, VOCABULARY, make_pair, requests, save_target, save_tokenizer

gguf = pytest.importorskip("gguf", reason="pip install 'spmoe-bench[llama-cpp]'")
xllamacpp = pytest.importorskip("xllamacpp", reason="pip install 'spmoe-bench[llama-cpp]'")

PLAIN = SystemConfig("l", "", engine={"part": "llama_cpp"}, residency={"part": "all"})
LENGTH = 3


def drafting(length: int = LENGTH) -> SystemConfig:
    return SystemConfig("d", "", engine={"part": "llama_cpp_draft", "draft_length": length}, residency={"part": "all"})


@pytest.fixture(scope="module")
def cached(root: Path, pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The pair, its GGUF written once for all tests here."""
    pair.config = dataclasses.replace(pair.config, cache_dir=str(tmp_path_factory.mktemp("cache")))
    return pair


@pytest.fixture(scope="module")
def reference(root: Path, pair: Pair) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(root / "target", experts_implementation="eager").eval()


@pytest.fixture(params=[0, LENGTH], ids=["plain", "drafting"])
def system(request: pytest.FixtureRequest, cached: Pair) -> Iterator[System]:
    built = build_system(drafting() if request.param else PLAIN, cached, 0, None, COSTS)
    yield built
    built.close()


def run(system: System, group: Sequence[Request], stop: frozenset[int] = frozenset()) -> RecordingMeter:
    meter = RecordingMeter([request.id for request in group], [request.max_new_tokens for request in group], stop)
    system.generate(group, meter)
    return meter


def test_it_emits_plain_greedy_decoding(system: System, reference: Any) -> None:
    group = requests(4, 24, seed=3)
    generation = run(system, group).finish()
    assert [row.tokens for row in generation.rows] == [plain(reference, request) for request in group]
    assert violations([generation]) == []


def test_it_ends_where_the_meter_says_and_begins_the_next_request_afresh(system: System, reference: Any) -> None:
    request = requests(1, 24, seed=3)[0]
    tokens = plain(reference, request)
    stop = tokens[5]
    expected = tokens[: tokens.index(stop) + 1]
    for _ in range(2):
        generation = run(system, [request], frozenset({stop})).finish()
        assert generation.rows[0].tokens == expected
        assert violations([generation]) == []


def test_drafts_are_accepted_where_ours_are(cached: Pair) -> None:
    """Two engines, one draft, one rule: each step keeps as much. llama.cpp drafts no more than is wanted at the end."""
    ours = dataclasses.replace(SYSTEMS["sd_resident"], drafter={"part": "model", "draft_length": LENGTH})
    wanted, accepted = 30, []
    for config in (drafting(), ours):
        system = build_system(config, cached, cached.expert_bytes + cached.draft_bytes, None, COSTS)
        generations = [run(system, [request]).finish() for request in requests(2, wanted, seed=5)]
        system.close()
        accepted.append([[kept for _, _, kept in generation.accepted_by_row()] for generation in generations])
        if config is not ours:
            for generation in generations:
                left = wanted - 1
                for step in generation.steps:
                    assert step.drafted == (min(LENGTH, left - 1),)
                    left -= step.accepted[0] + 1
    assert accepted[0] == accepted[1]
    assert len({kept for request in accepted[0] for kept in request}) > 2, "acceptance must be ragged"


def test_its_own_clock_agrees_with_ours(cached: Pair) -> None:
    system = build_system(PLAIN, cached, 0, None, COSTS)
    system.calibrate(requests(1, 8))
    assert system.describe()["decode_seconds"] == 0, "the warm-up is not measured"
    window = sum(run(system, [request]).finish().window_time for request in requests(3, 60)) / 1e9
    described = system.describe()
    system.close()
    assert described["decode_seconds"] == pytest.approx(window, rel=0.1)
    assert described["own_decode_seconds"] == pytest.approx(described["decode_seconds"], rel=0.3, abs=0.01)


def test_time_is_prefill_up_to_the_first_token_and_verification_behind_it(system: System) -> None:
    generation = run(system, requests(1, 16)).finish()
    assert generation.window["verify"] == pytest.approx(generation.window_time, rel=0.05)


def test_threads_and_types_are_those_of_the_run(cached: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Any] = []
    monkeypatch.setattr(xllamacpp, "Server", built.append)
    build_system(drafting(), cached, 0, None, COSTS)
    (parameters,) = built
    draft, float32 = parameters.speculative.draft, gguf.GGMLQuantizationType.F32.value
    threads = [part.n_threads for owner in (parameters, draft) for part in (owner.cpuparams, owner.cpuparams_batch)]
    assert threads == [torch.get_num_threads()] * 4
    assert [parameters.cache_type_k, parameters.cache_type_v, draft.cache_type_k, draft.cache_type_v] == [float32] * 4
    assert (draft.n_min, draft.n_max, draft.p_min) == (0, LENGTH, 0.0)


def test_sampled_tokens_follow_the_distribution_that_transformers_draws_from(cached: Pair) -> None:
    """Temperature, then top-k, then top-p: chi-square over one token of many seeds."""
    from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    prompt, draws = requests(1)[0].prompt, 400
    scores = torch.tensor(next_logits(cached, [prompt]))
    for warp in (TemperatureLogitsWarper(2.5), TopKLogitsWarper(7), TopPLogitsWarper(0.7)):
        scores = warp(torch.tensor([prompt]), scores)
    expected = scores.softmax(-1)[0]
    system = build_system(PLAIN, cached, 0, None, COSTS)
    group = [Request(str(i), prompt, 1, Sampling(2.5, 7, 0.7, seed=i)) for i in range(draws)]
    runs = [Counter(row.tokens[0] for row in run(system, group).finish().rows) for _ in range(2)]
    system.close()
    assert runs[0] == runs[1], "seeds decide"
    possible = [token for token in range(VOCABULARY) if expected[token] > 0]
    assert 2 < len(possible) < 7, "both truncations must cut"
    assert set(runs[0]) <= set(possible)
    statistic = sum((runs[0][t] - draws * float(expected[t])) ** 2 / (draws * float(expected[t])) for t in possible)
    freedom = len(possible) - 1
    assert statistic < freedom + 4 * math.sqrt(2 * freedom), "beyond four standard deviations"


def test_half_precision_leaves_the_reference_at_ties_only(root: Path, tmp_path: Path) -> None:
    config = ModelConfig("tiny", "target", "draft", ".", "float16", cache_dir=str(tmp_path))
    pair = load_pair(config, root)
    group = requests(3, 12, seed=1)
    outputs = []
    for system in (PLAIN, SYSTEMS["resident"]):
        built = build_system(system, pair, pair.expert_bytes, None, COSTS)
        outputs.append([row.tokens for row in run(built, group).finish().rows])
        built.close()
    for request, ours, reference in zip(group, *outputs, strict=True):
        if (place := first_divergence(ours, reference)) is not None:
            (logits,) = next_logits(pair, [(*request.prompt, *ours[:place])])
            assert divergence(request.id, 0, place, ours[place], logits).is_tie("float16")
    (file,) = (tmp_path / "gguf").iterdir()
    types = {str(tensor.name): tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors}
    assert types["blk.0.ffn_up_exps.weight"] == "F16"
    assert types["blk.0.ffn_gate_inp.weight"] == types["output_norm.weight"] == "F32"


def test_a_file_is_written_once_and_named_by_what_is_in_it(tmp_path: Path) -> None:
    from systems.peers.gguf_file import gguf_of

    model = save_target(tmp_path / "target")
    first = gguf_of(tmp_path / "target", model.config, "float32", tmp_path)
    written = first.stat().st_mtime_ns
    assert gguf_of(tmp_path / "target", model.config, "float32", tmp_path) == first
    assert first.stat().st_mtime_ns == written
    model.config.num_experts_per_tok = 1
    fewer = gguf_of(tmp_path / "target", model.config, "float32", tmp_path)
    save_target(tmp_path / "target", seed=1)
    others = gguf_of(tmp_path / "target", model.config, "float32", tmp_path)
    assert len({first, fewer, others}) == 3
    assert sorted((tmp_path / "gguf").iterdir()) == sorted({first, fewer, others}), "nothing half-written is left"


def test_experts_lie_in_the_order_of_their_numbers_and_heads_as_neighbours(tmp_path: Path) -> None:
    """Twelve experts, so that the tenth comes behind the ninth; a head of 8 rows as 0 4 1 5 2 6 3 7."""
    from systems.peers.gguf_file import gguf_of

    model = save_target(tmp_path / "target", num_local_experts=12)
    file = gguf_of(tmp_path / "target", model.config, "float32", tmp_path)
    tensors = {str(tensor.name): torch.from_numpy(tensor.data.copy()) for tensor in gguf.GGUFReader(file).tensors}
    layer = model.model.layers[1]
    gate, up = layer.mlp.experts.gate_up_proj.chunk(2, dim=1)
    assert torch.equal(tensors["blk.1.ffn_gate_exps.weight"], gate)
    assert torch.equal(tensors["blk.1.ffn_up_exps.weight"], up)
    assert torch.equal(tensors["blk.1.ffn_down_exps.weight"], layer.mlp.experts.down_proj)
    order = [head * 8 + row for head in range(4) for row in (0, 4, 1, 5, 2, 6, 3, 7)]
    assert torch.equal(tensors["blk.1.attn_q.weight"], layer.self_attn.q_proj.weight[order])
    assert torch.equal(tensors["blk.1.attn_k.weight"], layer.self_attn.k_proj.weight[order[:16]])
    assert torch.equal(tensors["blk.1.attn_v.weight"], layer.self_attn.v_proj.weight)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("qwen3_moe", {}, "its model_type is 'qwen3_moe'"),
        ("mixtral", {"sliding_window": 16}, "its sliding_window is 16"),
        ("mixtral", {"hidden_act": "gelu"}, "its hidden_act is 'gelu'"),
    ],
)
def test_what_the_file_cannot_say_is_refused(
    family: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    save_target(tmp_path / "target", family, **changes)
    save_tokenizer(tmp_path)
    pair = load_pair(ModelConfig("tiny", "target", None, "."), tmp_path)
    with pytest.raises(Unsupported, match=message):
        build_system(PLAIN, pair, 0, None, COSTS)


def test_a_draft_must_be_there_and_a_device_must_not(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, draft=False)
    with pytest.raises(BadInput, match=r"set `model\.draft`"):
        build_system(drafting(), pair, 0, None, COSTS)
    pair.device = "cuda"
    with pytest.raises(Unsupported, match=r"model\.device=cuda"):
        build_system(PLAIN, pair, 0, None, COSTS)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, draft=False)
    (tmp_path / "file").write_text("")
    pair.config = dataclasses.replace(pair.config, cache_dir=str(tmp_path / "file"))
    with pytest.raises(BadInput, match=r"set model\.cache_dir"):
        build_system(PLAIN, pair, 0, None, COSTS)
