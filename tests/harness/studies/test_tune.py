"""The tuner's command: what it reads from records, what it refuses, and, nightly, the whole of it."""

import json
import shlex
import sys
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest

from harness.config.bench import BenchConfig, DatasetConfig, HardwareConfig, MeasureConfig
from harness.studies.tune import command as tune
from harness.studies.tune.iterations import read_iterations
from systems.api import BadInput, ModelConfig, SystemConfig
from systems.policies.composition import Composition
from tests.harness.config.test_config import CONF, compose


def step(batch: int, index: int, rows: list[int], accepted: list[int], seconds: float) -> dict[str, Any]:
    spans = {"draft": seconds / 4, "verify": seconds / 2, "transfer": seconds / 4, "prefill": 0.0, "host": 0.0}
    facts = {"batch": batch, "step": index, "phase": "decode", "rows": rows, "accepted": accepted, "seconds": seconds}
    return {**facts, "repeat": 0, "spans": spans, "link_busy": seconds / 2, "moved_bytes": 300}


STEPS = [
    step(0, 0, [0, 1], [2, 2], 7.0),  # the first one of its batch
    step(0, 1, [0, 1], [2, 2], 1.0),
    step(1, 0, [0, 1], [0, 0], 8.0),
    step(1, 1, [0, 1], [1, 0], 2.0),
    step(1, 2, [0, 1], [2, 1], 4.0),
    step(1, 3, [1], [0], 9.0),  # a row has left
    step(2, 0, [0, 1], [0, 0], 8.0),
    step(2, 1, [0, 1], [1, 0], 6.0),
    {"repeat": 0, "batch": 1, "phase": "prefill", "step": 0, "moved_bytes": 999},
]
PROMPTS = {0: (50, 70), 1: (10, 20), 2: (10, 20)}


