"""What all commands that take `key=value` have in common: compose the config, tell errors, choose the exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from harness.cli.hydra_errors import explain
from harness.config import compose
from harness.config.compose import Plain
from harness.records.files import CannotWrite
from harness.records.summary_file import Row
from harness.verdict.status import FAILING
from systems.api import BadInput

T = TypeVar("T")
Read = Callable[[Plain, Sequence[Path], Sequence[str]], T]
"""From a composed config, the config folders and what was typed to what a command works on."""
USAGE, FAILURE, OK = 2, 1, 0
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE")


class Terminated(BaseException):
    """SIGTERM arrived; like KeyboardInterrupt it passes every handler that only means errors."""


def launch(task: Callable[[T], Any], read: Read[T], root: str = "config") -> int:
    """Compose each job's config from `conf/ROOT.yaml`, `read` it and hand it to `task`; return the exit code.

    What `task` returns is what a sweeper that searches goes by.
    """
    # Before transformers and datasets are imported: nothing may be fetched, nor wait for a network.
    for name in OFFLINE:
        os.environ.setdefault(name, "1")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hands us Hydra's exceptions, which `explain` rewrites
    signal.signal(signal.SIGTERM, _terminate)
    problems: list[str] = []
    try:
        _hydra(task, read, problems, root)
    except KeyboardInterrupt:
        return report("interrupted; the same command measures what is missing", 128 + signal.SIGINT)
    except Terminated:
        return report("terminated; the same command measures what is missing", 128 + signal.SIGTERM)
    return USAGE if problems else OK


def verdict(rows: Iterable[Row]) -> int:
    """Return the exit code that published rows deserve."""
    return FAILURE if any(row["status"] in FAILING for row in rows) else OK


def typed(task: Callable[[], int]) -> int:
    """Return what a command with arguments of its own returns, or `USAGE` once it has said what the user can mend."""
    try:
        return task()
    except BadInput as error:
        return report(str(error), USAGE)


def _hydra(task: Callable[[T], Any], read: Read[T], problems: list[str], root: str) -> None:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    def job(config: DictConfig) -> Any:
        runtime: Any = HydraConfig.get()
        folders = [Path(source.path) for source in runtime.runtime.config_sources if source.schema == "file"]
        try:
            plain: Any = OmegaConf.to_container(config, resolve=True)
            return task(read(plain, folders, list(runtime.overrides.task)))
        except (BadInput, OmegaConfBaseException) as error:
            # Kept from Hydra, which would print its own message; the other jobs of a sweep go on.
            problems.append(str(error) if isinstance(error, BadInput) else explain(error))
            report(problems[-1], USAGE)
            return None

    try:
        hydra.main(version_base="1.3", config_path=str(compose.CONF), config_name=root)(job)()
    except (HydraException, OmegaConfBaseException) as error:
        problems.append(explain(error, root))
        report(problems[-1], USAGE)
    except OSError as error:
        if error.filename is None or not {"--multirun", "-m"} & set(sys.argv):
            raise
        # Hydra makes the folder of a sweep before any job has begun to check it; jobs keep their errors.
        problems.append(str(CannotWrite(Path(error.filename), error)))
        report(problems[-1], USAGE)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def report(message: str, code: int) -> int:
    """Tell the user, on standard error; return `code`."""
    sys.stderr.write(f"{message}\n" if code != USAGE else f"error: {message}\n")
    return code
