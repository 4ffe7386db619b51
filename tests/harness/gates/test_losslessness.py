from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.gates import losslessness
from harness.verdict.margins import divergence
from systems import api
from tests.harness import fake
from tests.harness.app import App

LOGITS = [0.0, 9.0, 8.75, 3.0]
DIVERGED_AT = 3
"""Where the system `wrong` errs: a scored text is a prompt and three tokens."""


@pytest.mark.parametrize(
    ("token", "dtype", "tied"),
    [
        (2, "bfloat16", True),  # the second best, closer than rounding
        (2, "float32", False),
        (1, "bfloat16", True),  # the best itself: it was the reference that took the other
        (1, "float32", False),
        (3, "bfloat16", False),  # the two best are close, and the output took neither
        (None, "bfloat16", False),  # it ended early
    ],
)
def test_a_tie_is_between_the_best_two_only(token: int | None, dtype: str, tied: bool) -> None:
    found = divergence("a", 0, 5, token, LOGITS)
    assert (found.best, found.second, found.margin) == (1, 2, 0.25)
    assert found.is_tie(dtype) is tied


def script_logits(gap: float, calls: list[int]) -> object:
    """The target's opinion: the scripted token is best, and all others `gap` below it."""

    def next_logits(pair: api.ModelPair, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        calls.append(len(texts))
        found = []
        for text in texts:
            prompt = text[:-DIVERGED_AT]
            logits = [-gap] * pair.vocab_size
            logits[fake.script(prompt, 4)[DIVERGED_AT]] = 0.0
            found.append(logits)
        return found

    return next_logits


def judged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, dict[str, dict[str, object]]]:
    (run,) = folder.glob("results/runs/*")
    monkeypatch.setattr(sys, "argv", ["losslessness", str(run)])
    code = losslessness.main()
    facts = json.loads((run / "losslessness.json").read_text())
    return code, {row["system"]: row for row in facts["rows"]}


@pytest.mark.parametrize(("gap", "code", "verdict"), [(1e-5, 0, "ties"), (1.0, 1, "bug")])
def test_the_records_of_a_run_are_judged(
    gap: float, code: int, verdict: str, app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(api, "next_logits", script_logits(gap, calls))
    ran = app("systems=[offload,wrong]", "measure.repeats=2")
    assert "python -m harness losslessness" in ran.words
    ended, rows = judged(tmp_path, monkeypatch)
    assert ended == code
    assert rows["offload"]["verdict"] == "exact"
    assert rows["offload"]["exact_match"] == 1.0
    assert rows["wrong"]["verdict"] == verdict
    assert rows["wrong"]["exact_match"] == 0.0
    divergences = rows["wrong"]["divergences"]
    assert isinstance(divergences, list)
    assert {item["position"] for item in divergences} == {DIVERGED_AT}
    assert {item["margin"] for item in divergences} == {gap}
    assert len(divergences) == 8
    assert calls == [4], "repeats of an output are scored once"


def test_an_output_that_took_the_best_token_is_not_the_bug(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reference is: it left what stock transformers would have written, by far more than rounding."""

    def next_logits(pair: api.ModelPair, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        wrong = [1 + fake.script(text[:-DIVERGED_AT], 4)[DIVERGED_AT] % 250 for text in texts]
        return [[1.0 if token == best else 0.0 for token in range(pair.vocab_size)] for best in wrong]

    monkeypatch.setattr(api, "next_logits", next_logits)
    app("systems=[offload,wrong]")
    code, rows = judged(tmp_path, monkeypatch)
    assert (code, rows["wrong"]["verdict"], rows["offload"]["verdict"]) == (1, "reference", "exact")
    said = " ".join(capsys.readouterr().out.split())
    assert "reference: wrong took what stock transformers rates best" in said
    assert "the reference is wrong" in said


@pytest.mark.parametrize("home", ["~", "<tmp>", ""])
def test_models_and_prompts_are_found_wherever_they_are(
    home: str, app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records name folders by what they are to their user, and are read back by whom they belong to."""
    place = tmp_path / "place"
    (place / "m").mkdir(parents=True)
    lines = [json.dumps({"prompt": text}) for text in ("hello", "world", "again", "there", "more")]
    (place / "p.jsonl").write_text("\n".join(lines) + "\n")
    if home == "~":
        monkeypatch.setenv("HOME", str(place))
    elif home == "<tmp>":
        monkeypatch.setattr("tempfile.tempdir", str(place))
    loaded: list[str] = []

    def load_pair(config: api.ModelConfig, root: Path) -> fake.FakePair:
        loaded.append(str(api.located(config.target, root)))
        return fake.FakePair()

    monkeypatch.setattr(api, "load_pair", load_pair)
    app("systems=[offload]", f"model.target={place}/m", "dataset=jsonl", f"dataset.path={place}/p.jsonl")
    (config,) = tmp_path.glob("results/runs/*/offload/config.yaml")
    assert f"target: {home or 'place'}/{'m'}" in config.read_text().replace("'", "")
    assert judged(tmp_path, monkeypatch)[0] == 0
    assert loaded == [f"{place}/m"] * 2


def test_a_lossy_system_is_reported_without_a_verdict(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "next_logits", script_logits(1.0, []))
    app("systems=[{base: wrong, override: {lossless: false}}]")
    code, rows = judged(tmp_path, monkeypatch)
    assert (code, rows["wrong"]["verdict"]) == (0, "lossy")


def test_without_divergence_nothing_is_scored(app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app("systems=[offload]")
    code, rows = judged(tmp_path, monkeypatch)
    assert (code, rows["offload"]["verdict"]) == (0, "exact")


def test_sampled_outputs_are_unknown(app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app("systems=[offload]", "measure.sampling.temperature=0.7")
    code, rows = judged(tmp_path, monkeypatch)
    assert (code, rows["offload"]["verdict"], rows["offload"]["exact_match"]) == (0, "unknown", None)


def test_a_folder_without_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["losslessness", str(tmp_path)])
    assert losslessness.main() == 2
    assert "holds no finished cells" in capsys.readouterr().err
