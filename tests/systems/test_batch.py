"""Batches whose requests differ in length, leave when they are done and let others join, exact throughout."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from systems.api import BadInput, Request, build_system
from systems.modeling.kv_cache import PositionalCache
from systems.replay.record import record
from systems.replay.system import ReplayedSystem
from systems.runtime.pair import Pair
from systems.runtime.rows import seated
from tests.systems.test_exactness import LINK, Checked, copies, plain
from tests.systems.tiny import COSTS, SYSTEMS, requests

JOINING = ["resident", "offload", "moe_infinity", "sd_oracle", "prompt_lookup", "sp_moe", "moe_speq"]
LIMITS = [9, 1, 14, 3, 6]
"""Of five requests over two seats: the second ends at its first token, which leaves its seat to the third at once."""


class Watched(Checked):
    """Notes which requests each step decodes."""

    def __init__(self, limits: Sequence[int]) -> None:
        super().__init__(limits)
        self.steps: list[tuple[int, ...]] = []

    def step(self, rows: Sequence[int], drafted: Sequence[int], accepted: Sequence[int]) -> None:
        super().step(rows, drafted, accepted)
        assert len(set(rows)) == len(rows)
        assert not any(len(self.tokens[row]) >= self._limits[row] for row in rows), "finished rows are not computed"
        self.steps.append(tuple(rows))


@pytest.fixture(scope="module")
def reference(root: Path, pair: Pair) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(root / "target", experts_implementation="eager").eval()


def run(name: str, pair: Pair, batch: Sequence[Request], at_once: int | None) -> Watched:
    config = SYSTEMS[name]
    system = build_system(config, pair, copies(config, pair) + 10 * pair.record_bytes, LINK, COSTS)
    meter = Watched([request.max_new_tokens for request in batch])
    try:
        system.rehearse(batch, at_once)
        system.generate(batch, meter, at_once)
    finally:
        system.close()
    return meter


@pytest.mark.parametrize("name", JOINING)
def test_requests_join_as_others_leave(name: str, pair: Pair, reference: Any) -> None:
    batch = [dataclasses.replace(r, max_new_tokens=n) for r, n in zip(requests(5, seed=6), LIMITS, strict=True)]
    meter = run(name, pair, batch, at_once=2)
    assert meter.tokens == [plain(reference, request) for request in batch]
    assert max(len(rows) for rows in meter.steps) == 2
    assert all(1 not in rows for rows in meter.steps), "it ended with its prompt"
    assert meter.steps[0] == (0, 2), "the third request took the seat of the second before anything was decoded"
    moved = sum(meter.total(kind) for kind in ("demand_bytes", "useful_bytes", "late_bytes", "wasted_bytes"))
    assert meter.total("moved_bytes") == moved


def test_one_very_long_prompt_among_short_ones(pair: Pair, reference: Any) -> None:
    short = requests(3, 10, seed=2)
    generator = torch.Generator().manual_seed(5)
    long = Request("long", tuple(torch.randint(16, (180,), generator=generator).tolist()), 10)
    batch = [short[0], long, *short[1:]]
    assert run("sp_moe", pair, batch, None).tokens == [plain(reference, request) for request in batch]


def test_an_empty_batch_is_refused(pair: Pair) -> None:
    for name in ("offload", "transformers"):
        from tests.systems.peers.test_peers import PEERS

        system = build_system((SYSTEMS | PEERS)[name], pair, pair.expert_bytes, LINK, COSTS)
        with pytest.raises(BadInput, match="the batch is empty"):
            system.generate([], Checked([]))
        system.close()


@pytest.mark.parametrize("name", ["offload", "sd_offload", "prompt_lookup"])
def test_keys_and_values_are_as_many_as_said(name: str, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    caches: list[PositionalCache] = []
    begin = PositionalCache.__init__

    def noted(self: PositionalCache, rows: int, capacity: int, states: Any = None) -> None:
        begin(self, rows, capacity, states)
        caches.append(self)

    batch = requests(5, 6, seed=1)
    system = build_system(SYSTEMS[name], pair, copies(SYSTEMS[name], pair) + pair.expert_bytes, LINK, COSTS)
    monkeypatch.setattr(PositionalCache, "__init__", noted)
    system.generate(batch, Checked([6] * 5), 3)
    system.close()
    assert system.kv_bytes(batch, 3) == sum(cache.nbytes for cache in caches) > 0


@pytest.mark.parametrize(
    ("going", "kept"),
    [("11", [0, 1]), ("01", [1]), ("0111", [3, 1, 2]), ("10101", [0, 4, 2]), ("000", []), ("00011", [4, 3])],
)
def test_the_last_take_the_empty_seats(going: str, kept: list[int]) -> None:
    assert seated([mark == "1" for mark in going]) == kept


@pytest.mark.parametrize("name", ["offload", "sp_moe", "moe_infinity"])
def test_a_replay_lets_requests_join_at_the_same_moments(name: str, pair: Pair) -> None:
    batch = [dataclasses.replace(r, max_new_tokens=n) for r, n in zip(requests(5, seed=6), LIMITS, strict=True)]
    config, link = SYSTEMS[name], dataclasses.replace(LINK, virtual=True)
    budget = copies(config, pair) + 10 * pair.record_bytes
    trace = record(pair, dict(config.drafter), batch)
    found = []
    for system in (build_system(config, pair, budget, link, COSTS), ReplayedSystem(config, trace, budget, link, COSTS)):
        meter = Watched([request.max_new_tokens for request in batch])
        system.generate(batch, meter, 2)
        found.append((meter.tokens, meter.steps, [dataclasses.asdict(report) for report in meter.reports]))
        system.close()
    assert found[0] == found[1]


def prefill_of(name: str, pair: Pair, batch: Sequence[Request], at_once: int | None = None) -> list[Any]:
    """Reports of prompts."""
    config = SYSTEMS[name]
    system = build_system(config, pair, copies(config, pair) + 10 * pair.record_bytes, LINK, COSTS)
    meter = Watched([request.max_new_tokens for request in batch])
    system.generate(batch, meter, at_once)
    system.close()
    return [report for report in meter.reports if report.phase == "prefill"]


@pytest.mark.parametrize("name", ["no_cache", "offload", "spec_moe_off", "moe_infinity"])
def test_an_expert_crosses_the_link_once_for_all_prompts(name: str, pair: Pair) -> None:
    """Per layer as many as all of them together need, which is fewer than they need one by one."""
    batch = requests(4, 2, seed=6)
    alone = [set[tuple[int, int]]() for _ in batch]
    for needed, request in zip(alone, batch, strict=True):
        routed = record(pair, {"part": "none"}, [request]).of(request).prompt_routed  # tokens, layers, k
        needed.update((layer, int(expert)) for token in routed for layer, row in enumerate(token) for expert in row)
    (report,) = prefill_of(name, pair, batch)
    together = set().union(*alone)
    assert report.needed == len(together) < sum(map(len, alone))
    assert report.moved_bytes == len(together) * pair.record_bytes, "nothing was there before"


def test_those_who_join_together_are_read_together(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two begin, and two take their seats at the same time; fewer tokens at once cut them apart."""
    batch = requests(4, 2, seed=6)
    two_by_two = prefill_of("no_cache", pair, batch, 2)
    assert len(two_by_two) == 2
    from systems.runtime import loop, together

    monkeypatch.setattr(loop, "together", lambda lengths: together.together(lengths, 1))
    one_by_one = prefill_of("no_cache", pair, batch, 2)
    assert len(one_by_one) == 2
    assert sum(r.moved_bytes for r in two_by_two) < sum(r.moved_bytes for r in one_by_one)
