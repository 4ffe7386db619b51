"""Perplexity: exact against transformers, the same for lossless systems, and its table from known likelihoods."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from harness.config.bench import BenchConfig, DatasetConfig, HardwareConfig
from harness.studies import perplexity
from systems.api import BadInput, ModelConfig, SystemConfig, build_system, log_likelihood
from tests.systems.tiny import COSTS, SYSTEMS, make_pair, requests


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("likelihood")


def test_likelihoods_are_those_of_transformers_and_of_every_lossless_system(root: Path) -> None:
    from transformers import AutoModelForCausalLM

    pair = make_pair(root)
    text = [token for request in requests(4) for token in request.prompt]
    model = AutoModelForCausalLM.from_pretrained(root / "target", experts_implementation="eager").eval()
    with torch.inference_mode():
        scores = model(torch.tensor([text])).logits[0, :-1].log_softmax(-1)
    expected = scores.gather(1, torch.tensor(text[1:])[:, None])[:, 0].tolist()
    budget = pair.draft_bytes + 9 * pair.record_bytes
    for name in ("offload", "sd_offload", "sp_moe", "moe_spec"):
        config = SYSTEMS[name]
        if name == "moe_spec":
            config = dataclasses.replace(config, gating={"part": "expert_budget", "experts": pair.top_k})
        system = build_system(config, pair, budget, None, COSTS)
        found = log_likelihood(system, text)
        system.close()
        assert (found == pytest.approx(expected, abs=1e-4)) == SYSTEMS[name].lossless, name


def test_a_peer_tells_no_probabilities() -> None:
    with pytest.raises(BadInput, match="tells no probabilities"):
        log_likelihood(object(), [1, 2])  # type: ignore[arg-type]


def _config(output: Path) -> BenchConfig:
    systems = {"lossy": SystemConfig("lossy", "", lossless=False), "plain": SystemConfig("plain", "")}
    model = ModelConfig("tiny", "target", None, ".")
    return BenchConfig(systems, model, DatasetConfig("c4"), HardwareConfig("local", ""), output=str(output))


def test_the_ratio_is_paired_over_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    class Pooled:
        def compute(self, predictions: list[list[float]]) -> dict[str, float]:
            values = [value for text in predictions for value in text]
            return {"perplexity": math.exp(-sum(values) / len(values))}

    monkeypatch.setattr(perplexity, "module", lambda name: Pooled())
    plain = [[-1.0] * 4, [-3.0] * 2]
    lossy = [[-1.1] * 4, [-3.1] * 2]
    config = _config(tmp_path)
    found = perplexity.rows(config, {"lossy": lossy, "plain": plain})
    ratio = found[0]["metrics"]["perplexity_ratio"]
    alone = found[1]["metrics"]["perplexity"]
    assert alone["value"] == pytest.approx(math.exp(10 / 6), rel=1e-5)
    reach = 12.706204736  # each text left alone is 1 off; Student's t of two
    bounds = (math.exp(10 / 6 - reach), math.exp(10 / 6 + reach))
    assert (alone["low"], alone["high"]) == pytest.approx(bounds, rel=1e-5)
    assert (ratio["value"], ratio["low"], ratio["high"]) == pytest.approx((math.exp(0.1),) * 3, rel=1e-5)
    assert ratio["over"] == "plain"
    perplexity.show(config, found, Console(width=80))
    assert "lossy (lossy)" in capsys.readouterr().out
    assert json.loads((tmp_path / "perplexity.json").read_text())["rows"] == found


def test_only_texts_have_a_perplexity() -> None:
    config = dataclasses.replace(_config(Path("x")), dataset=DatasetConfig("humaneval"))
    with pytest.raises(BadInput, match="dataset=humaneval has no texts"):
        perplexity.measure(config)
