"""Two requests written by hand, so that every number of every tool can be worked out on paper.

`a` has 6 tokens: one at 100 ms, three at 160 ms, two at 200 ms, from two steps that drafted four each and accepted two
and three, of the second of which only one was wanted. `b` has 2: at 300 and at 400 ms, from one step that accepted
none of four.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.records import summary_file

STARTED = "2026-01-02T03:04:05.000+00:00"
BEGAN = 1767323045.0
"""The same in seconds since 1970."""


def publish(folder: Path, **row: Any) -> Path:
    """Write the result set with one system, `sp`."""
    home = folder / "sp"
    home.mkdir(parents=True)
    shared = {"repeat": 0, "row": 0, "order": 0, "seed": None}
    requests = [
        {
            **shared, "id": "a", "batch": 0, "prompt_tokens": 5, "n": 6, "ttft": 0.1, "decode_tokens": 5,
            "decode_seconds": 0.1, "finish": "length", "drafted": 5, "accepted": 3, "exact_match": True,
            "first_divergence": None, "commits": [[0.1, 1], [0.16, 3], [0.2, 2]], "tokens": [1, 2, 3, 4, 5, 258],
            "text": "one",
        },
        {
            **shared, "id": "b", "batch": 1, "prompt_tokens": 7, "n": 2, "ttft": 0.3, "decode_tokens": 1,
            "decode_seconds": 0.1, "finish": "stop", "drafted": 4, "accepted": 0, "exact_match": True,
            "first_divergence": None, "commits": [[0.3, 1], [0.4, 1]], "tokens": [7, 0], "text": "two",
        },
    ]  # fmt: skip
    cycles = [(0, 0, 4, 2), (0, 1, 4, 3), (1, 0, 4, 0)]
    steps: list[dict[str, Any]] = [
        {"repeat": 0, "batch": batch, "phase": "decode", "step": step, "rows": [0], "drafted": [d], "accepted": [a]}
        for batch, step, d, a in cycles
    ]
    steps += [{"repeat": 0, "batch": 0, "phase": "prefill", "step": 0}]
    for name, lines in (("requests", requests), ("steps", steps)):
        (home / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    model = {"dtype": "bfloat16", "target": {"model.safetensors": "abc"}}
    (home / "provenance.json").write_text(json.dumps({"started": STARTED, "model": model}))
    whole = {
        "system": "sp", "model": "tiny", "dataset": "humaneval", "hardware": "local", "batch": 1, "status": "ok",
        "metrics": {}, **row,
    }  # fmt: skip
    summary_file.write(folder, folder.name, [whole])
    return folder
