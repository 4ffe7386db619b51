"""The timeline: every span and transfer of one request, in the format that Perfetto reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from harness.measure.timeline_meter import TimelineMeter
from harness.records.files import write_text
from harness.studies import timeline
from harness.studies.timeline import COMPUTATION, LINK, STEPS, events
from systems.api import BadInput, LinkSpec, Transfer, build_system, watch_transfers
from systems.runtime.pair import Pair
from tests.harness.app import App, make
from tests.harness.figures import made
from tests.systems.tiny import COSTS, make_pair, requests, shipped

VIRTUAL = LinkSpec(bandwidth=20e6, latency=2e-5, virtual=True)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = make_pair(Path(tmp_path_factory.mktemp("pair")))
    yield made
    made.close()


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> App:
    return make(monkeypatch, capsys, tmp_path, timeline.main)


def test_events_are_on_their_threads_and_count_from_the_start() -> None:
    found = made.timeline()["traceEvents"]
    drawn = [event for event in found if event["ph"] == "X"]
    assert {event["tid"] for event in drawn} == {STEPS, COMPUTATION, LINK}
    assert all(event["ts"] >= 0 and event["dur"] >= 0 for event in drawn)
    assert next(event["name"] for event in drawn if event["tid"] == STEPS) == "step 1: 1 of 2 drafts accepted"
    fetched = [event for event in drawn if event["tid"] == LINK]
    assert [(event["cat"], event["name"]) for event in fetched] == [
        ("prefetch", "layer 0 expert 3"), ("demand", "layer 1 expert 5"),
    ]  # fmt: skip
    assert fetched[0]["ts"] == 15_000.0
    assert fetched[0]["dur"] == 2_000.0


def test_all_that_moves_is_heard_and_lies_on_the_systems_clock(pair: Pair) -> None:
    """One request of SP-MoE over a link: as many transfers as bytes were moved, one after the other."""
    system = build_system(shipped("sp_moe"), pair, pair.draft_bytes + 9 * pair.record_bytes, VIRTUAL, COSTS)
    (request,) = requests(1, 12)
    heard: list[Transfer] = []
    watch_transfers(system, heard.append)
    meter = Reporting(request.max_new_tokens, frozenset(), system.now_ns)
    system.generate([request], meter)
    system.close()
    assert len(heard) * pair.record_bytes == meter.moved > 0
    assert {one.prefetch for one in heard} == {True, False}
    whole = VIRTUAL.latency + pair.record_bytes / VIRTUAL.bandwidth
    for before, after in pairwise(heard):
        assert after.start >= before.end - 1e-9, "the link is serial"
    assert all(0 < one.end - one.start <= whole + 1e-9 for one in heard)
    within = [one for one in heard if 1e9 * one.end <= meter.steps[-1].end]
    assert len(within) > len(heard) / 2
    assert all(event["ph"] in "MX" for event in events(1, "sp_moe", meter, heard))


def test_a_replayed_timeline_does_not_replace_a_measured_one(app: App) -> None:
    file = Path("out/timeline.json.gz")
    file.parent.mkdir()
    write_text(file, json.dumps(made.timeline()))
    before = file.read_bytes()
    ran = app("system=sp_moe", "replay=traces", "output=out")
    assert (ran.code, file.read_bytes()) == (2, before)
    assert "out holds measured results and these would be replayed" in ran.words


def test_a_peer_is_refused(pair: Pair) -> None:
    with pytest.raises(BadInput, match="a peer does not tell"):
        watch_transfers(object(), print)  # type: ignore[arg-type]


class Reporting(TimelineMeter):
    """Adds up what the system says it moved."""

    moved = 0

    def traffic(self, traffic: object) -> None:
        self.moved += traffic.moved_bytes  # type: ignore[attr-defined]
