"""What a search is told, and what it says it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.sweeps import search
from harness.sweeps.jobs import Job
from tests.harness.sweeps.sweeper import finish, start, table


def _row(tpot: float | None, status: str = "ok") -> dict[str, Any]:
    return {"system": "a", "status": status, "metrics": {"tpot": {"value": tpot, "low": None}}}


def test_what_cannot_be_measured_is_the_worst() -> None:
    assert search.objective([_row(0.02), _row(0.01)]) == 0.02  # the first system's
    assert search.objective([_row(0.02), _row(0.01, "diverged")]) == search.WORST
    assert search.objective([_row(None)]) == search.WORST


def test_the_fastest_points_each_once() -> None:
    tried = [(4, "0", 0.03), (2, "auto", 0.01), (2, "auto", 0.01), (6, "4", None), (1, "4", 0.02)]
    jobs = [
        Job(i, ("dataset.limit=4", f"system.drafter.draft_length={length}", f"system.prefetch.cutoff={cutoff}"),
            "finished", f"{length}{cutoff}")
        for i, (length, cutoff, _) in enumerate(tried)
    ]  # fmt: skip
    found = search.fastest(jobs, [[_row(tpot)] for *_, tpot in tried])
    assert (found.title, found.columns) == ("Fastest of 4 points", ("job", "TPOT ms", "draft_length", "cutoff"))
    assert found.lines == [("1", "10.00", "2", "auto"), ("4", "20.00", "1", "4"), ("0", "30.00", "4", "0")]


@pytest.mark.nightly
def test_optuna_finds_the_fastest(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    words = ("system=sp_moe", "budget=choice(0.4, 0.8)", "system.drafter.draft_length=choice(1, 2)")
    said = finish(start(tmp_path, *words, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=6"))
    tpots = {line["key"]: line["value"] for line in table(tmp_path) if line["metric"] == "tpot"}
    assert f"Fastest of {len(tpots)} points" in said
    _, _, below = said.partition(" points")
    first = next(line.split() for line in below.splitlines() if line.strip()[:1].isdigit())
    assert float(first[1]) == pytest.approx(1e3 * min(tpots.values()), abs=0.005)
    best = (tmp_path / "results/runs/optimization_results.yaml").read_text()
    assert f"best_value: {min(tpots.values())}" in best
