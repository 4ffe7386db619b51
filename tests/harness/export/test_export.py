"""Each tool's numbers of two requests worked out on paper; see `made`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.export import __main__ as command
from harness.export import aiperf, guidellm, leaderboard, mlperf, records, spec_bench, vllm
from harness.export.base import Export
from harness.export.records import System
from harness.metrics import acceptance, tpot
from harness.metrics.base import Cell
from harness.records.generation import Commit, Generation, Row, Step
from tests.harness.app import App, rows
from tests.harness.export import made

MS = 1_000_000


@pytest.fixture
def system(tmp_path: Path) -> System:
    (found,) = records.read(made.publish(tmp_path / "set"))
    return found


def content(export: Export, name: str) -> Any:
    return json.loads(export.files[name])


def lines(export: Export, name: str) -> list[Any]:
    return [json.loads(line) for line in export.files[name].splitlines()]


def test_requests_follow_each_other_on_the_systems_own_clock(system: System) -> None:
    assert [(one.start, one.latency) for one in system.requests] == [(0.0, 0.2), (0.2, 0.4)]
    assert system.seconds == pytest.approx(0.6)


def test_ours_counts_no_draft_behind_the_end_and_theirs_do() -> None:
    """The same two requests under our definitions, which the others' are held against below."""
    first = Row("a", list(range(6)), [Commit(100 * MS, 1), Commit(160 * MS, 3), Commit(200 * MS, 2)], handed=8)
    second = Row("b", [7, 0], [Commit(300 * MS, 1), Commit(400 * MS, 1)], handed=2, stopped=True)
    generations = [
        Generation(0, 0, 0, 0, [first], [Step((0,), (4,), (2,), 0.06, {}), Step((0,), (4,), (3,), 0.04, {})]),
        Generation(0, 1, 0, 0, [second], [Step((0,), (4,), (0,), 0.1, {})]),
    ]
    cell = Cell(generations)
    values = acceptance.measure(cell) | tpot.measure(cell)
    assert values["acceptance_rate"].value == pytest.approx(3 / 9)
    assert values["acceptance_length"].value == pytest.approx((3 + 2 + 1) / 3)
    assert values["tpot"].value == pytest.approx(0.2 / 6), "pooled"
    assert values["tpot_mean"].value == pytest.approx((0.02 + 0.1) / 2)


def test_vllm(system: System) -> None:
    export = vllm.export(system)
    found = content(export, "sp.json")
    assert found["mean_tpot_ms"] == pytest.approx((20 + 100) / 2), "(latency - TTFT) / (n - 1), per request"
    assert found["std_tpot_ms"] == pytest.approx(40), "the population's"
    assert found["mean_itl_ms"] == pytest.approx((60 + 40 + 100) / 3), "gaps between chunks, whatever they hold"
    assert found["median_itl_ms"] == pytest.approx(60)
    assert found["p99_ttft_ms"] == pytest.approx(298), "between 100 and 300, linearly"
    assert found["mean_e2el_ms"] == pytest.approx(300)
    assert found["output_throughput"] == pytest.approx(8 / 0.6), "prefill is in the duration"
    assert found["total_token_throughput"] == pytest.approx((5 + 7 + 8) / 0.6)
    assert found["spec_decode_acceptance_rate"] == pytest.approx(100 * 5 / 12), "in percent, discarded drafts counted"
    assert found["spec_decode_acceptance_length"] == pytest.approx(1 + 5 / 3), "with the bonus token"
    assert found["spec_decode_per_position_acceptance_rates"] == pytest.approx([2 / 3, 2 / 3, 1 / 3, 0]), "marginal"
    assert (found["spec_decode_num_drafts"], found["spec_decode_draft_tokens"]) == (3, 12)
    assert found["itls"] == [pytest.approx([0.06, 0.04]), pytest.approx([0.1])]
    assert "request_goodput" in export.left_out


