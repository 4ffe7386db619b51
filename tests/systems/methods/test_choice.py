"""What the warm-up keeps and gives up: the draft model, hints; and what drafting ahead hides."""

import dataclasses
from typing import Any

import pytest

from systems.api import BadInput, Costs, DidNotFit, HostCosts, LinkSpec, NullMeter, SystemConfig, build_system
from systems.cache.clock import SkippingClock, VirtualClock
from systems.methods.arbiter.choice import Choice
from systems.methods.arbiter.stopwatch import Stopwatch
from systems.runtime.ahead import DraftAhead
from systems.runtime.pair import Pair
from tests.systems.tiny import COSTS, SYSTEMS, requests

LINK = LinkSpec(bandwidth=20e6, latency=2e-5, virtual=True)
SLOW_LINK = LinkSpec(bandwidth=2e6, latency=2e-5, virtual=True)
SLOW_HOST = HostCosts(4e-3)
"""Verifications wait: there is time to draft ahead."""
CHEAP = Costs({1: 1e-3, 4: 1.01e-3}, {1: 1e-6}, 1e-3, 1e-5, HostCosts(1e-6))
"""Drafts and verifications of several tokens cost nothing more, nor do misses."""
DEAR = dataclasses.replace(CHEAP, draft_layer={1: 5e-2}, host=SLOW_HOST)
"""Drafts cost more than they bring, and every miss its time."""


def arbiter(**changes: Any) -> SystemConfig:
    config = SYSTEMS["arbiter"]
    return dataclasses.replace(config, drafter={**config.drafter, **changes})


def generated(config: SystemConfig, pair: Pair, costs: Costs, slots: int = 9) -> tuple[dict[str, Any], float, Any]:
    """What it says of itself, the seconds of a request behind its warm-up, and the system."""
    system: Any = build_system(config, pair, pair.draft_bytes + slots * pair.record_bytes, LINK, costs)
    system.calibrate(requests(2, 12, seed=77))
    began, meter = system.now_ns(), NullMeter([24])
    system.generate(requests(1, 24, seed=3), meter)
    system.close()
    return system.describe(), (system.now_ns() - began) / 1e9, system


def test_a_draft_stays_where_it_is_faster_and_gives_its_memory_to_experts_where_it_is_not(pair: Pair) -> None:
    kept, _, _ = generated(arbiter(), pair, CHEAP)
    given_up, _, system = generated(arbiter(), pair, DEAR)
    more = pair.draft_bytes // pair.record_bytes
    assert more >= 1
    assert (kept["draft_kept"], kept["slots"], kept["draft_bytes"]) == (True, 9, pair.draft_bytes)
    assert (given_up["draft_kept"], given_up["slots"], given_up["draft_bytes"]) == (False, 9 + more, 0)
    assert kept["draft_kept_ms"] < kept["draft_given_up_ms"]
    assert given_up["draft_kept_ms"] > given_up["draft_given_up_ms"]
    assert len(system.cache.slots.residents) > 9, "they are used"
    assert system.fast_bytes <= pair.draft_bytes + 9 * pair.record_bytes


def test_a_draft_that_does_not_fit_is_given_up_at_once(pair: Pair) -> None:
    budget = 4 * pair.record_bytes
    assert pair.draft_bytes + 2 * pair.record_bytes > budget
    with pytest.raises(DidNotFit):
        build_system(arbiter(optional=False), pair, budget, LINK, CHEAP)
    system = build_system(arbiter(), pair, budget, LINK, CHEAP)
    system.generate(requests(1, 6), NullMeter([6]))
    facts = system.describe()
    system.close()
    assert (facts["draft_kept"], facts["slots"], facts["draft_bytes"]) == (False, 4, 0)


@pytest.mark.parametrize("pays", [True, False])
def test_hints_are_asked_for_where_the_warm_up_was_faster_with_them(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, pays: bool
) -> None:
    """Asking takes no time on a virtual clock: here it gives some, or takes some."""
    config = arbiter(optional=False)
    system: Any = build_system(config, pair, pair.draft_bytes + 9 * pair.record_bytes, LINK, CHEAP)
    arbitrated, clock = system._parts.listener, system.cache.clock
    look, asked = arbitrated.look, list[int]()

    def timed(layer: int, hidden: Any) -> None:
        look(layer, hidden)
        asked.append(layer)
        if arbitrated.hints is not pays:
            clock.spend(1e-2)

    arbitrated.look = timed
    system.calibrate(requests(2, 12, seed=77))
    hinted: list[int] = []
    system._parts.hinting.on_hint = lambda layer, experts: hinted.append(layer)
    system.generate(requests(1, 12, seed=3), NullMeter([12]))
    facts = system.describe()
    system.close()
    assert asked
    assert facts["hints_kept"] is pays
    assert (facts["hints_kept_ms"] < facts["hints_given_up_ms"]) is pays
    assert bool(hinted) is pays, "neither draft nor gates are asked"


