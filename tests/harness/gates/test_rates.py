"""How often the gate is wrong, on pairs simulated with the noise that was recorded."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.gates import noise_floor as noise
from harness.gates.gate import REGRESSED, compare
from harness.gates.sets import Cell
from tests.harness.gates.recorded import TIMES

PAIRS, BLOCK = 200, 8
PROMPTS = list(dict.fromkeys(prompt for _, prompt, *_ in TIMES["offload"]))
METRICS = {"tpot": {"definition": "tpot@2"}, "ttft": {"definition": "ttft@1"}}
ROW = {"status": "ok", "metrics": METRICS, "replayed": False}


def _logs(column: int) -> np.ndarray:
    """Log times, `[system, repeat, prompt]`."""
    found = {(s, r, p): line for s, lines in TIMES.items() for line in lines for r, p in [(line[0], line[1])]}
    return np.array([[[math.log(max(found[s, r, p][column], 1e-9)) for p in PROMPTS] for r in (0, 1)] for s in TIMES])


def _run(random: np.random.Generator, slow: float = 1.0) -> dict[str, Cell]:
    """A run as it might have come out: each prompt's mean time, times noise in the order of measuring.

    The noise is what the two recorded repeats differ by. It is drawn in blocks of consecutive prompts, the same for all
    systems, so that what is slow for a while is slow for all; `slow` is put on the last system.
    """
    starts = random.integers(0, 2 * len(PROMPTS), 2 * len(PROMPTS) // BLOCK)
    places = (starts[:, None] + np.arange(BLOCK)).ravel() % (2 * len(PROMPTS))
    parts: dict[str, dict[str, dict[tuple[str, ...], tuple[float, float]]]] = {s: {} for s in TIMES}
    for metric, column in (("ttft", 3), ("tpot", 4)):
        logs = _logs(column)
        means = logs.mean(1)
        # The mean of two takes half of the variance with it.
        residuals = ((logs - means[:, None]) * math.sqrt(2)).reshape(len(TIMES), -1)
        noisy = np.exp(means[:, None] + residuals[:, places].reshape(logs.shape)).sum(1)
        for index, (system, lines) in enumerate(TIMES.items()):
            tokens = {prompt: n for _, prompt, n, *_ in lines}
            factor = slow if index == len(TIMES) - 1 else 1.0
            parts[system][metric] = {
                (prompt,): (noisy[index, place] * factor, 2.0 if metric == "ttft" else 2.0 * (tokens[prompt] - 1))
                for place, prompt in enumerate(PROMPTS)
            }
    return {system: Cell(ROW, {}, parts[system]) for system in TIMES}


@pytest.mark.nightly
def test_the_gate_is_seldom_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    """Every pair is judged as on a machine whose noise floor was measured: by one A/A run of its own."""
    random = np.random.default_rng(0)
    fired = {1.0: 0, 1.1: 0}
    for slow in fired:
        for _ in range(PAIRS):
            floor = noise.floor_of(compare(_run(random), _run(random), 0.0).effects)
            fired[slow] += compare(_run(random), _run(random, slow), floor).code == REGRESSED
    alarms, found = (count / PAIRS for count in fired.values())
    with capsys.disabled():
        print(f"\n{PAIRS} pairs each: false alarms {alarms:.1%}, 10 % slowdowns found {found:.1%}")
    assert alarms <= 0.05
    assert found >= 0.9
