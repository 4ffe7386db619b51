"""The command line, e.g. `python -m harness system=sp_moe dataset=humaneval budget=0.3333`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from harness.config import BenchConfig
from harness.files import CannotWrite
from systems.api import BadInput

USAGE, FAILURE, OK = 2, 1, 0
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE")


class Terminated(BaseException):
    """SIGTERM arrived; like KeyboardInterrupt it passes every handler that only means errors."""


def main() -> int:
    """Run the bench for `sys.argv`; return 0 ok, 1 failed or diverged, 2 usage, 128 + signal."""
    from harness.bench import Outcome

    outcomes: list[Outcome] = []
    code = launch(lambda config: outcomes.append(_compare(config)))
    if len(outcomes) > 1:
        _show_sweep(outcomes)
    bad = any(row["status"] in ("failed", "diverged") for outcome in outcomes for row in outcome.rows)
    return code or (FAILURE if bad else OK)


def launch(task: Callable[[BenchConfig], None]) -> int:
    """Compose each job's config with Hydra and hand it to `task`; return the exit code."""
    # Before transformers and datasets are imported: nothing may be fetched, nor wait for a network.
    for name in OFFLINE:
        os.environ.setdefault(name, "1")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hands us Hydra's exceptions, which `compose.explain` rewrites
    signal.signal(signal.SIGTERM, _terminate)
    problems: list[str] = []
    try:
        _hydra(task, problems)
    except KeyboardInterrupt:
        return _report("interrupted; the same command measures what is missing", 128 + signal.SIGINT)
    except Terminated:
        return _report("terminated; the same command measures what is missing", 128 + signal.SIGTERM)
    return USAGE if problems else OK


def _hydra(task: Callable[[BenchConfig], None], problems: list[str]) -> None:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from harness import compose

    def job(config: DictConfig) -> None:
        runtime: Any = HydraConfig.get()
        folders = [Path(source.path) for source in runtime.runtime.config_sources if source.schema == "file"]
        try:
            plain: Any = OmegaConf.to_container(config, resolve=True)
            task(compose.bench_config(plain, folders, list(runtime.overrides.task)))
        except BadInput as error:
            # Kept from Hydra, which would print its own message; the other jobs of a sweep go on.
            problems.append(str(error))
            _report(str(error), USAGE)

    try:
        hydra.main(version_base="1.3", config_path=str(compose.CONF), config_name="config")(job)()
    except (HydraException, OmegaConfBaseException) as error:
        problems.append(compose.explain(error))
        _report(problems[-1], USAGE)
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        # Hydra makes the folder of a sweep before any job has begun to check it.
        problems.append(str(CannotWrite(Path(error.filename or "."), error)))
        _report(problems[-1], USAGE)


def _compare(config: BenchConfig) -> Any:
    from rich.console import Console

    from harness import bench, table

    console = Console()
    outcome = bench.run(config, console)
    home = Path(config.runs) / outcome.key
    bench.publish(outcome, home)
    if config.output is not None:
        bench.publish(outcome, Path(config.output))
    table.show(outcome.rows, console)
    console.print(f"records: {home}, summary: {Path(config.output or home) / 'summary.json'}", highlight=False)
    bench.mirror(outcome, console)
    return outcome


def _show_sweep(outcomes: Sequence[Any]) -> None:
    """Compare the cells of a sweep that differ in nothing but the system."""
    from rich.console import Console

    from harness import rows, table

    console = Console()
    groups: dict[str, list[Any]] = {}
    for outcome in outcomes:
        plain = outcome.config.identity() | {"systems": None}
        groups.setdefault(repr(plain), []).append(outcome)
    for group in groups.values():
        if len(group) < 2:
            continue
        folders = {label: folder for outcome in group for label, folder in outcome.folders.items()}
        together = [row for outcome in group for row in outcome.rows]
        config = group[0].config
        console.print("\nOne after the other, not interleaved: drift of the machine is in these speedups.")
        table.show(rows.add_speedups(together, folders, config.baselines, config.measure.seed), console)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _report(message: str, code: int) -> int:
    sys.stderr.write(f"{message}\n" if code != USAGE else f"error: {message}\n")
    return code
