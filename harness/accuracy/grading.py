"""Accuracy of a comparison: its rows with scores, intervals and paired tests, from the records of its cells.

Everything is derived from what is on disk, after the last system was closed: no timed section can notice it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from harness import datasets
from harness.accuracy import definitions, statistics
from harness.accuracy.scorers import Judged, Output, Unknown, by_prompt, judge
from harness.config.bench import BenchConfig
from harness.datasets import Prompt
from harness.metrics.base import Value
from harness.records.files import dump, read_lines, write_text
from harness.records.lines import read_requests
from harness.records.summary_file import Row
from harness.verdict.status import UNMEASURED

SCORES = "scores.jsonl"
Scores = Mapping[str, Mapping[str, float]]
"""By metric id and prompt."""


def graded(
    config: BenchConfig,
    prompts: Sequence[Prompt],
    rows: Sequence[Row],
    folders: Mapping[str, Path],
    refusal: str | None,
    console: Console,
) -> list[Row]:
    """Return the rows with accuracy, or with the reason why it is unknown.

    Args:
        refusal: why programs must not be executed.
    """
    if config.replay is not None:
        return [_without(row, "a replay writes nothing of its own") for row in rows]
    labels = [row["system"] for row in rows if row["status"] not in UNMEASURED]
    judged = {label: found for label in labels if (found := _stored(folders[label])) is not None}
    outputs = {label: _outputs(folders[label]) for label in labels if label not in judged}
    if outputs and refusal is not None:
        return [_without(row, refusal) for row in rows]
    try:
        fresh = judge(datasets.spec_of(config.dataset), prompts, outputs, console) if outputs else {}
    except Unknown as unknown:
        return [_without(row, str(unknown)) for row in rows]
    for label, mine in fresh.items():
        write_text(folders[label] / SCORES, "".join(f"{dump(one._asdict())}\n" for one in mine))
    return _with(rows, judged | fresh)


def reference_of(rows: Sequence[Row], labels: Sequence[str]) -> str | None:
    """Return the first lossless system whose outputs were those of plain greedy decoding, else the first lossless."""
    lossless = [row for row in rows if row["lossless"] and row["system"] in labels]
    exact = [row for row in lossless if row["metrics"].get("exact_match", {}).get("value") == 1.0]
    return next((row["system"] for row in (*exact, *lossless)), None)


def _with(rows: Sequence[Row], judged: Mapping[str, Sequence[Judged]]) -> list[Row]:
    scores = {label: by_prompt(mine) for label, mine in judged.items() if mine}
    reference = reference_of(rows, list(scores))
    found = []
    for row in rows:
        label = row["system"]
        if label not in scores:
            found.append(row)
            continue
        values = _values(scores[label]) | _verdicts(judged[label])
        if reference is not None and label != reference:
            values |= _beside(scores[label], scores[reference], reference)
            values |= _flips(judged[label], judged[reference], reference)
        found.append(row | {"metrics": row["metrics"] | {id: value.row() for id, value in values.items()}})
    return found


def _values(scores: Scores) -> dict[str, Value]:
    found = {}
    for id in (id for id in definitions.SCORES if id in scores):
        mine = list(scores[id].values())
        value, low, high = statistics.interval(mine)
        found[id] = definitions.SCORES[id].known(value, len(mine), low, high)
    return found


def _beside(scores: Scores, reference: Scores, over: str) -> dict[str, Value]:
    """Return the difference of headline scores on the prompts that both have."""
    id = next(id for id in definitions.SCORES if id in scores)
    shared = [prompt for prompt in scores[id] if prompt in reference[id]]
    if not shared:
        return {"score_difference": definitions.DIFFERENCE.unknown(f"no prompt was finished by {over} too")}
    mine, theirs = ([side[id][prompt] for prompt in shared] for side in (scores, reference))
    value, low, high = statistics.difference(mine, theirs)
    return {"score_difference": definitions.DIFFERENCE.known(value, len(shared), low, high, over)}


def _flips(judged: Sequence[Judged], reference: Sequence[Judged], over: str) -> dict[str, Value]:
    """Return how many prompts only one of the two gets right, and McNemar's test; for scores that are 0 or 1."""
    mine, theirs = _right(judged), _right(reference)
    shared = [prompt for prompt in mine if prompt in theirs]
    if not shared:
        return {}
    lost = sum(theirs[prompt] and not mine[prompt] for prompt in shared)
    gained = sum(mine[prompt] and not theirs[prompt] for prompt in shared)
    count = len(shared)
    return {
        "score_lost": definitions.LOST.known(lost, count, over=over),
        "score_gained": definitions.GAINED.known(gained, count, over=over),
        "mcnemar_p": definitions.MCNEMAR.known(statistics.mcnemar(lost, gained), count, over=over),
    }


def _right(judged: Sequence[Judged]) -> dict[str, bool]:
    first = [one for one in judged if one.repeat == 0]
    return {one.id: one.scores[id] == 1.0 for one in first for id in definitions.BINARY if id in one.scores}


def _verdicts(judged: Sequence[Judged]) -> dict[str, Value]:
    counts = Counter(one.verdict for one in judged if one.verdict is not None)
    total = counts.total()
    return {f"verdict_{name}": definitions.VERDICT.known(count / total, total) for name, count in counts.items()}


def _without(row: Row, reason: str) -> Row:
    return row | {"metrics": row["metrics"] | {"accuracy": definitions.ACCURACY.unknown(reason).row()}}


def _outputs(folder: Path) -> list[Output]:
    return [Output(line.id, line.repeat, line.text) for line in read_requests(folder)]


def _stored(folder: Path) -> list[Judged] | None:
    """Return the scores of an earlier run: by the same code on the same outputs, or the folder were another."""
    return [Judged(**line) for line in read_lines(folder / SCORES)] if (folder / SCORES).is_file() else None
