"""From measurements to the rows of `summary.json`: one row per system, verdict included."""

from __future__ import annotations

from harness import metrics
from harness.measure.contender import Contender
from harness.measure.session import Session
from harness.records.summary_file import Row
from harness.verdict.identities import violations
from harness.verdict.status import is_resident, judge


def build(session: Session, contender: Contender) -> Row:
    """Return the row of one system; a broken identity or budget makes it `failed`, numbers and all."""
    config = session.config
    row: Row = {
        "system": contender.label,
        "model": config.model.name,
        "dataset": config.dataset.name,
        "hardware": config.hardware.name,
        "emulated": config.hardware.emulate is not None,
        "replayed": config.replay is not None,
        "batch": config.measure.batch,
        "budget_bytes": session.budget,
        "lossless": contender.config.lossless,
        "description": contender.description,
        "layer_drift": session.layer_drift,
        **({"reference": session.reference.source} if session.reference.source else {}),
    }
    if contender.unsupported is not None:
        return row | {"status": "unsupported", "reason": contender.unsupported, "metrics": {}}
    if contender.did_not_fit is not None:
        return row | {"status": "did_not_fit", "reason": contender.did_not_fit, "metrics": {}}
    if contender.error is not None:
        reason = contender.error.strip().splitlines()[-1]
        return row | {"status": "failed", "reason": reason, "error": contender.error, "metrics": {}}
    return row | _verdict(session, contender)


def _verdict(session: Session, contender: Contender) -> Row:
    cell = session.cells[contender.label]
    values = metrics.measure(cell)
    shown = {"metrics": {id: value.row() for id, value in values.items()}}
    broken = violations(cell.generations)
    if not is_resident(contender.config) and contender.fast_bytes > session.budget:
        broken.append(f"holds {contender.fast_bytes} bytes of fast memory, the budget is {session.budget}")
    if broken:
        return {"status": "failed", "reason": broken[0], "error": "\n".join(broken), **shown}
    status, reason = judge(contender.config, cell, values, session.config.measure)
    return {"status": status, **({"reason": reason} if reason else {}), **shown}
