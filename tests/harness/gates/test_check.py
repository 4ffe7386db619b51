"""`python -m harness check` on a tiny pair: equal to itself, and every planted fault is found."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.config.bench import BenchConfig, DatasetConfig, Emulated, HardwareConfig, MeasureConfig
from harness.config.host import HostShape
from harness.gates.check import CheckConfig, check, main
from harness.measure.hardware import predict
from harness.measure.meter import RecordingMeter
from harness.records.generation import Generation
from harness.records.provenance import ROOT
from systems.api import BadInput, ModelConfig
from systems.policies import residency
from systems.policies.hinting import Hinting
from systems.runtime import sampling
from tests.systems.tiny import make_pair, shipped

HOST = HostShape("host", "test", 357e9, 2.43e12)
HARDWARE = HardwareConfig("fine", "test", Emulated(17301504, 25e9, 1e-5, 0.65e-3, HOST))
Checked = Callable[[], tuple[int, str]]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> CheckConfig:
    """A check whose baseline was made by this code."""
    root = tmp_path_factory.mktemp("check")
    make_pair(root).close()
    (root / "prompts.jsonl").write_text("".join(f'{{"prompt": "{text}"}}\n' for text in ("abcde", "nm lk", "aabbc")))
    model = ModelConfig("tiny", str(root / "target"), str(root / "draft"), str(root))
    systems = {name: shipped(name) for name in ("offload", "adapmoe", "sd_offload", "sp_moe")}
    bench = BenchConfig(
        systems, model, DatasetConfig("jsonl", limit=2, path=str(root / "prompts.jsonl")), HARDWARE,
        MeasureConfig(warmup=1, max_new_tokens=12), budget=0.6, replay=str(root / "traces"),
    )  # fmt: skip
    made = CheckConfig(bench, ("offload", "sp_moe"), root / "baseline.json", 0.03, update=True)
    assert check(made, Console()) == 0
    return dataclasses.replace(made, update=False)


@pytest.fixture
def checked(config: CheckConfig) -> Checked:
    def run() -> tuple[int, str]:
        console = Console(record=True, width=300)
        return check(config, console), console.export_text()

    return run


def test_unchanged_code_passes(checked: Checked, config: CheckConfig) -> None:
    code, said = checked()
    assert (code, said.strip()) == (0, "ok: every count is as it was")
    found = json.loads(config.baseline.read_text())["systems"]["sp_moe"]
    assert found["acceptance"]
    assert found["counts"]["decode on_time"] > 0  # what is checked has prefetches in it
    assert found["counts"]["decode evictions"] > 0


def test_what_is_published_passes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`make check`: recording and baseline in the repository are of this code."""
    monkeypatch.setattr(sys, "argv", ["harness.gates.check"])
    monkeypatch.chdir(ROOT)
    assert main() == 0, capsys.readouterr()
    assert "ok: every count is as it was" in capsys.readouterr().out


def test_a_prefetcher_turned_off_is_found(checked: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hinting, "prefetch", lambda self, layer, experts, most=None: 0)
    code, said = checked()
    assert code == 1
    for how in ("replay", "live"):
        assert f"{how}: sp_moe: counts: decode useful_bytes 0, was" in said
        assert f"{how}: offload" not in said


def test_a_reversed_eviction_is_found(checked: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    right = residency.spare_hinted
    monkeypatch.setattr(residency, "spare_hinted", lambda order, *rest: right(reversed(list(order)), *rest))
    code, said = checked()
    assert code == 1
    assert "replay: offload: counts: decode resident" in said
    assert "live: offload: counts: decode moved_bytes" in said
    assert "tokens of" not in said  # policies move bytes and nothing else


def test_a_token_count_off_by_one_is_found(checked: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    right = RecordingMeter.finish

    def finish(self: RecordingMeter, repeat: int = 0, batch: int = 0, order: int = 0) -> Generation:
        generation = right(self, repeat, batch, order)
        generation.rows[0].tokens.pop()
        return generation

    monkeypatch.setattr(RecordingMeter, "finish", finish)
    code, said = checked()
    assert code == 1
    assert "live: offload: tokens of line-2: 11 tokens, were 12" in said


def test_an_acceptance_bug_is_found(checked: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Live, the last accepted draft is refused; every token is still right, only more steps are needed."""
    right = sampling._match
    monkeypatch.setattr(
        sampling, "_match", lambda target, drafts: [row[: max(len(row) - 1, 1)] for row in right(target, drafts)]
    )
    code, said = checked()
    assert code == 1
    assert "live: sp_moe: steps" in said
    assert "live: sp_moe: acceptance: 0 of 3" in said
    assert "tokens of" not in said
    assert "replay:" not in said


def test_a_changed_ratio_of_times_is_found(checked: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drafting takes three times as long as it did."""

    def slower(*arguments: Any) -> Any:
        link, costs = predict(*arguments)
        return link, dataclasses.replace(costs, draft_layer={w: 3 * time for w, time in costs.draft_layer.items()})

    monkeypatch.setattr("harness.gates.check.predict", slower)
    code, said = checked()
    assert code == 1
    assert "replay: sd_offload: " in said
    assert "times as long as offload, was" in said


def test_what_cannot_be_checked_is_said(config: CheckConfig, tmp_path: Path) -> None:
    console = Console(record=True, width=300)
    facts = json.loads(config.baseline.read_text())
    other = tmp_path / "other.json"
    other.write_text(json.dumps(facts | {"model": {}}))
    assert check(dataclasses.replace(config, baseline=other), console) == 3
    assert "the baseline is of another model; python -m harness check update=true" in console.export_text()
    for content, message in (
        ("{", "is broken"),
        (json.dumps(facts | {"schema": "spmoe-bench/check/0"}), "has schema spmoe-bench/check/0"),
    ):
        other.write_text(content)
        with pytest.raises(BadInput, match=message):
            check(dataclasses.replace(config, baseline=other), console)
    with pytest.raises(BadInput, match="make it with"):
        check(dataclasses.replace(config, baseline=tmp_path / "none.json"), console)
