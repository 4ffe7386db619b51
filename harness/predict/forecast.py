"""Predictions for a model and a machine that need not be at hand: systems replayed from a generated trace.

The trace shows the model's published statistics; the virtual clock runs on the machine's constants.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.measure import one_by_one
from harness.metrics import acceptance, coverage, experts, tpot
from harness.metrics.base import Cell
from harness.predict import machine as machines
from harness.predict.machine import MachineConfig
from systems import api
from systems.api import BadInput, ModelShape, SystemConfig


@dataclass(frozen=True, slots=True)
class TextConfig:
    """The generated text: measured prompts (one more warms up), their length, tokens decoded, and the seed."""

    prompts: int
    prompt_tokens: int
    new_tokens: int
    seed: int

    def __post_init__(self) -> None:
        for name, least in (("prompts", 1), ("prompt_tokens", 1), ("new_tokens", 2)):
            if getattr(self, name) < least:
                raise BadInput(f"`text.{name}` is {getattr(self, name)}; at least {least} is needed")


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is predicted of a system, or the reason why it does not fit.

    Attributes:
        tpot: seconds.
        hit_rate: share of needs met without waiting; `coverage` of those that a hint has named or that have a slot.
        bytes_per_token: over the link; `written_back_bytes` per token the other way.
        acceptance_length: tokens per step.
        slots, cutoff: what it has, and has chosen.
    """

    tpot: float | None = None
    hit_rate: float | None = None
    coverage: float | None = None
    bytes_per_token: float | None = None
    written_back_bytes: float | None = None
    acceptance_length: float | None = None
    slots: int | None = None
    cutoff: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """A system, its draft length (0: it does not draft), whether that is a governor's limit, and what is predicted."""

    system: str
    draft_length: int
    governed: bool
    forecast: Forecast

    @property
    def drafts(self) -> str:
        """Its draft length in words; empty where it does not draft."""
        return "" if not self.draft_length else f"{'up to ' if self.governed else ''}{self.draft_length}"

    @property
    def name(self) -> str:
        """How it is spoken of."""
        return f"{self.system}, drafts of {self.drafts}" if self.draft_length else self.system


class Forecaster:
    """Predicts systems on one model and one machine.

    Args:
        draft_length: the longest draft that will be asked about.

    Raises:
        BadInput: statistics that cannot be.
    """

    def __init__(self, shape: ModelShape, machine: MachineConfig, text: TextConfig, draft_length: int) -> None:
        self._shape, self._machine, self._widths = shape, machine, range(1, draft_length + 2)
        self._costs = machines.costs(shape, machine, self._widths)
        self._traces = api.imagine_traces(
            shape, self._costs, draft_length, text.prompts + 1, text.prompt_tokens, text.new_tokens, text.seed
        )

    def draft_bytes(self, system: SystemConfig) -> int:
        """Fast memory of a system's draft."""
        return self._traces.draft_bytes(system.drafter["part"])

    def __call__(self, system: SystemConfig, budget: int, machine: MachineConfig | None = None) -> Forecast:
        """Predict a system within a budget of bytes for experts and draft.

        Args:
            machine: another one to run on.

        Raises:
            BadInput: from the system.
        """
        try:
            costs = self._costs if machine is None else machines.costs(self._shape, machine, self._widths)
            link = machines.link(machine or self._machine)
            built = api.build_replay(system, self._traces, budget, link, costs)
        except api.DidNotFit as error:
            return Forecast(reason=str(error))
        warm_up, *measured = self._traces.requests
        generations = one_by_one.generations(built, [warm_up], measured)
        facts = built.describe()
        cell = Cell(generations, no_reference="a generated trace", fast_bytes=built.fast_bytes)
        values = tpot.measure(cell) | experts.measure(cell) | coverage.measure(cell) | acceptance.measure(cell)
        return Forecast(
            tpot=values["tpot"].value,
            hit_rate=values["hit_rate"].value,
            coverage=values["coverage"].value,
            bytes_per_token=values["bytes_per_token"].value,
            written_back_bytes=values["written_back_bytes"].value,
            acceptance_length=values["acceptance_length"].value,
            slots=facts["slots"],
            cutoff=facts.get("cutoff"),
        )


def room(shape: ModelShape, memory: int, reserve: int) -> int:
    """Bytes that fast memory has for experts and draft beside the model's other weights and a reserve.

    Raises:
        BadInput: memory that does not even hold those.
    """
    kept = shape.other_bytes + reserve
    if memory <= kept:
        raise BadInput(
            f"`memory` is {memory / 1e9:.1f} GB, and {shape.name} keeps {kept / 1e9:.1f} GB beside its experts: "
            f"{shape.other_bytes / 1e9:.1f} GB of other weights and `reserve`"
        )
    return memory - kept


def with_draft_length(system: SystemConfig, length: int) -> SystemConfig:
    """The same system drafting `length` tokens; one that drafts nothing as it is."""
    if not api.traits(system).drafts:
        return system
    return replace(system, drafter={**system.drafter, "draft_length": length})
