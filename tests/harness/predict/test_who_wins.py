"""Who wins where: cells are those of the grid and the forecaster, and the fastest of each is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.config import compose
from harness.config.compose import CONF
from harness.predict import who_wins
from harness.predict.forecast import Forecaster, with_draft_length
from harness.predict.grid import Point, Replayer
from harness.predict.machine import costs
from harness.predict.who_wins import Cell, Predictor, WhoWinsConfig, ranked
from systems.api import BadInput
from tests.harness.predict.test_plan import MACHINE, SHAPE


def made(replay: Path | None = None, **changes: Any) -> WhoWinsConfig:
    panels: dict[str, Any] = {"toy": {"shape": SHAPE, "machine": MACHINE}}
    if replay is not None:
        panels["recorded"] = {"replay": str(replay)}
    values = {
        "panels": panels, "only": None, "systems": ["offload", "cpu_compute", "sd_offload"], "bounds": [],
        "budgets": [0.5, 0.9], "ratios": [1.0, 8.0], "draft_lengths": [1, 2], "prompts": 1, "warmup": 1,
        "host_share": 0.1, "host_free_rows": 5, "workers": 1, "output": "out",
        "text": {"prompts": 1, "prompt_tokens": 4, "new_tokens": 12, "seed": 0},
    }  # fmt: skip
    return compose.reading(WhoWinsConfig)(values | changes, [CONF], [])


def test_cells_are_the_grids_and_the_forecasters(recording: Path) -> None:
    config = made(recording)
    predict, point = Predictor(config), Point("sd_offload", 2, 0.5, 8.0)
    replayed = Replayer(config.grid(str(recording)))(point)
    assert predict(Cell("recorded", point)) == replayed.values["tpot"]
    panel = config.panels["toy"]
    assert panel.shape is not None
    assert panel.machine is not None
    machine = who_wins.with_ratio(panel.shape, panel.machine, 8.0)
    known = costs(panel.shape, machine, [1])
    assert known.transfer == pytest.approx(8 * known.target_layer[1]), "that is what the ratio says"
    budget = int(0.5 * 2 * 4 * panel.shape.expert_bytes)
    system = with_draft_length(config.systems["sd_offload"], 2)
    assert predict(Cell("toy", point)) == Forecaster(panel.shape, machine, config.text, 2)(system, budget).tpot


def test_a_recording_that_is_missing_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    config = made(tmp_path / "traces")
    with pytest.raises(BadInput, match=r"experiment=bench system\.drafter\.draft_length=8 .* replay=.*traces$"):
        Predictor(config)


def test_the_best_draft_length_counts_and_the_fastest_comes_first() -> None:
    places = [("offload", 0, 3.0), ("sd_offload", 1, 2.5), ("sd_offload", 2, 2.0), ("cpu_compute", 0, None)]
    found = {Cell("toy", Point(name, length, 0.5, 1.0)): tpot for name, length, tpot in places}
    (row,) = ranked(found)
    assert [(one["system"], one["draft_length"], one["tpot_ms"]) for one in row["systems"]] == [
        ("sd_offload", 2, 2000.0),
        ("offload", 0, 3000.0),
    ]


def test_a_bound_is_told_and_not_ranked() -> None:
    places = [("offload", 0, 3.0), ("oracle", 0, 1.5), ("sd_oracle", 2, 1.0), ("cpu_compute", 0, 2.0)]
    found = {Cell("toy", Point(name, length, 0.5, 1.0)): tpot for name, length, tpot in places}
    (row,) = ranked(found, ["oracle", "sd_oracle"])
    assert [one["system"] for one in row["systems"]] == ["cpu_compute", "offload"]
    assert row["bound"] == {"system": "sd_oracle", "draft_length": 2, "tpot_ms": 1000.0}
    assert who_wins._line(row)[-2:] == ("1.50", "2.00")


def test_the_command_writes_every_cell(tmp_path: Path) -> None:
    who_wins._run(made(output=str(tmp_path)))
    found = json.loads((tmp_path / "who-wins.json").read_text())
    assert found["panels"] == {"toy": "Toy on Box"}
    assert [(row["budget"], row["ratio"]) for row in found["rows"]] == [(0.5, 1.0), (0.5, 8.0), (0.9, 1.0), (0.9, 8.0)]
    for row in found["rows"]:
        times = [one["tpot_ms"] for one in row["systems"]]
        assert len(times) == 3
        assert times == sorted(times)
    assert (tmp_path / "who-wins.md").read_text().count("\n|") == 6


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(BadInput, match="nobody wins alone"):
        made(systems=["offload"])
    with pytest.raises(BadInput, match="nobody wins alone"):
        made(systems=["offload", "oracle"], bounds=["oracle"])
    with pytest.raises(BadInput, match="`bounds` names orakle"):
        made(bounds=["orakle"])
    with pytest.raises(BadInput, match="`only` names tox"):
        made(only=["tox"])
    with pytest.raises(BadInput, match="either `replay`, or `shape` and `machine`"):
        made(panels={"toy": {"shape": SHAPE}})
