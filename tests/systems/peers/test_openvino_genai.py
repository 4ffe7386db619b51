"""OpenVINO GenAI decodes the same weights to the same tokens, computes chosen experts only, and keeps nothing."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.measure.meter import RecordingMeter
from harness.verdict.identities import violations
from systems.api import ModelConfig, Request, Sampling, System, SystemConfig, Unsupported, build_system, load_pair
from systems.runtime.pair import Pair
from tests.systems.test_exactness import plain
from tests.systems.tiny import COSTS, make_pair, requests, save_target, save_tokenizer

openvino = pytest.importorskip("openvino", reason="pip install 'spmoe-bench[openvino]'")
pytest.importorskip("openvino_genai", reason="pip install 'spmoe-bench[openvino]'")

CONFIG = SystemConfig("o", "", engine={"part": "openvino_genai"}, residency={"part": "all"})


@pytest.fixture(scope="module")
def cached(root: Path, pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The pair, its model written once for all tests here."""
    pair.config = dataclasses.replace(pair.config, cache_dir=str(tmp_path_factory.mktemp("cache")))
    return pair


@pytest.fixture(scope="module")
def reference(root: Path, pair: Pair) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(root / "target", experts_implementation="eager").eval()


@pytest.fixture
def system(cached: Pair) -> Iterator[System]:
    built = build_system(CONFIG, cached, 0, None, COSTS)
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


def test_time_is_prefill_up_to_the_first_token_and_verification_behind_it(system: System) -> None:
    generation = run(system, requests(1, 16)).finish()
    assert generation.window["verify"] == pytest.approx(generation.window_time, rel=0.05)


def test_what_goes_wrong_while_hearing_is_raised(system: System) -> None:
    class Broken(RecordingMeter):
        def commit(self, row: int, tokens: Sequence[int]) -> bool:
            raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        system.generate(requests(1, 8), Broken(["r"], [8], frozenset()))


def test_experts_that_are_not_chosen_are_not_computed(cached: Pair) -> None:
    """The plugin knows the spelling: a product of gathered rows for each of gate, up and down, none of all experts."""
    from systems.peers.openvino_file import openvino_of

    config = cached.config
    folder = openvino_of(Path(config.target), cached.target.config, Path(config.cache_dir))
    compiled = openvino.Core().compile_model(folder / "openvino_model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    kinds = Counter(_kind(node) for node in compiled.get_runtime_model().get_ops())
    layers = cached.target.config.num_hidden_layers
    assert kinds["GatherMatmul"] == 3 * layers
    assert kinds["ScaledDotProductAttention"] == layers
    assert kinds["MemoryInput"] == kinds["MemoryOutput"] == 2 * layers


def _kind(node: Any) -> str:
    kind = node.get_rt_info()["layerType"]
    return str(kind.astype(str) if hasattr(kind, "astype") else kind)


def test_a_model_is_written_once_and_named_by_what_is_in_it(tmp_path: Path) -> None:
    from systems.peers.openvino_file import openvino_of

    model = save_target(tmp_path / "target")
    first = openvino_of(tmp_path / "target", model.config, tmp_path)
    written = first.stat().st_mtime_ns
    assert openvino_of(tmp_path / "target", model.config, tmp_path) == first
    assert first.stat().st_mtime_ns == written
    save_target(tmp_path / "target", seed=1)
    other = openvino_of(tmp_path / "target", model.config, tmp_path)
    assert sorted((tmp_path / "openvino").iterdir()) == sorted({first, other}), "nothing half-written is left"


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("qwen3_moe", {}, "its model_type is 'qwen3_moe'"),
        ("mixtral", {"sliding_window": 16}, "its sliding_window is 16"),
        ("mixtral", {"hidden_act": "gelu"}, "its hidden_act is 'gelu'"),
    ],
)
def test_what_is_not_written_is_refused(family: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    save_target(tmp_path / "target", family, **changes)
    save_tokenizer(tmp_path)
    pair = load_pair(ModelConfig("tiny", "target", None, "."), tmp_path)
    with pytest.raises(Unsupported, match=message):
        build_system(CONFIG, pair, 0, None, COSTS)


def test_what_it_does_not_do_is_named(system: System, tmp_path: Path) -> None:
    sampled = dataclasses.replace(requests(1, 4)[0], sampling=Sampling(temperature=1.0))
    with pytest.raises(Unsupported, match=r"temperature=0"):
        run(system, [sampled])
    pair = make_pair(tmp_path, draft=False)
    pair.config = dataclasses.replace(pair.config, dtype="bfloat16")
    with pytest.raises(Unsupported, match=r"model\.dtype=bfloat16"):
        build_system(CONFIG, pair, 0, None, COSTS)
    pair.device = "cuda"
    with pytest.raises(Unsupported, match=r"model\.device=cuda"):
        build_system(CONFIG, pair, 0, None, COSTS)
