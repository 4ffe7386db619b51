"""What the tuner says, in tables and sentences."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from harness.tables.columns import Section

DEFINITIONS = (
    "iteration: draft and verification of the batch; measured: median over the steps in which at least 7/8 of its rows "
    "are left, without the first one behind the prompts; predicted: for as many rows, at as many positions",
    "spread: standard deviation over mean of the batches' own medians: noise, and that prompts differ",
    "tokens/s: rows x tokens gained / iteration; measured over the same steps",
    "error: |predicted - measured| / measured; of draft lengths marked * the first batch is the profile",
    "parts: of the chosen draft length; target is verification with its waits, link the time that it carries experts",
)


def sections(tuned: Mapping[str, Any]) -> list[Section]:
    """Return iterations by draft length, and the parts of one, predicted beside measured."""
    rows = tuned["rows"]
    lines: list[tuple[str, ...]] = [
        (
            f"{row['draft_length']}{'*' if row['profiled'] else ''}",
            *(f"{row[side]['total'] * 1e3:.1f}" for side in ("predicted", "measured")),
            f"{row['error']:.1%}",
            "-" if row["measured"]["spread"] is None else f"{row['measured']['spread']:.1%}",
            str(row["measured"]["steps"]),
            *(f"{row[side]['throughput']:.0f}" for side in ("predicted", "measured")),
        )
        for row in rows
    ]
    heads = (
        *("draft", "predicted ms", "measured ms", "error", "spread", "steps"),
        *("predicted tokens/s", "measured tokens/s"),
    )
    chosen = next(row for row in rows if row["draft_length"] == tuned["chosen"]["draft_length"])
    parts: list[tuple[str, ...]] = [
        (name, *(_milliseconds(chosen[side].get(name)) for side in ("predicted", "measured")))
        for name in chosen["predicted"]
        if name != "throughput"
    ]
    return [
        Section("Iterations over the draft length", heads, (), lines, len(lines)),
        Section("One iteration at the chosen length, ms", ("part", "predicted", "measured"), (), parts, len(parts)),
    ]


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.1f}"


def conclusions(tuned: Mapping[str, Any]) -> list[str]:
    """Return what was fixed, chosen and missed."""
    facts, chosen = tuned["facts"], tuned["chosen"]
    place = "host" if facts["attention_on_host"] else "device"
    spread = f"{chosen['spread']:.1%}" if "spread" in chosen else "unknown of one batch"
    at = ", ".join(f"{length} from {positions} positions on" for positions, length in tuned["lengths"].items())
    return [
        f"fixed by the roofline: batches up to {facts['largest_batch']}, {facts['micro_batches']} micro-batches, "
        f"attention on the {place}; whole layers pay from {facts['large_from']:.0f} rows on",
        f"chosen: {chosen['draft_length']} drafted tokens; the sweep's best: {chosen['best']}, of whose throughput "
        f"{chosen['lost']:.1%} is lost",
        f"greatest error at a draft length that was not profiled: {chosen['held_out_error']:.1%}",
        f"spread of the measured iteration between batches of one draft length: {spread} (median of the lengths)",
        f"speculation gains {chosen['gain_of_speculation']:.2f}x over the same without",
        f"draft length at run time, by positions of all rows: {at}",
        f"to run so: {shlex.join(tuned['overrides'])}",
    ]
