"""What `harness.predict.paper_scale.command` is told, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.config import schema
from harness.predict.forecast import Forecast, TextConfig
from harness.predict.machine import MachineConfig
from harness.records.papers import Reported
from systems.api import BadInput, ModelShape, SystemConfig

Metric = Literal["tpot", "hit_rate", "coverage"]
MISS = {"tpot": 0.15, "hit_rate": 0.05, "coverage": 0.05}
"""From which deviation on its cause is said."""
NARROW = 0.02
"""Below which two predicted TPOTs (their ratio less one) or shares are called close: seeds and ties may turn them."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why predictions deviate; what is empty matches all."""

    text: str
    system: str = ""
    model: str = ""
    machine: str = ""
    setting: str = ""

    def explains(self, one: Reported) -> bool:
        """Whether it is about this number."""
        chosen = [(self.system, one.system), (self.model, one.model), (self.machine, one.machine)]
        return all(wanted in ("", found) for wanted, found in chosen) and self.setting in one.setting


@dataclass(frozen=True, slots=True)
class Comparison:
    """One table or figure of a paper.

    Attributes:
        budget: where the bytes for experts come from: the machine's memory (`card`), the row's `memory=`, its
            `slots_per_layer=`, or `levels`, slots per layer by model and the row's `memory=`.
        more: share of all experts that a system keeps besides.
        systems: as in `conf/config.yaml`, labelled with the paper's names.
        ours: the metric of this project that the paper's definition stands for, where it is not the one of that name.
        fitted: systems whose numbers the statistics were fitted to: no predictions.
        left_out: the paper's systems that are not predicted, and why.
    """

    paper: str
    where: str
    metric: Metric
    budget: Literal["card", "memory", "slots", "levels"]
    systems: tuple[Any, ...]
    causes: tuple[Cause, ...]
    levels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    more: Mapping[str, float] = field(default_factory=dict)
    ours: Metric | None = None
    fitted: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PaperScaleConfig:
    """`conf/paper_scale.yaml`; `systems` are those of each comparison, read."""

    only: tuple[str, ...] | None
    reserve: str
    text: TextConfig
    output: str
    models: Mapping[str, ModelShape]
    machines: Mapping[str, MachineConfig]
    comparisons: Mapping[str, Comparison]
    systems: Mapping[str, Mapping[str, SystemConfig]]

    def chosen(self) -> dict[str, Comparison]:
        """The comparisons that are wanted."""
        if self.only is None:
            return dict(self.comparisons)
        for name in self.only:
            if name not in self.comparisons:
                raise BadInput(f"`only` names {name}; {schema.suggest(name, self.comparisons)}")
        return {name: self.comparisons[name] for name in self.only}


@dataclass(frozen=True, slots=True)
class Prediction:
    """A reported number and its prediction, in SI units and shares.

    Attributes:
        system: the bench's.
        metric: what of ours the paper's metric is.
    """

    comparison: str
    reported: Reported
    system: str
    forecast: Forecast
    fitted: bool
    cause: str
    metric: Metric

    @property
    def target(self) -> float:
        """What was reported."""
        return self.reported.seconds if self.reported.metric == "tpot" else self.reported.value / 100

    @property
    def value(self) -> float | None:
        """What is predicted; None where it does not fit."""
        found: float | None = getattr(self.forecast, self.metric)
        return found

    @property
    def deviation(self) -> float | None:
        """Predicted over reported TPOT, less one; the difference of hit rates."""
        if self.value is None:
            return None
        return self.value / self.target - 1 if self.reported.metric == "tpot" else self.value - self.target

    @property
    def missed(self) -> bool:
        """Whether it is off by so much that its cause must be said, or does not fit."""
        off = self.deviation
        return not self.fitted and (off is None or abs(off) > MISS[self.reported.metric])
