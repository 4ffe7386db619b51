"""Arithmetic matrices collected offline: what is in the file, whom it serves, and which files are refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import datasets
from harness.config.bench import DatasetConfig
from systems import api
from systems.api import BadInput, LinkSpec, SystemConfig
from systems.methods.moe_infinity.activation import ActivationAware
from systems.methods.moe_infinity.matching import ActivationMatching
from systems.policies.composition import Composition
from systems.replay.assembly import ReplayAssembly
from systems.replay.record import record
from systems.replay.store import TraceFolder
from systems.replay.system import ReplayedSystem
from systems.replay.trace import Header
from systems.runtime import activation_file
from systems.runtime.pair import Pair
from tests.systems.replay.test_replay import WARM_UP, batch_of, measured
from tests.systems.tiny import COSTS, SYSTEMS, requests

LINK = LinkSpec(bandwidth=20e6, latency=2e-5, virtual=True)
ROOT = Path(__file__).parents[2]
TEXTS = {"dataset": "random", "seed": 5}


@pytest.fixture(scope="module")
def file(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("activations") / "matrices.npz"
    batches = [requests(3, 10, seed=seed) for seed in (5, 6)]
    assert api.collect_activations(pair, batches, TEXTS, path) == 6
    return path


def test_decoded_tokens_are_counted_and_nothing_else(file: Path, pair: Pair) -> None:
    """As a recording of the same requests has them, one by one: every token behind the first, in every layer."""
    counts = activation_file.load(file, pair.describe()).counts
    trace = record(pair, {"part": "none"}, requests(3, 10, seed=5))
    for matrix, one in zip(counts, trace.records.values(), strict=False):
        for layer in range(pair.num_layers):
            expected = np.bincount(one.routed[:, 0, layer].ravel(), minlength=pair.num_experts)
            assert np.array_equal(matrix[layer], expected)
    assert (counts.sum(axis=2) == 9 * pair.top_k).all()


@pytest.mark.parametrize("name", ["moe_infinity", "sd_moe_infinity"])
def test_live_and_replay_predict_from_the_same_matrices(
    name: str, file: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, batch = SYSTEMS[name], batch_of(1)
    stored = activation_file.load(file, pair.describe())
    monkeypatch.setitem(pair.__dict__, "activations", stored)  # cached, if a test before has asked
    trace = record(pair, dict(config.drafter), [*batch, *WARM_UP])
    drafting = pair.draft_bytes if config.drafter["part"] == "model" else 0
    budget = drafting + 12 * pair.record_bytes
    live = measured(api.build_system(config, pair, budget, LINK, COSTS), batch)
    replayed = measured(ReplayedSystem(config, trace, budget, LINK, COSTS, lambda: stored), batch)
    assert live == replayed
    assert (live[-1]["traces"], live[-1]["traces_from"]) == (6, "matrices.npz, 6 sequences of random")
    warm = dataclasses.replace(config, predictor={**config.predictor, "traces": "warm_up"})
    without = measured(api.build_system(warm, pair, budget, LINK, COSTS), batch)
    assert (without[-1]["traces"], without[-1]["traces_from"]) == (len(WARM_UP), "warm-up")
    assert without[1] != live[1], "other matrices, other transfers"
    fewer = dataclasses.replace(config, predictor={**config.predictor, "capacity": 2})
    assert measured(api.build_system(fewer, pair, budget, LINK, COSTS), batch)[-1]["traces"] == 2


def test_a_model_without_a_file_learns_from_the_warm_up(pair: Pair) -> None:
    _, _, _, _, facts = measured(
        api.build_system(SYSTEMS["moe_infinity"], pair, 12 * pair.record_bytes, LINK, COSTS), batch_of(1)
    )
    assert (facts["traces"], facts["traces_from"]) == (len(WARM_UP), "warm-up")


@pytest.mark.parametrize(("name", "between"), [("moe_infinity", 0.0), ("sd_moe_infinity", 3.0)])
def test_a_system_knows_how_long_its_transfers_and_its_draft_take(name: str, between: float) -> None:
    """Transfers of 2 ms, layers of 1 to 2 ms; three tokens drafted by four layers of half a millisecond."""
    header = Header(
        drafter="model", draft_length=3, layers=3, experts=8, top_k=2, decoder_layers=3, draft_ordinals=[0, 1, 2, -1],
        depth=2, record_bytes=1000, draft_bytes=2000, stop_tokens=[],
    )  # fmt: skip
    costs = api.Costs({1: 1e-3, 4: 2e-3}, {1: 5e-4}, 2e-3, 0.0)
    parts = ReplayAssembly(Composition.of(SYSTEMS[name]), header, 12, LINK, costs).parts()
    listener, residency = parts.listener, parts.residency
    assert isinstance(listener, ActivationMatching)
    assert isinstance(residency, ActivationAware)
    assert residency.link is not None, "what evicts knows what a prefetch is worth"
    assert residency.link is listener._link
    assert listener._between == pytest.approx(between)
    assert [listener._carried(tokens) for tokens in (1, 4)] == pytest.approx([0.5, 1.0])


def test_a_recording_is_replayed_with_the_file_of_its_model(file: Path, pair: Pair, tmp_path: Path) -> None:
    """Asked for where a system predicts from it, and not before: other systems need no such file."""
    config = dataclasses.replace(pair.config, activations=str(file))
    api.record_traces(pair, [SYSTEMS["moe_infinity"]], [*batch_of(1), *WARM_UP], COSTS, tmp_path)
    recorded = api.recorded_pair(tmp_path, config, tmp_path)
    built = api.build_replay(
        SYSTEMS["moe_infinity"], api.load_traces(tmp_path, recorded), 12 * pair.record_bytes, LINK, COSTS
    )
    assert built.describe()["traces_from"] == "matrices.npz, 6 sequences of random"
    lost = api.recorded_pair(tmp_path, dataclasses.replace(config, activations="lost.npz"), tmp_path)
    traces = api.load_traces(tmp_path, lost)
    api.build_replay(SYSTEMS["offload"], traces, 12 * pair.record_bytes, LINK, COSTS)
    with pytest.raises(BadInput, match=r"`model\.activations` .*lost\.npz is missing; collect them with"):
        api.build_replay(SYSTEMS["moe_infinity"], traces, 12 * pair.record_bytes, LINK, COSTS)
    assert TraceFolder(tmp_path).activations() is None


@pytest.mark.parametrize("fact", activation_file.IDENTITY)
def test_matrices_of_another_model_are_refused_by_name(fact: str, file: Path, pair: Pair) -> None:
    with pytest.raises(BadInput, match=rf"matrices\.npz was collected from another {fact} than tiny's"):
        activation_file.load(file, pair.describe() | {fact: "other"})


def test_broken_files_are_refused(file: Path, pair: Pair, tmp_path: Path) -> None:
    path, model = tmp_path / "broken.npz", pair.describe()
    for content in (b"PK not a file", file.read_bytes()[:300], b""):
        path.write_bytes(content)
        with pytest.raises(BadInput, match=r"`model\.activations` .*broken\.npz is damaged or holds something else"):
            activation_file.load(path, model)
    with np.load(file) as saved:
        arrays: dict[str, Any] = dict(saved)
    np.savez(path, facts=arrays["facts"], counts=arrays["counts"][:, :2])
    with pytest.raises(BadInput, match="has matrices of the shape"):
        activation_file.load(path, model)
    older = json.loads(str(arrays["facts"])) | {"version": 0}
    np.savez(path, facts=np.array(json.dumps(older)), counts=arrays["counts"])
    with pytest.raises(BadInput, match="has version 0, 1 is read"):
        activation_file.load(path, model)


def test_sampled_sequences_and_empty_ones_are_refused(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"set measure\.sampling\.temperature=0"):
        api.collect_activations(pair, [requests(1, 4, temperature=1.0)], TEXTS, tmp_path / "a.npz")
    with pytest.raises(BadInput, match=r"raise `measure\.max_new_tokens`"):
        api.collect_activations(pair, [requests(1, 1)], TEXTS, tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("option", "value"), [("capacity", 0), ("matches", 0), ("distance", 1.5), ("traces", "file")])
def test_options_out_of_range_are_refused(option: str, value: Any, pair: Pair) -> None:
    config: SystemConfig = SYSTEMS["moe_infinity"]
    config = dataclasses.replace(config, predictor={**config.predictor, option: value})
    with pytest.raises(BadInput, match=f"predictor.{option}"):
        api.build_system(config, pair, 10**9, LINK, COSTS)


def test_generated_models_have_generated_sequences_of_their_own() -> None:
    """Further ones than those that are replayed, with the popularity of the same model."""
    draft = api.DraftShape(recall=0.9, acceptance=0.9, bytes=9000, layers=2)
    shape = api.ModelShape(
        name="toy", source="none", layers=2, moe_layers=2, experts=16, top_k=2, hidden=64, intermediate=64,
        other_bytes=1, statistics={"skew": 1.0, "request_skew": 0.0, "ahead": [0.9, 0.8]}, draft=draft,
        self_draft=draft,
    )  # fmt: skip
    traces = api.imagine_traces(shape, COSTS, 1, 3, 4, 200, 0)
    counts = traces.activations().counts
    assert counts.shape == (120, 2, 16)
    assert (counts.sum(axis=2) == 400).all()
    own: Any = traces
    shown = [one.routed[:, 0] for one in own.of("model").records.values()]
    seen = np.array([[np.bincount(one[:, layer].ravel(), minlength=16) for layer in range(2)] for one in shown])
    for layer in range(2):
        assert np.corrcoef(counts.sum(axis=0)[layer], seen.sum(axis=0)[layer])[0, 1] > 0.97
    assert not any(np.array_equal(one, other) for one in seen for other in counts)


def test_the_reference_pair_has_matrices_of_exercises_that_nobody_measures() -> None:
    path = ROOT / "models" / "reference" / "activation_matrices.npz"
    with np.load(path) as saved:
        facts, counts = json.loads(str(saved["facts"])), saved["counts"]
    assert path.stat().st_size < 200 * 2**10
    assert counts.dtype == np.uint16
    assert counts.shape[1:] == (8, 16)
    assert len(counts) > 250
    assert set(facts["texts"]) == {"dataset", "seed", "prompts", "new_tokens"}
    collected, shown = (
        {prompt.text for prompt in datasets.load(DatasetConfig("exercises", limit=limit, seed=seed))}
        for limit, seed in ((300, facts["texts"]["seed"]), (64, 0))
    )
    assert not collected & shown