def test_aiperf(system: System) -> None:
    export = aiperf.export(system)
    first, second = lines(export, "sp/profile_export.jsonl")
    assert first["metrics"]["inter_token_latency"] == {"value": pytest.approx(20), "unit": "ms"}, "others' TPOT"
    assert first["metrics"]["inter_chunk_latency"]["value"] == pytest.approx([60, 40])
    assert first["spec_decode_acceptance"] == {
        "engine": "spmoe-bench", "mean_acceptance_length": 3.5, "draft_acceptance_rate": 0.625,
        "acceptance_histogram": {"2": 1, "3": 1}, "num_accepted_draft_tokens": 5, "num_draft_tokens": 8,
        "num_spec_steps": 2, "num_spec_tokens": 4, "completion_tokens": 6,
    }  # fmt: skip
    assert second["spec_decode_acceptance"]["mean_acceptance_length"] == 1.0
    starts = [one["metadata"]["request_start_ns"] for one in (first, second)]
    assert starts == pytest.approx([made.BEGAN * 1e9, (made.BEGAN + 0.2) * 1e9], abs=1e3)
    total = content(export, "sp/profile_export_aiperf.json")
    assert total["inter_token_latency"]["avg"] == pytest.approx(60)
    assert total["inter_token_latency"]["std"] == pytest.approx(40), "the population's"
    assert total["inter_chunk_latency"]["count"] == 3
    rates = total["spec_decode_draft_acceptance_rate"], total["spec_decode_overall_draft_acceptance_rate"]
    assert [one["avg"] for one in rates] == pytest.approx([(62.5 + 0) / 2, 100 * 5 / 12]), "mean of requests, pooled"
    lengths = total["spec_decode_acceptance_length"], total["spec_decode_token_weighted_acceptance_length"]
    assert [one["avg"] for one in lengths] == pytest.approx([(3.5 + 1) / 2, 1 + 5 / 3])
    assert total["output_token_throughput"] == {"unit": "tokens/sec", "avg": pytest.approx(8 / 0.6)}
    assert total["output_token_throughput_per_user"]["avg"] == pytest.approx((50 + 10) / 2)


def test_guidellm(system: System) -> None:
    (benchmark,) = content(guidellm.export(system), "sp.json")["benchmarks"]
    first, second = benchmark["requests"]["successful"]
    assert first["time_per_output_token_ms"] == pytest.approx(200 / 6), "the first token's time is in it"
    assert second["time_per_output_token_ms"] == pytest.approx(200)
    assert first["inter_token_latency_ms"] == pytest.approx(20), "others' TPOT"
    assert first["iter_tokens_per_iteration"] == pytest.approx(5 / 2), "kept tokens per step"
    summary = benchmark["metrics"]["time_per_output_token_ms"]["successful"]
    assert summary["mean"] == pytest.approx(600 / 8), "weighed by tokens: all time over all tokens"
    assert summary["percentiles"]["p50"] == pytest.approx(200 / 6), "three quarters of the tokens have it"
    assert summary["percentiles"]["p90"] == pytest.approx(200)
    assert summary["count"] == 8
    itl = benchmark["metrics"]["inter_token_latency_ms"]["successful"]
    assert itl["mean"] == pytest.approx(1e3 * 0.2 / 6), "our pooled TPOT"


def test_aiperf_itself_reads_it(system: System) -> None:
    models = pytest.importorskip("aiperf.common.models", reason="aiperf is not installed")
    files = aiperf.export(system).files
    read = [models.MetricRecordInfo.model_validate_json(line) for line in files["sp/profile_export.jsonl"].splitlines()]
    assert [one.spec_decode_acceptance.num_spec_steps for one in read] == [2, 1]
    total = models.JsonExportData.model_validate_json(files["sp/profile_export_aiperf.json"])
    assert total.inter_token_latency.avg == pytest.approx(60)


def test_guidellm_itself_comes_to_the_same_numbers(system: System) -> None:
    schemas = pytest.importorskip("guidellm.schemas.base", reason="guidellm is not installed")
    (benchmark,) = content(guidellm.export(system), "sp.json")["benchmarks"]
    lines = benchmark["requests"]["successful"]
    read = [schemas.GenerativeRequestStats.model_validate(line) for line in lines]
    for line, one in zip(lines, read, strict=True):
        for name in ("time_per_output_token_ms", "inter_token_latency_ms", "iter_tokens_per_iteration"):
            assert getattr(one, name) == pytest.approx(line[name], rel=1e-4)
    weighed = [(one.inter_token_latency_ms, one.output_tokens - 1) for one in read]
    summary = schemas.DistributionSummary.from_values(weighed).model_dump()
    told = benchmark["metrics"]["inter_token_latency_ms"]["successful"]
    assert all(summary[name] == pytest.approx(told[name], rel=1e-4) for name in told)


