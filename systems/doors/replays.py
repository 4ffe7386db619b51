"""Recordings: making, opening and imagining them, and building systems that replay them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from systems.contract.config import ModelConfig, SystemConfig
from systems.contract.costs import Costs, LinkSpec
from systems.contract.pair import ModelPair
from systems.contract.recording import Imagination, Planted, Recording, Traces
from systems.contract.requests import Request
from systems.contract.shape import ModelShape
from systems.contract.system import System


def record_traces(
    pair: ModelPair, systems: Sequence[SystemConfig], requests: Sequence[Request], costs: Costs, folder: Path
) -> None:
    """Run the models over greedy requests and keep all that replaying `systems`, and others like them, needs."""
    from systems.replay.store import longest_drafters, record_folder

    record_folder(cast("Any", pair), longest_drafters(systems), requests, costs, folder)


def load_traces(folder: Path, pair: ModelPair | None = None) -> Recording:
    """Open a recording, of a pair where one is given.

    Raises:
        BadInput: there is none; a trace of it is broken, or of other models (said when it is asked for).
    """
    from systems.replay.store import TraceFolder

    return TraceFolder(folder) if pair is None else TraceFolder(folder, pair.describe(), lambda: pair.activations)


def recorded_pair(folder: Path, config: ModelConfig, root: Path) -> ModelPair:
    """Return what a recording knows of the pair of a config: all but its weights, which are not loaded.

    Raises:
        BadInput: there is no recording or not all of it, or a file of weights is missing.
    """
    from systems.replay.pair import RecordedPair
    from systems.replay.store import TraceFolder

    recording = TraceFolder(folder)
    return RecordedPair(config, root, recording.header, recording.tokenizer)


def imagine_traces(
    shape: ModelShape, costs: Costs, draft_length: int, requests: int, prompt_tokens: int, new_tokens: int, seed: int
) -> Imagination:
    """Generate a recording of a model that is not at hand; computations take what `costs` says.

    Raises:
        BadInput: statistics that cannot be.
    """
    from systems.replay.imagined import Imagined, Texts

    return Imagined(shape, costs, Texts(requests, prompt_tokens, new_tokens, draft_length, seed))


def build_replay(config: SystemConfig, traces: Traces, budget_bytes: int, link: LinkSpec, costs: Costs) -> System:
    """Compose a system whose models are a recording; its times are predictions.

    Raises:
        BadInput: as `build_system`, or the recording does not hold what the system asks.
        DidNotFit: as `build_system`.
    """
    from systems.replay.system import ReplayedSystem

    trace = cast("Any", traces).of(config.drafter["part"])
    return ReplayedSystem(config, trace, budget_bytes, link, costs, traces.activations)


def plant_model(shape: ModelShape, device: str, distinct: int) -> Planted:
    """Make what has a model's sizes on a device: matrices of its layers there, `distinct` of its experts in page-locked
    host memory, which stand for all."""
    from systems.replay.planted import PlantedModel

    return PlantedModel(shape, device, distinct)


def build_planted(config: SystemConfig, traces: Imagination, budget_bytes: int, costs: Costs, model: Planted) -> System:
    """Compose a system that replays generated traces over a planted model: its copies and kernels are real.

    Raises:
        BadInput: as `build_replay`.
        DidNotFit: as `build_replay`.
    """
    from systems.replay.planted import PlantedSystem

    recording = cast("Any", traces)
    trace = recording.of(config.drafter["part"])
    return PlantedSystem(config, trace, budget_bytes, costs, recording.activations(), cast("Any", model))


def plain_costs(costs: Costs) -> dict[str, Any]:
    """Return costs as JSON values."""
    from systems.replay.costs import plain

    return plain(costs)


def read_costs(facts: dict[str, Any]) -> Costs:
    """Return costs from their JSON values.

    Raises:
        KeyError, TypeError, ValueError: a number is missing or not positive.
    """
    from systems.replay.costs import costs_of

    return costs_of(facts)
