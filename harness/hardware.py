"""From a named environment to a paced link on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from harness.config import Emulated, HardwareConfig
from systems import api


def pace(emulate: Emulated, record_bytes: int, layer_seconds: float) -> api.LinkSpec:
    """Return the link that gives this machine the environment's ratios of transfer, and of remote compute, to compute.

    Args:
        record_bytes: one expert of the model at hand.
        layer_seconds: one of its layers here, at one position, experts resident.
    """
    transfer = emulate.ratio * layer_seconds
    latency = emulate.latency_share * transfer
    remote = emulate.remote_token_share * transfer
    return api.LinkSpec(bandwidth=record_bytes / (transfer - latency), latency=latency, remote_token=remote)


def predict(hardware: HardwareConfig, pair: api.ModelPair, traces: api.Traces) -> tuple[api.LinkSpec, api.Costs]:
    """Return a virtual link and the costs that hold on it, from the machine that recorded.

    Without `emulate` a transfer takes what it took there.
    """
    costs = traces.costs
    link = api.LinkSpec(bandwidth=pair.record_bytes / costs.transfer, latency=0.0)
    if hardware.emulate is not None:
        link = pace(hardware.emulate, pair.record_bytes, costs.target_layer[1])
    transfer = link.latency + pair.record_bytes / link.bandwidth
    return replace(link, virtual=True), replace(costs, transfer=transfer, call=link.latency)


def calibrate(
    hardware: HardwareConfig, pair: api.ModelPair, widths: Iterable[int], prompts: Sequence[Sequence[int]]
) -> tuple[api.LinkSpec | None, api.Costs]:
    """Measure this machine, derive the link, and return it with the costs that hold on it.

    Args:
        widths: positions per forward for which layers are timed; 1 is always among them.
        prompts: what the models continue while they are timed.
    """
    costs = api.measure_costs(pair, sorted({1, *widths}), prompts)
    if hardware.emulate is None:
        return None, costs
    link = pace(hardware.emulate, pair.record_bytes, costs.target_layer[1])
    transfer = link.latency + pair.record_bytes / link.bandwidth
    return link, replace(costs, transfer=transfer, call=link.latency)
