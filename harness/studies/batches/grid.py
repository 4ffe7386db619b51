"""The rows of a run over several batches, by system and batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.records.published import read
from harness.records.summary_file import Row
from systems.api import BadInput


@dataclass(frozen=True)
class Grid:
    """The rows of a summary by system and batch."""

    cells: dict[tuple[str, int], Row]

    @classmethod
    def read(cls, folder: Path) -> Grid:
        """Read a folder's summary.

        Raises:
            Missing, Unreadable: see `harness.records.published`.
            BadInput: two rows of a system at one batch.
        """
        path = folder / "summary.json"
        rows = read(path, "", "make bench-batch").rows
        cells = {(row["system"], row["batch"]): row for row in rows}
        if len(cells) < len(rows):
            raise BadInput(f"{path} has several rows of a system at one batch; one hardware and budget can be read")
        return cls(cells)

    @property
    def systems(self) -> list[str]:
        """Labels, in order."""
        return list(dict.fromkeys(system for system, _ in self.cells))

    @property
    def batches(self) -> list[int]:
        """Batches, ascending."""
        return sorted({batch for _, batch in self.cells})

    def value(self, system: str, batch: int, metric: str) -> float | None:
        """Return a metric's value, None where it is unknown."""
        row = self.cells.get((system, batch))
        value: float | None = row["metrics"].get(metric, {}).get("value") if row is not None else None
        return value

    def speculative(self) -> list[str]:
        """Return the systems that draft and move experts."""
        return [system for system in self.systems if self._ever(system, "acceptance_rate", "bytes_per_step")]

    def _ever(self, system: str, *metrics: str) -> bool:
        return any(all(self.value(system, batch, metric) for metric in metrics) for batch in self.batches)
