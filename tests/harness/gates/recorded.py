"""Result sets written from times that were recorded: `make bench` on two cores, 32 prompts, two repeats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.gates.effects import COMPARED
from harness.records.cells import SCHEMA

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
        heads = [{"repeat": repeat, "batch": prompts.index(prompt)} for repeat, prompt, *_ in requests]
        lines = [
            head
            | {"id": prompt, "n": n, "ttft": ttft * slowed(system), "decode_seconds": decode * slowed(system)}
            | {"exact_match": True, "drafted": 2 * n, "accepted": n}
            for head, (_, prompt, n, ttft, decode) in zip(heads, requests, strict=True)
        ]
        counts = {"phase": "decode", "needed": 10, "resident": hits, "on_time": 1, "moved_bytes": 1000 * (10 - hits)}
        for name, content in (("requests", lines), ("steps", [head | counts for head in heads])):
            (home / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in content))
    (folder / "summary.json").write_text(json.dumps({"schema": SCHEMA, "key": "k", "rows": rows}))
    return folder
