"""SP-MoE's cutoff, chosen by playing the warm-up over at other depths."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from systems.methods.sp_moe.cutoff import shortest, times_by_depth
from systems.methods.sp_moe.warm_up import Batch, Routed, Step, WarmUp
from systems.runtime.site import Twin


class CutoffSearch:
    """Chooses the depth with the shortest step, of all that the warm-up has shown so far.

    Args:
        make_twin: makes one in the state in which a system begins.

    Attributes:
        times: mean step time (s) by depth, as far as it was played.
    """

    def __init__(self, make_twin: Callable[[], Twin], layers: int, warm_up: WarmUp) -> None:
        self._make_twin, self._layers, self.warm_up = make_twin, layers, warm_up
        self.times: dict[int, float] = {}
        self._reruns: dict[int, Rerun] = {}
        self._steps = 0

    def choose(self) -> int:
        """Return the best depth; all layers where nothing was decoded."""
        batches = self.warm_up.batches
        warm = self._rerun(0).warm_steps(batches)
        if not warm.stop:
            return self._layers
        self._steps = warm.stop - warm.start

        def play(depth: int) -> float:
            return sum(self._rerun(depth).step_times(batches)[warm]) / self._steps

        self.times = times_by_depth(play, self._layers)
        return shortest(self.times)

    def describe(self) -> dict[str, object]:
        """The predicted step time (ms) by depth, and of how many steps it is the mean, for the record."""
        times = {str(depth): round(time * 1e3, 4) for depth, time in self.times.items()}
        return {"cutoff_step_ms": times, "cutoff_steps": self._steps}

    def _rerun(self, depth: int) -> Rerun:
        if depth not in self._reruns:
            self._reruns[depth] = Rerun(self._make_twin, depth)
        return self._reruns[depth]


class Rerun:
    """The system at one depth, going through the warm-up as it did; it goes on from where it was as batches come."""

    def __init__(self, make_twin: Callable[[], Twin], depth: int) -> None:
        self._make_twin, self._depth = make_twin, depth
        self._start()

    def _start(self) -> None:
        self._twin = self._make_twin()
        self._times: list[float] = []
        self._again: list[float] = []
        """Times of the steps with what all of them have taught."""
        self._played = 0
        self._filled: int | None = None
        """Steps that had passed when no slot was empty any more."""

    def step_times(self, batches: Sequence[Batch]) -> list[float]:
        """Return the time (s) of every step.

        Where the warm-up has taught the residency policy whom to load, the steps are played once more with what it has
        learned: the system goes on with that. When another batch comes it then begins anew.
        """
        if self._again and self._played < len(batches):
            self._start()
        for batch in batches[self._played :]:
            self._learn_from(batch)
        self._played = len(batches)
        if not self._twin.residency.favourites():
            return self._times
        if not self._again:
            self._again = [time for batch in batches for time in self._play(batch)]
        return self._again

    def warm_steps(self, batches: Sequence[Batch]) -> slice:
        """The steps that began with no slot empty: an empty one costs no prefetch anything, and there are none later.
        Where some stay empty, all steps."""
        count = len(self.step_times(batches))
        filled = self._filled
        return slice(0 if filled is None or filled >= count or self._twin.residency.favourites() else filled, count)

    def _learn_from(self, batch: Batch) -> None:
        """As `ComposedSystem.calibrate`."""
        twin = self._twin
        twin.residency.learn(True)
        twin.listener.learn(True)
        self._times += self._play(batch)
        twin.residency.learn(False)
        twin.listener.learn(False)
        if favourites := twin.residency.favourites():
            twin.cache.install(favourites)

    def _play(self, batch: Batch) -> list[float]:
        """Play a generation; return the times of its steps."""
        cache, listener, clock = self._twin.cache, self._twin.listener, self._twin.cache.clock
        cache.end_step()
        cache.enter("prefill")
        listener.begin(batch.rows)
        for reading in batch.readings:
            listener.reading(reading.first, reading.lengths)
            self._forward(reading.layers)
        cache.take_traffic()
        cache.enter("decode")
        listener.decoding()
        times = list[float]()
        for step in batch.steps:
            began = clock.now()
            self._step(step)
            times.append(clock.now() - began)
            if self._filled is None and -1 not in cache.slots.owner:
                self._filled = len(self._times) + len(times)
        listener.end()
        cache.end_generation()
        return times

    def _step(self, step: Step) -> None:
        cache, listener, pace = self._twin.cache, self._twin.listener, self._twin.pace
        if step.kept is not None:
            listener.keep(step.kept)
        for place, named in enumerate(step.hints):
            tokens = step.rows if place else step.unread
            for layer in self._twin.draft_ordinals:
                pace.draft_layer(tokens)
                if layer < self._depth and layer in named:
                    cache.prefetch(layer, named[layer])
        self._forward(step.layers)
        cache.end_step()
        listener.end_step()

    def _forward(self, layers: Sequence[Routed]) -> None:
        """One pass of the target."""
        cache, listener, pace = self._twin.cache, self._twin.listener, self._twin.pace
        for layer, routed in enumerate(layers):
            tokens, needed = routed.tokens, routed.needed
            pace.half_layer(tokens)
            arriving = cache.visit(layer, needed)
            listener.routed(layer, None, routed.chosen)
            experts = len(needed)
            while arriving.take() >= 0:
                pace.expert(tokens, experts)
