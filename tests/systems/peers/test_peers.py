"""Peers emit the tokens of plain greedy decoding, hold what they say they hold, and leave nothing behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from harness.measure.meter import RecordingMeter
from harness.verdict.identities import violations
from systems.api import (
    BadInput,
    ModelConfig,
    NullMeter,
    SpanName,
    SystemConfig,
    Traffic,
    Unsupported,
    build_system,
    load_pair,
)
from systems.runtime.pair import Pair
from tests.systems.test_exactness import plain
from tests.systems.tiny import COSTS, SYSTEMS, requests, save_target, save_tokenizer

CONF = Path(__file__).parents[3] / "conf" / "system"
PEERS = {
    "transformers": SystemConfig("t", "", engine={"part": "transformers"}, residency={"part": "all"}),
    "transformers_assisted": SystemConfig(
        "a", "", engine={"part": "transformers_assisted", "draft_length": 3}, residency={"part": "all"}
    ),
    "accelerate_offload": SystemConfig("o", "", engine={"part": "accelerate_offload"}, residency={"part": "peer"}),
}


class Recorder(NullMeter):
    """Collects commits, spans in the order in which they open, and traffic; counts open spans."""

    def __init__(self, limits: Sequence[int]) -> None:
        super().__init__(limits)
        self.commits: list[tuple[int, int]] = []
        self.spans: list[SpanName] = []
        self.open = 0
        self.reports: dict[str, Traffic] = {}

    def span(self, name: SpanName) -> AbstractContextManager[None]:
        @contextmanager
        def opened() -> Iterator[None]:
            self.spans.append(name)
            self.open += 1
            try:
                yield
            finally:
                self.open -= 1

        return opened()

    def commit(self, row: int, tokens: Sequence[int]) -> bool:
        self.commits.append((row, len(tokens)))
        return super().commit(row, tokens)

    def step(self, rows: Sequence[int], drafted: Sequence[int], accepted: Sequence[int]) -> None:
        raise AssertionError("peers report no steps")

    def traffic(self, traffic: Traffic) -> None:
        assert traffic.phase not in self.reports
        self.reports[traffic.phase] = traffic


@pytest.fixture(scope="module")
def reference(root: Path, pair: Pair) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(root / "target", experts_implementation="eager").eval()


def layer_bytes(pair: Pair) -> int:
    return pair.expert_bytes // pair.num_layers


@pytest.mark.parametrize("name", PEERS)
def test_peers_emit_plain_greedy_decoding_and_stop_when_told(name: str, pair: Pair, reference: Any) -> None:
    group = requests(3, 20, seed=3)
    system = build_system(PEERS[name], pair, layer_bytes(pair), None, COSTS)
    limits = [20, 4, 1]
    meter = Recorder(limits)
    system.calibrate(requests(1, 4))
    system.generate(group, meter)
    system.close()
    system.close()
    expected = [plain(reference, request)[:limit] for request, limit in zip(group, limits, strict=True)]
    assert meter.tokens == expected
    assert meter.open == 0
    in_turn = [row for row, _ in meter.commits] == sorted(row for row, _ in meter.commits)
    assert in_turn == (name == "transformers_assisted"), "it alone takes one row at a time"


@pytest.mark.parametrize("name", PEERS)
def test_requests_that_wait_begin_when_the_batch_before_them_has_ended(name: str, pair: Pair, reference: Any) -> None:
    group = requests(5, 9, seed=4)
    system = build_system(PEERS[name], pair, layer_bytes(pair), None, COSTS)
    limits = [2, 9, 1, 5, 7]
    meter = Recorder(limits)
    system.generate(group, meter, at_once=2)
    system.close()
    expected = [plain(reference, request)[:limit] for request, limit in zip(group, limits, strict=True)]
    assert meter.tokens == expected
    assert meter.spans.count("prefill") == (5 if name == "transformers_assisted" else 3)


def test_peers_agree_with_our_upper_bound(pair: Pair) -> None:
    found = []
    for config in (*PEERS.values(), SYSTEMS["resident"]):
        system = build_system(config, pair, layer_bytes(pair), None, COSTS)
        meter = NullMeter([16, 16])
        system.generate(requests(2, 16, seed=8), meter)
        system.close()
        found.append(meter.tokens)
    assert found.count(found[0]) == len(found)


@pytest.mark.parametrize("name", PEERS)
def test_the_configs_run_and_what_is_reported_adds_up(name: str, pair: Pair) -> None:
    values: Any = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    system = build_system(SystemConfig(**values), pair, 2 * layer_bytes(pair), None, COSTS)
    group = requests(2, 8)
    system.rehearse(group)
    meter = RecordingMeter([request.id for request in group], [8, 8])
    system.generate(group, meter)
    system.close()
    generation = meter.finish()
    assert violations([generation]) == []
    assert [len(row.tokens) for row in generation.rows] == [8, 8]
    assert generation.window["verify"] > 0
    assert (generation.window["draft"] > 0) == (name == "transformers_assisted")
    assert (generation.window["transfer"] > 0) == (name == "accelerate_offload")
    later = generation.window["prefill"] > generation.window_time / 50
    assert later == (name == "transformers_assisted"), "its second prompt lies between its first and last commit"


def test_a_prompt_is_prefill_and_the_rest_is_verification(pair: Pair) -> None:
    system = build_system(PEERS["transformers"], pair, 0, None, COSTS)
    meter = Recorder([3, 3])
    system.generate(requests(2, 3), meter)
    system.close()
    assert meter.spans == ["prefill", "verify"]


@pytest.mark.parametrize("draft_length", [1, 2, 5])
def test_the_assistant_always_drafts_as_many_tokens_as_configured(draft_length: int, pair: Pair) -> None:
    engine = {"part": "transformers_assisted", "draft_length": draft_length}
    system = build_system(dataclasses.replace(PEERS["transformers_assisted"], engine=engine), pair, 0, None, COSTS)
    widths: list[int] = []
    model: Any = system._model  # type: ignore[attr-defined]
    model.register_forward_pre_hook(lambda _, __, named: widths.append(named["input_ids"].shape[1]), with_kwargs=True)
    request, meter = requests(1, 40)[0], Recorder([40])
    system.generate([request], meter)
    described = system.describe()
    system.close()
    kept = [count for _, count in meter.commits]
    assert sum(kept) == 40
    assert set(kept) > {1}, "acceptance must be ragged for this test to mean something"
    assert max(kept) <= draft_length + 1
    left = [40 - sum(kept[:done]) for done in range(len(kept))]
    expected = [1 + min(draft_length, remaining - 1) for remaining in left]
    assert widths == [len(request.prompt) - 1 + expected[0], *expected[1:]]
    assert meter.spans.count("draft") == sum(width > 1 for width in expected)
    assert described["draft_length"] == draft_length
    assert described["fast_bytes"] == pair.expert_bytes + pair.draft_bytes


def test_the_pairs_own_draft_is_left_as_it_was(pair: Pair) -> None:
    before = pair.draft.generation_config.to_dict()
    build_system(PEERS["transformers_assisted"], pair, 0, None, COSTS).close()
    assert pair.draft.generation_config.to_dict() == before
    assert "generate" not in vars(pair.draft)


def test_an_assistant_needs_a_draft(tmp_path: Path) -> None:
    save_target(tmp_path / "target")
    save_tokenizer(tmp_path)
    pair = load_pair(ModelConfig("tiny", "target", None, "."), tmp_path)
    with pytest.raises(BadInput, match=r"set `model\.draft`"):
        build_system(PEERS["transformers_assisted"], pair, 0, None, COSTS)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("transformers", {"drafter": {"part": "model"}}, "drafter.part=model does nothing in engine.part=transformers"),
        ("transformers", {"placement": {"part": "cpu"}}, "set placement.part=none"),
        ("accelerate_offload", {"residency": {"part": "all"}}, "needs residency.part=peer"),
        ("transformers_assisted", {"residency": {"part": "lru"}}, "needs residency.part=all"),
        ("transformers", {"engine": {"part": "composed"}, "residency": {"part": "peer"}}, "engine.part=composed"),
        (
            "transformers_assisted",
            {"engine": {"part": "transformers_assisted", "draft_length": 0}},
            "engine.draft_length=0 must be at least 1",
        ),
    ],
)
def test_parts_that_a_peer_would_ignore_are_refused(
    name: str, changes: dict[str, Any], message: str, pair: Pair
) -> None:
    with pytest.raises(BadInput, match=message):
        build_system(dataclasses.replace(PEERS[name], **changes), pair, 10**9, None, COSTS)


@pytest.mark.parametrize(
    ("name", "absent", "message"),
    [
        ("accelerate_offload", ("accelerate",), r"needs accelerate: pip install 'spmoe-bench\[peers\]'"),
        ("llama_cpp", ("gguf",), r"needs gguf: pip install 'spmoe-bench\[llama-cpp\]'"),
        ("llama_cpp_draft", ("xllamacpp", "gguf"), r"needs xllamacpp and gguf: pip install"),
    ],
)
def test_what_is_not_installed_is_named_with_the_line_that_installs_it(
    name: str, absent: tuple[str, ...], message: str, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "systems.policies.decoding_part.find_spec", lambda package: None if package in absent else object()
    )
    values: Any = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    with pytest.raises(Unsupported, match=message):
        build_system(SystemConfig(**values), pair, 10**9, None, COSTS)


def test_sampling_is_seeded(pair: Pair) -> None:
    system = build_system(PEERS["transformers_assisted"], pair, 0, None, COSTS)
    runs = []
    for _ in range(2):
        meter = NullMeter([12])
        system.generate(requests(1, 12, temperature=1.0), meter)
        runs.append(meter.tokens)
    system.close()
    assert runs[0] == runs[1]
