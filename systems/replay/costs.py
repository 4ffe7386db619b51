"""The costs of a recording: what was measured beside its traces."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from systems.contract.costs import Costs, HostCosts
from systems.contract.errors import BadInput

COSTS = "costs.json"


def read(folder: Path) -> Costs:
    """Return the costs of a recording.

    Raises:
        BadInput: there is none in the folder, or a number in it is missing or not positive.
    """
    path = folder / COSTS
    if not path.is_file():
        raise BadInput(f"`replay` {folder} holds no recording; make one with python -m harness record replay={folder}")
    try:
        return read_costs(json.loads(path.read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path} is broken ({error!r}); record again, replay={folder}") from error


def read_costs(facts: dict[str, Any]) -> Costs:
    """Return costs from their plain form; layer times must be positive (zero for a draft that does not exist).

    Raises:
        KeyError, TypeError, ValueError: a number is missing, of another type or not positive.
    """
    target, draft = (
        {int(width): float(time) for width, time in facts[name].items()} for name in ("target_layer", "draft_layer")
    )
    host, block = facts.get("host"), facts.get("block")
    costs = Costs(
        target,
        draft,
        float(facts["transfer"]),
        float(facts["call"]),
        None if host is None else HostCosts(**host),
        None if block is None else int(block),
    )
    if not target or not draft or min(target.values()) <= 0 or costs.transfer <= 0 or min(draft.values()) < 0:
        raise ValueError("target_layer and transfer must be above 0")
    return costs


def plain_costs(costs: Costs) -> dict[str, Any]:
    """Return costs as JSON values; `read_costs` reads them."""
    return {
        "target_layer": {str(width): time for width, time in costs.target_layer.items()},
        "draft_layer": {str(width): time for width, time in costs.draft_layer.items()},
        "transfer": costs.transfer,
        "call": costs.call,
        "host": None if costs.host is None else asdict(costs.host),
        "block": costs.block,
    }


def write(folder: Path, costs: Costs) -> None:
    """Put costs into a recording, in place of those that were there."""
    temporary = folder / f".{COSTS}.partial"
    temporary.write_text(json.dumps(plain_costs(costs), indent=1) + "\n", encoding="utf-8")
    temporary.replace(folder / COSTS)
