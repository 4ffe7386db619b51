"""Fitting overheads: what was planted is found, and what does not belong together is refused."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.calibrate import Step, calibrate, cell_of, fit, steps_of
from systems.api import BadInput, Overheads

GENERATOR = random.Random(0)
STEPS = [(GENERATOR.uniform(2e-3, 4e-3), GENERATOR.uniform(5e-3, 9e-3), GENERATOR.randint(5, 40)) for _ in range(80)]
"""Seconds of drafting and verifying, and records moved in half of each."""


def predict(overheads: Overheads) -> list[Step]:
    """Eight questions per draft; half of the records move while drafting."""
    return [
        (
            draft + 8 * overheads.hint + moved / 2 * overheads.fetch,
            verify + moved / 2 * overheads.fetch,
            moved / 2 * 8e-4,
        )
        for draft, verify, moved in STEPS
    ]


def test_planted_overheads_are_found_despite_outliers() -> None:
    planted = Overheads(fetch=2.5e-4, hint=1.5e-4)
    measured = predict(planted)
    measured[::20] = [(draft * 4, verify * 4, waited) for draft, verify, waited in measured[::20]]
    found = fit(measured, predict)
    assert found.overheads.fetch == pytest.approx(planted.fetch, rel=0.1)
    assert found.overheads.hint == pytest.approx(planted.hint, rel=0.1)
    assert found.after < found.before
    assert found.steps == len(STEPS)


def test_other_steps_are_refused() -> None:
    def fewer(overheads: Overheads) -> Sequence[Step]:
        return predict(overheads)[:-1]

    with pytest.raises(BadInput, match="80 steps and its replay 79"):
        fit(predict(Overheads()), fewer)


def test_only_decode_steps_count() -> None:
    spans = {"draft": 1.0, "verify": 2.0, "transfer": 0.5}
    lines: list[dict[str, Any]] = [
        {"phase": "decode", "step": 0, "spans": spans},
        {"phase": "prefill", "step": 0},
        {"phase": "decode", "step": None},
    ]
    assert steps_of(lines) == [(1.0, 2.0, 0.5)]


def test_a_cell_is_found_by_its_run(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"provenance\.json cannot be read"):
        cell_of(tmp_path, None, "sp_moe", Path("runs"))
    (tmp_path / "provenance.json").write_text(json.dumps({"key": "abc"}))
    assert cell_of(tmp_path, None, "sp_moe", Path("runs")) == Path("runs/abc/sp_moe")
    (tmp_path / "provenance.json").write_text(json.dumps({"fine": {"key": "abc"}, "coarse": {"key": "def"}}))
    assert cell_of(tmp_path, "coarse", "sp_moe", Path("runs")) == Path("runs/def/sp_moe")
    with pytest.raises(BadInput, match="has fine, coarse"):
        cell_of(tmp_path, "other", "sp_moe", Path("runs"))
    with pytest.raises(BadInput, match=r"has no config\.yaml; such a cell is not finished"):
        calibrate(tmp_path / "nowhere", tmp_path)
