"""Gaps, verdicts and speedups of rows whose times were written by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.metrics.tpot import TPOT
from harness.verdict import relative as standing
from systems.api import SystemConfig

PLAIN = SystemConfig("plain", "test")
DRAFT: dict[str, Any] = {"drafter": {"part": "model", "draft_length": 2}}
ORACLE: dict[str, Any] = {"residency": {"part": "belady"}}
CPU: dict[str, Any] = {"placement": {"part": "cpu"}}
NOTHING: dict[str, Any] = {"residency": {"part": "none"}}
PREFETCH: dict[str, Any] = {"prefetch": {"part": "cutoff"}}


class Field:
    """Systems of a comparison with ten tokens per prompt: milliseconds per token by prompt, bytes per token."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = []
        self.systems: dict[str, SystemConfig] = {}

    def add(self, label: str, ms: Sequence[float], bytes: float = 1000, status: str = "ok", **config: Any) -> None:
        self.systems[label] = replace(PLAIN, name=label, **config)
        (self.folder / label).mkdir()
        lines = [
            {"id": str(batch), "repeat": 0, "batch": batch, "tokens": [0] * 11, "commits": [[0.0, 1], [time / 100, 10]]}
            for batch, time in enumerate(ms)
        ]
        (self.folder / label / "requests.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        metrics = {"tpot": TPOT.known(sum(ms) / len(ms) / 1e3, len(ms)).row(), "bytes_per_token": {"value": bytes}}
        metrics["peak_fast_bytes"] = {"value": 50}  # over ten tokens: a head start of 5 bytes per token
        lossless = self.systems[label].lossless
        row = {"system": label, "status": status, "lossless": lossless, "metrics": metrics}
        if self.systems[label].residency["part"] == "belady":
            row["description"] = {"fewest_bytes": bytes * 10 * len(ms)}
        self.rows.append(row)

    def stand(self, *baselines: str) -> dict[str, dict[str, Any]]:
        sides = standing.sides_of(self.rows, {label: self.folder / label for label in self.systems})
        rows = standing.with_gaps(self.rows, sides, self.systems)
        rows = standing.judged(rows, sides, self.systems, 1)
        return {row["system"]: row for row in standing.with_speedups(rows, sides, baselines)}


@pytest.fixture
def field(tmp_path: Path) -> Field:
    return Field(tmp_path)


def gaps(field: Field, id: str = "oracle_gap") -> dict[str, tuple[float | None, str | None]]:
    """Value and oracle of each system, or the reason for having none."""
    entries = {label: row["metrics"][id] for label, row in field.stand().items()}
    return {
        label: (entry["value"] and round(entry["value"], 9), entry.get("over") or entry.get("reason"))
        for label, entry in entries.items()
    }


def test_the_gap_is_to_the_oracle_of_the_same_draft(field: Field) -> None:
    field.add("oracle", [10, 20], 100, **ORACLE)
    field.add("sd_oracle", [5, 10], 100, **ORACLE, **DRAFT)
    field.add("shuffled", [15, 30], 100, **ORACLE)
    field.add("offload", [20, 40])
    field.add("sp_moe", [20, 40], **DRAFT)
    field.add("prompt_lookup", [20, 40], drafter={"part": "prompt_lookup", "draft_length": 2})
    found = gaps(field)
    assert found["offload"] == (2.0, "oracle"), "the faster of two"
    assert found["sp_moe"] == (4.0, "sd_oracle")
    assert found["prompt_lookup"] == (None, "no oracle drafts alike and may compute where this system may")
    assert found["oracle"] == (None, "this is an oracle")


def test_the_gap_to_any_draft_is_to_the_fastest_oracle(field: Field) -> None:
    """Where drafting is the loss, the gap at the same draft is small and this one is not."""
    field.add("sd_oracle", [20, 40], 100, **ORACLE, **DRAFT)
    field.add("oracle", [10, 20], 100, **ORACLE)
    field.add("sp_moe", [30, 60], **DRAFT)
    field.add("prompt_lookup", [20, 40], drafter={"part": "prompt_lookup", "draft_length": 2})
    assert gaps(field)["sp_moe"] == (1.5, "sd_oracle")
    found = gaps(field, "oracle_gap_any")
    assert found["sp_moe"] == (3.0, "oracle")
    assert found["prompt_lookup"] == found["sd_oracle"] == (2.0, "oracle")
    assert found["oracle"] == (None, "this is the fastest oracle")


def test_a_host_of_ones_own_is_held_against_no_oracle_of_another(field: Field) -> None:
    """Fiddler's published constants are faster than those of the hardware profile, which the oracles take."""
    field.add("oracle_cpu", [10, 20, 30], 1000, **ORACLE, **CPU)
    field.add("fiddler", [12, 24, 36], 0, **CPU)
    field.add("as_published", [4, 8, 12], 0, placement={"part": "cpu", "token_share": 0.1})
    found = gaps(field)
    assert found["fiddler"] == (1.2, "oracle_cpu")
    assert found["as_published"][0] is None
    assert gaps(field, "oracle_gap_any")["as_published"][0] is None
    assert field.stand()["as_published"]["status"] == "ok"


def test_who_computes_elsewhere_is_held_against_an_oracle_that_may(field: Field) -> None:
    field.add("oracle", [10, 20, 30], 1000, **ORACLE)
    field.add("fiddler", [4, 8, 12], 0, **CPU)
    field.add("offload", [20, 40, 60])
    assert gaps(field)["fiddler"][0] is None
    assert "placement.part=cpu" in str(gaps(field)["fiddler"][1])
    assert {row["status"] for row in field.stand().values()} == {"ok"}, "nothing bounds it"
    field.add("oracle_cpu", [5, 10, 15], 0, **ORACLE, **CPU)
    assert gaps(field)["fiddler"] == (0.8, "oracle_cpu")
    assert gaps(field)["offload"] == (2.0, "oracle")
    assert gaps(field, "oracle_gap_any")["offload"] == (4.0, "oracle_cpu")
    statuses = {label: row["status"] for label, row in field.stand().items()}
    assert statuses == dict.fromkeys(statuses, "ok") | {"fiddler": "beyond_bound"}


def test_the_gap_is_paired(field: Field) -> None:
    """Prompts differ tenfold, the ratio is the same on each: the interval is a point."""
    times = [1, 2, 3, 10]
    field.add("oracle", times, 100, **ORACLE)
    field.add("offload", [3 * time for time in times])
    gap = field.stand()["offload"]["metrics"]["oracle_gap"]
    assert (gap["low"], gap["value"], gap["high"]) == pytest.approx((3, 3, 3))


def test_without_an_oracle_the_gap_is_unknown(field: Field) -> None:
    field.add("offload", [20, 40])
    field.add("wrong", [1, 1], status="diverged", **ORACLE)
    assert gaps(field)["offload"][0] is None
    value, reason = gaps(field, "oracle_gap_any")["offload"]
    assert value is None
    assert "add `oracle`" in str(reason)


def test_a_system_faster_than_its_oracle_is_beyond_its_bound(field: Field) -> None:
    field.add("oracle", [10, 20, 30], 100, **ORACLE)
    field.add("impossible", [9, 18, 27])
    field.add("tie", [9.9, 19.8, 29.7])
    field.add("resident", [1, 2, 3], 0, residency={"part": "all"})
    field.add("lossy", [1, 2, 3], 10, lossless=False)
    field.add("peer", [1, 2, 3], 10, engine={"part": "transformers"})
    field.add("drafts", [1, 2, 3], 10, **DRAFT)  # no oracle drafts like it
    found = field.stand()
    statuses = {label: row["status"] for label, row in found.items()}
    assert statuses == dict.fromkeys(found, "ok") | {"impossible": "beyond_bound"}
    assert found["impossible"]["reason"] == "TPOT is 0.90 [0.90, 0.90] times that of oracle, its lower bound"


def test_a_system_that_moves_less_than_its_oracle_is_beyond_its_bound(field: Field) -> None:
    field.add("oracle", [10, 20], 1000, **ORACLE)
    field.add("impossible", [20, 40], 990)
    field.add("lucky", [20, 40], 995)
    field.add("oracle_cpu", [10, 20], 1000, **ORACLE, **CPU)
    field.add("fiddler", [20, 40], 10, **CPU)
    found = field.stand()
    assert {label: row["status"] for label, row in found.items()} == {
        "oracle": "ok", "impossible": "beyond_bound", "lucky": "ok", "oracle_cpu": "ok", "fiddler": "ok",
    }  # fmt: skip
    assert (
        found["impossible"]["reason"]
        == "moves 990 bytes per token, fewer than the 1,000 that oracle knows to be needed"
    )


def test_keeping_nothing_bounds_those_that_prefetch_nothing_from_above(field: Field) -> None:
    field.add("no_cache", [10, 20], 1000, **NOTHING)
    field.add("lru", [5, 10], 1100)
    field.add("slow", [11, 22], 900)
    field.add("prefetches", [11, 22], 1100, **PREFETCH)
    field.add("drafts", [11, 22], 1100, **DRAFT)
    assert {label: row["status"] for label, row in field.stand().items()} == {
        "no_cache": "ok", "lru": "beyond_bound", "slow": "beyond_bound", "prefetches": "ok", "drafts": "ok",
    }  # fmt: skip


def test_the_best_baseline_is_the_fastest_sound_one_and_never_oneself(field: Field) -> None:
    field.add("offload", [40, 80])
    field.add("good", [20, 40])
    field.add("lossy", [10, 20], lossless=False)
    field.add("broken", [10, 20], status="nothing_offloaded")
    field.add("ours", [10, 20])
    found = field.stand("offload", "good", "lossy", "broken")
    best = {label: row["metrics"]["speedup_over_best"] for label, row in found.items()}
    assert (best["ours"]["value"], best["ours"]["over"]) == (2.0, "good")
    assert (best["good"]["value"], best["good"]["over"]) == (2.0, "offload")
    assert (best["offload"]["value"], best["offload"]["over"]) == (0.5, "good")
    assert found["ours"]["metrics"]["speedup_over_lossy"]["value"] == 1.0  # asked for, so shown


def test_what_passed_a_bound_is_no_baseline(field: Field) -> None:
    field.add("oracle", [10, 20], 100, **ORACLE)
    field.add("impossible", [5, 10])
    field.add("offload", [20, 40])
    field.add("ours", [20, 40])
    assert field.stand("impossible", "offload")["ours"]["metrics"]["speedup_over_best"]["over"] == "offload"


def test_without_a_sound_baseline_the_best_is_unknown(field: Field) -> None:
    field.add("offload", [40, 80], status="noisy")
    field.add("ours", [10, 20])
    entry = field.stand("offload")["ours"]["metrics"]["speedup_over_best"]
    assert (entry["value"], "lossless and `ok`" in entry["reason"]) == (None, True)


def test_cells_without_times_stand_nowhere(field: Field) -> None:
    field.add("offload", [40, 80])
    field.rows.append({"system": "big", "status": "did_not_fit", "lossless": True, "metrics": {}})
    field.systems["big"] = PLAIN
    assert field.stand()["big"]["metrics"] == {}
