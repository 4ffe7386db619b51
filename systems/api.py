"""All of `systems` that the harness may see: the contract, and the doors to what is behind it.

A system turns requests into tokens and tells a `Meter` what happened; it never reads the clock, counts
tokens or trims them. The harness implements `Meter`, owns the clock and decides when a request is done, so
that our systems and other people's are measured by the same code.
"""

from __future__ import annotations

from systems.contract.config import ModelCard, ModelConfig, SystemConfig, located
from systems.contract.costs import Costs, HostCosts, LinkSpec
from systems.contract.errors import BadInput, DidNotFit, Unsupported, WorkerDied
from systems.contract.folder_report import FolderReport
from systems.contract.iterations import Setting, Whole, padded
from systems.contract.meter import Meter, NullMeter, SpanName
from systems.contract.pair import ModelPair
from systems.contract.recording import Imagination, Planted, Recording, Traces
from systems.contract.requests import Request, Sampling
from systems.contract.shape import DraftShape, ModelShape
from systems.contract.system import System
from systems.contract.traffic import LayerNeeds, Phase, Traffic, Transfer
from systems.contract.traits import Traits
from systems.doors.batches import (
    attention_error,
    attention_kernels,
    attention_work,
    make_tuner,
    measure_operators,
    roofline,
)
from systems.doors.folders import fetch_models, inspect_folder, unsuited
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
    routing,
    stock_ratings,
    watch_transfers,
)
from systems.doors.parts import required_packages, traits
from systems.doors.replays import (
    build_planted,
    build_replay,
    imagine_traces,
    load_traces,
    plain_costs,
    plant_model,
    read_costs,
    record_traces,
    recorded_pair,
)

__all__ = [
    "BadInput",
    "Costs",
    "DidNotFit",
    "DraftShape",
    "FolderReport",
    "HostCosts",
    "Imagination",
    "LayerNeeds",
    "LinkSpec",
    "Meter",
    "ModelCard",
    "ModelConfig",
    "ModelPair",
    "ModelShape",
    "NullMeter",
    "Phase",
    "Planted",
    "Recording",
    "Request",
    "Sampling",
    "Setting",
    "SpanName",
    "System",
    "SystemConfig",
    "Traces",
    "Traffic",
    "Traits",
    "Transfer",
    "Unsupported",
    "Whole",
    "WorkerDied",
    "attention_error",
    "attention_kernels",
    "attention_work",
    "build_planted",
    "build_replay",
    "build_system",
    "collect_activations",
    "dense_forward_times",
    "fetch_models",
    "host_costs",
    "imagine_traces",
    "inspect_folder",
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
    "plant_model",
    "read_costs",
    "record_traces",
    "recorded_pair",
    "required_packages",
    "roofline",
    "routing",
    "stock_ratings",
    "traits",
    "unsuited",
    "watch_transfers",
]
