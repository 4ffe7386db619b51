"""What the kit does on a device, and for how long: each stage is a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

BUDGET_SECONDS = 480.0
"""All stages together: what a borrowed device gives."""
SYSTEMS = "resident,offload,sd_offload,sp_moe,adapmoe,oracle"
REHEARSED = "offload,sp_moe"


CUDA_TESTS = ("tests/systems/runtime/test_cuda.py", "tests/systems/operators/test_grouped.py")
"""The files with tests for a device."""


@dataclass(frozen=True)
class Setup:
    """Where the kit runs.

    Attributes:
        output: folder of its results.
        device: as in `model.device`.
        tiny: shapes and counts for a rehearsal on any machine.
    """

    output: Path
    device: str = "cuda"
    tiny: bool = False

    @property
    def systems(self) -> str:
        """Systems that are compared."""
        return REHEARSED if self.tiny else SYSTEMS

    @property
    def calibration_seconds(self) -> float | None:
        """As in `measure.calibration_seconds`: nobody reads a rehearsal's times."""
        return 0.1 if self.tiny else None


@dataclass(frozen=True)
class Stage:
    """One process, which is ended after `seconds`; `least` are needed for it to be begun at all."""

    name: str
    seconds: float
    command: Callable[[Setup], Sequence[str]]
    least: float = 5.0


def _own(name: str) -> Callable[[Setup], Sequence[str]]:
    """A stage of the kit's own, which writes NAME.json."""

    def command(setup: Setup) -> Sequence[str]:
        flags = ["--tiny"] if setup.tiny else []
        return [sys.executable, "-m", "harness.gpu_bench.stage", name, str(setup.output), setup.device, *flags]

    return command


def _tests(setup: Setup) -> Sequence[str]:
    # By name: to look through all tests for them takes longer than they do. Of a rehearsal one file, which shows that
    # the command works: without a device every test of it is skipped. A header would name this machine's folders.
    return [
        sys.executable, "-m", "pytest", "-v", "--no-header", "-m", "cuda", "--continue-on-collection-errors",
        *CUDA_TESTS[: 1 if setup.tiny else None], f"--junitxml={setup.output / 'junit.xml'}",
    ]  # fmt: skip


def comparison(setup: Setup, dtype: str, command: Sequence[str] = (), *more: str) -> list[str]:
    """The command that compares systems over the reference pair, copies unpaced; or another one over the same."""
    prompts, tokens = (2, 6) if setup.tiny else (3, 32)
    return [
        sys.executable, "-m", "harness", *command, "experiment=bench", f"systems=[{setup.systems}]", "hardware=local",
        f"model.device={setup.device}", f"model.dtype={dtype}", "measure.repeats=1", "measure.warmup=1",
        f"dataset.limit={prompts}", f"measure.max_new_tokens={tokens}", f"runs={setup.output / 'runs'}",
        f"measure.calibration_seconds={setup.calibration_seconds or 'null'}", *more,
    ]  # fmt: skip


def _pair(dtype: str, operators: str = "fused") -> Callable[[Setup], Sequence[str]]:
    """The pair by a kind of operators; those that a device alone runs are rehearsed as `fused`."""
    name = f"pair_{dtype}" if operators == "fused" else f"pair_{operators}"

    def command(setup: Setup) -> Sequence[str]:
        kind = "fused" if setup.tiny else operators
        return comparison(setup, dtype, (), f"output={setup.output / 'results' / name}", f"model.operators={kind}")

    return command


def _recorded(setup: Setup) -> Sequence[str]:
    return comparison(setup, "float32", ["record"], f"replay={setup.output / 'traces'}")


def _replayed(setup: Setup) -> Sequence[str]:
    traces, output = setup.output / "traces", setup.output / "results" / "pair_replayed"
    return comparison(setup, "float32", (), f"replay={traces}", f"output={output}")


def _sample(setup: Setup) -> Sequence[str]:
    output = setup.output / "sample"
    return comparison(setup, "float32", ["timeline"], f"output={output}", "systems=[sp_moe]", "dataset.limit=1")


STAGES = (
    Stage("facts", 20, _own("facts")),
    Stage("micro", 45, _own("micro")),
    Stage("tests", 50, _tests),
    Stage("deepseek_v2_lite", 80, _own("deepseek_v2_lite"), least=30),
    Stage("pair_float32", 50, _pair("float32"), least=20),
    Stage("mixtral_8x7b", 60, _own("mixtral_8x7b"), least=30),
    Stage("record", 20, _recorded, least=15),
    Stage("replay", 20, _replayed),
    Stage("sample", 20, _sample, least=10),
    Stage("profile", 15, _own("profile"), least=10),
    Stage("pair_graphed", 30, _pair("float32", "graphed"), least=20),
    Stage("pair_grouped", 30, _pair("float32", "grouped"), least=20),
    Stage("pair_bfloat16", 30, _pair("bfloat16"), least=20),
)
"""In order of worth: what comes last is left out first. `replay` predicts what `pair_float32` has measured."""
REHEARSAL = (
    "facts", "micro", "tests", "deepseek_v2_lite", "pair_float32", "record", "replay", "sample", "profile"
)  # fmt: skip
"""What a rehearsal runs: every kind of command once."""
