"""MoESD's formulas against counting, its fit against times that it made itself, and its command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.studies.moesd import activation
from harness.studies.moesd.fit import Floors, Point, fit, mean_absolute_error, stratified
from harness.studies.moesd.speedup import NAMES, Parameters, Setting, forward_time, growth, speedup, target_efficiency

TRUE = Parameters(2e-3, 4e-4, 3e-4, 2e-4, 5e-4, 1e-4, 1e-4, 1e-5, 0.5, 1.05)
FLOORS = Floors(dense=1e-3, expert=2e-4, draft=2e-4, launch=4e-3, draft_launch=1e-3)
RIDGE = 32.0


def _point(top_k: int, length: int, batch: int, noise: float = 0.0) -> Point:
    setting = Setting(16, top_k, length, batch)
    draft = length * (TRUE.draft_bias + TRUE.draft * growth(batch, TRUE.ridge * RIDGE, TRUE.base))
    return Point(
        setting,
        plain=forward_time(TRUE, setting, batch, RIDGE) * (1 + noise),
        verify=forward_time(TRUE, setting, batch * (length + 1), RIDGE),
        draft=draft,
        rest=TRUE.reject_bias + TRUE.reject * batch,
        tokens_per_cycle=1 + 0.7 * length,
    )


def _grid(noise: float = 0.0) -> list[Point]:
    random = np.random.default_rng(0)
    batches = (1, 2, 4, 8, 12, 16, 24, 32, 40, 48, 64)
    return [
        _point(k, g, b, float(random.uniform(-noise, noise))) for k in (1, 2, 4, 8) for g in (2, 4) for b in batches
    ]


@pytest.mark.parametrize(
    ("experts", "top_k", "threshold"), [(8, 2, 11), (64, 8, 23), (64, 6, 31), (60, 4, 44), (128, 2, 191)]
)
def test_the_threshold_is_the_papers(experts: int, top_k: int, threshold: int) -> None:
    assert activation.load_threshold(experts, top_k) == threshold


def test_the_formula_counts_uniform_routing() -> None:
    random = np.random.default_rng(1)
    routing = np.stack([np.stack([random.permutation(16)[:2] for _ in range(3)]) for _ in range(4000)])
    found = activation.measure(routing, 16, 24, 4, 300, 0)
    assert found.uniform == pytest.approx(16 * (1 - (14 / 16) ** 24))
    assert found.scattered == pytest.approx(found.uniform, rel=0.01)
    assert found.skewed == pytest.approx(found.uniform, rel=0.01)
    assert found.verified == pytest.approx(found.uniform, rel=0.01)


def test_skew_and_likeness_are_told_apart() -> None:
    random = np.random.default_rng(2)
    shares = np.array([8.0, 4, 2, *[1] * 13])
    one = [[random.choice(16, 2, replace=False, p=shares / shares.sum()) for _ in range(2)] for _ in range(500)]
    routing = np.repeat(np.array(one), 4, axis=0)  # neighbours are routed alike
    found = activation.measure(routing, 16, 16, 4, 300, 0)
    assert found.uniform > found.skewed + 0.5
    assert found.skewed == pytest.approx(found.scattered, rel=0.05)
    assert found.scattered > found.verified + 2


def test_growth_is_smooth_at_the_ridge() -> None:
    assert growth(3, 10, 1.1) == pytest.approx(1.1**3)
    slope = (growth(10 + 1e-6, 10, 1.1) - growth(10, 10, 1.1)) / 1e-6
    assert slope == pytest.approx(1.1**10 * np.log(1.1), rel=1e-3)


def test_the_speedup_is_equation_four() -> None:
    point = _point(2, 4, 8)
    assert speedup(TRUE, point.setting, point.tokens_per_cycle, RIDGE) == pytest.approx(point.speedup)
    assert target_efficiency(TRUE, point.setting, RIDGE) == pytest.approx(point.target_efficiency)


def test_the_subset_has_every_batch_and_predicts_the_rest() -> None:
    points = _grid(noise=0.03)
    chosen = stratified(points, 4)
    assert len(chosen) == 22
    assert {p.setting.batch for p in chosen} == {p.setting.batch for p in points}
    found = fit(chosen, FLOORS, RIDGE, 4, 0)
    held_out = [point for point in points if point not in chosen]
    assert mean_absolute_error(held_out, found, RIDGE) < 0.05
    spread = np.std([point.speedup for point in held_out])
    assert spread > 0.2, "speedups must differ for this test to mean something"
    values = dict(zip(NAMES, found.vector(), strict=True))
    assert 1 <= values["base"] <= 2
    assert 0.2 <= values["ridge"] <= 1
    assert values["bias"] >= FLOORS.dense


def test_too_few_points_are_refused() -> None:
    with pytest.raises(ValueError, match="9 points cannot fix 10 parameters"):
        fit(_grid()[:9], FLOORS, RIDGE, 1, 0)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    import sys

    from harness.studies.moesd.command import main

    def run(*arguments: str) -> tuple[int, str]:
        from hydra.core.global_hydra import GlobalHydra

        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", ["moesd", f"runs={tmp_path}/runs", f"output={tmp_path}/out", *arguments])
        code = main()
        said = capsys.readouterr()
        return code, " ".join((said.out + said.err).split())

    return run


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("stride=0", "`stride` is 0"),
        ("sweep.batches=[]", "`sweep.batches` is []"),
        ("sweep.batches=[0,4]", "`sweep.batches` is [0, 4]"),
        ("points=nowhere.json", "`points` nowhere.json is missing"),
        ("points=pyproject.toml", "`points` pyproject.toml is broken"),
    ],
)
def test_bad_input_is_named(command: Any, argument: str, said: str) -> None:
    code, words = command(argument)
    assert code == 2
    assert said in words


@pytest.mark.nightly
def test_the_command_measures_fits_and_reports(command: Any, tmp_path: Path) -> None:
    small = (
        "sweep.top_ks=[1,2]", "sweep.batches=[1,2,4]", "sweep.new_tokens=8", "stride=1", "prompt_tokens=8",
        "routing.prompts=3", "routing.new_tokens=8", "routing.tokens=[1,4]", "routing.samples=10",
    )  # fmt: skip
    code, words = command(*small)
    assert code == 0, words
    found = json.loads((tmp_path / "out" / "moesd.json").read_text())
    assert len(found["points"]) == 12
    assert found["activation"][0]["verified"] == pytest.approx(2)
    again = command(*small, f"points={tmp_path}/out/points.json")
    assert again[0] == 0
