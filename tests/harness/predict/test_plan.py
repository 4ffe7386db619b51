"""The planner: costs by hand, refusals by name, and one small plan through the command line's own path."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from harness.config import compose
from harness.config.compose import CONF
from harness.predict import plan
from harness.predict.forecast import Forecast
from harness.predict.machine import costs
from systems.api import BadInput

SHAPE: dict[str, Any] = {
    "name": "Toy", "source": "none", "layers": 2, "moe_layers": 2, "experts": 4, "top_k": 2, "hidden": 128,
    "intermediate": 128, "other_bytes": 1_000_000,
    "statistics": {"skew": 0.0, "request_skew": 0.0, "reuse": 0.6, "ahead": [0.9, 0.8]},
    "draft": {"bytes": 150_000, "active_bytes": 100_000, "layers": 2, "recall": 0.9, "acceptance": 0.9},
    "self_draft": {"recall": 0.9, "acceptance": 0.9},
}  # fmt: skip
LINK: dict[str, Any] = {"name": "wire", "source": "none", "bandwidth": 1e8, "latency": 1e-5}
HOST: dict[str, Any] = {"name": "host", "source": "none", "bandwidth": 1e9, "compute": 1e10}
MACHINE: dict[str, Any] = {
    "name": "Box", "source": "none", "memory": 3e6, "memory_bandwidth": 1e9, "compute": 1e12, "layer_floor": 1e-3,
    "link": LINK, "host": HOST,
}  # fmt: skip


def config(**changes: Any) -> plan.PlanConfig:
    values = {
        "shape": SHAPE, "machine": MACHINE, "systems": ["offload", "adapmoe", "sd_offload", "sp_moe", "oracle"],
        "memory": None, "reserve": "1MB", "draft_lengths": [1, 2],
        "text": {"prompts": 1, "prompt_tokens": 4, "new_tokens": 12, "seed": 0}, "workers": 1, "runs": "runs",
        "output": "out",
    }  # fmt: skip
    return compose.reading(plan.PlanConfig)(values | changes, [CONF], [])


def test_a_layer_reads_its_weights_and_takes_its_launch_time() -> None:
    """98,304 bytes an expert; half a megabyte of other weights a layer; 2 experts at one token, 3 at two."""
    made = config()
    found = costs(made.shape, made.machine, [1, 2])
    assert found.target_layer[1] == pytest.approx(1e-3 + (500_000 + 2 * 98_304) / 1e9)
    assert found.target_layer[2] == pytest.approx(1e-3 + (500_000 + 3 * 98_304) / 1e9)
    assert found.draft_layer[1] == pytest.approx(1e-3 + 50_000 / 1e9)
    assert found.transfer == pytest.approx(1e-5 + 98_304 / 1e8)
    assert found.host is not None
    assert found.host.at(1) == found.host.at(10) == pytest.approx(2e-5 + 98_304 / 1e9), "a read and two crossings"
    assert found.host.at(20) == pytest.approx(2e-5 + 2 * 98_304 / 1e9), "from ten rows on products take longer"


def test_where_computing_is_slow_a_layer_multiplies_instead() -> None:
    """As many operations as bytes, per token: 2 tokens, half a megabyte of other weights and 2 experts for each."""
    made = config(machine=MACHINE | {"compute": 1e8})
    found = costs(made.shape, made.machine, [2])
    assert found.target_layer[2] == pytest.approx(1e-3 + 2 * (500_000 + 2 * 98_304) / 1e8)


def time(forecast: Forecast) -> float:
    assert forecast.tpot is not None
    return forecast.tpot


def test_a_plan_names_the_fastest_and_nothing_passes_the_oracle() -> None:
    choices = plan.predict(config())
    times = [time(choice.forecast) for choice in choices]
    assert times == sorted(times)
    found = {(choice.system, choice.draft_length): choice.forecast for choice in choices}
    assert set(found) == {
        ("offload", 0), ("adapmoe", 0), ("oracle", 0),
        ("sd_offload", 1), ("sd_offload", 2), ("sp_moe", 1), ("sp_moe", 2),
    }  # fmt: skip
    best = min(time(found["offload", 0]), time(found["adapmoe", 0]))
    assert time(found["oracle", 0]) <= best * (1 + 1e-6)
    assert found["offload", 0].slots == 8, "a megabyte is enough for all eight experts"
    said = plan.answer(choices)
    assert said.startswith(f"fastest: {choices[0].name}")
    assert f"{times[0] * 1e3:.1f} ms per token" in said


def test_less_memory_is_slower_and_too_little_is_said() -> None:
    tight = plan.predict(config(memory="2.35MB"))
    roomy = plan.predict(config(memory="3MB"))
    by_name = [{choice.system: choice.forecast for choice in choices} for choices in (tight, roomy)]
    assert time(by_name[0]["offload"]) > time(by_name[1]["offload"])
    least = plan.predict(config(memory="2.15MB"))
    assert "is below" in (least[-1].forecast.reason or "")
    assert "speculates" not in plan.answer([choice for choice in least if choice.forecast.reason])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"machine": MACHINE | {"memory_bandwidth": 0.0}}, r"`machine\.memory_bandwidth` is 0\.0"),
        ({"machine": MACHINE | {"layer_floor": -1e-3}}, r"`machine\.layer_floor` is -0\.001"),
        ({"machine": MACHINE | {"compute": float("nan")}}, r"`machine\.compute` is nan"),
        ({"machine": MACHINE | {"link": LINK | {"latency": 0.0}}}, r"`machine\.link\.latency` is 0\.0"),
        ({"machine": MACHINE | {"link": {k: v for k, v in LINK.items() if k != "bandwidth"}}}, "bandwidth. is missing"),
        ({"machine": {k: v for k, v in MACHINE.items() if k != "memory"}}, r"`machine\.memory` is missing"),
        ({"shape": SHAPE | {"experts": -1}}, r"`shape\.experts` is -1"),
        ({"shape": SHAPE | {"top_k": 9}}, r"`shape\.top_k`"),
        ({"shape": {k: v for k, v in SHAPE.items() if k != "other_bytes"}}, r"`shape\.other_bytes` is missing"),
        ({"shape": SHAPE | {"draft": SHAPE["draft"] | {"bytes": -1}}}, r"draft\.bytes` is -1"),
        ({"shape": SHAPE | {"draft": SHAPE["draft"] | {"acceptance": 1.5}}}, r"draft\.acceptance` is 1\.5"),
        ({"shape": SHAPE | {"statistics": {"luck": 1.0}}}, "has skew, request_skew, reuse and ahead"),
        ({"memory": "lots"}, "a size such as"),
        ({"memory": "1.5MB"}, r"`memory` is 0\.0 GB, and Toy keeps 0\.0 GB beside its experts"),
        ({"systems": ["offlaod"]}, "offload"),
        ({"draft_lengths": []}, r"`draft_lengths` is \[\]"),
        ({"text": {"prompts": 0, "prompt_tokens": 4, "new_tokens": 12, "seed": 0}}, r"`text\.prompts` is 0"),
    ],
)
def test_bad_input_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        plan.predict(config(**changes))


def read(group: str) -> list[Any]:
    from omegaconf import OmegaConf

    return [OmegaConf.to_container(OmegaConf.load(file)) for file in sorted((CONF / group).glob("*.yaml"))]


@pytest.mark.parametrize(("typed", "instead"), [("model=olmoe", "shape=NAME"), ("hardware=h100", "machine=NAME")])
def test_what_runs_are_told_is_translated(
    typed: str, instead: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["plan", typed])
    assert plan.main() == 2
    assert instead in capsys.readouterr().err


def test_a_governor_gets_the_longest_draft_and_chooses_itself() -> None:
    (choice,) = plan.predict(config(systems=["moe_speq"]))
    assert choice.name == "moe_speq, drafts of up to 2"


def test_every_shape_and_machine_that_ships_can_be_planned() -> None:
    for shape, machine in product(read("shape"), read("machine")):
        made = config(shape=shape, machine=machine)
        found = costs(made.shape, made.machine, [1, 3])
        assert 0 < found.target_layer[1] < found.target_layer[3] < 0.01
        assert found.transfer < 0.1


def test_shapes_add_up_to_the_published_sizes() -> None:
    """Billions of weights, sixteen bits each."""
    published = {
        "Mixtral-8x7B": 46.70, "Phi-3.5-MoE": 41.87, "DeepSeek-V2-Lite": 15.71, "Qwen1.5-MoE-A2.7B": 14.32,
        "Qwen2-57B-A14B": 57.41, "Qwen3-30B-A3B": 30.53, "OLMoE-1B-7B": 6.92,
    }  # fmt: skip
    shapes = [config(shape=shape).shape for shape in read("shape")]
    found = {s.name: (s.other_bytes + s.moe_layers * s.experts * s.expert_bytes) / 2e9 for s in shapes}
    assert found == pytest.approx(published, rel=2e-3)


def test_the_table_and_the_picture(tmp_path: Path) -> None:
    plan._plan(replace(config(), output=str(tmp_path), systems=config(systems=["offload", "sp_moe"]).systems))
    assert (tmp_path / "plan.png").stat().st_size > 1000
    assert f'"schema": "{plan.SCHEMA}"' in (tmp_path / "plan.json").read_text()
    assert "| sp_moe | 2 |" in (tmp_path / "plan.md").read_text()
