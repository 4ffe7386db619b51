"""How many experts a number of tokens activates (MoESD, arXiv 2505.19645, equations 8 to 10), and what routing does.

The paper's formula takes routing as uniform and tokens as independent. Popular experts make for fewer distinct ones,
and so do tokens that resemble each other; the functions below take these apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Routing = NDArray[np.int64]
"""Experts by token, layer and rank: `(tokens, layers, k)`; neighbours follow each other in a text."""


def experts_activated(tokens: float, experts: int, top_k: int) -> float:
    """Distinct experts that so many tokens activate: `E (1 - ((E - K) / E)^t)` (equation 8)."""
    return float(experts * (1 - (1 - top_k / experts) ** tokens))


def load_threshold(experts: int, top_k: int, share: float = 0.95) -> int:
    """Tokens that activate the `share` of all experts: `ceil(log(1 - share) / log(1 - K / E))` (equation 9)."""
    if top_k >= experts:
        return 1
    return math.ceil(math.log(1 - share) / math.log(1 - top_k / experts))


def tokens_per_expert(tokens: float, experts: int, top_k: int) -> float:
    """Tokens that each activated expert computes: `t K / N(t)` (equation 10)."""
    return tokens * top_k / experts_activated(tokens, experts, top_k)


@dataclass(frozen=True, slots=True)
class Activation:
    """Mean distinct experts per layer of so many tokens.

    Attributes:
        uniform: the formula.
        skewed: the same with every expert's own popularity, tokens independent.
        scattered: measured over tokens from anywhere.
        verified: measured over tokens as a verification has them: runs of neighbours from different texts.
    """

    tokens: int
    uniform: float
    skewed: float
    scattered: float
    verified: float


def measure(routing: Routing, experts: int, tokens: int, run: int, samples: int, seed: int) -> Activation:
    """Count what groups of tokens activate.

    Args:
        run: neighbours that are verified together.
        samples: groups that are drawn for each kind.
    """
    count, _, top_k = routing.shape
    random = np.random.default_rng(seed)
    popularity = np.stack([np.bincount(layer.ravel(), minlength=experts) for layer in routing.swapaxes(0, 1)]) / count
    skewed = (1 - (1 - np.minimum(popularity, 1.0)) ** tokens).sum(1).mean()
    anywhere = [random.choice(count, tokens, replace=tokens > count) for _ in range(samples)]
    starts = [random.integers(0, count - run + 1, math.ceil(tokens / run)) for _ in range(samples)]
    runs = [(chosen[:, None] + np.arange(run)).ravel()[:tokens] for chosen in starts]
    return Activation(
        tokens,
        experts_activated(tokens, experts, top_k),
        float(skewed),
        float(np.mean([distinct(routing[group]) for group in anywhere])),
        float(np.mean([distinct(routing[group]) for group in runs])),
    )


def distinct(routing: Routing) -> float:
    """Mean distinct experts per layer."""
    return float(np.mean([len(np.unique(layer)) for layer in routing.swapaxes(0, 1)]))