def write(folder: Path, steps: list[dict[str, Any]]) -> None:
    lines = [
        {"id": f"{batch}/{row}", "repeat": 0, "batch": batch, "row": row, "prompt_tokens": tokens}
        for batch, prompts in PROMPTS.items()
        for row, tokens in enumerate(prompts)
    ]
    (folder / "requests.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in steps))
    (folder / "provenance.json").write_text(json.dumps({"model": {"record_bytes": 100}}))


def test_steps_behind_the_first_one_with_most_rows_count(tmp_path: Path) -> None:
    write(tmp_path, STEPS)
    found = read_iterations(tmp_path, first=False, split=1)
    assert (found.steps, found.seconds, found.moved, found.rows) == (3, 4.0, 3.0, 2)
    assert found.accepted == [1, 0, 2, 1, 1, 0]
    assert (found.draft, found.target, found.link) == (1.0, 3.0, 2.0)
    assert found.throughput == pytest.approx((3 * 2 + 5) / 12.0)
    assert read_iterations(tmp_path, first=True, split=1).accepted == [2, 2]


def test_prefixes_grow_by_what_was_accepted(tmp_path: Path) -> None:
    write(tmp_path, STEPS)
    found = read_iterations(tmp_path, first=False, split=1)
    before = [(11, 21), (13, 22), (11, 21)]  # the steps that count
    assert found.prefix == pytest.approx(sum(map(sum, before)) / 6)
    assert found.padding == pytest.approx(sum(max(rows) / (sum(rows) / 2) for rows in before) / 3)


def test_spread_is_that_of_batches(tmp_path: Path) -> None:
    write(tmp_path, STEPS)
    medians = (3.0, 6.0)
    assert read_iterations(tmp_path, first=False, split=1).spread == pytest.approx(stdev(medians) / 4.5)
    assert read_iterations(tmp_path, first=True, split=1).spread is None


def test_records_without_a_step_that_counts_are_refused(tmp_path: Path) -> None:
    for steps in (STEPS[:2], STEPS[:1] + STEPS[2:3]):
        write(tmp_path, steps)
        with pytest.raises(BadInput, match="has no step but the first with most rows"):
            read_iterations(tmp_path, first=False, split=1)


def config(lengths: list[int], **changes: Any) -> BenchConfig:
    systems = {f"s{i}": SystemConfig(f"s{i}", "", drafter={"draft_length": n}) for i, n in enumerate(lengths)}
    values = {"dataset": DatasetConfig("x", limit=8), "measure": MeasureConfig(batch=4), **changes}
    return BenchConfig(systems, ModelConfig("x", "", None, ""), hardware=HardwareConfig("x", ""), **values)


def test_systems_are_one_per_draft_length() -> None:
    assert tune.draft_lengths(config([1, 0, 2])) == {0: "s1", 1: "s0", 2: "s2"}
    with pytest.raises(BadInput, match="s0 and s1 both draft 1 tokens"):
        tune.draft_lengths(config([1, 1]))
    for lengths in ([1, 2, 3], [0, 2], [0, 1]):
        with pytest.raises(BadInput, match="give every length from 0 to 2 at least"):
            tune.draft_lengths(config(lengths))


def test_a_single_batch_cannot_be_profile_and_test() -> None:
    with pytest.raises(BadInput, match="must hold two batches"):
        tune.draft_lengths(config([0, 1, 2], dataset=DatasetConfig("x", limit=7)))


@pytest.mark.parametrize(
    ("lengths", "name", "drafter"),
    [
        ({0: 8}, "spec_moe_off", {"draft_length": 8, "by_positions": None}),
        ({0: 5, 900: 6, 6000: 2}, "spec_moe_off", {"draft_length": 6, "by_positions": {0: 5, 900: 6, 6000: 2}}),
        ({}, "spec_moe_off_plain", {}),
    ],
)
def test_what_the_tuner_says_is_what_a_command_line_takes(
    lengths: dict[int, int], name: str, drafter: dict[str, Any]
) -> None:
    line = tune.overrides("spec_moe_off_plain", "spec_moe_off", lengths)
    (system,) = compose(*line).systems.values()
    assert system.name == name
    assert all(system.drafter[option] == value for option, value in drafter.items())
    Composition.of(system)  # raises what a run would


def test_the_preset_drafts_as_the_published_tuner_says() -> None:
    published = json.loads((CONF.parent / "results" / "tune" / "tune.json").read_text())
    lengths = {int(positions): length for positions, length in published["lengths"].items()}
    (tuned,) = compose(*tune.overrides("spec_moe_off_plain", "spec_moe_off", lengths)).systems.values()
    (preset,) = compose("system=spec_moe_off").systems.values()
    assert preset == tuned, "conf/system/spec_moe_off.yaml says otherwise"


@pytest.mark.nightly
def test_the_whole_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    listed = [f"{{base: spec_moe_off, label: k{n}, override: {{drafter: {{draft_length: {n}}}}}}}" for n in (1, 2)]
    few = ("dataset.limit=8", "measure.batch=4", "measure.max_new_tokens=8", "measure.warmup=1", f"runs={tmp_path}")
    systems = f"systems=[spec_moe_off_plain,{','.join(listed)}]"
    arguments = ["harness/studies/tune/command.py", "experiment=tune", systems, *few, f"output={tmp_path / 'out'}"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert tune.main() == 0
    found = json.loads((tmp_path / "out" / "tune.json").read_text())
    assert [row["draft_length"] for row in found["rows"]] == [0, 1, 2]
    assert [row["profiled"] for row in found["rows"]] == [True, False, True]
    assert found["chosen"]["draft_length"] in (0, 1, 2)
    assert found["overrides"][0].startswith("system=spec_moe_off")
    assert f"to run so: {shlex.join(found['overrides'])}" in (tmp_path / "out" / "tune.md").read_text()
    assert found["chosen"]["lost"] >= 0
    for row in found["rows"]:
        parts = row["predicted"]
        assert parts["draft"] + parts["target"] + parts["others"] == pytest.approx(parts["total"])
        assert row["measured"]["steps"] > 0
    rows = listed(tmp_path / "out" / "summary.json")
    assert all(row["metrics"]["exact_match"]["value"] == 1.0 for row in rows)
