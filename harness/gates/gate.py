"""Whether two result sets may be compared, and what the comparison comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.gates.effects import Effect, effects, incomparable
from harness.gates.sets import Cell
from harness.verdict.status import FAILING

OK, REGRESSED, USAGE, INCOMPARABLE = 0, 1, 2, 3
"""Exit codes."""
SETTING = ("model", "dataset", "hardware", "emulated", "replayed", "batch", "budget_bytes")
ORIGIN = ("model", "dataset", "max_new_tokens", "sampling", "queue", "warmup", "seeds")
MACHINE = ("machine", "cpu", "cpus", "gpu", "threads")


@dataclass(frozen=True)
class Result:
    """All effects, what got worse without a number, and what could not be compared."""

    effects: Sequence[Effect]
    broken: Sequence[str]
    refused: Sequence[str]

    @property
    def code(self) -> int:
        """Return 1 where anything regressed, else 3 where anything could not be compared, else 0."""
        if self.broken or any(effect.verdict == "regressed" for effect in self.effects):
            return REGRESSED
        return INCOMPARABLE if self.refused or not self.effects else OK


def compare(base: Mapping[str, Cell], new: Mapping[str, Cell], floor: float) -> Result:
    """Compare all systems of the base; see `effects`."""
    found, broken, refused = list[Effect](), list[str](), list[str]()
    for system, before in base.items():
        if (after := new.get(system)) is None:
            refused.append(f"{system}: only in the base")
        elif differing := differences(before, after):
            refused.append(f"{system}: {'; '.join(differing)}")
        elif before.row["status"] != "ok":
            refused.append(f"{system}: {before.row['status']} in the base: {before.row['reason']}")
        elif after.row["status"] in FAILING:
            broken.append(f"{system}: {after.row['status']}: {after.row['reason']}")
        elif after.row["status"] != "ok":
            refused.append(f"{system}: {after.row['status']}: {after.row['reason']}")
        elif gaps := [f"{text} in the {side}" for side, cell in sides(before, after) for text in cell.gaps]:
            refused += [f"{system}: {text}" for text in gaps]
        else:
            refused += [f"{system}: {text}" for text in incomparable(before, after)]
            found += (effects_of := effects(system, before, after, floor))
            if not effects_of:
                refused.append(f"{system}: fewer than two prompts are in both")
    return Result(found, broken, refused)


def sides(base: Cell, new: Cell) -> tuple[tuple[str, Cell], ...]:
    """Return two cells with what they are called."""
    return ("base", base), ("new set", new)


def differences(base: Cell, new: Cell) -> list[str]:
    """Say in what two cells differ that should be alike; replays do not depend on the machine that runs them."""
    pairs = [(name, base.row.get(name, False), new.row.get(name, False)) for name in SETTING]
    facts = ORIGIN if base.row.get("replayed") else (*ORIGIN, *MACHINE)
    pairs += [(name, base.origin.get(name), new.origin.get(name)) for name in facts]
    return list(dict.fromkeys(f"{name} {_told(one, other)}" for name, one, other in pairs if one != other))


def _told(one: Any, other: Any) -> str:
    """Name the first field that differs, as whole mappings are unreadable."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        name = next(key for key in {**one, **other} if one.get(key) != other.get(key))
        return f"differs in `{name}`"
    return f"is {one!r} in the base and {other!r}"
