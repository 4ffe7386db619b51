"""One system in a comparison, from config to close; no exception of its own escapes."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from harness.measure import device_memory
from harness.measure.device_memory import DeviceMemory
from harness.measure.meter import RecordingMeter
from harness.records.generation import Generation
from harness.records.provenance import scrub
from systems import api
from systems.api import Request, System, SystemConfig


@dataclass
class Contender:
    """A system under its label; `error`, `did_not_fit` or `unsupported` end its part, and the others go on.

    Args:
        memory: measures what the system takes on a device.
        timed: whether its times are this machine's, so that nothing may disturb it; those of a replay are predictions.
    """

    label: str
    config: SystemConfig
    timed: bool = True
    memory: DeviceMemory = field(default_factory=lambda: DeviceMemory("cpu"))
    system: System | None = None
    generations: list[Generation] = field(default_factory=list)
    description: dict[str, Any] = field(default_factory=dict)
    fast_bytes: int = 0
    did_not_fit: str | None = None
    unsupported: str | None = None
    error: str | None = None

    @property
    def reason_out(self) -> str | None:
        """Why the system takes no part, if it takes none."""
        return self.unsupported or self.did_not_fit or self.error

    def build(self, compose: Callable[[SystemConfig], System]) -> None:
        """Compose the system within the budget, live or replayed.

        Raises:
            BadInput: its config is wrong; no other system would help then.
        """
        try:
            with self.memory.built():
                self.system = compose(self.config)
        except api.DidNotFit as error:
            self.did_not_fit = str(error)
        except api.Unsupported as error:
            self.unsupported = str(error)
        except api.BadInput:
            raise
        except Exception as error:
            self.fail(error)

    def check_memory(self, batches: Sequence[Sequence[Request]], at_once: int, limit: int | None) -> None:
        """Take the system out if keys and values of a batch exceed the limit (bytes); None: there is none."""
        system = self.system
        if system is None or limit is None:
            return
        for requests in batches:
            if (needed := system.kv_bytes(requests, at_once)) > limit:
                largest = limit // (needed // min(at_once, len(requests)))
                self.did_not_fit = (
                    f"keys and values of {min(at_once, len(requests))} requests at once take {needed:,} B, and"
                    f" `kv_budget` is {limit:,} B; `measure.batch` may be {largest} at most"
                    if largest
                    else f"keys and values of one request take {needed:,} B, and `kv_budget` is {limit:,} B"
                )
                self.close()
                return

    def warm_up(self, batches: Sequence[Sequence[Request]]) -> None:
        """Run the warm-up in batches of the measured size: what is derived from it depends on the size."""
        for requests in batches:
            if (system := self.system) is not None:
                self._guard(partial(system.calibrate, requests))

    def rehearse(self, requests: Sequence[Request], at_once: int) -> None:
        """Let a bound record, untimed, what `measure` with the same requests will be.

        All systems rehearse a batch before any of them is timed on it: one that were timed right behind its own
        rehearsal would find the processor's caches as it left them, and no other system does.
        """
        if (system := self.system) is not None:
            self._guard(partial(system.rehearse, requests, at_once))

    def measure(
        self,
        requests: Sequence[Request],
        at_once: int,
        start: Callable[[], RecordingMeter],
        repeat: int,
        batch: int,
        order: int,
    ) -> Generation | None:
        """Generate for one batch; None when the system failed on it, or before.

        Args:
            at_once: how many of the requests are decoded at once.
            start: makes the meter, whose clock runs from then on: called once all that is untimed is over.
        """
        system = self.system
        if system is None:
            return None
        with undisturbed() if self.timed else nullcontext(), self.memory.used():
            meter = start()
            whole = self._guard(partial(system.generate, requests, meter, at_once))
        if not whole:
            return None
        generation = meter.finish(repeat, batch, order)
        self.generations.append(generation)
        return generation

    def close(self) -> None:
        """Note what the system chose and what it held, then free it."""
        if self.system is None:
            return
        system, self.system = self.system, None
        try:
            self.description = scrub(system.describe())
            self.fast_bytes = system.fast_bytes
            system.close()
        except Exception:
            self.error = self.error or scrub(traceback.format_exc())
        del system
        device_memory.give_back()

    def fail(self, error: Exception) -> None:
        """Take the system out of the comparison: what it met does not fit, or is not for it, or is a bug."""
        if device_memory.is_exhausted(error):
            self.did_not_fit = scrub(device_memory.EXHAUSTED.format(str(error).splitlines()[0]))
        elif isinstance(error, api.Unsupported):
            self.unsupported = str(error)
        else:
            self.error = scrub("".join(traceback.format_exception(error)))
        self.close()

    def _guard(self, action: Callable[[], None]) -> bool:
        """Return whether `action` ended well; if not, the system is out."""
        try:
            action()
        except Exception as error:
            self.fail(error)
            return False
        return True


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the garbage collector out of a timed section."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def frozen() -> Iterator[None]:
    """Exempt what lives already from collection, which makes those between timed sections cheap."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
