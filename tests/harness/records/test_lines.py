"""What is written of a generation is read back as that generation, so that records need no formulas of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import metrics
from harness.metrics.base import Cell
from harness.records.files import write_text
from harness.records.generation import Generation, Report
from harness.records.lines import generations, not_finite, plain, read_requests, read_steps, request_lines, step_lines
from systems.api import BadInput, LayerNeeds, Request, Traffic
from tests.harness.builders import generation, row, step


def _needs(needed: int, resident: int, on_time: int) -> LayerNeeds:
    return LayerNeeds(needed=needed, resident=resident, on_time=on_time, demand=needed - resident - on_time)


@pytest.fixture
def made() -> list[Generation]:
    """Two rows of one batch, the first cut at its limit, and a batch of one."""
    decoding = [
        Report(0, Traffic("prefill", [_needs(9, 1, 0)], moved_bytes=800, demand_bytes=800)),
        Report(0, Traffic("decode", [_needs(4, 1, 1), _needs(3, 3, 0)], moved_bytes=300, demand_bytes=200)),
        Report(1, Traffic("decode", [_needs(2, 0, 2)], moved_bytes=200, useful_bytes=200, link_busy=0.25)),
        Report(2, Traffic("decode", wasted_bytes=100, moved_bytes=100)),
    ]
    cut = row("a", (10, 1), (30, 3), (50, 2))
    cut.handed += 1
    both = generation(cut, row("b", (10, 1), (30, 1), stopped=True), repeat=1, reports=decoding)
    both.steps += [step(3, 2, rows=(0, 1)), step(3, 2)]
    return [generation(row("c", (5, 2))), both]


def _written(made: list[Generation], folder: Path) -> Path:
    texts: dict[str, list[str]] = {"requests": [], "steps": []}
    for one in made:
        requests = [Request(line.id, (1, 2), 8) for line in one.rows]
        reference = {line.id: line.tokens for line in one.rows}
        texts["requests"] += [json.dumps(plain(x)) for x in request_lines(one, requests, reference, lambda *_: "")]
        texts["steps"] += [json.dumps(plain(x)) for x in step_lines(one)]
    for name, lines in texts.items():
        write_text(folder / f"{name}.jsonl", "".join(f"{line}\n" for line in lines))
    return folder


def test_generations_come_back(made: list[Generation], tmp_path: Path) -> None:
    folder = _written(made, tmp_path)
    back = generations(read_requests(folder), read_steps(folder))
    assert [one.rows for one in back] == [one.rows for one in made]
    assert [one.steps for one in back] == [one.steps for one in made]
    for one, other in zip(back, made, strict=True):
        assert (one.traffic("decode"), one.traffic("prefill")) == (other.traffic("decode"), other.traffic("prefill"))


def test_gated_metrics_of_records_are_those_that_were_measured(made: list[Generation], tmp_path: Path) -> None:
    folder = _written(made, tmp_path)
    back = generations(read_requests(folder), read_steps(folder))
    for name, definition in metrics.definitions().items():
        if definition.gated and definition.parts:
            assert Cell(back).sums(definition.parts) == Cell(made).sums(definition.parts), name


def test_what_no_line_can_lack_is_named(tmp_path: Path) -> None:
    write_text(tmp_path / "requests.jsonl", '{"id": "a", "repeat": 0}\n')
    with pytest.raises(BadInput, match=r"requests.jsonl, line 1: .*'batch'; measure again"):
        read_requests(tmp_path)


def test_numbers_that_are_none_are_counted(made: list[Generation], tmp_path: Path) -> None:
    folder = _written(made, tmp_path)
    path = folder / "requests.jsonl"
    path.write_text(path.read_text().replace('"ttft": 0.01', '"ttft": Infinity'))
    assert not_finite(read_requests(folder)) == {"ttft": 2}
