"""Result sets written from times that were recorded: `make bench` on two cores, 32 prompts, two repeats."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.gates.effects import COMPARED
from harness.records import summary_file
from harness.records.generation import Commit, Generation, Report, Row, Step
from harness.records.lines import plain, request_lines, step_lines
from systems.api import LayerNeeds, Request, Traffic

TIMES: dict[str, list[tuple[int, str, int, float, float]]] = json.loads(
    (Path(__file__).parent / "times.json").read_text()
)
"""By system and request: repeat, prompt, tokens, TTFT and decode time in seconds."""
Slowed = Callable[[str], float]


def write(folder: Path, slowed: Slowed = lambda system: 1.0, origin: Any = (), row: Any = (), hits: int = 7) -> Path:
    """Write a result set whose times are those recorded times `slowed(system)`."""
    rows = []
    for system, requests in TIMES.items():
        metrics = {name: {"value": 1.0, "definition": definition.id} for name, definition in COMPARED.items()}
        rows.append(
            {
                "system": system, "model": "reference", "dataset": "humaneval", "hardware": "fine_grained",
                "emulated": True, "replayed": False, "batch": 1, "budget_bytes": 2**25, "status": "ok",
                "metrics": metrics, **dict(row),
            }
        )  # fmt: skip
        home = folder / system
        home.mkdir(parents=True)
        facts = {"cpu": "a processor", "cpus": 2, "threads": 1, "model": {"target": "a1"}, **dict(origin)}
        (home / "provenance.json").write_text(json.dumps(facts))
        prompts = list(dict.fromkeys(prompt for _, prompt, *_ in requests))
        lines: dict[str, list[Any]] = {"requests": [], "steps": []}
        for repeat, prompt, n, ttft, decode in requests:
            times = [round(seconds * slowed(system) * 1e9) for seconds in (ttft, ttft + decode)]
            made = _generation(repeat, prompts.index(prompt), prompt, n, times, hits)
            tokens = {prompt: made.rows[0].tokens}
            lines["requests"] += request_lines(made, [Request(prompt, (1,), n)], tokens, lambda *_: "")
            lines["steps"] += step_lines(made)
        for name, content in lines.items():
            (home / f"{name}.jsonl").write_text("".join(json.dumps(plain(line)) + "\n" for line in content))
    summary_file.write(folder, "k", rows)
    return folder


def _generation(repeat: int, batch: int, prompt: str, n: int, times: Sequence[int], hits: int) -> Generation:
    """One step that accepts half of its drafts, and finds `hits` of ten experts in slots and one in time."""
    first, last = times
    row = Row(prompt, [7] * n, [Commit(first, 1), Commit(last, n - 1)], handed=n, stopped=True)
    needs = LayerNeeds(needed=10, resident=hits, on_time=1)
    report = Report(0, Traffic("decode", [needs], moved_bytes=1000 * (10 - hits)))
    step = Step((0,), (2 * n,), (n,), (last - first) / 1e9, {})
    return Generation(repeat, batch, 0, 0, [row], [step], [report])
