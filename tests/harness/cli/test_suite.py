"""Several hardware profiles as one run, and the table that shows them together."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.metrics.oracle_gap import ANY_DRAFT, SAME_DRAFT
from harness.metrics.tpot import TPOT
from harness.records.published import Summary, read
from harness.tables import suite as overview
from tests.harness.app import App

TWO = ("profiles=[fine_grained,{hardware:coarse,override:{dataset:{limit:3}}}]", "systems=[offload,sp_moe]")


def _summary(folder: str) -> Summary:
    return read(Path(folder) / "summary.json", "", "")


def _prompts(folder: str) -> dict[str, int]:
    origins = json.loads((Path(folder) / "provenance.json").read_text())
    return {name: len(origin["dataset"]["prompts"]) for name, origin in origins.items()}


def test_a_suite_end_to_end(suite_app: App) -> None:
    ran = suite_app(*TWO, "output=out")
    assert ran.code == 0, ran.words
    found = _summary("out")
    assert [(row["hardware"], row["system"]) for row in found.rows] == [
        ("fine_grained", "offload"), ("fine_grained", "sp_moe"), ("coarse", "offload"), ("coarse", "sp_moe"),
    ]  # fmt: skip
    assert found.key == "+".join(sorted({path.parent.name for path in Path("results/runs").glob("*/offload")},
                                           key=found.key.index))  # fmt: skip
    assert all("oracle_gap" in row["metrics"] for row in found.rows)
    for name in ("fine_grained", "coarse"):
        assert f"{name} (emulated)" in ran.out
        assert f"{name} (emulated)" in Path("out/table.md").read_text()


def test_each_comparison_is_resumed_on_its_own(suite_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    suite_app("systems=[offload]", "profiles=[fine_grained]", "output=out")
    ran = suite_app("systems=[offload]", "profiles=[fine_grained,coarse]", "output=out")
    assert ran.out.count("is finished") == 1
    before = _summary("out")
    monkeypatch.setattr("systems.api.load_pair", lambda *_: pytest.fail("measured again"))
    again = suite_app("systems=[offload]", "profiles=[fine_grained,coarse]", "output=out")
    assert again.out.count("is finished") == 2
    assert _summary("out") == before


def test_what_is_typed_wins_over_a_profile(suite_app: App) -> None:
    """`SMALL` types dataset.limit=4 and measure.max_new_tokens, not the seed."""
    typed = "profiles=[fine_grained,{hardware:coarse,override:{dataset:{limit:3},measure:{seed:5}}}]"
    suite_app("systems=[offload]", typed, "output=out")
    assert _prompts("out") == {"fine_grained": 4, "coarse": 4}
    seeds = [
        json.loads(file.read_text())["seeds"]["measure"] for file in Path("results/runs").glob("*/*/provenance.json")
    ]
    assert sorted(seeds) == [0, 5]


def test_a_typed_hardware_takes_the_place_of_the_profiles(suite_app: App) -> None:
    suite_app(*TWO, "hardware=local", "output=out")
    assert {row["hardware"] for row in _summary("out").rows} == {"local"}


def test_bench_goes_through_profiles_too(app: App) -> None:
    app(*TWO, "output=out")
    assert {row["hardware"] for row in _summary("out").rows} == {"fine_grained", "coarse"}


def test_a_job_of_a_sweep_has_one_profile(app: App) -> None:
    ran = app("--multirun", *TWO, "output=out")
    assert ran.code == 2
    assert "set profiles=[]" in ran.words


def test_a_dry_run_tells_the_plan_of_every_profile(app: App) -> None:
    ran = app(*TWO, "output=out", "dry_run=true")
    assert ran.code == 0
    assert not Path("out").exists()
    assert "offload" in ran.words


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["profiles=[fine_grained,coarze]"], "no hardware `coarze`; did you mean `coarse`?"),
        (["profiles=[{hardware:coarse,overide:{}}]"], "unknown key `profiles[0].overide`; did you mean `override`?"),
        (["profiles=[{hardware:coarse,override:{dataset:{limt:3}}}]"], "unknown key `dataset.limt`"),
        (["profiles=[coarse,coarse]"], "`profiles` has coarse twice"),
        (["profiles=[coarse]", "hardware.emulate.bandwidth=1e9"], "choose it with hardware=NAME"),
        ([], "`profiles` is empty"),
    ],
)
def test_bad_profiles_are_named(suite_app: App, arguments: list[str], said: str) -> None:
    ran = suite_app("system=offload", *arguments)
    assert ran.code == 2
    assert said in ran.words


def test_a_system_beyond_its_bound_fails_the_run_after_publishing(suite_app: App) -> None:
    ran = suite_app("systems=[bloated,offload,sd_offload]", "profiles=[fine_grained]", "output=out")
    assert ran.code == 1
    statuses = {row["system"]: row["status"] for row in _summary("out").rows}
    assert statuses == {"bloated": "ok", "offload": "beyond_bound", "sd_offload": "ok"}  # no oracle drafts
    assert "offload: beyond_bound: moves" in ran.words


def _row(system: str, hardware: str = "fine_grained", **parts: Any) -> dict[str, Any]:
    metrics = {
        "tpot": TPOT.known(0.19666, 16, 0.18143, 0.21312).row(),
        "oracle_gap": SAME_DRAFT.known(1.5, 16, 1.4, 1.6, "oracle").row(),
        "oracle_gap_any": ANY_DRAFT.known(1.9, 16, 1.8, 2.0, "oracle_cpu").row(),
        "speedup_over_offload": {"value": 0.48, "low": 0.41, "high": 0.54},
        "speedup_over_best": {"value": 0.33, "low": 0.3, "high": 0.4, "over": "adapmoe"},
        **{id: {"value": 0.7} for id in ("hit_rate", "acceptance_rate", "stall_share", "exact_match")},
        "bytes_per_token": {"value": 11e6},
    }
    row = {
        "system": system, "model": "reference", "dataset": "humaneval", "hardware": hardware, "emulated": True,
        "batch": 1, "budget_bytes": 2**25, "lossless": True, "status": "ok", "metrics": metrics,
    }  # fmt: skip
    return row | parts


ROWS = [
    _row("offload"),
    _row("adapmoe_gated", lossless=False),
    _row("transformers_assisted", status="beyond_bound", reason="because"),
    _row("offload", "coarse"),
    _row("no_cache", "coarse", status="did_not_fit", reason="too big", metrics={}),
]


def _draw(width: int) -> str:
    stream = StringIO()
    overview.show(ROWS, Console(file=stream, width=width))
    return stream.getvalue()


@pytest.mark.parametrize(("width", "tables"), [(80, 4), (140, 2)])
def test_one_table_where_it_fits_else_two_per_profile(width: int, tables: int) -> None:
    drawn = _draw(width)
    assert max(map(len, drawn.splitlines())) <= width
    assert sum(line.startswith("system ") for line in drawn.splitlines()) == tables
    assert "196.66 [181.43, 213.12]" in drawn
    for heading in ("x offload", "x best", "hit rate", "accept.", "MiB/token", "stall", "gap", "gap any", "exact"):
        assert heading in drawn, heading


@pytest.mark.parametrize("width", [40, 60])
def test_narrow_terminals_get_more_tables_with_every_name(width: int) -> None:
    drawn = _draw(width)
    assert max(map(len, drawn.splitlines())) <= width
    assert sum(line.startswith("system ") for line in drawn.splitlines()) > 4
    for text in ("196.66", "[181.43, 213.12]", "transformers_assisted", "did_not_fit", "(lossy)"):
        assert text in drawn, text


def test_lossy_systems_come_last_and_marked() -> None:
    lines = [line for line in _draw(140).splitlines() if "196.66" in line]
    assert [line.split()[0] for line in lines] == ["offload", "transformers_assisted", "adapmoe_gated", "offload"]
    assert "adapmoe_gated (lossy)" in lines[2]


def test_what_ratios_are_over_and_why_something_is_not_ok() -> None:
    drawn = " ".join(_draw(140).split())
    assert "speedup_over_best is over adapmoe" in drawn
    assert "oracle_gap is over oracle" in drawn
    assert "oracle_gap_any is over oracle_cpu" in drawn
    assert "transformers_assisted: beyond_bound: because" in drawn


def test_the_markdown_has_a_block_per_profile() -> None:
    text = overview.markdown(ROWS)
    assert text.count("**Systems on reference") == 2
    for block in [part for part in text.split("\n\n") if part.startswith("|")]:
        assert len({line.count("|") for line in block.splitlines()}) == 1
