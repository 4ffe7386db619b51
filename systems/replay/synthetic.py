"""Traces of models that are not at hand, made to show given statistics.

What decides how a cache and a prefetcher fare is how skewed the experts' popularity is, how many of a token's experts
the previous token used, how well the next layers and the draft foretell them, and how many drafts are accepted. Each
is a knob here; what a published model shows can be set, and everything else is random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systems.api import BadInput
from systems.replay.trace import NOTHING, Header, Ids, Record, Trace

VOCABULARY = 1000
"""Tokens stand for positions; a wrong draft is one below 10."""
PROBES = 4000


@dataclass(frozen=True)
class Statistics:
    """What a trace shows.

    Attributes:
        skew: exponent of the Zipf law that the experts' popularity follows, per layer in another order; 0 is uniform.
        reuse: share of a token's experts that the previous token used in the same layer; None leaves it to chance.
        ahead: share of a token's experts that the gates of one and two layers earlier name.
        recall: share of a token's experts that the draft names.
        acceptance: chance that a draft is right when all before it were.
    """

    skew: float = 0.0
    reuse: float | None = None
    ahead: tuple[float, float] = (0.0, 0.0)
    recall: float = 0.0
    acceptance: float = 0.0

    def __post_init__(self) -> None:
        shares = {"recall": self.recall, "acceptance": self.acceptance, "ahead": min(self.ahead), "reuse": self.reuse}
        for name, share in {**shares, "ahead ": max(self.ahead)}.items():
            if share is not None and not 0 <= share <= 1:
                raise BadInput(f"statistics.{name.strip()} is {share}; a share in [0, 1] is needed")
        if self.skew < 0:
            raise BadInput(f"statistics.skew is {self.skew}; 0 (uniform) or more is needed")


def synthesise(
    header: Header, statistics: Statistics, requests: int, prompt_tokens: int, new_tokens: int, seed: int = 0
) -> Trace:
    """Make a trace of `requests` requests with ids `synthetic/0`, ...

    Args:
        header: the model's numbers; `facts` receive the statistics.

    Raises:
        BadInput: a reuse below what popularity alone gives.
    """
    rng = np.random.default_rng(seed)
    router = _Router(header, statistics, rng)
    records = {
        f"synthetic/{number}": _Request(header, statistics, router, rng).record(prompt_tokens, new_tokens)
        for number in range(requests)
    }
    return Trace(header, records)


class _Router:
    """Draws the experts of one token in every layer."""

    def __init__(self, header: Header, statistics: Statistics, rng: np.random.Generator) -> None:
        self._rng, self._layers, self._top_k = rng, header.layers, header.top_k
        ranks = np.arange(1, header.experts + 1) ** -statistics.skew
        order = np.argsort(rng.random((header.layers, header.experts)), axis=1)
        self._logits = np.log(ranks / ranks.sum())[order]
        self._kept = self._keeping(statistics.reuse)

    def fresh(self, tokens: int) -> Ids:
        """Independent draws `[tokens, layers, top_k]` without replacement, by popularity (Gumbel top-k)."""
        noise = self._rng.gumbel(size=(tokens, *self._logits.shape))
        return np.argsort(-(self._logits + noise), axis=-1)[..., : self._top_k].astype(np.int16)

    def chain(self, tokens: int, previous: Ids) -> Ids:
        """Tokens behind one that was routed to `previous` `[layers, top_k]`, each reusing some of the one before."""
        fresh = self.fresh(tokens)
        if self._kept <= 0:
            return fresh
        for token in range(tokens):
            keep = self._rng.random(previous.shape) < self._kept
            fresh[token] = _filled(np.where(keep, previous, NOTHING), fresh[token])
            previous = fresh[token]
        return fresh

    def others(self, chosen: Ids, share: float) -> Ids:
        """A prediction of `chosen` `[..., layers or none, top_k]` that names each expert with chance `share`."""
        experts = self._logits.shape[1]
        flat = chosen.reshape(-1, self._top_k)
        keep = self._rng.random(flat.shape) < share
        noise = self._rng.random((len(flat), experts))
        np.put_along_axis(noise, flat.astype(np.int64), 2.0, axis=1)  # never by accident what is not to be named
        wrong = np.argsort(noise, axis=1)[:, : self._top_k].astype(np.int16)
        return np.where(keep, flat, wrong).reshape(chosen.shape)

    def _keeping(self, reuse: float | None) -> float:
        """Chance to keep an expert so that the measured reuse is the one asked for."""
        if reuse is None:
            return 0.0
        by_chance = float(
            np.mean([_overlap(a, b) for a, b in zip(self.fresh(PROBES // 2), self.fresh(PROBES // 2), strict=True)])
        )
        if reuse < by_chance - 0.01:
            raise BadInput(
                f"statistics.reuse={reuse} is below the {by_chance:.2f} that popularity alone gives; lower `skew`"
            )
        return max(0.0, (reuse - by_chance) / (1 - by_chance))


class _Request:
    """Draws one request."""

    def __init__(self, header: Header, statistics: Statistics, router: _Router, rng: np.random.Generator) -> None:
        self._header, self._statistics, self._router, self._rng = header, statistics, router, rng

    def record(self, prompt_tokens: int, new_tokens: int) -> Record:
        """All arrays of a request; see `Record`."""
        header, longest = self._header, self._header.draft_length
        nothing = np.full((header.layers, header.top_k), 0, np.int16)
        prompt = self._router.chain(prompt_tokens, self._router.fresh(1)[0] if prompt_tokens else nothing)
        # What is decoded on the way, and as far behind it as the last step may draft.
        path = self._router.chain(new_tokens + longest, prompt[-1])
        steps = new_tokens - 1
        agreed = self._agreement(steps, longest)
        routed = np.stack([path[place : place + longest + 1] for place in range(steps)])
        for place, right in enumerate(agreed.tolist()):
            if right < longest:
                routed[place, right + 1 :] = self._router.chain(longest - right, routed[place, right])
        tokens = (np.arange(new_tokens + longest + 1) % VOCABULARY + 10).astype(np.int32)
        answers = np.stack([tokens[place + 1 : place + longest + 2] for place in range(steps)])
        drafts = answers[:, :longest].copy()
        drafts[np.arange(longest) >= agreed[:, None]] = 0
        return Record(
            prompt=np.arange(prompt_tokens, dtype=np.int32) % VOCABULARY,
            prompt_routed=prompt,
            first=int(tokens[0]),
            drafts=drafts,
            agreed=agreed,
            answers=answers,
            routed=routed,
            hinted=self._router.others(routed[:, :longest], self._statistics.recall),
            confidences=np.broadcast_to(self._weights(), (steps, longest, header.layers, header.top_k)).copy(),
            ahead=self._ahead(routed),
        )

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
            said[:, :, : layers - far - 1, far] = self._router.others(routed[:, :, far + 1 :], share)
        return said

    def _weights(self) -> NDArray[np.float32]:
        """Confidence falls with the rank."""
        weights = 2.0 ** -np.arange(self._header.top_k)
        shares: NDArray[np.float32] = (weights / weights.sum()).astype(np.float32)
        return shares


def _filled(kept: Ids, fresh: Ids) -> Ids:
    """Each row of `kept`, its gaps (NOTHING) filled from `fresh` with experts that the row does not have yet."""
    rows = []
    for keeping, offered in zip(kept.tolist(), fresh.tolist(), strict=True):
        row = [expert for expert in keeping if expert != NOTHING]
        row += [expert for expert in offered if expert not in row][: len(keeping) - len(row)]
        rows.append(row)
    return np.array(rows, np.int16)


def _overlap(a: Ids, b: Ids) -> float:
    """Share of `b`'s experts that `a` has, mean over layers."""
    return float((a[:, :, None] == b[:, None, :]).any(1).mean())


