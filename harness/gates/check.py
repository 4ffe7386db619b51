"""The regression check against committed baselines: `make check`.

    python -m harness check
    python -m harness check update=true    when a change is meant

Systems are replayed from the committed recording, and some run with the models, too, all on a virtual clock. Tokens,
accepted drafts, hits, misses, evictions and bytes must be as they were; ratios of times within a tolerance; times are
not judged. Exit codes: 0 ok, 1 regressed, 2 usage, 3 cannot be compared.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from harness import datasets
from harness.cli.launch import launch
from harness.config import compose, schema
from harness.config.bench import BenchConfig, budget_bytes
from harness.config.compose import Composed
from harness.gates.gate import INCOMPARABLE, OK, REGRESSED
from harness.gates.observe import Build, Observed, differences, observe
from harness.measure.hardware import predict
from harness.measure.session import set_threads, widths
from harness.records import provenance
from harness.records.files import dump, ensure_writable, write_text
from systems import api
from systems.api import BadInput

SCHEMA = "spmoe-bench/check/1"


@dataclass(frozen=True)
class CheckConfig:
    """`conf/check.yaml`: a comparison, which of its systems also run live, where the baseline lies, what is let pass,
    and whether to replace it."""

    bench: BenchConfig
    live: tuple[str, ...]
    baseline: Path
    tolerance: float
    update: bool

    @classmethod
    def of(cls, plain: compose.Plain, folders: Sequence[Path], overrides: Sequence[str]) -> CheckConfig:
        """Read a composed config.

        Raises:
            BadInput: as `compose.bench_config`; no recording is named.
        """
        own = {name: plain.pop(name) for name in ("live", "baseline", "tolerance", "update")}
        bench = compose.bench_config(plain, folders, overrides)
        if bench.replay is None:
            raise BadInput("`replay` names the recording that is checked; leave it as it is in conf/check.yaml")
        for label in own["live"]:
            if label not in bench.systems:
                raise BadInput(f"`live` has {label}, which is not in `systems`; {schema.suggest(label, bench.systems)}")
        return cls(bench, tuple(own["live"]), Path(own["baseline"]), float(own["tolerance"]), bool(own["update"]))


def main() -> int:
    """Check for `sys.argv`; see the exit codes above."""
    codes: list[int] = []
    code = launch(lambda composed: codes.append(check(CheckConfig.of(*composed), Console())), Composed, "check")
    return code or max(codes, default=OK)


def check(config: CheckConfig, console: Console) -> int:
    """Check, or replace the baseline, and return the exit code.

    Raises:
        BadInput: recording or baseline are missing or broken.
    """
    set_threads(config.bench.measure.threads)
    pair = api.load_pair(config.bench.model, provenance.ROOT)
    try:
        if config.update:
            _record(config, pair)
        facts = json.loads(dump(pair.describe()))  # as it comes back from a file
        base = None if config.update else _read(config.baseline)
        if base is not None and base["model"] != facts:
            remedy = "python -m harness check update=true makes one for this"
            return _say(console, [f"the baseline is of another model; {remedy}"], INCOMPARABLE)
        found = {how: _observe(config, pair, how) for how in ("replay", "live")}
    finally:
        pair.close()
    if base is None:
        texts = [f"live, unlike replayed: {text}" for text in differences(found["replay"], found["live"], 0.0)]
        content = {"schema": SCHEMA, "model": facts, "systems": found["replay"]}
        write_text(config.baseline, dump(content, indent=1) + "\n")
        console.print(f"baseline: {config.baseline}", highlight=False)
    else:
        was = base["systems"]
        texts = [f"{label}: only in the baseline" for label in was if label not in found["replay"]]
        texts += [f"{how}: {text}" for how in found for text in differences(was, found[how], config.tolerance)]
    return _say(console, texts, REGRESSED if texts else OK)


def _observe(config: CheckConfig, pair: api.ModelPair, how: str) -> dict[str, Observed]:
    bench = config.bench
    selection = datasets.select(datasets.load(bench.dataset), pair, bench.dataset, bench.measure)
    traces = api.load_traces(Path(str(bench.replay)), pair)
    link, costs = predict(bench.hardware, pair, traces)
    share: dict[str, Any] = {"budget_bytes": budget_bytes(bench.budget, pair), "link": link, "costs": costs}
    if how == "replay":
        build: Build = partial(api.build_replay, traces=traces, **share)
        return observe(bench.systems, build, selection, pair.stop_tokens)
    live = {label: bench.systems[label] for label in config.live}
    return observe(live, partial(api.build_system, pair=pair, **share), selection, pair.stop_tokens)


def _record(config: CheckConfig, pair: api.ModelPair) -> None:
    bench, folder = config.bench, Path(str(config.bench.replay))
    for path in (folder, config.baseline.parent):
        ensure_writable(path)
    selection = datasets.select(datasets.load(bench.dataset), pair, bench.dataset, bench.measure)
    costs = api.measure_costs(pair, sorted(widths(bench)), selection.prompts, bench.measure.calibration_seconds)
    requests = [*selection.requests, *selection.warmup]
    api.record_traces(pair, list(bench.systems.values()), requests, costs, folder)


def _read(path: Path) -> dict[str, Any]:
    remedy = "make it with python -m harness check update=true"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schema = found["schema"]
    except OSError as error:
        raise BadInput(f"`baseline` {path} cannot be read ({error.strerror}); {remedy}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"`baseline` {path} is broken ({error!r}); {remedy}") from error
    if schema != SCHEMA:
        raise BadInput(f"`baseline` {path} has schema {schema}, {SCHEMA} is read; {remedy}")
    return found


def _say(console: Console, texts: Sequence[str], code: int) -> int:
    for text in texts:
        console.print(text, markup=False, highlight=False)
    words = {OK: "ok: every count is as it was", REGRESSED: "changed", INCOMPARABLE: "cannot be compared"}
    console.print(words[code], style="bold" if code == OK else "bold red")
    return code
