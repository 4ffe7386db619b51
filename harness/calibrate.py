"""Fit what a live run adds to the times of its layers, from one live cell, into a recording.

    python -m harness.calibrate results/fidelity/live traces/fidelity --profile calibration --system sp_moe

The recording's layer times become those that the live run was measured with. Two numbers are then fitted by least
squares to the time of drafting, verification and transfers of every step of that one cell: what a transfer and a
predictor's answer cost the computation (`systems.api.Overheads`). All other systems, budgets, links and draft lengths
are predictions; `python -m harness.fidelity` compares them with live runs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from harness import comparison, datasets, schema
from harness.config import BenchConfig
from harness.files import read_lines
from harness.generation import Generation
from harness.progress import Display
from harness.published import read_json
from harness.run import FAILURE, OK, typed
from systems import api
from systems.api import BadInput, Overheads, SpanName

TYPICAL = 1e-4
"""Size of fetch and hint (s) that the fit steps by."""
START = (1.0, 1.0)
Step = tuple[float, float, float]
"""Seconds of drafting, of verification, and of the transfers that were waited for."""


@dataclass(frozen=True)
class Fitted:
    """What came out: `before` and `after` are mean absolute errors of a step's time, as shares."""

    overheads: Overheads
    before: float
    after: float
    steps: int


def steps_of(lines: Sequence[dict[str, Any]]) -> list[Step]:
    """Return the decode steps of a `steps.jsonl`, in its order."""
    return [_step(line["spans"]) for line in lines if line["phase"] == "decode" and line["step"] is not None]


def _step(spans: Mapping[SpanName, float]) -> Step:
    return spans["draft"], spans["verify"], spans["transfer"]


def fit(measured: Sequence[Step], predict: Callable[[Overheads], Sequence[Step]]) -> Fitted:
    """Find the overheads with which `predict` comes closest to what was measured.

    Steps are weighed alike and outliers little (soft L1): a disturbed machine must not decide.

    Raises:
        BadInput: predicted and measured steps are not the same ones.
    """
    import numpy as np
    from scipy.optimize import least_squares

    live = np.array(measured)
    typical = live.sum(axis=1).mean()

    def off(sizes: Any) -> Any:
        found = np.array(predict(Overheads(*(float(size) for size in sizes * TYPICAL))))
        if found.shape != live.shape:
            raise BadInput(
                f"the live run has {len(live)} steps and its replay {len(found)}; record again, same prompts"
            )
        return (found - live) / typical

    def error(sizes: Any) -> float:
        return float(np.abs(off(sizes).sum(axis=1)).mean())

    best = least_squares(
        lambda sizes: off(sizes).ravel(), START, bounds=(0.0, np.inf), diff_step=0.05, loss="soft_l1", f_scale=0.1
    )
    sizes = best.x * TYPICAL
    return Fitted(Overheads(*(float(size) for size in sizes)), error(np.zeros(2)), error(best.x), len(live))


def main() -> int:
    """Command line; 0, 1 where fitting made it worse, or 2 for what the user can mend."""
    return typed(_main)


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("live", type=Path, help="folder of a live run: results/NAME, or results/runs/KEY")
    parser.add_argument("traces", type=Path, help="folder that python -m harness.record wrote")
    parser.add_argument("--system", default="sp_moe", help="the one system of the run that is fitted to")
    parser.add_argument("--profile", help="the run's profile, where it is a suite")
    parser.add_argument("--runs", type=Path, default=Path("results/runs"), help="where the cells' records are")
    arguments = parser.parse_args()
    cell = cell_of(arguments.live, arguments.profile, arguments.system, arguments.runs)
    fitted = calibrate(cell, arguments.traces)
    _show(fitted, Console())
    return OK if fitted.after <= fitted.before else FAILURE


def cell_of(live: Path, profile: str | None, system: str, runs: Path) -> Path:
    """Return the folder of a cell of a published run.

    Raises:
        BadInput: there is no such run or profile.
    """
    facts = read_json(live / "provenance.json", None, f"a live run with output={live}")
    if "key" not in facts:
        if profile is None or profile not in facts:
            raise BadInput(f"--profile is {profile}; {live} has {', '.join(facts)}")
        facts = facts[profile]
    return runs / str(facts["key"]) / system


def calibrate(live: Path, folder: Path) -> Fitted:
    """Fit to a live cell and write costs with overheads into the recording.

    Raises:
        BadInput: one of the two is not what it should be, or they do not belong together.
    """
    label, config, facts, lines = _read(live)
    row = json.loads((live / "summary.json").read_text(encoding="utf-8"))["rows"][0]
    config = replace(config, replay=str(folder))
    try:
        costs = api.read_costs(facts["costs"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"the costs in {live / 'provenance.json'} cannot be used ({error!r}); run it again") from error
    pair = comparison.open_pair(config)
    try:
        traces = api.load_traces(folder, pair)
        selection = datasets.select(datasets.load(config.dataset), pair, config.dataset, config.measure)

        def predict(overheads: Overheads) -> list[Step]:
            traces.costs = replace(costs, overheads=overheads)
            return _replayed(config, pair, selection, traces)

        fitted = fit(steps_of(lines), predict)
    finally:
        pair.close()
    where = {"system": label, "hardware": row["hardware"], "budget_bytes": row["budget_bytes"]}
    found = replace(costs, overheads=fitted.overheads)
    api.write_costs(folder, found, calibrated_on=where, fit=asdict(fitted))
    return fitted


def _replayed(
    config: BenchConfig, pair: api.ModelPair, selection: datasets.Selection, traces: api.Recording
) -> list[Step]:
    steps: list[Step] = []

    def keep(contender: Any, generation: Generation, *_: Any) -> None:
        steps.extend(_step(step.spans) for step in generation.steps)

    measured = comparison.prepare(config, pair, selection, traces)
    quiet = Console(quiet=True)
    with Display(quiet, comparison.generations_planned(config, selection)) as display:
        comparison.measure(config, pair, selection, measured, display, keep)
    if error := measured.contenders[0].error:
        raise BadInput(f"the replay failed:\n{error}")
    return steps


def _read(live: Path) -> tuple[str, BenchConfig, dict[str, Any], list[dict[str, Any]]]:
    from omegaconf import OmegaConf

    needed = ("config.yaml", "provenance.json", "steps.jsonl", "summary.json")
    if missing := [name for name in needed if not (live / name).is_file()]:
        raise BadInput(f"{live} has no {missing[0]}; such a cell is not finished")
    plain: Any = OmegaConf.to_container(OmegaConf.load(live / "config.yaml"))
    label = plain.pop("cell")
    one = {"systems": {label: plain["systems"][label]}, "reference": None}
    config = schema.parse(BenchConfig, plain | one, "")
    if config.replay is not None:
        raise BadInput(f"{live} is a replay itself; give the folder of a live cell")
    facts = json.loads((live / "provenance.json").read_text(encoding="utf-8"))
    return label, config, facts, list(read_lines(live / "steps.jsonl"))


def _show(fitted: Fitted, console: Console) -> None:
    found = fitted.overheads
    console.print(
        f"{found.fetch * 1e3:.3f} ms per record moved, {found.hint * 1e3:.3f} ms "
        f"per question to a predictor; a step's time is off by {fitted.after:.1%} on average ({fitted.before:.1%} "
        f"without), {fitted.steps} steps",
        highlight=False,
    )


if __name__ == "__main__":
    sys.exit(main())
