"""What computing and transfers cost: measured times, and the link."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HostCosts:
    """What one expert takes on the host's processor, where it lies: `base + row * max(0, rows - free_rows)` seconds.

    Reading the weights takes `base` however many rows they meet; from `free_rows` on the products take longer than the
    reading, `row` for each. Affine in rows, as verification times of public runtimes that compute on the host are.
    """

    base: float
    row: float = 0.0
    free_rows: float = 0.0

    def at(self, rows: int) -> float:
        """Seconds for an expert with so many rows."""
        return self.base + self.row * max(0.0, rows - self.free_rows)

    @classmethod
    def of(cls, read: float, row: float, fixed: float = 0.0, least: float = 0.0) -> HostCosts:
        """Of an expert that takes `read` s to be read and `row` s of products per row, and `fixed` s besides.

        Args:
            least: seconds that the device takes for it, experts resident; the host is never faster.
        """
        base = max(fixed + read, least)
        return cls(base, row, (base - fixed) / row if row else 0.0)


@dataclass(frozen=True, slots=True)
class Costs:
    """Times measured on this machine, in seconds, that analytic policies are fed with.

    `target_layer[w]` and `draft_layer[w]` are the time of one layer at a forward of `w` positions, all experts
    resident; `transfer` is the time of one expert record over the link, `call` the fixed part of it per I/O call;
    `host` what one expert takes where it lies, on the host's processor; None: nobody has measured or named one. `block`
    is that of the link; see `LinkSpec`.
    """

    target_layer: Mapping[int, float]
    draft_layer: Mapping[int, float]
    transfer: float
    call: float
    host: HostCosts | None = None
    block: int | None = None

    def link(self, record_bytes: int) -> LinkSpec:
        """Return a virtual link on which records take as long."""
        return LinkSpec(record_bytes / self.transfer, 0.0, virtual=True, block=self.block)

    @staticmethod
    def at(table: Mapping[int, float], width: int) -> float:
        """Read a table at any width: linear between measured widths, flat outside them."""
        known = sorted(table)
        below = max((w for w in known if w <= width), default=known[0])
        above = min((w for w in known if w >= width), default=known[-1])
        share = (width - below) / (above - below) if above > below else 0.0
        return table[below] + share * (table[above] - table[below])


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """An emulated link: `bandwidth` in bytes/s and `latency` in seconds per I/O call. None stands for the real one.

    Nothing is moved over it: time passes while something computes, and a wait moves the clock on. On a `virtual` one
    computation takes no real time either but follows the table of costs, so that the same run gives the same counts,
    always.

    A record is carried in blocks of at most `block` bytes, alike, and what a layer waits for overtakes what was ordered
    ahead behind the blocks that are in flight, as on a device. (What is waited for of a call that was ordered ahead
    keeps its place in it, where a device would let it go first.) None: what one I/O call carries is carried as a whole.
    """

    bandwidth: float
    latency: float
    virtual: bool = False
    block: int | None = None