def test_hints_are_followed_always_or_never_or_as_the_warm_up_says(pair: Pair) -> None:
    config = arbiter()
    for hints in (True, False):
        fixed = dataclasses.replace(config, prefetch={**config.prefetch, "hints": hints})
        assert "hints_kept" not in generated(fixed, pair, CHEAP)[0]
    with pytest.raises(BadInput, match=r"prefetch\.hints"):
        build_system(
            dataclasses.replace(config, prefetch={**config.prefetch, "hints": "often"}), pair, 10**9, LINK, CHEAP
        )


def test_drafting_ahead_saves_time_and_changes_no_token(pair: Pair) -> None:
    """The host keeps every verification waiting, so that whole drafts are hidden where all before them was right. What
    hints fetch differs with the time that drafting takes; here there are none."""
    costs = dataclasses.replace(COSTS, host=SLOW_HOST)
    plain = {"part": "none"}
    times, outputs = {}, {}
    for ahead in (True, False):
        config = dataclasses.replace(arbiter(ahead=ahead, optional=False, draft_length=1), governor=plain)
        config = dataclasses.replace(config, prefetch={**config.prefetch, "hints": False, "promotions": False})
        system: Any = build_system(config, pair, pair.draft_bytes + 6 * pair.record_bytes, SLOW_LINK, costs)
        meter, began = NullMeter([60]), system.now_ns()
        system.generate(requests(1, 60, seed=5), meter)
        times[ahead], outputs[ahead] = system.now_ns() - began, meter.tokens
        system.close()
    assert times[True] < times[False]
    assert outputs[True] == outputs[False]


@pytest.mark.parametrize(
    ("idle", "foreseen", "takes"),
    [
        (9.0, True, 0.0),  # three tokens of 1 s, and the one that the target adds: all in 9 s of waiting
        (3.0, True, 1.0),  # one of them was drafted for the target's own
        (1.0, True, 3.0),  # that, and nothing else
        (9.0, False, 3.0),
    ],
)
def test_what_was_drafted_while_the_device_waited_takes_no_time(idle: float, foreseen: bool, takes: float) -> None:
    clock = VirtualClock()
    clock.wait(5.0)  # before the last draft was complete
    ahead = DraftAhead(clock)
    ahead.drafted(clock.now(), 0, False)
    clock.wait(clock.now() + idle)
    began = clock.now()
    clock.spend(3.0)
    ahead.drafted(began, 3, foreseen)
    assert clock.now() - began == pytest.approx(takes)
    clock.spend(3.0)
    ahead.drafted(clock.now() - 3.0, 3, True)
    assert clock.now() - began == pytest.approx(takes + 3.0), "nobody has waited since"


def test_a_clock_that_skips_waits_goes_back_too() -> None:
    clock = SkippingClock()
    clock.wait(clock.now() + 50.0)
    assert clock.waited == pytest.approx(50.0, abs=0.1)
    before = clock.now()
    clock.hide(20.0)
    assert clock.now() - before == pytest.approx(-20.0, abs=0.1)


def test_a_stopwatch_leaves_first_tokens_out() -> None:
    clock = VirtualClock()
    watch = Stopwatch(requests(2, 3), frozenset(), clock.now)
    for row, tokens in ((0, [1]), (1, [1]), (0, [2, 3]), (1, [2])):
        clock.spend(1.0)
        watch.commit(row, tokens)
    assert (watch.seconds, watch.decoded) == (3.0, 3)


def test_what_is_kept_must_win_whichever_warm_up_is_left_out() -> None:
    choice = Choice("draft", lambda parts, on: None)
    assert choice.decide(), "nothing was decoded"
    for kept, given_up, decision in ((1.0, 3.0, True), (2.0, 1.5, False), (2.0, 3.0, True)):
        for on, seconds in ((True, kept), (False, given_up)):
            clock = VirtualClock()
            watch = Stopwatch(requests(1, 2), frozenset(), clock.now)
            watch.commit(0, [1])
            clock.spend(seconds)
            watch.commit(0, [1])
            choice.note(on, watch)
        assert choice.decide() == decision
    assert choice.describe() == {
        "draft_kept": True,
        "draft_kept_ms": pytest.approx(5000 / 3),
        "draft_given_up_ms": 2500.0,
    }


def test_only_residency_that_can_fill_more_slots_may_have_an_optional_draft(pair: Pair) -> None:
    config = dataclasses.replace(SYSTEMS["sd_offload"], drafter={"part": "model", "optional": True})
    with pytest.raises(BadInput, match=r"residency\.part=value fills"):
        build_system(config, pair, 10**9, LINK, COSTS)
