"""A stand-in for a model's routers: draws experts with given popularity and reuse, and predictions of given recall."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from systems.contract.errors import BadInput
from systems.replay.statistics import Statistics, overlap
from systems.replay.trace import NOTHING, Header, Ids

PAIRS = 250
"""Pairs of independent tokens that tell how much is reused by chance."""


class Router:
    """Draws the experts of tokens in all layers, for one request after the other.

    Raises:
        BadInput: a reuse below what popularity alone gives.
    """

    def __init__(self, header: Header, statistics: Statistics, rng: np.random.Generator) -> None:
        self._rng, self._top_k = rng, header.top_k
        self._size = (header.layers, header.experts)
        self._common, self._own = self._popularity(statistics.skew), statistics.request_skew
        self.begin()
        self._kept = self._keeping(statistics.reuse)

    def begin(self) -> None:
        """Start another request, which prefers other experts."""
        self._logits = self._common + self._popularity(self._own)

    def draw_from(self, rng: np.random.Generator) -> None:
        """Draw all that follows from here: other requests of the same model."""
        self._rng = rng

    def fresh(self, tokens: int) -> Ids:
        """Independent draws `[tokens, layers, k]` without replacement, by popularity (Gumbel top-k)."""
        return _lowest(-(self._logits + self._rng.gumbel(size=(tokens, *self._size))), self._top_k)

    def chain(self, tokens: int, previous: Ids) -> Ids:
        """Tokens behind one that was routed to `previous` `[layers, k]`, each reusing some of the one before."""
        drawn = self.fresh(tokens)
        if self._kept <= 0:
            return drawn
        for token in range(tokens):
            keep = self._rng.random(previous.shape) < self._kept
            previous = drawn[token] = _filled(np.where(keep, previous, NOTHING), drawn[token])
        return drawn

    def foretold(self, chosen: Ids, share: float) -> Ids:
        """A prediction of `chosen` `[..., k]` that names each of its experts with chance `share`."""
        flat = chosen.reshape(-1, self._top_k)
        noise = self._rng.random((len(flat), self._size[1]))
        np.put_along_axis(noise, flat.astype(np.int64), 2.0, axis=1)  # never by accident what is not to be named
        keep = self._rng.random(flat.shape) < share
        return np.where(keep, flat, _lowest(noise, self._top_k)).reshape(chosen.shape)

    def _popularity(self, skew: float) -> NDArray[np.float64]:
        """Logits `[layers, experts]` of a Zipf law, per layer in an order of its own."""
        ranks = np.argsort(self._rng.random(self._size), axis=1) + 1
        logits: NDArray[np.float64] = -skew * np.log(ranks)
        return logits

    def _keeping(self, reuse: float | None) -> float:
        """Chance to keep an expert so that the reuse shown is the one asked for."""
        if reuse is None:
            return 0.0
        by_chance = overlap(self.fresh(PAIRS), self.fresh(PAIRS))
        if reuse < by_chance - 0.02:
            raise BadInput(
                f"statistics.reuse={reuse} is below the {by_chance:.2f} that popularity alone gives; lower the skews"
            )
        return max(0.0, (reuse - by_chance) / (1 - by_chance))


def _lowest(keys: NDArray[np.float64], count: int) -> Ids:
    """Indices `[..., count]` of the smallest keys `[..., n]`, in ascending order."""
    if count == keys.shape[-1]:
        return np.argsort(keys, axis=-1).astype(np.int16)
    found = np.argpartition(keys, count, axis=-1)[..., :count]
    order = np.argsort(np.take_along_axis(keys, found, -1), axis=-1)
    return np.take_along_axis(found, order, -1).astype(np.int16)


def _filled(kept: Ids, fresh: Ids) -> Ids:
    """Each row of `kept` `[layers, k]`, its gaps filled from `fresh` with experts that the row does not have yet."""
    there = (fresh[:, :, None] == kept[:, None, :]).any(-1)
    offered = np.concatenate([kept, np.where(there, NOTHING, fresh)], axis=1)
    first = np.argsort(offered == NOTHING, axis=1, kind="stable")[:, : kept.shape[1]]
    return np.take_along_axis(offered, first, axis=1)
