"""accelerate's offloading holds and moves what it says, and removes what it wrote."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.measure.meter import RecordingMeter
from harness.verdict.identities import violations
from systems.api import BadInput, DidNotFit, LinkSpec, NullMeter, Traffic, build_system
from systems.runtime.pair import Pair
from tests.systems.peers.test_peers import PEERS, Recorder, layer_bytes
from tests.systems.tiny import COSTS, requests


@pytest.mark.parametrize(("rooms", "resident"), [(1, 0), (3, 2), (3.9, 2), (4, 4), (9, 4)])
def test_accelerate_fills_the_budget_and_reports_what_it_moves(rooms: float, resident: int, pair: Pair) -> None:
    size = layer_bytes(pair)
    system = build_system(PEERS["accelerate_offload"], pair, int(rooms * size), None, COSTS)
    assert system.fast_bytes == min(resident + 1, 4) * size <= rooms * size
    experts = [parameter for name, parameter in system._model.named_parameters() if ".experts." in name]  # type: ignore[attr-defined]
    assert sum(tensor.nbytes for tensor in experts if tensor.device.type == "cpu") == resident * size
    others = [parameter for name, parameter in system._model.named_parameters() if ".experts." not in name]  # type: ignore[attr-defined]
    assert {tensor.device.type for tensor in others} == {"cpu"}
    meter = Recorder([6, 6])
    system.generate(requests(2, 6), meter)
    described = system.describe()
    system.close()
    assert (described["resident_layers"], described["offloaded_to"]) == (resident, "disk")
    for phase, forwards in (("prefill", 1), ("decode", 5)):
        traffic = meter.reports[phase]
        assert traffic.moved_bytes == traffic.demand_bytes == forwards * (4 - resident) * size
        assert (traffic.link_busy > 0) == (resident < 4)
        for layer, needs in enumerate(traffic.layers):
            assert needs.needed == (needs.resident if layer < resident else needs.demand) > 0
            assert needs.needed == needs.resident + needs.demand
    for needs in meter.reports["decode"].layers:
        assert 5 * pair.top_k <= needs.needed <= 5 * 2 * pair.top_k
    assert meter.spans.count("transfer") == 6 * (4 - resident)


SLOW = LinkSpec(bandwidth=1e5, latency=0.5)
"""On which a tiny layer takes seconds."""


def decoded(pair: Pair, link: LinkSpec | None) -> tuple[list[list[int]], RecordingMeter, dict[str, Traffic], float]:
    """Generate for two requests with two of four layers offloaded; tokens, meter, traffic and seconds on the clock."""
    system = build_system(PEERS["accelerate_offload"], pair, 3 * layer_bytes(pair), link, COSTS)
    meter = RecordingMeter(["0", "1"], [6, 6], clock=system.now_ns)
    began = system.now_ns()
    system.generate(requests(2, 6), meter)
    took = (system.now_ns() - began) / 1e9
    system.close()
    generation = meter.finish()
    assert violations([generation]) == []
    tokens = [list(row.tokens) for row in generation.rows]
    return tokens, meter, {report.traffic.phase: report.traffic for report in meter.reports}, took


def test_layers_arrive_as_the_emulated_link_would_bring_them(pair: Pair) -> None:
    """Two tensors a layer, each with a call of its own; and nobody sleeps meanwhile."""
    start = time.perf_counter()
    tokens, meter, traffic, took = decoded(pair, SLOW)
    real = time.perf_counter() - start
    layer = 2 * SLOW.latency + layer_bytes(pair) / SLOW.bandwidth
    assert traffic["prefill"].link_busy == pytest.approx(2 * layer, rel=1e-3)
    assert traffic["decode"].link_busy == pytest.approx(10 * layer, rel=1e-3)
    assert took > 12 * layer > 2 * real
    spans = meter.finish().window
    assert spans["transfer"] / 1e9 == pytest.approx(10 * layer, rel=1e-3)
    assert (tokens, traffic["decode"].layers) == (decoded(pair, None)[0], decoded(pair, None)[2]["decode"].layers)


@pytest.mark.parametrize("link", [None, LinkSpec(bandwidth=1e12, latency=0.0)])
def test_reading_files_takes_time_only_where_no_link_is_emulated(
    link: LinkSpec | None, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate.hooks import AlignDevicesHook

    load = AlignDevicesHook.pre_forward

    def slow(self: Any, module: Any, *args: Any, **kwargs: Any) -> Any:
        time.sleep(0.1 if self.offload else 0)
        return load(self, module, *args, **kwargs)

    monkeypatch.setattr(AlignDevicesHook, "pre_forward", slow)
    _, meter, traffic, took = decoded(pair, link)
    assert (took > 12 * 0.1) == (link is None)
    assert (traffic["decode"].link_busy >= 10 * 0.1) == (link is None)
    assert (meter.finish().window["transfer"] / 1e9 >= 10 * 0.1) == (link is None)


def test_a_device_has_a_link_of_its_own(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair, "device", "cuda")
    with pytest.raises(BadInput, match="use hardware=local with a CUDA device"):
        build_system(PEERS["accelerate_offload"], pair, layer_bytes(pair), SLOW, COSTS)


def test_one_layer_of_experts_is_loaded_at_a_time(pair: Pair) -> None:
    system = build_system(PEERS["accelerate_offload"], pair, layer_bytes(pair), None, COSTS)
    model: Any = system._model  # type: ignore[attr-defined]
    held: list[int] = []

    def weigh(*_: object) -> None:
        held.append(sum(p.nbytes for n, p in model.named_parameters() if ".experts." in n and not p.is_meta))

    for layer in model.model.layers:
        layer.mlp.experts.act_fn.register_forward_hook(weigh)
    system.generate(requests(1, 3), NullMeter([3]))
    system.close()
    assert set(held) == {layer_bytes(pair)}


def test_a_budget_below_one_layer_does_not_fit_accelerate(pair: Pair) -> None:
    with pytest.raises(DidNotFit, match=f"{layer_bytes(pair):,} B: accelerate loads all 8 experts"):
        build_system(PEERS["accelerate_offload"], pair, layer_bytes(pair) - 1, None, COSTS)


def test_accelerate_removes_its_folder(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    system = build_system(PEERS["accelerate_offload"], pair, layer_bytes(pair), None, COSTS)
    offloaded = sum(file.stat().st_size for file in tmp_path.rglob("*.dat"))
    assert offloaded == pair.expert_bytes
    system.generate(requests(1, 2), NullMeter([2]))
    system.close()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.delitem(sys.modules, "systems.peers.accelerate_offload", raising=False)
    with pytest.raises(BadInput, match=r"pip install 'spmoe-bench\[peers\]'"):
        build_system(PEERS["accelerate_offload"], pair, 10**9, None, COSTS)