def measured(trace: Trace) -> dict[str, float]:
    """What a trace shows, under the names of `Statistics`: reuse, ahead (both), recall, acceptance."""
    reuse, near, far, recall = list[float](), list[float](), list[float](), list[float]()
    right = tried = 0
    for record in trace.records.values():
        path = record.routed[:, 0]
        reuse.append((path[:-1, :, :, None] == path[1:, :, None, :]).any(2).mean())
        for values, distance in ((near, 1), (far, 2)):
            said, truth = record.ahead[:, :, :-distance, distance - 1], record.routed[:, :, distance:]
            known = (truth != NOTHING).all(-1)
            values.append((said[..., :, None] == truth[..., None, :]).any(-2)[known].mean())
        drafting = record.routed[:, : record.hinted.shape[1]]
        if drafting.shape[1]:
            recall.append((record.hinted[..., :, None] == drafting[..., None, :]).any(-2).mean())
        longest = record.drafts.shape[1]
        right += int(record.agreed.sum())
        tried += int(np.minimum(record.agreed + 1, longest).sum())
    return {
        "reuse": float(np.mean(reuse)),
        "ahead_1": float(np.mean(near)),
        "ahead_2": float(np.mean(far)),
        "recall": float(np.mean(recall)) if recall else 0.0,
        "acceptance": right / tried if tried else 0.0,
    }
