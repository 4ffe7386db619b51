"""The grid: the same numbers as records and metrics give, refusals by name, and the command itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.config import compose
from harness.config.compose import CONF
from harness.measure.meter import RecordingMeter
from harness.metrics import acceptance, experts, tpot
from harness.metrics.base import Cell
from harness.predict import grid
from harness.predict.forecast import with_draft_length
from harness.predict.grid import GridConfig, Point, Replayer
from systems import api
from systems.api import BadInput, LinkSpec
from systems.replay import trace_file
from systems.replay.costs import write as write_costs

SYSTEMS = ["offload", "adapmoe", "sd_offload", "sp_moe", "sd_oracle"]
PROMPTS, NEW = 3, 24
SHAPE = api.ModelShape(
    name="Toy", source="none", layers=2, moe_layers=2, experts=4, top_k=2, hidden=128, intermediate=128,
    other_bytes=1_000_000, statistics={"skew": 0.0, "request_skew": 0.0, "reuse": 0.6, "ahead": [0.9, 0.8]},
    draft=api.DraftShape(recall=0.9, acceptance=0.9, bytes=150_000, layers=2),
    self_draft=api.DraftShape(recall=0.9, acceptance=0.9),
)  # fmt: skip


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated recording as if it were a measured one: a millisecond a layer."""
    folder = tmp_path_factory.mktemp("recording")
    costs = api.Costs({1: 1e-3, 3: 1.5e-3}, {1: 2e-4}, 1e-3, 0.0)
    traces: Any = api.imagine_traces(SHAPE, costs, 2, PROMPTS + 1, 5, NEW, 0)
    trace_file.save(traces.of("model"), folder / "model.npz")
    write_costs(folder, costs)
    return folder


def made(folder: Path, **changes: Any) -> GridConfig:
    values = {
        "replay": str(folder), "systems": SYSTEMS, "budgets": [0.5, 0.9], "ratios": [1, 4], "draft_lengths": [1, 2],
        "host_share": 0.1, "host_free_rows": 5, "prompts": None, "warmup": 1, "workers": 1,
        "output": str(folder / "grid"),
    }  # fmt: skip
    return compose.reading(grid.GridConfig)(values | changes, [CONF], [])


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_cell_has_the_values_of_its_records(name: str, recording: Path) -> None:
    """The same replay through the meter that records, and the metrics that are published."""
    point = Point(name, 0 if name in ("offload", "adapmoe") else 2, 0.5, 4.0)
    found = Replayer(made(recording))(point)
    traces = api.load_traces(recording)
    link = LinkSpec(traces.record_bytes / 4e-3, 0.0, virtual=True)
    host = api.HostCosts(4e-4, 8e-5, 5)
    costs = api.Costs(traces.costs.target_layer, traces.costs.draft_layer, 4e-3, 0.0, host)
    config = with_draft_length(made(recording).systems[name], point.draft_length)
    system = api.build_replay(config, traces, traces.expert_bytes // 2, link, costs)
    *measured, warm_up = traces.requests
    system.calibrate([warm_up])
    generations = []
    for number, request in enumerate(measured):
        system.rehearse([request])
        meter = RecordingMeter([request.id], [NEW], frozenset(), system.now_ns)
        system.generate([request], meter)
        generations.append(meter.finish(0, number, 0))
    cell = Cell(generations)
    values = tpot.measure(cell) | experts.measure(cell) | acceptance.measure(cell)
    assert found.tokens == PROMPTS * NEW
    assert found.values["tpot"] == pytest.approx(values["tpot"].value, rel=1e-12)
    assert found.values["hit_rate"] == values["hit_rate"].value
    assert found.values["bytes_per_token"] == values["bytes_per_token"].value
    if point.draft_length:
        assert found.values["acceptance_length"] == values["acceptance_length"].value


@pytest.mark.parametrize("workers", [1, 2])
def test_the_command_writes_every_cell_and_says_how_fast_it_was(
    workers: int, recording: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = recording / "out"
    arguments = (f"replay={recording}", "systems=[offload,sd_offload]", "budgets=[0.01,0.9]", "ratios=[1,16]")
    monkeypatch.setattr(
        sys, "argv", ["grid", *arguments, "draft_lengths=[1,2]", "warmup=1", f"output={output}", f"workers={workers}"]
    )
    assert grid.main() == 0
    rows = [json.loads(line) for line in (output / "grid.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * 2 * (1 + 2)
    assert all((row["budget"] == 0.01) == (row["reason"] is not None) for row in rows)
    fitting = {(row["system"], row["draft_length"], row["ratio"]): row["tpot"] for row in rows if row["budget"] == 0.9}
    assert fitting["offload", 0, 16] > fitting["offload", 0, 1]
    said = " ".join(capsys.readouterr().out.split())
    assert f"6 cells (6 more do not fit) of {PROMPTS * NEW} tokens" in said
    assert "cells/s" in said
    assert (output / "grid.md").read_text().count("offload") >= 2
    monkeypatch.setattr(sys, "argv", [*sys.argv, "prompts=99"])
    assert grid.main() == 2
    assert len((output / "grid.jsonl").read_text().splitlines()) == len(rows), "what is wrong costs no earlier map"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budgets": []}, "`budgets` is"),
        ({"budgets": [1.5]}, r"numbers in \(0, 1\]"),
        ({"ratios": [0]}, "numbers above 0"),
        ({"draft_lengths": [0]}, "`draft_lengths`"),
        ({"warmup": -1}, "`warmup` is -1"),
        ({"workers": 0}, "`workers` is 0"),
        ({"warmup": PROMPTS + 1}, f"`replay` holds {PROMPTS + 1} prompts"),
        ({"prompts": 99}, "and 1 warm up before 99"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], message: str, recording: Path) -> None:
    with pytest.raises(BadInput, match=message):
        Replayer(made(recording, **changes))


def test_a_draft_longer_than_recorded_is_refused(recording: Path) -> None:
    with pytest.raises(BadInput, match="draft_length=3 is beyond the 2 of the trace"):
        Replayer(made(recording))(Point("sd_offload", 3, 0.9, 1.0))
