"""A machine in numbers, and what a model's layers and transfers take on it: a roofline, the link, a stated overhead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.config.host import HostShape
from systems.api import BadInput, Costs, LinkSpec, ModelShape


@dataclass(frozen=True, slots=True)
class LinkShape:
    """Bytes per second of large copies, and the fixed part of each in seconds."""

    name: str
    source: str
    bandwidth: float
    latency: float


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """`conf/machine/*.yaml`.

    Attributes:
        memory: fast memory (bytes); `memory_bandwidth` bytes/s.
        compute: dense products in 16 bits with sums in 32 (FLOP/s).
        layer_floor: launches and interpreter of one decoder layer, whatever it computes (s).
        host: the processor beside slow memory.

    Raises:
        BadInput: a number that is not positive and finite.
    """

    name: str
    source: str
    memory: float
    memory_bandwidth: float
    compute: float
    layer_floor: float
    link: LinkShape
    host: HostShape

    def __post_init__(self) -> None:
        names = ("memory", "memory_bandwidth", "compute", "layer_floor")
        numbers = {name: getattr(self, name) for name in names}
        numbers |= {f"link.{name}": getattr(self.link, name) for name in ("bandwidth", "latency")}
        for name, value in numbers.items():
            if not 0 < value < math.inf:
                raise BadInput(f"`machine.{name}` is {value}; a positive number is needed")


def costs(shape: ModelShape, machine: MachineConfig, widths: Sequence[int]) -> Costs:
    """Times of the model's layers and transfers on a machine, experts resident (s).

    A layer of a forward over w tokens takes its overhead and the longer of reading its weights and multiplying with
    them. It reads its share of what is not in experts, and the experts of w tokens, whose number is the expected one
    under independent routing.
    """
    dense = shape.other_bytes / shape.layers
    share = shape.moe_layers / shape.layers

    def layer(width: int) -> float:
        used = shape.experts * (1 - (1 - shape.top_k / shape.experts) ** width) * share
        read = dense + used * shape.expert_bytes
        # Two operations per weight, two bytes each: as many operations as bytes, per token.
        operations = width * (dense + shape.top_k * share * shape.expert_bytes)
        return machine.layer_floor + max(read / machine.memory_bandwidth, operations / machine.compute)

    draft = machine.layer_floor
    if shape.draft.layers:
        draft += (shape.draft.active_bytes or shape.draft.bytes) / shape.draft.layers / machine.memory_bandwidth
    transfer = machine.link.latency + shape.expert_bytes / machine.link.bandwidth
    host = machine.host.costs(
        shape.expert_bytes, machine.link.latency, least=shape.expert_bytes / machine.memory_bandwidth
    )
    return Costs({width: layer(width) for width in widths}, {1: draft}, transfer, machine.link.latency, host)


def link(machine: MachineConfig) -> LinkSpec:
    """The machine's link on a virtual clock."""
    return LinkSpec(machine.link.bandwidth, machine.link.latency, virtual=True)
