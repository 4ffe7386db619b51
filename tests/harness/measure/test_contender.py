from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.harness import fake
from tests.harness.app import App, rows


def test_all_rehearse_a_batch_before_any_is_timed_on_it(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, tuple[str, ...]]] = []
    generate = fake.FakeSystem.generate

    def rehearse(self: fake.FakeSystem, requests: list[fake.Request], at_once: int) -> None:
        seen.append(("rehearse", tuple(request.id for request in requests)))

    def measured(self: fake.FakeSystem, requests: list[fake.Request], meter: fake.Meter, at_once: int = 9) -> None:
        if not isinstance(meter, fake.NullMeter):
            seen.append(("generate", tuple(request.id for request in requests)))
        generate(self, requests, meter, at_once)

    monkeypatch.setattr(fake.FakeSystem, "rehearse", rehearse)
    monkeypatch.setattr(fake.FakeSystem, "generate", measured)
    app("systems=[offload,sd_offload]", "measure.batch=3", "dataset.limit=4")
    batches = list(dict.fromkeys(ids for _, ids in seen))
    assert [len(ids) for ids in batches] == [3, 1]
    assert seen == [(what, ids) for ids in batches for what in ("rehearse", "rehearse", "generate", "generate")]


def test_a_rehearsal_is_not_timed(app: App) -> None:
    app("systems=[offload,rehearses]", "output=out")
    ttft = {label: row["metrics"]["ttft"]["value"] for label, row in rows(Path("out/summary.json")).items()}
    assert ttft["rehearses"] < 0.05  # what a rehearsal sleeps


def test_a_rehearsal_that_fails_takes_the_system_out(app: App) -> None:
    ran = app("systems=[offload,forgets]", "output=out")
    assert ran.code == 1
    found = rows(Path("out/summary.json"))
    assert (found["offload"]["status"], found["forgets"]["status"]) == ("ok", "failed")
    assert "no rehearsal" in found["forgets"]["reason"]


def test_collecting_garbage_is_not_timed(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request's clock starts when the system does, and not before the untimed work that precedes it."""
    monkeypatch.setattr("gc.collect", lambda: time.sleep(0.05))
    app("system=offload")
    (cell,) = Path("results/runs").glob("*/offload/requests.jsonl")
    assert all(json.loads(line)["ttft"] < 0.05 for line in cell.read_text().splitlines())


def test_a_system_that_does_not_run_here_leaves_the_others_to_go_on(app: App) -> None:
    ran = app("systems=[refused,offload]", "output=out")
    assert ran.code == 0, "no bug"
    found = rows(Path("out/summary.json"))
    assert (found["offload"]["status"], found["refused"]["status"]) == ("ok", "unsupported")
    assert "does not run on this device" in found["refused"]["reason"]
    assert "unsupported" in Path("out/table.md").read_text()
    assert "is finished" in app("systems=[refused,offload]", "output=out").out, "it is not tried again"


def test_a_full_device_is_no_bug(app: App) -> None:
    ran = app("systems=[exhausts,offload]", "output=out")
    assert ran.code == 0
    found = rows(Path("out/summary.json"))
    assert (found["offload"]["status"], found["exhausts"]["status"]) == ("ok", "did_not_fit")
    assert "Tried to allocate" in found["exhausts"]["reason"]


def test_a_reference_that_does_not_fit_is_decoded_from_offloaded_experts(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from systems import api

    whole = fake.build_system
    built: list[tuple[str, int]] = []

    def build(
        config: fake.SystemConfig, pair: fake.FakePair, budget_bytes: int, link: None, costs: fake.Costs
    ) -> fake.FakeSystem:
        built.append((str(config.residency["part"]), budget_bytes))
        if config.residency["part"] == "all":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(config, pair, budget_bytes, link, costs)

    monkeypatch.setattr(api, "build_system", build)
    ran = app("systems=[offload]", "output=out")
    assert ran.code == 0, ran.words
    (row,) = rows(Path("out/summary.json")).values()
    assert (row["status"], row["reference"]) == ("ok", "offloaded")
    assert row["metrics"]["exact_match"]["value"] == 1.0
    assert built[-1] == ("lru", row["budget_bytes"])


def test_drift_that_cannot_be_told_costs_no_results(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from systems import api

    def full(*_: object) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(api, "layer_time", full)
    assert app("systems=[offload]", "output=out").code == 0
    (row,) = rows(Path("out/summary.json")).values()
    assert (row["status"], row.get("layer_drift")) == ("ok", None)


@pytest.mark.parametrize("asked", ["calibrate", "generate"])
def test_what_a_system_does_not_do_is_no_error_of_it(app: App, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    """It may say so when it is asked only: what requests want is not known when it is built."""
    from systems.api import Unsupported

    def refused(*_: object, **__: object) -> None:
        raise Unsupported("it decodes greedily; set measure.sampling.temperature=0")

    monkeypatch.setattr(fake.FakeSystem, asked, refused)
    ran = app("systems=[offload]", "output=out")
    assert "unsupported: it decodes greedily; set measure.sampling.temperature=0" in ran.words
    (row,) = rows(Path("out/summary.json")).values()
    assert row["status"] == "unsupported"
