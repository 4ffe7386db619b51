"""Spec-Bench: a JSONL of answers per system, for its `evaluation/speed.py`.

`accept_lengths` are tokens per verification, the bonus token among them, so that plain decoding has 1; its mean is the
mean of all steps. Speed there is new tokens over wall time with the prefill in it, the mean over questions.
"""

from __future__ import annotations

from typing import Any

from harness.export.base import NO_STEPS, Export
from harness.export.records import Request, System
from harness.records.files import dump

LEFT_OUT = {"speedup": "computed by speed.py from two files, with the tokenizer at hand"}


def export(system: System) -> Export:
    """Return the answers of a system; none where steps are unknown, which speed.py needs of every answer."""
    if not all(request.steps for request in system.requests if request.n > request.arrivals[0][1]):
        return Export({}, {"accept_lengths": NO_STEPS})
    lines = [_answer(system, number, request) for number, request in enumerate(system.requests)]
    return Export({f"{system.label}.jsonl": "".join(dump(line) + "\n" for line in lines)}, LEFT_OUT)


def _answer(system: System, number: int, request: Request) -> dict[str, Any]:
    # What is kept of each step: a draft behind the end of the output is in no answer.
    lengths = [kept for _, kept in request.arrivals[1:]]
    choice = {
        "index": request.repeat,
        "turns": [request.text],
        "decoding_steps": [len(lengths)],
        "new_tokens": [request.n],
        "wall_time": [request.latency],
        "accept_lengths": lengths,
    }
    return {
        "question_id": request.id,
        "category": system.row["dataset"],
        "answer_id": f"{system.label}-{number}",
        "model_id": f"{system.row['model']}-{system.label}",
        "choices": [choice],
        "tstamp": request.start,
    }
