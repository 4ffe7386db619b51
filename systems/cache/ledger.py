"""Counts of expert needs and bytes, from which every metric of expert movement is derived."""

from __future__ import annotations

from systems.contract.traffic import LayerNeeds, Phase, Traffic


class Ledger:
    """Accumulates one `Traffic` report at a time; `take` hands it over and starts the next."""

    def __init__(self, layers: int, record_bytes: int) -> None:
        self._layers, self._record = layers, record_bytes
        self._busy_seen = 0.0
        self.phase: Phase = "decode"
        self.now = self._fresh()

    def _fresh(self) -> Traffic:
        return Traffic(self.phase, [LayerNeeds() for _ in range(self._layers)])

    def enter(self, phase: Phase) -> None:
        """Count what follows under `phase`; what was counted before must have been taken."""
        self.phase = phase
        self.now.phase = phase

    def take(self, link_busy: float) -> Traffic:
        """Return the counts since the last call; `link_busy` is the link's lifetime busy time (s)."""
        report, self.now = self.now, self._fresh()
        report.link_busy, self._busy_seen = link_busy - self._busy_seen, link_busy
        return report

    def needed(self, layer: int, count: int, drafted: int, covered: int) -> None:
        """The router of `layer` named `count` distinct experts, `drafted` of them for tokens that a draft has read, of
        which `covered` had been named or had a slot."""
        needs = self.now.layers[layer]
        needs.needed += count
        needs.foretold += drafted
        needs.covered += covered

    def met(self, layer: int, resident: int, on_time: int, late: int, demand: int, overtaken: int) -> None:
        """How needs were met: by experts that had been used before, by prefetches that had arrived, by ones that were
        on their way, by transfers of their own, `overtaken` of which a prefetch was queued for."""
        now, needs = self.now, self.now.layers[layer]
        needs.resident += resident
        needs.on_time += on_time
        needs.late += late
        needs.demand += demand
        needs.overtaken += overtaken
        now.useful_bytes += on_time * self._record
        now.late_bytes += late * self._record
        now.demand_bytes += demand * self._record

    def elsewhere(self, layer: int, count: int) -> None:
        """Needs that were computed in slow memory."""
        self.now.layers[layer].elsewhere += count

    def moved(self, records: int, ahead: bool) -> None:
        """Records handed to the transport, asked for by a layer or `ahead` of that."""
        self.now.moved_bytes += records * self._record
        if ahead:
            self.now.prefetched += records

    def written_back(self, records: int) -> None:
        """Evicted records that are copied back to slow memory; they have not changed, and are no part of `moved`."""
        self.now.written_back_bytes += records * self._record

    def evicted(self, wasted: bool) -> None:
        """An expert gave its slot to another, `wasted` if it was prefetched and never used."""
        self.now.evictions += 1
        if wasted:
            self.wasted(1)

    def cancelled(self, orders: int) -> None:
        """Prefetches withdrawn before they started; they cost no bytes."""
        self.now.cancelled += orders

    def wasted(self, records: int) -> None:
        """Prefetched records that were never used."""
        self.now.wasted_bytes += records * self._record
