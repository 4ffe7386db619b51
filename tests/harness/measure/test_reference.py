"""What all of our systems have in common may be wrong: stock transformers is asked, and the run itself says so."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.commands import bench as run
from models import moe_families
from systems import api
from tests.harness.app import App, rows

Texts = Sequence[tuple[Sequence[int], Sequence[int]]]


def test_a_token_that_stock_transformers_would_not_write_is_an_error_of_all(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def ratings(pair: api.ModelPair, texts: Texts) -> list[list[tuple[int, float]]]:
        asked.append(len(texts))
        rated = [[(token, 0.0) for token in tokens] for _, tokens in texts]
        rated[0][2] = (rated[0][2][0] % 250 + 1, 0.5)
        return rated

    monkeypatch.setattr(api, "stock_ratings", ratings)
    ran = app("systems=[offload,resident]")
    assert ran.code == 1
    (summary,) = tmp_path.glob("results/runs/*/offload/requests.jsonl")
    lines = [json.loads(line) for line in summary.read_text().splitlines()]
    assert sorted(line["exact_match"] for line in lines) == [False, True, True, True]
    assert asked in ([2], [3]), "the first prompts, and the longest"


def test_what_stock_transformers_cannot_hold_is_said(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def ratings(pair: api.ModelPair, texts: Texts) -> Any:
        raise api.DidNotFit("its weights take 9 MiB of memory, 3 MiB are free")

    monkeypatch.setattr(api, "stock_ratings", ratings)
    ran = app("systems=[offload]")
    assert ran.code == 0
    assert "stock transformers was not asked about (its weights take 9 MiB" in ran.words


def no_window(patch: pytest.MonkeyPatch) -> None:
    from systems.modeling import masks

    patch.setattr(masks, "_rule", lambda kind, window: masks._CAUSAL)


def transposed_record(patch: pytest.MonkeyPatch) -> None:
    from systems.store.store import RamStore

    usual = RamStore.put

    def put(self: RamStore, layer: int, part: int, weights: torch.Tensor) -> None:
        usual(self, layer, part, weights.transpose(1, 2).contiguous() if layer == 1 and part == 1 else weights)

    patch.setattr(RamStore, "put", put)


def stale_state(patch: pytest.MonkeyPatch) -> None:
    from systems.modeling import learning
    from systems.modeling.states import States

    patch.setattr(States, "_places", lambda self, read, places: [0 for _ in self._starts])
    # else it is found at loading, and another way is taken
    patch.setattr(learning, "_CLOSE", {torch.float32: float("inf")})


def nothing(patch: pytest.MonkeyPatch) -> None:
    """The control."""


@pytest.mark.parametrize(
    ("family", "plant", "diverged"),
    [
        ("mixtral", nothing, set()),
        ("mixtral", no_window, {"offload", "sd_offload"}),
        ("mixtral", transposed_record, {"offload", "sd_offload"}),
        ("qwen3_next", nothing, set()),
        ("qwen3_next", stale_state, {"sd_offload"}),
    ],
)
def test_a_planted_bug_is_caught_by_the_run(
    family: str,
    plant: Callable[[pytest.MonkeyPatch], None],
    diverged: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from hydra.core.global_hydra import GlobalHydra

    moe_families.save(tmp_path, family)
    texts = ["abcdefghijklmnop", "klmnopabcdefghijklmnop", "ponmlkjihgfedcba"]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    monkeypatch.chdir(tmp_path)
    plant(monkeypatch)
    GlobalHydra.instance().clear()
    options = (
        f"model.target={tmp_path}/target", f"model.draft={tmp_path}/draft", f"model.tokenizer={tmp_path}",
        "model.activations=null", "dataset=jsonl", f"dataset.path={tmp_path}/prompts.jsonl", "dataset.limit=2",
        "measure.warmup=1", "measure.max_new_tokens=8", "hardware=local", "measure.threads=1", "budget=0.95",
        "measure.calibration_seconds=0.01", "systems=[offload,sd_offload]", "runs=runs", "output=out",
    )  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["harness", *options])
    code = run.main()
    said = capsys.readouterr()
    found = rows(tmp_path / "out" / "summary.json")
    assert {name for name, row in found.items() if row["status"] == "diverged"} == diverged, said.out + said.err
    assert (code == 0) is not bool(diverged)
