"""Cascade: draft lengths by their measured utility, for whatever drafter (arXiv 2506.20675).

    utility(k) = tokens per step at length k / (time of such a step / time of a step without drafts)

Drafts that are accepted bring tokens, and make verifications read more experts; utility, which is the speedup over
plain decoding, weighs both as they are. It changes slowly from step to step, so that it pays to test for a while and to
stay with what was best for longer. The numbers are the paper's: trials of 4 steps, at most 4 of them to a test, 16
steps of the length with the greatest utility, none if no utility exceeds one; then twice as many steps with each test
that says so again. A test climbs: it goes on to the next length as long as that gains a tenth. The time of a step
without drafts is measured anew every 100 steps.

What the paper leaves open: a test begins with the best length of the last, the first with one token; it goes up from
there if utility exceeds one, and down if it does not or if going up has not gained. Steps that were set to no drafts
time those, too. The paper begins anew with every request; ours are short, and the machine goes on from one to the next.
"""

from __future__ import annotations

from collections.abc import Sequence

from systems.policies.draft_lengths import DraftGovernor

TRIAL = 4
"""Steps at one length in a test."""
TRIALS = 4
"""Lengths in a test, at most."""
HOLD = 16
"""Steps at the length that was set."""
GAIN = 0.1
"""What the next length must gain for a test to go on."""
REFRESH = 100
"""Steps after which a step without drafts is timed anew."""


class Cascade(DraftGovernor):
    """Tests lengths and sets one, in turn.

    Args:
        longest: the longest draft.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._plain = 0.0
        """Seconds of a step without drafts."""
        self._timed = 0
        """Steps since that was measured."""
        self._length, self._wanted = 0, TRIAL
        """What is drafted now, and for how many steps."""
        self._seconds, self._tokens, self._steps = 0.0, 0.0, 0
        """Of the phase so far; tokens are those of one row."""
        self._tested: dict[int, float] = {}
        """Utilities in the order of the test that goes on."""
        self._trying = False
        """Whether the present steps are a trial; else they are set, or time what takes no drafts."""
        self._best, self._hold = 1, HOLD
        self.utilities: dict[int, float] = {}
        """Each length's last utility."""
        self.chosen = 0
        """The length that was set last."""

    def choose(self) -> int:
        """Return the length of the phase."""
        return self._length

    def observe(self, drafted: Sequence[int], accepted: Sequence[int], seconds: float) -> None:
        """Count a step; where it was the phase's last, begin the next phase."""
        self._seconds += seconds
        self._tokens += 1 + sum(accepted) / len(accepted)
        self._steps += 1
        self._timed += 1
        if self._steps < self._wanted:
            return
        if self._length == 0:
            self._plain, self._timed = self._seconds / self._steps, 0
            self._test()
        elif self._trying:
            self._tested[self._length] = self._tokens / (self._seconds / self._plain)
            self._go_on()
        elif self._timed >= REFRESH:
            self._begin(0, TRIAL)
        else:
            self._test()

    def describe(self) -> dict[str, object]:
        """The last utility by draft length, and what was set last."""
        utilities = {str(length): round(utility, 3) for length, utility in sorted(self.utilities.items())}
        return {"utilities": utilities, "draft_length_chosen": self.chosen}

    def _begin(self, length: int, steps: int, trying: bool = False) -> None:
        self._length, self._wanted, self._trying = length, steps, trying
        self._seconds, self._tokens, self._steps = 0.0, 0.0, 0

    def _test(self) -> None:
        """Begin a test with the best length of the last."""
        self._tested = {}
        self._begin(self._best, TRIAL, trying=True)

    def _go_on(self) -> None:
        """Try another length, or set the best."""
        self.utilities |= self._tested
        following = self._next() if len(self._tested) < TRIALS else 0
        if 1 <= following <= self._longest:
            self._begin(following, TRIAL, trying=True)
            return
        self._best = max(self._tested, key=lambda length: self._tested[length])
        if self._tested[self._best] > 1:
            self.chosen, self._hold = self._best, HOLD
            self._begin(self.chosen, HOLD)
        else:
            self.chosen = 0
            self._begin(0, self._hold)
            self._hold *= 2

    def _next(self) -> int:
        """Return the length that the test climbs to; 0 where it ends."""
        lengths = list(self._tested)
        first, last = lengths[0], lengths[-1]
        if len(lengths) == 1:
            return first + 1 if self._tested[first] > 1 and first < self._longest else first - 1
        before = lengths[-2] if abs(last - lengths[-2]) == 1 else first
        if self._tested[last] >= (1 + GAIN) * self._tested[before]:
            return last + (1 if last > before else -1)
        return first - 1 if last == first + 1 and len(lengths) == 2 else 0
