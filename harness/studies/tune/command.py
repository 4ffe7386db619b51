"""SpecMoEOff's tuner beside the exhaustive sweep that it replaces: predicted against measured iterations.

    python -m harness tune experiment=tune

Systems are one streaming system at several draft lengths, from none to the longest. They are measured as any comparison
is; the first batch of the shortest and of the longest draft is the tuner's profile, and whatever is compared with a
prediction comes from the other batches.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean, median
from typing import Any

from rich.console import Console

from harness import datasets
from harness.bench import run as bench
from harness.bench.run import Outcome
from harness.cli.launch import launch, verdict
from harness.config import compose
from harness.config.bench import BenchConfig, size_bytes
from harness.records import provenance
from harness.records.files import dump, ensure_writable, write_text
from harness.records.provenance import cpus
from harness.studies.tune import report as tune_report
from harness.studies.tune.iterations import Iterations, read_iterations
from harness.tables import table
from systems import api
from systems.api import BadInput


def main() -> int:
    """Tune for `sys.argv`; exit codes are those of `harness.cli.launch.main`."""
    outcomes: list[Outcome] = []
    code = launch(lambda config: outcomes.append(_tune(config)), compose.bench_config)
    return code or verdict(row for outcome in outcomes for row in outcome.rows)


def draft_lengths(config: BenchConfig) -> dict[int, str]:
    """Return the systems by draft length.

    Raises:
        BadInput: two of one length, or not all lengths from 0 on.
    """
    found: dict[int, str] = {}
    for label, system in config.systems.items():
        length = int(system.drafter.get("draft_length", 0))
        if length in found:
            raise BadInput(f"`systems`: {found[length]} and {label} both draft {length} tokens; one of them is enough")
        found[length] = label
    if sorted(found) != list(range(len(found))) or len(found) < 3:
        raise BadInput(f"`systems` draft {sorted(found)} tokens; give every length from 0 to 2 at least, once")
    if config.measure.batch > (config.dataset.limit or config.measure.batch * 2) // 2:
        raise BadInput("`dataset.limit` must hold two batches: one is the profile, the others are predicted")
    return dict(sorted(found.items()))


def predictions(config: BenchConfig, outcome: Outcome, found: Mapping[int, str]) -> dict[str, Any]:
    """Return facts, predictions and measurements of every draft length, and the lengths to use at run time."""
    import torch

    batch, longest = config.measure.batch, max(found)
    system = config.systems[found[longest]]
    split, parts = int(system.drafter.get("split", 1)), int(system.attention.get("micro_batches", 1))
    ends = 0, longest
    profile = {length: read_iterations(outcome.folders[found[length]], True, split) for length in ends}
    measured = {length: read_iterations(outcome.folders[label], False, split) for length, label in found.items()}
    transfer = float(bench.origin(outcome)["costs"]["transfer"])
    pair = api.load_pair(config.model, provenance.ROOT)
    try:
        prompts = _prompts(config, pair)
        positions = max(map(len, prompts)) + config.measure.max_new_tokens
        slots = int(outcome.rows[0]["description"]["slots"])
        roofline = api.roofline(pair, positions, _host_memory(config), pair.record_bytes / transfer, slots, cpus())
        sizes, widths = {max(1, batch // 4), max(1, batch // 2), batch}, {1, 2, longest // 2 + 1, longest + 1}
        torch.set_num_threads(config.measure.threads)
        operators = api.measure_operators(pair, prompts[:batch], sorted(sizes), sorted(widths), split, transfer)
    finally:
        pair.close()
    tuner = api.make_tuner(operators, _setting(list(measured.values()), parts), profile[longest].accepted, longest)
    tuner.profile(*(_whole(profile[length], parts, length) for length in ends))
    rows = []
    for length, seen in measured.items():
        prediction = tuner.predict(length)
        predicted = {**asdict(prediction.iteration), "throughput": prediction.throughput}
        rows.append(_row(length, predicted, seen, length in profile))
    overheads = tuner.overheads
    facts = {
        "largest_batch": roofline.batch,
        "micro_batches": roofline.micro_batches,
        "attention_on_host": roofline.attention_on_host,
        "large_from": roofline.large_from,
        "host_bandwidth": roofline.host_bandwidth,
        "link_bandwidth": roofline.link_bandwidth,
        "operators": asdict(operators),
        "overheads": asdict(overheads),
        "profiled_steps": {length: seen.steps for length, seen in profile.items()},
    }
    lengths, chosen = tuner.lengths(pair.context_length), _chosen(rows)
    names = config.systems[found[0]].name, system.name
    taking = overrides(*names, lengths) if chosen["draft_length"] else overrides(*names, {})
    return {"facts": facts, "rows": rows, "lengths": lengths, "chosen": chosen, "overrides": taking}


def overrides(plain: str, drafting: str, lengths: Mapping[int, int]) -> list[str]:
    """Return what a command line needs to run as the tuner says.

    Args:
        plain, drafting: the system that does not draft, and the one that does.
        lengths: tokens to draft by positions of all rows; empty where not drafting is best.
    """
    if not lengths:
        return [f"system={plain}"]
    found = [f"system={drafting}", f"system.drafter.draft_length={max(lengths.values())}"]
    if len(lengths) > 1:
        table = ", ".join(f"{positions}: {length}" for positions, length in lengths.items())
        found.append(f"system.drafter.by_positions={{{table}}}")
    return found


def _setting(seen: Sequence[Iterations], parts: int, length: int = 0) -> api.Setting:
    """Rows and prefixes as they are on average."""
    rows, prefix, padding = (mean(getattr(each, name) for each in seen) for name in ("rows", "prefix", "padding"))
    return api.Setting(rows, parts, length, prefix, padding)


def _whole(seen: Iterations, parts: int, length: int) -> api.Whole:
    return api.Whole(_setting([seen], parts, length), seen.draft, seen.target, seen.moved)


def _chosen(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the tuner takes, what the exhaustive sweep finds best, and how much is lost between them."""
    chosen = max(rows, key=lambda row: float(row["predicted"]["throughput"]))
    best = max(rows, key=lambda row: float(row["measured"]["throughput"]))
    lost = 1 - chosen["measured"]["throughput"] / best["measured"]["throughput"]
    worst = max(row["error"] for row in rows if not row["profiled"])
    gain = chosen["measured"]["throughput"] / rows[0]["measured"]["throughput"]
    lengths = {"draft_length": chosen["draft_length"], "best": best["draft_length"]}
    spreads = [row["measured"]["spread"] for row in rows if row["measured"]["spread"] is not None]
    between = {"spread": median(spreads), "largest_spread": max(spreads)} if spreads else {}
    return {**lengths, "lost": lost, "held_out_error": worst, "gain_of_speculation": gain, **between}


