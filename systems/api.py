"""All of `systems` that the harness may see: the contract, and what makes and measures systems.

A system turns requests into tokens and tells a `Meter` what happened; it never reads the clock, counts
tokens or trims them. The harness implements `Meter`, owns the clock and decides when a request is done, so
that our systems and other people's are measured by the same code.

What needs torch, or much else, is imported when it is first asked for: a command that reads records starts at once, and
replays run where torch is not installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
from systems.contract.system import System, log_likelihood, watch_transfers
from systems.contract.traffic import LayerNeeds, Phase, Traffic, Transfer
from systems.contract.traits import Traits

if TYPE_CHECKING:
    from systems.compose.build import build_system
    from systems.compose.calibration import host_costs, layer_time, measure_costs
    from systems.compose.inspection import inspect_folder, unsuited
    from systems.files.downloading import fetch_models
    from systems.methods.spec_moe_off.attention_kernels import attention_error, attention_kernels, attention_work
    from systems.policies.composition import check_system, required_packages, traits
    from systems.replay.activations import collect_activations
    from systems.replay.costs import plain_costs, read_costs
    from systems.replay.imagined import imagine_traces
    from systems.replay.pair import recorded_pair
    from systems.replay.planted import build_planted, plant_model
    from systems.replay.record import decoded_routing
    from systems.replay.store import load_traces, record_traces
    from systems.replay.system import build_replay
    from systems.runtime.dense_control import dense_forward_times
    from systems.runtime.pair import load_pair
    from systems.runtime.scoring import next_logits, stock_ratings
    from systems.tuning.measuring import measure_operators, roofline
    from systems.tuning.tuner import make_tuner

LATER = {
    "systems.compose.build": ("build_system",),
    "systems.compose.calibration": ("host_costs", "layer_time", "measure_costs"),
    "systems.compose.inspection": ("inspect_folder", "unsuited"),
    "systems.files.downloading": ("fetch_models",),
    "systems.methods.spec_moe_off.attention_kernels": ("attention_error", "attention_kernels", "attention_work"),
    "systems.policies.composition": ("check_system", "required_packages", "traits"),
    "systems.replay.activations": ("collect_activations",),
    "systems.replay.costs": ("plain_costs", "read_costs"),
    "systems.replay.imagined": ("imagine_traces",),
    "systems.replay.pair": ("recorded_pair",),
    "systems.replay.planted": ("build_planted", "plant_model"),
    "systems.replay.record": ("decoded_routing",),
    "systems.replay.store": ("load_traces", "record_traces"),
    "systems.replay.system": ("build_replay",),
    "systems.runtime.dense_control": ("dense_forward_times",),
    "systems.runtime.pair": ("load_pair",),
    "systems.runtime.scoring": ("next_logits", "stock_ratings"),
    "systems.tuning.measuring": ("measure_operators", "roofline"),
    "systems.tuning.tuner": ("make_tuner",),
}
"""Modules that are imported when one of their names is first asked for."""
_MODULE = {name: module for module, names in LATER.items() for name in names}

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
    "check_system",
    "collect_activations",
    "decoded_routing",
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
    "stock_ratings",
    "traits",
    "unsuited",
    "watch_transfers",
]


def __getattr__(name: str) -> Any:
    """Import a name that is asked for (PEP 562)."""
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULE[name]), name)
    return value
