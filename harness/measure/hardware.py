"""From a named environment to an emulated link and host on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from harness.config.bench import BenchConfig, Emulated, HardwareConfig
from systems import api
from systems.api import BadInput


def pace(emulate: Emulated, record_bytes: int, layer_seconds: float) -> api.LinkSpec:
    """Return the link that gives this machine the environment's ratio of transfer to compute.

    Args:
        record_bytes: one expert of the model at hand.
        layer_seconds: one of its layers here, at one position, experts resident.
    """
    transfer = emulate.ratio * layer_seconds
    latency = emulate.latency_share * transfer
    return api.LinkSpec(bandwidth=record_bytes / (transfer - latency), latency=latency)


def host(emulate: Emulated, layer_seconds: float, top_k: int) -> api.HostCosts:
    """Return what the environment's host takes for an expert, in the same ratio to compute.

    Half of a layer goes to its `top_k` experts where they are resident, as on a virtual clock; the host is never
    faster.
    """
    scale = layer_seconds / emulate.layer_seconds
    named = emulate.host.costs(emulate.expert_bytes, emulate.call_latency, emulate.layer_seconds / 2 / top_k)
    return api.HostCosts(named.base * scale, named.row * scale, named.free_rows)


def times_of(timed_by: str) -> api.Costs:
    """Return the layer times that a live run was timed with; see `BenchConfig.timed_by`.

    Raises:
        BadInput: no such file or profile, or nothing was timed in it.
    """
    file, _, profile = timed_by.partition("#")
    try:
        origin = json.loads(Path(file).read_text(encoding="utf-8"))
        return api.read_costs((origin[profile] if profile else origin)["costs"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"timed_by={timed_by} has no layer times ({error!r}); name a live run's provenance.json"
        ) from error


def predict(
    hardware: HardwareConfig, pair: api.ModelPair, traces: api.Traces, timed_by: str | None = None
) -> tuple[api.LinkSpec, api.Costs]:
    """Return a virtual link and the costs that hold on it, from the machine that recorded, or as `timed_by` names.

    Without `emulate` a transfer takes what it took there.
    """
    timed = traces.costs if timed_by is None else times_of(timed_by)
    if hardware.emulate is None:
        return timed.link(pair.record_bytes), replace(timed, call=0.0)
    link, costs = _emulated(hardware.emulate, pair, timed)
    return replace(link, virtual=True), costs


def calibrate(
    config: BenchConfig, pair: api.ModelPair, widths: Iterable[int], prompts: Sequence[Sequence[int]]
) -> tuple[api.LinkSpec | None, api.Costs]:
    """Measure this machine, derive the link, and return it with the costs that hold on it; see `measured`."""
    if config.hardware.emulate is None:
        return None, measured(config, pair, widths, prompts)
    return _emulated(config.hardware.emulate, pair, _timed(config, pair, widths, prompts))


def measured(
    config: BenchConfig, pair: api.ModelPair, widths: Iterable[int], prompts: Sequence[Sequence[int]]
) -> api.Costs:
    """Measure this machine: layers and transfers, and what its host takes for an expert if a system of the comparison,
    the reference among them, may compute there.

    Args:
        widths: positions per forward for which layers are timed; 1 is always among them.
        prompts: what the models continue while they are timed.
    """
    costs = _timed(config, pair, widths, prompts)
    systems = [*config.systems.values(), *filter(None, [config.reference])]
    if not any(api.traits(system).computes_in_place for system in systems):
        return costs
    return replace(costs, host=api.host_costs(pair, config.measure.calibration_seconds))


def _timed(
    config: BenchConfig, pair: api.ModelPair, widths: Iterable[int], prompts: Sequence[Sequence[int]]
) -> api.Costs:
    return api.measure_costs(pair, sorted({1, *widths}), prompts, config.measure.calibration_seconds)


def _emulated(emulate: Emulated, pair: api.ModelPair, costs: api.Costs) -> tuple[api.LinkSpec, api.Costs]:
    layer = costs.target_layer[1]
    link = pace(emulate, pair.record_bytes, layer)
    transfer = link.latency + pair.record_bytes / link.bandwidth
    named = host(emulate, layer, pair.top_k)
    return link, replace(costs, transfer=transfer, call=link.latency, host=named, block=link.block)