def _prompts(config: BenchConfig, pair: api.ModelPair) -> list[tuple[int, ...]]:
    selection = datasets.select(datasets.load(config.dataset), pair, config.dataset, config.measure)
    return [request.prompt for request in selection.requests]


def _host_memory(config: BenchConfig) -> float:
    """What keys and values may take (bytes)."""
    if config.kv_budget is not None:
        return float(size_bytes("kv_budget", config.kv_budget))
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _row(length: int, predicted: Mapping[str, float], seen: Iterations, profiled: bool) -> dict[str, Any]:
    measured = {
        "draft": seen.draft,
        "target": seen.target,
        "transfers": seen.link,
        "total": seen.seconds,
        "throughput": seen.throughput,
        "steps": seen.steps,
        "rows": seen.rows,
        "spread": seen.spread,
    }
    error = abs(predicted["total"] - seen.seconds) / seen.seconds
    sides = {"predicted": predicted, "measured": measured}
    return {"draft_length": length, "profiled": profiled, **sides, "error": error}


def _tune(config: BenchConfig) -> Outcome:
    console, found = Console(), draft_lengths(config)
    outcome = bench.run(config, console)
    home = Path(config.output or Path(config.runs) / outcome.key)
    bench.publish(outcome, home)
    tuned = predictions(config, outcome, found)
    drawn = tune_report.sections(tuned)
    ensure_writable(home)
    facts = {"schema": "spmoe-bench/tune/1", "key": outcome.key, "provenance": provenance.collect()}
    write_text(home / "tune.json", dump({**facts, **tuned}, indent=1))
    write_text(home / "tune.md", table.as_markdown(drawn, (*tune_report.conclusions(tuned), *tune_report.DEFINITIONS)))
    table.draw(drawn, console)
    table.say((*tune_report.conclusions(tuned), *tune_report.DEFINITIONS, f"records: {home}"), console)
    return outcome
