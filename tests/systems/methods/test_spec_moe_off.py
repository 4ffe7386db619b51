"""SpecMoEOff: batches in parts are the same batches, lanes overlap, and what does not go together is refused."""

import dataclasses
import itertools
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch

from systems.api import BadInput, build_system
from systems.cache.clock import WallClock
from systems.methods.spec_moe_off import split_decoder
from systems.methods.spec_moe_off.split_decoder import Lane, MicroBatches
from systems.modeling.decoder import Decoder
from systems.runtime.pair import Pair
from systems.runtime.split_decoder import SplitDecoder, divide
from tests.systems.test_batch import LIMITS, run
from tests.systems.test_exactness import LINK, Checked, plain, reference  # noqa: F401
from tests.systems.tiny import COSTS, SYSTEMS, requests

NAMES = ["spec_moe_off", "spec_moe_off_plain"]


class Drafted(Checked):
    """Notes how many tokens each step drafted."""

    def __init__(self, limits: Sequence[int]) -> None:
        super().__init__(limits)
        self.drafted: list[int] = []

    def step(self, rows: Sequence[int], drafted: Sequence[int], accepted: Sequence[int]) -> None:
        super().step(rows, drafted, accepted)
        self.drafted.append(drafted[0])


@pytest.mark.parametrize("at_once", [2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_rows_join_leave_and_are_divided_anew(name: str, at_once: int, pair: Pair, reference: Any) -> None:  # noqa: F811
    batch = [dataclasses.replace(r, max_new_tokens=n) for r, n in zip(requests(5, seed=6), LIMITS, strict=True)]
    meter = run(name, pair, batch, at_once)
    assert meter.tokens == [plain(reference, request) for request in batch]
    moved = sum(meter.total(kind) for kind in ("demand_bytes", "useful_bytes", "late_bytes", "wasted_bytes"))
    assert meter.total("moved_bytes") == moved


@pytest.mark.parametrize("make", [partial(SplitDecoder, parts=2), partial(MicroBatches, parts=3, clock=WallClock())])
@torch.inference_mode()
def test_parts_of_ragged_rows_give_the_logits_of_the_whole(make: Any, pair: Pair) -> None:
    pair.port.mixer = lambda layer, hidden, *_: hidden * 0.5
    prompts = [list(request.prompt) for request in requests(5, seed=4)]
    tokens = torch.arange(15).view(5, 3) % 16
    found = []
    for decoder in (Decoder(pair.target, 5, 64), make(pair.target, 5, 64)):
        for row, prompt in enumerate(prompts):
            decoder.prefill(row, prompt)
        found.append(decoder.forward(tokens, [len(prompt) for prompt in prompts]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_attention_of_one_micro_batch_runs_beside_the_experts_of_the_other(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both take their time, so that some layer's overlap; a runtime that took turns would never show any."""
    usual, calls, attending, overlaps = split_decoder.chunked_attention, list[int](), list[int](), list[int]()

    def attend(*arguments: Any) -> Any:
        calls.append(1)
        attending.append(1)
        time.sleep(0.02)
        attending.pop()
        return usual(*arguments)

    def mix(layer: int, hidden: torch.Tensor, *_: Any) -> torch.Tensor:
        for _ in range(4):
            overlaps.extend(attending)
            time.sleep(0.005)
        return hidden

    monkeypatch.setattr(split_decoder, "chunked_attention", attend)
    pair.port.mixer = lambda layer, hidden, *_: hidden
    overlapping = dict[int, bool]()
    for parts in (1, 2):
        decoder = MicroBatches(pair.target, 2, 32, parts=parts, clock=WallClock())
        pair.port.mixer = lambda layer, hidden, *_: hidden
        for row in range(2):
            decoder.prefill(row, [1, 2, 3])
        assert not calls, "prompts are read by the target's own kernel"
        pair.port.mixer = mix
        decoder.forward(torch.ones(2, 2, dtype=torch.long), [3, 3])
        assert len(calls) == parts * pair.decoder_layers
        overlapping[parts] = bool(overlaps)
        calls.clear()
    assert overlapping == {1: False, 2: True}


@torch.inference_mode()
def test_a_part_that_fails_raises_and_leaves_the_target_as_it_was(pair: Pair) -> None:
    usual = pair.target.config._attn_implementation
    pair.port.mixer = lambda layer, hidden, *_: hidden
    decoder = MicroBatches(pair.target, 3, 32, parts=3, clock=WallClock())
    for row in range(3):
        decoder.prefill(row, [1, 2, 3])

    def fail(*_: Any) -> Any:
        raise RuntimeError("expert is missing")

    pair.port.mixer = fail
    with pytest.raises(RuntimeError, match="expert is missing"):
        decoder.forward(torch.ones(3, 1, dtype=torch.long), [3, 3, 3])
    assert pair.target.config._attn_implementation == usual


def test_a_lane_serves_in_the_order_of_arrival() -> None:
    lane, order = Lane(), list[int]()
    lane.enter()
    threads = []
    for number in range(5):

        def visit(number: int = number) -> None:
            lane.enter()
            order.append(number)
            lane.leave()

        threads.append(threading.Thread(target=visit))
        threads[-1].start()
        while len(lane._turns) < number + 2:
            pass
    lane.leave()
    for thread in threads:
        thread.join(20)
    assert order == [0, 1, 2, 3, 4]


def test_rows_are_divided_evenly_and_no_part_is_empty() -> None:
    assert divide(5, 2) == [slice(0, 2), slice(2, 5)]
    assert divide(1, 2) == [slice(0, 1)]
    assert divide(3, 3) == [slice(0, 1), slice(1, 2), slice(2, 3)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drafter": {"part": "model", "draft_length": 0}}, "drafter.draft_length=0 must be at least 1"),
        ({"drafter": {"part": "model", "by_positions": {0: 3}}}, "drafter.by_positions={0: 3} must be draft lengths"),
        ({"drafter": {"part": "model", "by_positions": {9: 1}}}, "drafter.by_positions={9: 1} must be draft lengths"),
        ({"drafter": {"part": "model", "by_positions": {0: "1"}}}, "drafter.by_positions={0: '1'} is not dict"),
        ({"drafter": {"part": "model", "split": 0}}, "drafter.split=0 must be at least 1"),
        ({"attention": {"part": "chunked", "micro_batches": 0}}, "attention.micro_batches=0 must be at least 1"),
        ({"predictor": {"part": "layer_stream", "recent": 0}}, "predictor.recent=0 must be at least 1, or null"),
        ({"drafter": {"part": "quantised_self", "group": 32}}, "drafter.part=quantised_self needs the whole batch"),
        ({"predictor": {"part": "next_gate"}}, "predictor.part=next_gate needs the whole batch"),
        ({"residency": {"part": "activation_aware"}}, "residency.part=activation_aware needs the whole batch"),
        ({"prefetch": {"part": "none"}}, "predictor.part=layer_stream needs prefetch.part=next_layers"),
    ],
)
def test_what_cannot_be_is_named(changes: dict[str, Any], message: str, pair: Pair) -> None:
    config = dataclasses.replace(SYSTEMS["spec_moe_off"], **changes)
    with pytest.raises(BadInput) as refused:
        build_system(config, pair, pair.expert_bytes, LINK, COSTS)
    assert message in str(refused.value)


def test_the_draft_length_follows_the_positions_of_the_batch(pair: Pair, reference: Any) -> None:  # noqa: F811
    """Three tokens, two once the batch has grown, and three again when a row has left."""
    batch = [dataclasses.replace(r, max_new_tokens=n) for r, n in zip(requests(2, seed=8), (8, 24), strict=True)]
    grown = sum(len(request.prompt) for request in batch) + 5
    drafter = {"part": "model", "draft_length": 3, "split": 2, "by_positions": {0: 3, grown: 2}}
    config = dataclasses.replace(SYSTEMS["spec_moe_off"], drafter=drafter)
    system = build_system(config, pair, pair.draft_bytes + 10 * pair.record_bytes, LINK, COSTS)
    meter = Drafted([request.max_new_tokens for request in batch])
    system.generate(batch, meter)
    system.close()
    assert meter.tokens == [plain(reference, request) for request in batch]
    lengths = [length for length, _ in itertools.groupby(meter.drafted)]
    assert lengths[:3] == [3, 2, 3]


def test_a_listener_of_the_draft_hears_whole_batches(pair: Pair) -> None:
    drafter = {"part": "model", "draft_length": 3, "split": 2}
    with pytest.raises(BadInput, match=r"set drafter\.split=1"):
        build_system(dataclasses.replace(SYSTEMS["sp_moe"], drafter=drafter), pair, pair.expert_bytes, LINK, COSTS)


def test_a_sliding_window_is_refused(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair.target.config, "sliding_window", 16)
    with pytest.raises(BadInput, match="sliding window"):
        build_system(SYSTEMS["spec_moe_off"], pair, pair.expert_bytes, LINK, COSTS)


def test_an_empty_batch_is_refused(pair: Pair) -> None:
    with pytest.raises(BadInput, match="the batch is empty"):
        run("spec_moe_off", pair, [], None)
