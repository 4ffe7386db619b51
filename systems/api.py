"""All of `systems` that the harness may see: the contract, and the doors to what is behind it.

A system turns requests into tokens and tells a `Meter` what happened; it never reads the clock, counts
tokens or trims them. The harness implements `Meter`, owns the clock and decides when a request is done, so
that our systems and other people's are measured by the same code.
"""

from __future__ import annotations

from systems.contract.config import ModelConfig, SystemConfig, located
from systems.contract.costs import Costs, HostCosts, LinkSpec
from systems.contract.errors import BadInput, DidNotFit, Unsupported, WorkerDied
from systems.contract.iterations import Setting, Whole, padded
from systems.contract.meter import Meter, NullMeter, SpanName
from systems.contract.pair import ModelPair
from systems.contract.recording import Imagination, Recording, Traces
from systems.contract.requests import Request, Sampling
from systems.contract.shape import DraftShape, ModelShape
from systems.contract.system import System
from systems.contract.traffic import LayerNeeds, Phase, Traffic, Transfer
from systems.doors.batches import (
    attention_error,
    attention_kernels,
    attention_work,
    make_tuner,
    measure_operators,
    roofline,
)
from systems.doors.live import (
    build_system,
    collect_activations,
    dense_forward_times,
    host_costs,
    layer_time,
    load_pair,
    log_likelihood,
    measure_costs,
    next_logits,
    required_packages,
    routing,
    watch_transfers,
)
from systems.doors.replays import (
    build_replay,
    imagine_traces,
    load_traces,
    plain_costs,
    read_costs,
    record_traces,
    recorded_pair,
)

__all__ = [
    "BadInput",
    "Costs",
    "DidNotFit",
    "DraftShape",
    "HostCosts",
    "Imagination",
    "LayerNeeds",
    "LinkSpec",
    "Meter",
    "ModelConfig",
    "ModelPair",
    "ModelShape",
    "NullMeter",
    "Phase",
    "Recording",
    "Request",
    "Sampling",
    "Setting",
    "SpanName",
    "System",
    "SystemConfig",
    "Traces",
    "Traffic",
    "Transfer",
    "Unsupported",
    "Whole",
    "WorkerDied",
    "attention_error",
    "attention_kernels",
    "attention_work",
    "build_replay",
    "build_system",
    "collect_activations",
    "dense_forward_times",
    "host_costs",
    "imagine_traces",
    "layer_time",
    "load_pair",
    "load_traces",
    "located",
    "log_likelihood",
    "make_tuner",
    "measure_costs",
    "measure_operators",
    "next_logits",
    "padded",
    "plain_costs",
    "read_costs",
    "record_traces",
    "recorded_pair",
    "required_packages",
    "roofline",
    "routing",
    "watch_transfers",
]
