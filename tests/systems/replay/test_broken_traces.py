"""Recordings that are truncated, of another schema or of other models are refused by name."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from systems.api import BadInput
from systems.replay import costs, trace_file
from systems.replay.statistics import Statistics
from systems.replay.store import TraceFolder
from systems.replay.synthetic import synthesise
from systems.replay.trace import Header, Record
from systems.replay.trace_file import _misfit
from tests.systems.tiny import COSTS

FACTS: dict[str, Any] = {
    "name": "pair",
    "target": {"model.safetensors": "ab"},
    "draft": {"d": "cd"},
    "dtype": "float32",
    "top_k": 2,
}
HEADER = Header(
    drafter="model", draft_length=2, layers=3, experts=8, top_k=2, decoder_layers=3, draft_ordinals=[0, 1, 2], depth=2,
    record_bytes=1000, draft_bytes=2000, stop_tokens=[], facts=FACTS,
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    trace_file.save(
        synthesise(HEADER, Statistics(acceptance=0.5), 2, prompt_tokens=4, new_tokens=6), tmp_path / "model.npz"
    )
    costs.write(tmp_path, COSTS)
    return tmp_path


def changed(folder: Path, **header: Any) -> None:
    """Write the trace again, with other values in its header."""
    with np.load(folder / "model.npz") as saved:
        arrays = dict(saved)
    facts = json.loads(str(arrays["header"])) | header
    np.savez(folder / "model.npz", **(arrays | {"header": np.array(json.dumps(facts))}))


def test_what_was_recorded_is_read(folder: Path) -> None:
    trace = TraceFolder(folder, FACTS).of("model")
    assert trace.header == HEADER
    plain = TraceFolder(folder, FACTS | {"draft": None}).of("none")
    assert plain.records.keys() == trace.records.keys(), "plain decoding needs no draft"


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_truncated_trace_is_refused(folder: Path, share: float) -> None:
    path = folder / "model.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BadInput, match=r"model\.npz is truncated or damaged .* record it again"):
        trace_file.load(path)


def test_a_damaged_trace_is_refused(folder: Path) -> None:
    path = folder / "model.npz"
    whole = bytearray(path.read_bytes())
    middle = whole.index(b"routed") + 200
    whole[middle : middle + 40] = bytes(40)
    path.write_bytes(whole)
    with pytest.raises(BadInput, match=r"model\.npz is (truncated or damaged|not a trace)"):
        trace_file.load(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"version": 0}, "has version 0, 2 is read"),
        ({"layers": 4}, r"request synthetic/0: `prompt_routed` has the shape \(4, 3, 2\), its header says \(4, 4, 2\)"),
        ({"draft_length": 3}, r"`drafts` has the shape \(5, 2\), its header says \(5, 3\)"),
        ({"experts": 5}, r"names expert 7, its header says there are 5"),
        ({"colour": "red"}, r"is not a trace .*colour"),
    ],
)
def test_another_schema_is_refused(folder: Path, header: dict[str, Any], message: str) -> None:
    changed(folder, **header)
    with pytest.raises(BadInput, match=message):
        trace_file.load(folder / "model.npz")


def test_a_trace_without_an_array_is_refused(folder: Path) -> None:
    with np.load(folder / "model.npz") as saved:
        arrays = {name: array for name, array in saved.items() if name != "1/routed"}
    np.savez(folder / "model.npz", **arrays)
    with pytest.raises(BadInput, match=r"is not a trace .*1/routed"):
        trace_file.load(folder / "model.npz")


def test_a_recording_without_a_trace_is_refused(tmp_path: Path) -> None:
    costs.write(tmp_path, COSTS)
    with pytest.raises(BadInput, match="holds costs and no trace"):
        _ = TraceFolder(tmp_path).header


@pytest.mark.parametrize("fact", ["target", "draft", "dtype", "top_k"])
def test_a_recording_of_other_models_is_refused(folder: Path, fact: str) -> None:
    other = TraceFolder(folder, FACTS | {fact: "another"})
    with pytest.raises(BadInput, match=f"was recorded with another {fact} than pair's; record it again"):
        other.of("model")


@pytest.mark.parametrize(
    "wrong",
    [{"transfer": 0.0}, {"transfer": -1e-3}, {"transfer": None}, {"target_layer": {"1": 0.0}}, {"call": "soon"}],
)
def test_costs_without_a_positive_number_are_refused(folder: Path, wrong: dict[str, Any]) -> None:
    path = folder / "costs.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
    with pytest.raises(BadInput, match=r"costs\.json is broken"):
        TraceFolder(folder, FACTS)


def test_every_array_of_a_record_is_checked_or_free() -> None:
    """A new array must be given a shape, or be listed here."""
    free = {"prompt", "first", "agreed", "hinted", "confidences"}
    trace = synthesise(HEADER, Statistics(), 1, prompt_tokens=4, new_tokens=6)
    record = trace.records["synthetic/0"]
    for field in dataclasses.fields(Record):
        if field.name in free:
            continue
        cut = dataclasses.replace(record, **{field.name: getattr(record, field.name)[..., :-1]})
        assert _misfit(HEADER, cut) is not None, field.name
