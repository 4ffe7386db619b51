"""The settings with the highest predicted throughput: SpecMoEOff's optimiser (arXiv 2508.21706, its Eq. 1).

Roofline facts fix batch, micro-batches and placement; the draft length is swept through the simulated iteration, for
the batch as it is and for other lengths of its prefixes, so that it can follow them while they grow and rows leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from systems.contract.errors import BadInput
from systems.contract.iterations import Setting, Whole
from systems.tuning.iteration import Iteration, Operators, Overheads, simulate
from systems.tuning.lines import between, fit


@dataclass(frozen=True, slots=True)
class Roofline:
    """What decides before anything is simulated; bytes and bytes per second.

    Attributes:
        host_memory: what keys and values may take there.
        row_bytes: keys and values of the longest row, target and draft.
        host_bandwidth: of the host's memory, read by its own processor.
        link_bandwidth: from host to fast memory.
        experts, top_k, slots: routed experts of the target, of them chosen per token and layer, held in fast memory.
        layers: of the target.
        processors: that can compute at the same time.
    """

    host_memory: float
    row_bytes: int
    host_bandwidth: float
    link_bandwidth: float
    experts: int
    top_k: int
    slots: int
    layers: int
    processors: int

    @property
    def batch(self) -> int:
        """The largest batch whose keys and values fit: throughput grows with it as long as weights are moved.

        Raises:
            BadInput: not even one row fits.
        """
        most = int(self.host_memory // self.row_bytes)
        if not most:
            raise BadInput(f"`kv_budget` of {self.host_memory:,.0f} B holds no row of {self.row_bytes:,} B; raise it")
        return most

    @property
    def attention_on_host(self) -> bool:
        """Whether reading keys and values where they lie beats moving them."""
        return self.host_bandwidth > self.link_bandwidth

    @property
    def large_from(self) -> float:
        """Rows from which moving whole layers moves less per token than fetching what a cache of the slots misses."""
        missing = 1 - self.slots / (self.experts * self.layers)
        return self.experts / (self.top_k * missing) if missing > 0 else float("inf")

    @property
    def micro_batches(self) -> int:
        """Two, so that host and device overlap, where there are processors for both."""
        return 2 if self.attention_on_host and self.processors > 1 else 1


@dataclass(frozen=True, slots=True)
class Prediction:
    """A setting, its iteration, tokens that a row gains in it, and tokens per second of the batch."""

    setting: Setting
    iteration: Iteration
    gained: float

    @property
    def throughput(self) -> float:
        """Tokens per second."""
        return self.setting.rows * self.gained / self.iteration.total


class Tuner:
    """Predicts the iterations of one batch, from operators and, once profiled, from whole iterations.

    Args:
        setting: rows, micro-batches and prefixes; its draft length is swept.
        gained: tokens per row and iteration by draft length from 0 on, the bonus token included.
    """

    def __init__(self, operators: Operators, setting: Setting, gained: Sequence[float]) -> None:
        self._operators, self._setting, self._gained = operators, setting, gained
        self.overheads = Overheads()

    def profile(self, plain: Whole, drafting: Whole) -> None:
        """Learn what the simulation leaves out from measured iterations without a draft and with a long one.

        Raises:
            BadInput: times that do not grow with the simulated ones.
        """
        self.overheads = Overheads(kept=self._kept(plain), kept_beside_draft=self._kept(drafting))
        slow, fast = (simulate(self._operators, whole.setting, self.overheads) for whole in (drafting, plain))
        target = fit("whole verifications", [(fast.target, plain.target), (slow.target, drafting.target)])
        self.overheads = replace(self.overheads, draft=drafting.draft / slow.draft, target=target)

    def _kept(self, whole: Whole) -> float:
        return self._operators.layers * between(self._operators.needed, whole.setting.tokens) - whole.moved

    def predict(self, length: int, prefix: float | None = None) -> Prediction:
        """Predict a draft length, for prefixes of the setting's length or another, padded alike."""
        prefix = self._setting.prefix if prefix is None else prefix
        setting = replace(self._setting, draft_length=length, prefix=prefix)
        return Prediction(setting, simulate(self._operators, setting, self.overheads), self._gained[length])

    def best(self, prefix: float | None = None) -> Prediction:
        """Return the fastest draft length; of equals the shorter."""
        return self._fastest(0, prefix)

    def _fastest(self, shortest: int, prefix: float | None) -> Prediction:
        found = [self.predict(length, prefix) for length in range(shortest, len(self._gained))]
        return max(found, key=lambda prediction: (prediction.throughput, -prediction.setting.draft_length))

    def lengths(self, longest: int, step: int = 64) -> dict[int, int]:
        """Return the best draft length from so many positions of the whole batch on, for prefixes up to `longest`; at
        least 1, since a system that drafts at times keeps its draft.

        Positions of the batch, not of a row: what attention costs falls again when rows leave.
        """
        found: dict[int, int] = {}
        for prefix in range(0, longest + 1, step):
            length = self._fastest(1, float(prefix)).setting.draft_length
            if not found or list(found.values())[-1] != length:
                found[round(prefix * self._setting.rows)] = length
        return found


def make_tuner(operators: Operators, setting: Setting, accepted: Sequence[int], longest: int) -> Tuner:
    """Return what predicts iterations of a batch for every draft length up to `longest`.

    Args:
        accepted: drafts accepted per row and step in a run with drafts of `longest`.

    Raises:
        BadInput: no steps.
    """
    return Tuner(operators, setting, gains(accepted, longest))


def gains(accepted: Sequence[int], longest: int) -> list[float]:
    """Return the tokens that a row gains per iteration by draft length from 0 to `longest`, the bonus token included.

    Args:
        accepted: drafts accepted in each step of a run with drafts of `longest`; a shorter draft is its beginning.

    Raises:
        BadInput: no steps.
    """
    if not accepted:
        raise BadInput("nothing was drafted, so that acceptance is unknown; raise `draft_lengths` or the prompts")
    return [1 + sum(min(count, length) for count in accepted) / len(accepted) for length in range(longest + 1)]