def test_mlperf(system: System) -> None:
    export = mlperf.export(system)
    log = [json.loads(line.removeprefix(":::MLLOG ")) for line in export.files["sp/mlperf_log_detail.txt"].splitlines()]
    found = {event["key"]: event["value"] for event in log}
    assert found["result_time_to_output_token_mean"] == pytest.approx(60 * MS, abs=1)
    assert found["result_time_per_output_token_99.00_percentile_ns"] == pytest.approx(100 * MS, abs=1)
    assert found["result_time_per_output_token_50.00_percentile_ns"] == pytest.approx(100 * MS, abs=1), (
        "no interpolation"
    )
    assert found["result_first_token_mean_latency_ns"] == pytest.approx(200 * MS, abs=1)
    assert found["result_completed_tokens_per_second"] == pytest.approx(8 / 0.6)
    assert found["result_token_throughput"] == pytest.approx(8 / 0.6), "tokens over the sum of latencies"
    outputs = content(export, "sp/mlperf_log_accuracy.json")
    assert outputs[0]["data"].endswith("0500000002010000"), "5 and 258, as 32-bit little-endian integers"
    assert [one["token_count"] for one in outputs] == [6, 2]


def test_spec_bench(system: System) -> None:
    first, second = lines(spec_bench.export(system), "sp.jsonl")
    assert first["choices"][0]["accept_lengths"] == [3, 2], "what the answer holds of each step"
    assert second["choices"][0]["accept_lengths"] == [1], "plain steps have 1"
    # evaluation/speed.py: the mean over all steps, and the mean over questions of new tokens / wall time.
    answers = [one["choices"][0] for one in (first, second)]
    lengths = [length for one in answers for length in one["accept_lengths"]]
    assert sum(lengths) / len(lengths) == pytest.approx(2.0), "our acceptance length"
    speeds = [sum(one["new_tokens"]) / sum(one["wall_time"]) for one in answers]
    assert sum(speeds) / 2 == pytest.approx((30 + 5) / 2)


def test_the_leaderboard(tmp_path: Path) -> None:
    scored = {"pass_at_1": {"value": 0.5, "unit": "-"}}
    (system,) = records.read(made.publish(tmp_path / "scored", metrics=scored))
    found = content(leaderboard.export(system), "sp.json")
    assert found["config"] == {"model_name": "tiny/sp", "model_dtype": "torch.bfloat16", "model_sha": "abc"}
    assert found["results"]["humaneval"] == {"pass_at_1": 0.5}
    assert found["results"]["speed"]["decode.throughput.mean(tokens/s)"] == pytest.approx((50 + 10) / 2)
    assert found["results"]["speed"]["prefill.latency.mean(s)"] == pytest.approx(0.2)
    (system,) = records.read(made.publish(tmp_path / "unscored"))
    assert "accuracy.allow_code_execution=true" in leaderboard.export(system).left_out["humaneval/accuracy"]


def test_one_comparison_in_every_format(
    app: App, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app("systems=[offload,sp_moe]", "output=mine")
    (key,) = [path for path in Path("results/runs").iterdir() if path.is_dir() and not path.name.startswith(".")]
    measured = rows(key / "summary.json")
    for form in command.FORMATS:
        monkeypatch.setattr(sys, "argv", ["export", str(key), "--as", form])
        assert command.main() == 0
        said = capsys.readouterr().out
        home = Path("exports") / form / key.name
        reasons = json.loads((home / "left-out.json").read_text())
        assert set(reasons) == {"offload", "sp_moe"}
        assert all(f"left out: {metric}" in said for own in reasons.values() for metric in own)
    found = json.loads((Path("exports/vllm") / key.name / "sp_moe.json").read_text())
    mean = measured["sp_moe"]["metrics"]["tpot_mean"]["value"]
    assert found["mean_tpot_ms"] == pytest.approx(1e3 * mean, rel=1e-5), (
        "one token in every first commit: the same definition"
    )
    assert (
        "nothing was drafted"
        in json.loads((Path("exports/vllm") / key.name / "left-out.json").read_text())["offload"].values()
    )


def test_what_is_no_result_set_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["export", "nowhere", "--as", "vllm"])
    assert command.main() == 2
    assert "nowhere/summary.json cannot be read" in capsys.readouterr().err
    made.publish(tmp_path / "set")
    (tmp_path / "set" / "sp" / "requests.jsonl").unlink()
    monkeypatch.setattr(sys, "argv", ["export", "set", "--as", "vllm"])
    assert command.main() == 2
    assert "has no records by request of sp" in capsys.readouterr().err
