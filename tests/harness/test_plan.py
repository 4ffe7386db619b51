"""The planner: costs by hand, refusals by name, and one small plan through the command line's own path."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from harness import plan
from harness.compose import CONF
from systems.api import BadInput

SHAPE = {
    "name": "Toy", "source": "none", "layers": 2, "moe_layers": 2, "experts": 4, "top_k": 2, "hidden": 128,
    "intermediate": 128, "other_bytes": 1_000_000, "statistics": {"skew": 0.0, "reuse": 0.6, "ahead": [0.9, 0.8]},
    "draft": {"bytes": 100_000, "layers": 2, "recall": 0.9, "acceptance": 0.9},
    "self_draft": {"recall": 0.9, "acceptance": 0.9},
}  # fmt: skip
MACHINE = {
    "name": "Box", "source": "none", "memory": 3e6, "memory_bandwidth": 1e9, "layer_floor": 1e-3,
    "link": {"name": "wire", "bandwidth": 1e8, "latency": 1e-5}, "remote_token_share": 0.1,
}  # fmt: skip


def config(**changes: Any) -> plan.PlanConfig:
    values = {
        "shape": SHAPE, "machine": MACHINE, "systems": ["offload", "adapmoe", "sd_offload", "sp_moe", "oracle"],
        "memory": None, "reserve": "1MB", "draft_lengths": [1, 2], "prompts": 1, "prompt_tokens": 4, "new_tokens": 12,
        "seed": 0, "runs": "runs", "output": "out",
    }  # fmt: skip
    return plan._read(values | changes, [CONF], [])


def test_a_layer_reads_its_weights_and_takes_its_launch_time() -> None:
    """98,304 bytes an expert; half a megabyte of other weights a layer; 2 experts at one token, 3 at two."""
    found = plan.costs(config().shape, config().machine, [1, 2])
    assert found.target_layer[1] == pytest.approx(1e-3 + (500_000 + 2 * 98_304) / 1e9)
    assert found.target_layer[2] == pytest.approx(1e-3 + (500_000 + 3 * 98_304) / 1e9)
    assert found.draft_layer[1] == pytest.approx(1e-3 + 50_000 / 1e9)
    assert found.transfer == pytest.approx(1e-5 + 98_304 / 1e8)


def test_a_plan_names_the_fastest_and_nothing_passes_the_oracle() -> None:
    rows = plan.predict(config())
    times = [row["tpot"] for row in rows]
    assert times == sorted(times)
    found = {(row["system"], row["draft_length"]): row for row in rows}
    assert set(found) == {
        ("offload", 0), ("adapmoe", 0), ("oracle", 0),
        ("sd_offload", 1), ("sd_offload", 2), ("sp_moe", 1), ("sp_moe", 2),
    }  # fmt: skip
    best = min(found["offload", 0]["tpot"], found["adapmoe", 0]["tpot"])
    assert found["oracle", 0]["tpot"] <= best * (1 + 1e-6)
    assert found["offload", 0]["slots"] == 8, "a megabyte is enough for all eight experts"


def test_less_memory_is_slower_and_too_little_is_said() -> None:
    tight = plan.predict(config(memory="2.35MB"))
    roomy = plan.predict(config(memory="3MB"))
    by_name = [{row["system"]: row for row in rows} for rows in (tight, roomy)]
    assert by_name[0]["offload"]["tpot"] > by_name[1]["offload"]["tpot"]
    assert "is below" in plan.predict(config(memory="2.15MB"))[-1]["reason"]
    with pytest.raises(BadInput, match=r"keeps 0\.0 GB beside its experts"):
        _ = config(memory="1.5MB").budget


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"machine": MACHINE | {"memory_bandwidth": 0.0}}, r"machine\.memory_bandwidth"),
        ({"machine": {k: v for k, v in MACHINE.items() if k != "link"}}, r"machine\.link. is missing"),
        ({"shape": SHAPE | {"experts": -1}}, r"shape\.experts"),
        ({"shape": SHAPE | {"top_k": 9}}, r"shape\.top_k"),
        ({"memory": "lots"}, "a size such as"),
        ({"systems": ["offlaod"]}, "offload"),
    ],
)
def test_bad_input_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        plan.predict(config(**changes))


def test_every_shape_and_machine_that_ships_can_be_planned() -> None:
    from omegaconf import OmegaConf

    def read(group: str) -> list[Any]:
        return [OmegaConf.to_container(OmegaConf.load(file)) for file in sorted((CONF / group).glob("*.yaml"))]

    for shape, machine in product(read("shape"), read("machine")):
        made = config(shape=shape, machine=machine)
        found = plan.costs(made.shape, made.machine, [1, 3])
        assert 0 < found.target_layer[1] < found.target_layer[3] < 0.01
        assert found.transfer < 0.1


def test_the_table_and_the_picture(tmp_path: Path) -> None:
    plan._plan(replace(config(), output=str(tmp_path), systems=config(systems=["offload", "sp_moe"]).systems))
    assert (tmp_path / "plan.png").stat().st_size > 1000
    assert '"schema": "spmoe-bench/plan/1"' in (tmp_path / "plan.json").read_text()
