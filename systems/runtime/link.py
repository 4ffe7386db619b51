"""The thread that keeps the link busy."""

from __future__ import annotations

import threading

from systems.runtime.expert_cache import ExpertCache
from systems.runtime.transport import Transport


class NoThread:
    """The link of a virtual clock, which the cache itself moves."""

    def close(self) -> None:
        """Nothing to end."""


class Link:
    """Carries the orders of an expert cache, one I/O call at a time, until closed.

    The thread only blocks in calls that release the interpreter lock (waits and copies); a polling one would
    slow the computation on the other core several times over.
    """

    def __init__(self, cache: ExpertCache, transport: Transport) -> None:
        self._cache, self._transport = cache, transport
        self._thread = threading.Thread(target=self._carry, name="expert-link", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; idempotent."""
        self._cache.close()
        self._thread.join()

    def _carry(self) -> None:
        try:
            while (run := self._cache.next_run()) is not None:
                slots = [self._cache.slots.of[order.expert] for order in run]
                self._cache.publish(run, self._transport.move(run[0].expert, slots, min(o.asked for o in run)))
        except BaseException as error:
            self._cache.fail(error)
