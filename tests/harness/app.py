"""Running the real command line in this process, over the fakes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.commands import bench
from harness.records.summary_file import Row, unpacked
from tests.harness import fake

CONF = Path(__file__).parent / "conf"
SMALL = (
    "model=fake", "dataset.limit=4", "measure.max_new_tokens=12", "measure.warmup=1", "budget=0.5",
    "measure.noisy_above=1e9",  # microseconds on a busy machine are noise, and two prompts say next to nothing
)  # fmt: skip


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """All that was said, line breaks of the terminal taken out."""
        return " ".join((self.out + self.err).split())


App = Callable[..., Ran]


def make(
    patch: pytest.MonkeyPatch,
    capture: pytest.CaptureFixture[str],
    folder: Path,
    main: Callable[[], int] = bench.main,
) -> App:
    patch.chdir(folder)
    fake.install(patch.setattr)

    def app(*arguments: str) -> Ran:
        from hydra.core.global_hydra import GlobalHydra

        GlobalHydra.instance().clear()
        patch.setattr(sys, "argv", ["harness", "--config-dir", str(CONF), *_ordered(arguments)])
        code = main()
        return Ran(code, *capture.readouterr())

    return app


def _ordered(arguments: tuple[str, ...]) -> list[str]:
    """Flags first, and what a test says after the defaults."""
    flags = [argument for argument in arguments if argument.startswith("-")]
    return [*flags, *SMALL, *(argument for argument in arguments if argument not in flags)]


def listed(summary: Path) -> list[Row]:
    """Rows of a `summary.json`."""
    return unpacked(json.loads(summary.read_text()))


def rows(summary: Path) -> dict[str, Row]:
    """Rows of a `summary.json` by system."""
    return {row["system"]: row for row in listed(summary)}
