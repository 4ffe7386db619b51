"""Traces of models that are not at hand, made to show given statistics.

What decides how a cache and a prefetcher fare is how skewed the experts' popularity is, how many of a token's experts
the previous token used, how well the next layers and the draft foretell them, and how many drafts are accepted. Each
is a knob of `Statistics`; what a published model shows can be set, and everything else is random.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from systems.replay.router import Router
from systems.replay.statistics import Statistics
from systems.replay.trace import NOTHING, Header, Ids, Record, Trace

VOCABULARY = 1000
"""Tokens stand for positions; a wrong draft is one below 10."""


def synthesise(
    header: Header, statistics: Statistics, requests: int, prompt_tokens: int, new_tokens: int, seed: int = 0
) -> Trace:
    """Make a trace of `requests` requests with ids `synthetic/0`, ...

    Raises:
        BadInput: a reuse below what popularity alone gives.
    """
    rng = np.random.default_rng(seed)
    router = Router(header, statistics, rng)
    maker = _Maker(header, statistics, router, rng)
    return Trace(header, {f"synthetic/{number}": maker.record(prompt_tokens, new_tokens) for number in range(requests)})


def activation_matrices(
    header: Header, statistics: Statistics, sequences: int, tokens: int, seed: int = 0
) -> NDArray[np.float64]:
    """Count where sequences that no trace of this seed holds are routed: `[sequences, layers, experts]`.

    The experts' popularity over all requests is that of `synthesise` with the same seed; what each request prefers
    besides is its own.

    Raises:
        BadInput: as `synthesise`.
    """
    router = Router(header, statistics, np.random.default_rng(seed))
    router.draw_from(np.random.default_rng([seed, sequences]))
    counts = np.zeros((sequences, header.layers, header.experts))
    layers = np.arange(header.layers)[None, :, None]
    for matrix in counts:
        router.begin()
        np.add.at(matrix, (layers, router.chain(tokens, router.fresh(1)[0])), 1)
    return counts


class _Maker:
    """Draws requests."""

    def __init__(self, header: Header, statistics: Statistics, router: Router, rng: np.random.Generator) -> None:
        self._header, self._statistics, self._router, self._rng = header, statistics, router, rng

    def record(self, prompt_tokens: int, new_tokens: int) -> Record:
        """All arrays of a request; see `Record`."""
        longest = self._header.draft_length
        self._router.begin()
        prompt = self._router.chain(prompt_tokens, self._router.fresh(1)[0])
        steps = new_tokens - 1
        agreed = self._agreement(steps, longest)
        routed = self._routed(prompt[-1], agreed, steps, longest)
        tokens = (np.arange(new_tokens + longest + 1) % VOCABULARY + 10).astype(np.int32)
        answers = np.stack([tokens[place + 1 : place + longest + 2] for place in range(steps)])
        drafts = answers[:, :longest].copy()
        drafts[np.arange(longest) >= agreed[:, None]] = 0
        hinted = self._router.foretold(routed[:, :longest], self._statistics.recall)
        return Record(
            prompt=np.arange(prompt_tokens, dtype=np.int32) % VOCABULARY,
            prompt_routed=prompt,
            first=int(tokens[0]),
            drafts=drafts,
            agreed=agreed,
            answers=answers,
            routed=routed,
            hinted=hinted,
            confidences=np.broadcast_to(self._weights(), hinted.shape).copy(),
            ahead=self._ahead(routed),
        )

    def _routed(self, last: Ids, agreed: Ids, steps: int, longest: int) -> Ids:
        """Experts `[steps, longest + 1, layers, k]` along the output; behind a wrong draft, along its wrong path."""
        path = self._router.chain(steps + longest, last)  # as far behind the output as the last step may draft
        routed = np.stack([path[place : place + longest + 1] for place in range(steps)])
        for place, right in enumerate(agreed.tolist()):
            if right < longest:
                routed[place, right + 1 :] = self._router.chain(longest - right, routed[place, right])
        return routed

    def _agreement(self, steps: int, longest: int) -> Ids:
        """How many drafts are right at each position: a run of coin tosses."""
        right = self._rng.random((steps, longest)) < self._statistics.acceptance
        agreed: Ids = np.cumprod(right, axis=1).sum(axis=1).astype(np.int16)
        return agreed

    def _ahead(self, routed: Ids) -> Ids:
        """What earlier layers' states say of later layers: entry `[..., layer, d]` is about layer + d + 1."""
        steps, width, layers, top_k = routed.shape
        said = np.full((steps, width, layers, self._header.depth, top_k), NOTHING, np.int16)
        for far, share in enumerate(self._statistics.ahead[: self._header.depth]):
            said[:, :, : layers - far - 1, far] = self._router.foretold(routed[:, :, far + 1 :], share)
        return said

    def _weights(self) -> NDArray[np.float32]:
        """Confidence falls with the rank."""
        weights = 2.0 ** -np.arange(self._header.top_k)
        shares: NDArray[np.float32] = (weights / weights.sum()).astype(np.float32)
        return shares
