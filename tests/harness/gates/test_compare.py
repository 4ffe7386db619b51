"""`python -m harness compare` on recorded times: what it says, and the code it ends with."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.gates import compare, sets
from harness.gates import noise_floor as noise
from harness.gates.gate import compare as gate
from harness.records import summary_file
from tests.harness.gates.recorded import TIMES, write

Compare = Callable[[Path, Path], tuple[int, str]]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Compare:
    def run(base: Path, new: Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["compare", str(base), str(new)])
        code = compare.main()
        said = capsys.readouterr()
        return code, " ".join((said.out + said.err).split())

    monkeypatch.chdir(tmp_path)
    return run


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write(tmp_path / "base")


def test_the_same_twice_is_ok(compared: Compare, base: Path, tmp_path: Path) -> None:
    code, said = compared(base, write(tmp_path / "new", lambda _: 1.01))
    assert code == 0, said
    assert "offload 0.011705 0.011822 1.010 [1.010, 1.010] same" in said
    assert "noise floor 3%, assumed: python -m harness noise" in said
    assert said.endswith("ok")


def test_a_slowdown_by_a_tenth_of_one_system_is_a_regression(compared: Compare, base: Path, tmp_path: Path) -> None:
    new = write(tmp_path / "new", lambda system: 1.1 if system == "sp_moe" else 1.0)
    code, said = compared(base, new)
    assert code == 1
    assert said.count("regressed") == 2 + 1  # TPOT and TTFT of sp_moe, and the last word
    assert "1.100 [1.100, 1.100] regressed" in said
    code, said = compared(new, base)
    assert (code, said.count("improved")) == (0, 2)


def test_worse_counts_are_a_regression(compared: Compare, base: Path, tmp_path: Path) -> None:
    code, said = compared(base, write(tmp_path / "new", hits=6))
    assert code == 1
    assert "0.875 [0.875, 0.875] regressed" in said  # hit rate, lower is worse
    assert "1.333 [1.333, 1.333] regressed" in said  # bytes, higher is worse


def test_a_system_that_fails_now_is_a_regression(compared: Compare, base: Path, tmp_path: Path) -> None:
    code, said = compared(base, write(tmp_path / "new", row={"status": "diverged", "reason": "at 3"}))
    assert code == 1
    assert "broken: sp_moe: diverged: at 3" in said


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"row": {"budget_bytes": 1}}, "budget_bytes is 33554432 in the base and 1"),
        ({"row": {"model": "other"}}, "model is 'reference' in the base and 'other'"),
        ({"origin": {"model": {"target": "b2"}}}, "model differs in `target`"),
        ({"origin": {"cpu": "another"}}, "cpu is 'a processor' in the base and 'another'"),
        ({"origin": {"queue": 4}}, "queue is None in the base and 4"),
        ({"origin": {"warmup": 4}}, "warmup is None in the base and 4"),
        ({"row": {"status": "noisy", "reason": "few"}}, "not compared: offload: noisy: few"),
    ],
)
def test_what_cannot_be_compared_says_why(
    compared: Compare, base: Path, tmp_path: Path, changed: dict[str, dict[str, object]], reason: str
) -> None:
    code, said = compared(base, write(tmp_path / "new", **changed))  # type: ignore[arg-type]
    assert code == 3
    assert reason in said


def _edit(file: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    change(lines)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _at(name: str, value: float) -> Callable[[list[dict[str, Any]]], None]:
    return lambda lines: lines[0].update({name: value})


INCOMPLETE: dict[str, tuple[str, Callable[[list[dict[str, Any]]], object], str]] = {
    "requests lost": ("requests", lambda lines: lines.__delitem__(slice(3, None)), "records are missing, of"),
    "a request lost": ("requests", lambda lines: lines.pop(5), "1 of 64 records are missing, of"),
    "a request twice": ("requests", lambda lines: lines.append(lines[0]), "there are more than 2 records of"),
    "steps lost": ("steps", lambda lines: lines.pop(), "steps of 1 of 64 generations are missing"),
    "no number": ("requests", _at("decode_seconds", math.nan), "decode_seconds is no finite number in 1 records"),
    "no finite number": ("requests", _at("ttft", math.inf), "ttft is no finite number in 1 records"),
    "no finite count": ("steps", _at("moved_bytes", math.inf), "moved_bytes is no finite number in 1 records"),
}


@pytest.mark.parametrize("case", INCOMPLETE)
@pytest.mark.parametrize("where", ["base", "new set"])
def test_incomplete_sets_cannot_be_compared(compared: Compare, tmp_path: Path, case: str, where: str) -> None:
    name, change, reason = INCOMPLETE[case]
    sides = {side: write(tmp_path / side, origin={"repeats": 2}) for side in ("base", "new set")}
    _edit(sides[where] / "offload" / f"{name}.jsonl", change)
    code, said = compared(*sides.values())
    assert (code, reason in said, f"in the {where}" in said) == (3, True, True), said


def test_a_prompt_that_provenance_names_and_no_record_has(compared: Compare, tmp_path: Path) -> None:
    """Half of the records gone in both sets alike would compare well."""
    prompts = {prompt for _, prompt, *_ in TIMES["offload"]}
    named = {"dataset": {"prompts": sorted([*prompts, "lost"])}, "repeats": 2}
    code, said = compared(*(write(tmp_path / side, origin=named) for side in ("one", "other")))
    assert (code, "2 of 66 records are missing, of lost, in the base" in said) == (3, True)


def test_a_metric_under_two_definitions_cannot_be_compared(compared: Compare, base: Path, tmp_path: Path) -> None:
    new = write(tmp_path / "new")
    summary = new / "summary.json"
    summary.write_text(summary.read_text().replace("tpot@2", "tpot@1"))
    code, said = compared(base, new)
    assert (code, "offload: tpot is tpot@2 in the base and tpot@1 in the new set" in said) == (3, True)
    code, said = compared(new, new)
    assert (code, "tpot is tpot@1 in the base and tpot@1 in the new set; tpot@2 is compared" in said) == (3, True)


def test_a_metric_known_to_one_set_only_cannot_be_compared(compared: Compare, base: Path, tmp_path: Path) -> None:
    new = write(tmp_path / "new")
    _edit(new / "sp_moe" / "steps.jsonl", lambda lines: [line.update(drafted=[0], accepted=[0]) for line in lines])
    code, said = compared(base, new)
    assert (code, "sp_moe: acceptance_rate is known in the base only" in said) == (3, True)


def test_greedy_and_sampled_outputs_cannot_be_compared(compared: Compare, base: Path, tmp_path: Path) -> None:
    greedy = write(tmp_path / "greedy", origin={"sampling": {"temperature": 0.0}})
    sampled = write(tmp_path / "sampled", origin={"sampling": {"temperature": 0.9, "top_k": 0, "top_p": 0.8}})
    code, said = compared(greedy, sampled)
    assert (code, "not compared: offload: sampling differs in `temperature`" in said) == (3, True)
    assert compared(sampled, sampled)[0] == 0


def test_replays_are_compared_across_machines(compared: Compare, base: Path, tmp_path: Path) -> None:
    one = write(tmp_path / "one", row={"replayed": True})
    other = write(tmp_path / "other", row={"replayed": True}, origin={"cpu": "another", "cpus": 64})
    assert compared(one, other)[0] == 0
    code, said = compared(base, other)
    assert (code, "replayed is False in the base and True" in said) == (3, True)


def test_a_system_that_is_missing_cannot_be_compared(compared: Compare, base: Path, tmp_path: Path) -> None:
    new = write(tmp_path / "new")
    summary = json.loads((new / "summary.json").read_text())
    summary_file.write(new, summary["key"], summary_file.unpacked(summary)[:-1])
    code, said = compared(base, new)
    assert code == 3
    assert "not compared: sp_moe: only in the base" in said


def test_records_that_are_not_whole(compared: Compare, base: Path, tmp_path: Path) -> None:
    new = write(tmp_path / "new")
    whole = (new / "summary.json").read_text()
    lines = new / "offload" / "requests.jsonl"
    (new / "summary.json").write_text(whole.replace("summary/2", "summary/1"))
    assert compared(base, new) == (3, _any("has records of schema spmoe-bench/summary/1, spmoe-bench/summary/2 is"))
    (new / "summary.json").write_text(whole[:200])
    assert compared(base, new) == (2, _any("summary.json is not JSON"))
    (new / "summary.json").write_text("[]")
    assert compared(base, new) == (2, _any("is no summary of a run"))
    (new / "summary.json").write_text(whole)
    text = lines.read_text()
    lines.write_text(text[: len(text) // 2])
    assert compared(base, new) == (2, _any("requests.jsonl ends within line 33; it is half written; measure again"))
    lines.write_text(text.replace("}\n", "\n", 1))
    assert compared(base, new) == (2, _any("requests.jsonl is not JSON in every line"))
    lines.unlink()
    assert compared(base, new) == (3, _any("has no records by request of offload"))
    (new / "offload" / "UNFINISHED").write_text("measuring\n")
    assert compared(base, new) == (3, _any("is unfinished; the command that began it finishes it"))
    assert compared(base, tmp_path / "nowhere") == (2, _any("is no folder; a result set is e.g. results/runs/KEY"))


def test_texts_may_hold_separators_of_lines(compared: Compare, base: Path, tmp_path: Path) -> None:
    """JSON leaves some of them as they are."""
    new = write(tmp_path / "new")
    lines = new / "offload" / "requests.jsonl"
    lines.write_text(lines.read_text().replace('"text": ""', '"text": "a\u2028b\x85c"'))
    assert compared(base, new)[0] == 0


def test_the_floor_of_a_machine_is_measured_kept_and_used(compared: Compare, base: Path, tmp_path: Path) -> None:
    new = write(tmp_path / "new", lambda _: 1.06)
    assert compared(base, new)[0] == 1
    found = [sets.read(folder) for folder in (base, new)]  # an A/A run on a machine that drifts by 6 %
    path = noise.store(found[0]["offload"].origin, gate(*found, floor=0).effects)
    assert noise.stored(found[0]["offload"].origin) == pytest.approx(0.06)
    code, said = compared(base, write(tmp_path / "again", lambda _: 1.05))
    assert (code, "noise floor 6.0%, from the A/A run" in said) == (0, True)
    path.write_text("{")
    assert compared(base, new) == (2, _any("delete it and measure again: python -m harness noise"))


class _Within:
    """Equal to every text that holds it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.text in other

    def __hash__(self) -> int:
        return hash(self.text)


def _any(text: str) -> _Within:
    return _Within(text)
