"""Times that stand for others: a replay that is timed by a live run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.config.bench import HardwareConfig
from harness.measure.hardware import predict, times_of
from systems import api
from systems.api import BadInput, Costs

LIVE = Costs({1: 2e-3, 3: 3e-3}, {1: 1e-3}, 4e-3, 0.0)


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
    _, costs = predict(HardwareConfig("here", "nowhere"), recorded, recorded)  # type: ignore[arg-type]
    assert costs.target_layer == recorded.costs.target_layer


@pytest.mark.parametrize("wrong", ["#fast", "", "/nowhere#slow"])
def test_a_file_without_times_is_refused_by_name(live: Path, wrong: str) -> None:
    with pytest.raises(BadInput, match=r"has no layer times .*name a live run's"):
        times_of(f"{live}{wrong}")
