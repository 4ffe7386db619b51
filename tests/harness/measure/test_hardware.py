"""Times that are measured, and times that stand for others: a replay that is timed by a live run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.config.bench import BenchConfig, DatasetConfig, HardwareConfig, MeasureConfig
from harness.measure.hardware import calibrate, predict, times_of
from systems import api
from systems.api import BadInput, Costs, HostCosts, ModelConfig, SystemConfig

LIVE = Costs({1: 2e-3, 3: 3e-3}, {1: 1e-3}, 4e-3, 0.0, block=512)


class _Recorded:
    """What `predict` asks of a pair and of its traces."""

    record_bytes, top_k = 1000, 2
    costs = Costs({1: 1e-3}, {1: 1e-3}, 1e-3, 0.0)


@pytest.fixture
def live(tmp_path: Path) -> Path:
    file = tmp_path / "provenance.json"
    file.write_text(json.dumps({"slow": {"costs": api.plain_costs(LIVE)}}))
    return file


def test_a_replay_takes_the_layer_times_of_the_live_run(live: Path) -> None:
    recorded = _Recorded()
    link, costs = predict(HardwareConfig("here", "nowhere"), recorded, recorded, f"{live}#slow")  # type: ignore[arg-type]
    assert (costs.target_layer, link.bandwidth, link.virtual) == (LIVE.target_layer, 1000 / 4e-3, True)
    assert link.block == 512, "a demand overtakes on it as it did there"
    _, costs = predict(HardwareConfig("here", "nowhere"), recorded, recorded)  # type: ignore[arg-type]
    assert costs.target_layer == recorded.costs.target_layer


@pytest.mark.parametrize("wrong", ["#fast", "", "/nowhere#slow"])
def test_a_file_without_times_is_refused_by_name(live: Path, wrong: str) -> None:
    with pytest.raises(BadInput, match=r"has no layer times .*name a live run's"):
        times_of(f"{live}{wrong}")


class _Timed:
    """Stands for what measures, and notes what is asked of it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, float | None]] = []
        patch.setattr(api, "measure_costs", self._costs)
        patch.setattr(api, "host_costs", self._host)

    def _costs(self, pair: object, widths: object, prompts: object, seconds: float | None) -> Costs:
        self.asked.append(("layers", seconds))
        return LIVE

    def _host(self, pair: object, seconds: float | None) -> HostCosts:
        self.asked.append(("host", seconds))
        return HostCosts(1e-3)


@pytest.mark.parametrize("placed", [(), ("system",), ("reference",)])
def test_the_host_is_timed_where_a_system_may_compute_there(
    placed: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed, on_host = _Timed(monkeypatch), {"part": "cpu"}
    plain = SystemConfig("offload", "", residency={"part": "lru"})
    made = {name: replace(plain, placement=on_host) if name in placed else plain for name in ("system", "reference")}
    config = BenchConfig(
        {"a": plain, "b": made["system"]}, ModelConfig("x", "", None, ""), DatasetConfig("d"), HardwareConfig("h", ""),
        MeasureConfig(calibration_seconds=0.2), reference=made["reference"],
    )  # fmt: skip
    link, costs = calibrate(config, _Recorded(), [1], [])  # type: ignore[arg-type]
    assert link is None
    assert costs.host == (HostCosts(1e-3) if placed else None)
    assert timed.asked == [("layers", 0.2), ("host", 0.2)][: 2 if placed else 1]
