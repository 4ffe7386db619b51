"""The noise floor of a machine: what an A/A run, the same comparison twice, says of times that did not change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.gates.effects import FLOOR, TIMES, Effect
from harness.gates.gate import MACHINE
from harness.records.files import dump, ensure_writable, write_text
from systems.api import BadInput

HOME = Path(".cache/noise")


def machine_key(origin: Mapping[str, Any]) -> str:
    """Return the name of a machine of this kind with these settings, from provenance; it tells no host."""
    text = json.dumps([origin.get(name) for name in MACHINE], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def floor_of(effects: Sequence[Effect]) -> float:
    """Return the largest relative change of a time among those of an A/A run, and `FLOOR` at least."""
    return max([FLOOR, *(max(e.ratio, 1 / e.ratio) - 1 for e in effects if e.metric in TIMES)])


def store(origin: Mapping[str, Any], effects: Sequence[Effect], home: Path = HOME) -> Path:
    """Keep the floor for this machine, the effects behind it included.

    Raises:
        CannotWrite: the folder is read-only.
    """
    ensure_writable(home)
    path = home / f"{machine_key(origin)}.json"
    times = [effect for effect in effects if effect.metric in TIMES]
    behind = [{name: getattr(e, name) for name in ("system", "metric", "ratio", "low", "high")} for e in times]
    facts = {"floor": floor_of(effects), "machine": {name: origin.get(name) for name in MACHINE}, "effects": behind}
    write_text(path, dump(facts, indent=1))
    return path


def stored(origin: Mapping[str, Any], home: Path = HOME) -> float | None:
    """Return the floor measured on this machine, None where there was no A/A run.

    Raises:
        BadInput: the file is broken.
    """
    path = home / f"{machine_key(origin)}.json"
    if not path.exists():
        return None
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["floor"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is broken ({error!r}); delete it and measure again: python -m harness noise") from error
