"""Fit MoESD's model of the speedup to this machine, and hold it and its formula for activated experts against it.

    python -m harness moesd
    python -m harness moesd points=results/moesd/points.json    # fit again to what was measured

Writes `points.json` (what was measured), `moesd.json` (parameters, errors, curves) and `moesd.md`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.progress import track

from harness.cli.launch import launch
from harness.config import schema
from harness.records import provenance
from harness.records.files import dump, ensure_writable, write_text
from harness.records.provenance import ROOT
from harness.studies.moesd import activation, report
from harness.studies.moesd.activation import Activation
from harness.studies.moesd.config import MoesdConfig, requests
from harness.studies.moesd.dense import control
from harness.studies.moesd.fit import Floors, Point, fit, mean_absolute_error, stratified
from harness.studies.moesd.measure import floors, points
from harness.studies.moesd.speedup import Setting
from harness.tables import table
from systems import api
from systems.api import BadInput

SCHEMA = "spmoe-bench/moesd/1"


def main() -> int:
    """Run for `sys.argv`; exit codes are those of `harness.cli.launch.main`."""
    return launch(_run, lambda composed, _, __: schema.parse(MoesdConfig, composed, ""), "moesd")


def _run(config: MoesdConfig) -> None:
    import torch

    torch.set_num_threads(config.threads)
    folder, console = Path(config.output), Console()
    ensure_writable(folder)
    pair = api.load_pair(config.model, ROOT)
    try:
        measured, low, origin = _measured(config, pair, folder)
        native = _rescaled(measured, pair.top_k)
        chosen = stratified(native, config.stride)
        found = fit(chosen, low, config.ridge_point, config.starts, config.seed)
        counted = _activations(config, pair)
        dense = control(pair, native, config.prompt_tokens)
    finally:
        pair.close()
    held_out = [point for point in native if point not in chosen]
    errors = {
        "fitted": mean_absolute_error(chosen, found, config.ridge_point),
        "held_out": mean_absolute_error(held_out, found, config.ridge_point) if held_out else None,
    }
    facts = {
        "schema": SCHEMA,
        "model": config.model.name,
        "provenance": origin,
        "experts": pair.num_experts,
        "top_k": pair.top_k,
        "parameters": asdict(found),
        "ridge_point": config.ridge_point,
        "fitted_points": len(chosen),
        "held_out_points": len(held_out),
        "mean_absolute_error": errors,
        "activation": [asdict(one) for one in counted],
        "dense": report.measured(dense),
        "points": report.rows(native, chosen, found, config.ridge_point),
    }
    write_text(folder / "moesd.json", dump(facts, indent=1))
    drawn, said = report.sections(facts), report.remarks(facts, pair)
    write_text(folder / "moesd.md", table.as_markdown(drawn, said))
    table.draw(drawn, console)
    table.say(said, console)
    console.print(f"data: {folder / 'moesd.json'}", highlight=False)


def _measured(config: MoesdConfig, pair: api.ModelPair, folder: Path) -> tuple[list[Point], Floors, dict[str, Any]]:
    """Measure, or read what was measured before; with its provenance."""
    if config.points is not None:
        return _read(Path(config.points))
    total = len(config.sweep.top_ks) * len(config.sweep.draft_lengths) * len(config.sweep.batches)
    sweep = points(config.model, config.sweep, lambda loaded: requests(config, loaded, max(config.sweep.batches)))
    measured = list(track(sweep, "measuring", total, transient=True))
    low = floors(pair, measured)
    origin = provenance.collect()
    saved = {"provenance": origin, "floors": asdict(low), "points": [asdict(point) for point in measured]}
    write_text(folder / "points.json", dump(saved, indent=1))
    return measured, low, origin


def _read(path: Path) -> tuple[list[Point], Floors, dict[str, Any]]:
    if not path.is_file():
        raise BadInput(f"`points` {path} is missing; python -m harness moesd measures them")
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        found = [Point(**{**point, "setting": Setting(**point["setting"])}) for point in saved["points"]]
        return found, Floors(**saved["floors"]), saved["provenance"]
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"`points` {path} is broken ({error!r}); python -m harness moesd measures them again") from error


def _rescaled(measured: Sequence[Point], top_k: int) -> list[Point]:
    """Give every point the acceptance that the model has with its own number of experts per token, as the paper does.

    With other numbers a model accepts fewer drafts, which is none of the machine's business.
    """
    own: dict[int, float] = {}
    for length in {point.setting.draft_length for point in measured}:
        same = [p.tokens_per_cycle for p in measured if p.setting.draft_length == length and p.setting.top_k == top_k]
        if not same:
            raise BadInput(f"`sweep.top_ks` lacks {top_k}, the model's own number; its acceptance is needed")
        own[length] = fmean(same)
    return [replace(point, tokens_per_cycle=own[point.setting.draft_length]) for point in measured]


def _activations(config: MoesdConfig, pair: api.ModelPair) -> list[Activation]:
    """Count activated experts at every number of tokens, drafts being as long as the longest."""
    wanted = config.routing
    prompts = [replace(r, max_new_tokens=wanted.new_tokens) for r in requests(config, pair, wanted.prompts)]
    routing = api.decoded_routing(pair, prompts)
    run = max(config.sweep.draft_lengths) + 1
    return [
        activation.measure(routing, pair.num_experts, tokens, run, wanted.samples, config.seed)
        for tokens in wanted.tokens
    ]
