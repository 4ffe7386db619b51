"""MoESD's model of the speedup (arXiv 2505.19645, equation 4 and algorithm 1), in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from harness.studies.moesd.activation import experts_activated

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Parameters:
    """The ten parameters of algorithm 1.

    Attributes:
        bias: seconds of a target forward that depend on nothing.
        dense: k1, seconds per unit of `growth` over all tokens: everything but experts.
        load: k2, seconds per activated expert.
        compute: k3, seconds per unit of `growth` over an expert's tokens.
        draft_bias, draft: seconds of a draft forward, and per unit of `growth`.
        reject_bias, reject: seconds of accepting and rejecting, and per request.
        ridge: lambda, the share of the ridge point at which a forward is bound by computing.
        base: s, by how much each token slows a forward below that point.
    """

    bias: float
    dense: float
    load: float
    compute: float
    draft_bias: float
    draft: float
    reject_bias: float
    reject: float
    ridge: float
    base: float

    @classmethod
    def of(cls, values: Sequence[float] | Numbers) -> Parameters:
        """From a vector in the order of the attributes."""
        return cls(*(float(value) for value in values))

    def vector(self) -> Numbers:
        """The attributes in order."""
        return np.array(astuple(self))


NAMES = tuple(field.name for field in fields(Parameters))


@dataclass(frozen=True, slots=True)
class Setting:
    """A point of the grid: experts in all and per token, drafted tokens, requests at once."""

    experts: int
    top_k: int
    draft_length: int
    batch: int


def growth(tokens: float, ridge: float, base: float) -> float:
    """Equation 11: `s^t` up to the ridge, where memory decides; behind it a line with the slope it has there."""
    if tokens <= ridge:
        return float(base**tokens)
    return float(base**ridge * (1 + np.log(base) * (tokens - ridge)))


def forward_time(found: Parameters, setting: Setting, tokens: int, ridge_point: float) -> float:
    """Seconds of a target forward over so many tokens.

    Args:
        ridge_point: tokens at which the machine is bound by computing.
    """
    active = experts_activated(tokens, setting.experts, setting.top_k)
    ridge = found.ridge * ridge_point
    return (
        found.bias
        + found.dense * growth(tokens, ridge, found.base)
        + found.load * active
        + found.compute * growth(tokens * setting.top_k / active, ridge, found.base)
    )


def speedup(found: Parameters, setting: Setting, tokens_per_cycle: float, ridge_point: float) -> float:
    """Equation 4: tokens per request and cycle, times a plain step, over a cycle's time."""
    batch, length = setting.batch, setting.draft_length
    plain = forward_time(found, setting, batch, ridge_point)
    verify = forward_time(found, setting, batch * (length + 1), ridge_point)
    draft = found.draft_bias + found.draft * growth(batch, found.ridge * ridge_point, found.base)
    reject = found.reject_bias + found.reject * batch
    return tokens_per_cycle * plain / (length * draft + verify + reject)


def target_efficiency(found: Parameters, setting: Setting, ridge_point: float) -> float:
    """`T_T(B, 1) / T_T(B, gamma)`, the verification reading one token more than was drafted."""
    batch = setting.batch
    verify = forward_time(found, setting, batch * (setting.draft_length + 1), ridge_point)
    return forward_time(found, setting, batch, ridge_point) / verify
