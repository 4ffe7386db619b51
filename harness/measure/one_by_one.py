"""A system over prompts, one at a time, where nothing is interleaved with it: counts, predictions, measured shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from harness.measure.meter import RecordingMeter
from harness.records.generation import Generation
from systems.api import Request, System


def generations(
    system: System,
    warm_up: Sequence[Request],
    requests: Sequence[Request],
    stop_tokens: frozenset[int] = frozenset(),
    synchronize: Callable[[], None] | None = None,
    within: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> list[Generation]:
    """Calibrate a system on the prompts of `warm_up`, have it answer `requests`, and close it whatever happens.

    Args:
        stop_tokens: ids that end an output.
        synchronize: as of `RecordingMeter`.
        within: what each request is answered in; `undisturbed` where time is real.
    """
    found = []
    try:
        for request in warm_up:
            system.calibrate([request])
        for place, request in enumerate(requests):
            system.rehearse([request])
            with within():
                meter = RecordingMeter([request.id], [request.max_new_tokens], stop_tokens, system.now_ns, synchronize)
                system.generate([request], meter)
            found.append(meter.finish(batch=place))
    finally:
        system.close()
    return found


def synchronizer(device: str) -> Callable[[], None] | None:
    """What waits until a device has done what it was given, in the order of the current stream; None: it never lags."""
    if not device.startswith("cuda"):
        return None
    import torch

    # The compute stream only: waiting for copies in flight would forbid the overlap that is measured.
    return lambda: torch.cuda.current_stream(torch.device(device)).synchronize()
