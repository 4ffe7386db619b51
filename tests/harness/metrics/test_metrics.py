"""Every metric against numbers worked out by hand from its definition."""

from __future__ import annotations

import pytest

from harness import metrics
from harness.metrics import (
    acceptance,
    breakdown,
    correctness,
    coverage,
    experts,
    memory,
    speedup,
    stall,
    step_time,
    target_efficiency,
    theta,
    throughput,
    tpot,
    ttft,
)
from harness.metrics.base import Definition, Value
from harness.records.generation import Generation
from systems.api import LayerNeeds
from tests.harness.builders import MS, cell, generation, row, step, traffic


def test_tpot_excludes_the_first_token_and_pools() -> None:
    # a: 8 tokens after the first in 40 ms; b: 1 token in 20 ms. Commits of several tokens count every token.
    two = cell(
        generation(row("a", (100, 1), (120, 4), (140, 4)), batch=0),
        generation(row("b", (50, 1), (70, 1)), batch=1),
    )
    values = tpot.measure(two)
    assert values["tpot"].value == pytest.approx(60e-3 / 9)
    assert values["tpot_mean"].value == pytest.approx((40e-3 / 8 + 20e-3) / 2)
    assert (values["tpot"].n, values["tpot"].unit, values["tpot"].definition) == (2, "s", "tpot@2")


def test_what_has_no_unit_is_a_share_and_its_interval_ends_at_1() -> None:
    def two_of_three(generation: Generation) -> tuple[float, float]:
        return float(generation.batch > 0), 1.0

    three = cell(*(generation(row(str(batch), (0, 1)), batch=batch) for batch in range(3)))
    share, amount = (Definition("x@1", unit, "higher", "").ratio(three, two_of_three, "none") for unit in ("-", "s"))
    assert share.value == amount.value == pytest.approx(2 / 3)
    assert share.high is not None
    assert amount.high is not None
    assert share.high < 1 < amount.high


def test_tpot_leaves_out_requests_of_one_token() -> None:
    short = generation(row("b", (50, 1)), batch=1)
    values = tpot.measure(cell(generation(row("a", (0, 1), (30, 3))), short))
    assert values["tpot"].value == pytest.approx(10e-3)
    unknown = tpot.measure(cell(short))["tpot"]
    assert (unknown.value, unknown.reason) == (None, "no request has tokens behind its first commit")


def test_tokens_of_the_first_commit_have_no_time_between_them() -> None:
    """A peer whose first commit holds 4 of 10 tokens took 30 ms for the other 6, and not for 9."""
    values = tpot.measure(cell(generation(row("a", (5, 4), (20, 3), (35, 3)))))
    assert (values["tpot"].value, values["tpot_mean"].value) == (pytest.approx(5e-3), pytest.approx(5e-3))
    at_once = tpot.measure(cell(generation(row("a", (5, 4)))))["tpot"]
    assert (at_once.value, at_once.reason) == (None, "no request has tokens behind its first commit")


def test_tpot_pools_repeats_within_their_prompt() -> None:
    repeats = [generation(row("a", (0, 1), (10 * k, 1)), repeat=k) for k in (1, 2, 3)]
    value = tpot.measure(cell(*repeats))["tpot"]
    assert value.value == pytest.approx(20e-3)
    assert value.n == 1
    assert value.low is value.high is None  # repeats of one prompt are no sample of prompts


def test_ttft_is_from_the_start_of_the_batch() -> None:
    assert ttft.measure(cell(generation(row("a", (30, 1)), row("b", (50, 1)))))["ttft"].value == pytest.approx(0.04)


def test_throughput_counts_the_whole_batch_over_its_window() -> None:
    batch = generation(row("a", (10, 1), (30, 2)), row("b", (10, 1), (50, 4)), window={"": 40 * MS})
    assert throughput.measure(cell(batch))["throughput"].value == pytest.approx(6 / 0.04)


def test_step_time_is_a_mean_over_steps() -> None:
    steps = [step(0, 0, seconds=0.01), step(0, 0, seconds=0.03)]
    assert step_time.measure(cell(generation(row("a"), steps=steps)))["step_time"].value == pytest.approx(0.02)
    assert step_time.measure(cell(generation(row("a"))))["step_time"].reason == "the system reports no steps"


def test_acceptance_by_hand() -> None:
    # Five steps of three drafts, accepted 0, 1, 1, 3, 2: 7 of 15.
    accepted = [0, 1, 1, 3, 2]
    values = acceptance.measure(cell(generation(row("a"), steps=[step(3, a) for a in accepted])))
    known = {id: value.value for id, value in values.items()}
    assert known["acceptance_rate"] == pytest.approx(7 / 15)
    assert known["acceptance_length"] == pytest.approx(1 + 7 / 5)
    assert [known[f"acceptance_marginal_{i}"] for i in (1, 2, 3)] == pytest.approx([4 / 5, 2 / 5, 1 / 5])
    assert [known[f"acceptance_conditional_{i}"] for i in (1, 2, 3)] == pytest.approx([4 / 5, 2 / 4, 1 / 2])
    marginals = sum(known[f"acceptance_marginal_{i}"] or 0 for i in (1, 2, 3))
    assert 1 + marginals == pytest.approx(known["acceptance_length"])


def test_what_is_drafted_behind_the_end_of_an_output_counts_nowhere() -> None:
    """Each request is handed 1 + 3 + 4 tokens by two steps of three drafts, and wants fewer."""
    steps = [step(3, 2), step(3, 3)]

    def known(kept: int, thrown: int, stopped: bool) -> dict[str, float | None]:
        made = row("a", (0, 1), (1, 3), (2, kept), stopped=stopped)
        made.handed += thrown
        values = acceptance.measure(cell(generation(made, steps=steps)))
        return {id.removeprefix("acceptance_"): value.value for id, value in values.items()}

    for stopped in (False, True):
        two = known(2, 2, stopped)
        assert two["length"] == (3 + 2) / 2, "tokens of steps in the output, by steps"
        assert two["rate"] == 3 / 4, "of the last three drafts one was wanted before the last token"
        assert (two["marginal_1"], two["marginal_2"], two["marginal_3"]) == (1, 1 / 2, 0)
        assert (two["conditional_2"], two["conditional_3"]) == (1, 0)
    assert known(1, 3, False)["length"] == (3 + 1) / 2
    whole = known(4, 0, True)
    assert (whole["length"], whole["rate"]) == (7 / 2, 5 / 6), "the stop token was the step's last: all of it counts"


def test_a_draft_that_could_not_be_kept_is_not_held_against_the_drafter() -> None:
    """One token was wanted: the three drafts were wrong or right for nobody."""
    made = row("a", (0, 1), (1, 4), (2, 1))
    values = acceptance.measure(cell(generation(made, steps=[step(3, 3), step(3, 0)])))
    assert (values["acceptance_rate"].value, values["acceptance_length"].value) == (1.0, 5 / 2)


def test_conditional_acceptance_ignores_steps_that_drafted_less() -> None:
    steps = [step(1, 1), step(2, 2), step(2, 1)]
    values = acceptance.measure(cell(generation(row("a"), steps=steps)))
    assert values["acceptance_conditional_2"].value == pytest.approx(1 / 2)
    assert values["acceptance_marginal_2"].value == pytest.approx(1 / 3)


def test_acceptance_of_plain_decoding_is_unknown_and_its_length_is_one() -> None:
    values = acceptance.measure(cell(generation(row("a"), steps=[step(0, 0)] * 3)))
    assert values["acceptance_rate"].value is None
    assert values["acceptance_rate"].reason == "nothing was drafted"
    assert values["acceptance_length"].value == 1.0
    assert "acceptance_marginal_1" not in values


def _moves() -> list:  # type: ignore[type-arg]
    layers = [
        LayerNeeds(needed=5, resident=2, on_time=1, late=1, demand=1),
        LayerNeeds(needed=3, resident=0, on_time=2, late=0, demand=1),
    ]
    counts = {
        "moved_bytes": 1000,
        "demand_bytes": 200,
        "useful_bytes": 500,
        "late_bytes": 100,
        "wasted_bytes": 200,
        "written_back_bytes": 80,
    }
    prefill = traffic("prefill", [LayerNeeds(needed=90, demand=90)], moved_bytes=7777, demand_bytes=7777)
    return [prefill, traffic("decode", layers, **counts, link_busy=0.02)]


def test_expert_metrics_by_hand_in_decode_only() -> None:
    steps = [step(1, 1), step(1, 1)]
    measured = experts.measure(cell(generation(row("a", (0, 1), (40, 4)), reports=_moves(), steps=steps)))
    known = {id: value.value for id, value in measured.items()}
    assert known == pytest.approx(
        {
            "hit_rate": 5 / 8,  # resident 2 + on time 3
            "prefetch_precision": 600 / 800,
            "prefetch_recall": 3 / 6,  # of the 6 that were not resident
            "late": 1 / 8,
            "computed_elsewhere": 0,
            "wasted_bytes": 50,
            "bytes_per_token": 250,
            "bytes_per_step": 500,
            "written_back_bytes": 20,
        }
    )


def test_what_is_computed_elsewhere_is_no_hit() -> None:
    reports = [traffic("decode", [LayerNeeds(needed=4, resident=1, elsewhere=3)])]
    values = experts.measure(cell(generation(row("a", (0, 1), (40, 4)), reports=reports)))
    assert (values["computed_elsewhere"].value, values["hit_rate"].value) == (3 / 4, 1 / 4)


def test_what_is_named_or_there_is_covered_whether_or_not_it_is_a_hit() -> None:
    reports = [
        traffic(
            "decode",
            [
                LayerNeeds(needed=6, resident=1, late=1, demand=4, foretold=4, covered=3),
                LayerNeeds(needed=1, foretold=1),
            ],
        )
    ]
    found = cell(generation(row("a", (0, 1), (40, 4)), reports=reports))
    assert coverage.measure(found)["coverage"].value == 3 / 5
    assert experts.measure(found)["hit_rate"].value == 1 / 7


def test_without_prefetch_its_quality_is_unknown_but_traffic_is_not() -> None:
    reports = [traffic("decode", [LayerNeeds(needed=2, resident=1, demand=1)], moved_bytes=80, demand_bytes=80)]
    values = experts.measure(cell(generation(row("a", (0, 1), (40, 4)), reports=reports)))
    assert values["prefetch_precision"].reason == values["prefetch_recall"].reason == "nothing was prefetched"
    assert (values["bytes_per_token"].value, values["wasted_bytes"].value) == (20, 0)


def test_a_system_that_reports_no_needs_has_unknown_traffic_and_not_zero() -> None:
    values = experts.measure(cell(generation(row("a", (0, 1), (40, 4)))))
    assert {value.value for value in values.values()} == {None}
    assert values["bytes_per_token"].reason == "the system reports no expert needs"


def test_stall_share_and_overlap() -> None:
    window = {"verify": 30 * MS, "transfer": 10 * MS}
    values = stall.measure(cell(generation(row("a"), reports=_moves(), window=window)))
    assert values["stall_share"].value == pytest.approx(0.25)
    assert values["overlap"].value == pytest.approx(0.5)  # 20 ms on the link, 10 ms of them felt


def test_waiting_longer_than_the_link_was_busy_is_no_overlap() -> None:
    values = stall.measure(cell(generation(row("a"), reports=_moves(), window={"transfer": 30 * MS})))
    assert values["overlap"].value == 0


def _timed(window: dict[str, int]) -> dict[str, metrics.Value]:
    return breakdown.measure(cell(generation(row("a", (0, 1), (100, 10)), window=window)))


def test_breakdown_adds_up_to_tpot() -> None:
    window = {"": 2 * MS, "draft": 20 * MS, "verify": 50 * MS, "transfer": 25 * MS, "host": 3 * MS}
    values = _timed(window)
    assert values["residual"].value == pytest.approx(0.02)
    assert values["breakdown_verify"].value == pytest.approx(5e-3)
    parts = [value.value or 0 for id, value in values.items() if id.startswith("breakdown_")]
    assert sum(parts) == pytest.approx(10e-3)


def test_breakdown_of_a_batch_adds_up_to_its_tpot() -> None:
    rows = row("a", (0, 1), (100, 10)), row("b", (0, 1), (60, 5))
    batch = cell(generation(*rows, window={"verify": 96 * MS, "": 4 * MS}))
    parts = [v.value or 0 for id, v in breakdown.measure(batch).items() if id.startswith("breakdown_")]
    assert sum(parts) == pytest.approx(tpot.measure(batch)["tpot"].value)


def test_breakdown_with_a_hole_is_refused_but_the_residual_is_printed() -> None:
    values = _timed({"": 6 * MS, "verify": 94 * MS})
    assert values["residual"].value == pytest.approx(0.06)
    assert values["breakdown_verify"].value is None
    assert "more than 5%" in str(values["breakdown_verify"].reason)


def test_exact_match_and_first_divergence() -> None:
    reference = {"a": [1, 2, 3], "b": [1, 2, 9]}
    two = cell(generation(row("a", (0, 3)), batch=0), generation(row("b", (0, 3)), batch=1), reference=reference)
    values = correctness.measure(two)
    assert (values["exact_match"].value, values["first_divergence"].value) == (0.5, 2)


@pytest.mark.parametrize(
    ("tokens", "expected"), [([1, 2, 3], None), ([1, 5, 3], 1), ([1, 2], 2), ([1, 2, 3, 4], 3), ([], 0)]
)
def test_first_divergence_sees_values_and_lengths(tokens: list[int], expected: int | None) -> None:
    assert correctness.first_divergence(tokens, [1, 2, 3]) == expected


def test_without_reference_correctness_is_unknown() -> None:
    values = correctness.measure(cell(generation(row("a", (0, 1))), no_reference="switched off"))
    assert values["exact_match"].reason == "switched off"


def test_memory() -> None:
    values = memory.measure(cell(fast_bytes=123, peak_rss=0))
    assert (values["peak_fast_bytes"].value, values["peak_rss"].value) == (123, None)


def test_target_efficiency_needs_the_widths() -> None:
    drafts = generation(row("a"), steps=[step(2, 1)])
    times = {1: 1e-3, 3: 2e-3}
    assert target_efficiency.measure(cell(drafts, layer_times=times))["target_efficiency"].value == 0.5
    assert target_efficiency.measure(cell(drafts, layer_times={1: 1e-3}))["target_efficiency"].value is None


def test_speedup_is_paired_and_pooled() -> None:
    baseline, system = {0: (4.0, 10.0), 1: (2.0, 10.0)}, {0: (2.0, 10.0), 1: (1.0, 10.0)}
    values = speedup.over("offload", baseline, system)
    value = values["speedup_over_offload"]
    assert (value.value, value.low, value.high, value.n) == (2.0, 2.0, 2.0, 2)
    assert values["speedup_geomean_over_offload"].value == pytest.approx(2.0)


def test_speedup_uses_shared_prompts_only() -> None:
    values = speedup.over("offload", {0: (4.0, 4.0), 1: (9.0, 1.0)}, {0: (2.0, 4.0)})
    assert values["speedup_over_offload"].value == 2.0
    nothing = speedup.over("offload", {1: (9.0, 1.0)}, {0: (2.0, 4.0)})
    assert nothing["speedup_over_offload"].reason == "no prompt was finished by both this system and offload"


def test_every_number_carries_unit_definition_and_no_unknown_is_zero() -> None:
    empty = metrics.measure(cell(generation(row("a", (0, 1)))))
    assert len(empty) > 20
    for id, value in empty.items():
        entry = value.row()
        assert entry.keys() >= {"value", "unit", "low", "high", "n", "definition"}
        assert "@" in value.definition, id
        assert (value.value is None) == ("reason" in entry), id


def test_theta_keeps_draft_lengths_apart() -> None:
    """Two steps of 2 drafts: 2 + 3 tokens in 30 ms; one of 4: 5 tokens in 50 ms."""
    steps = [step(2, 1, seconds=0.01), step(4, 4, seconds=0.05), step(2, 2, seconds=0.02)]
    values = theta.measure(cell(generation(row("a"), steps=steps)))
    assert {name: round(value.value or 0) for name, value in values.items()} == {"theta_2": 167, "theta_4": 100}
    assert theta.measure(cell(generation(row("a"), steps=[step(0, 0)]))) == {}


@pytest.mark.parametrize(
    ("number", "kept"),
    [
        (0.123456789, 0.123457),
        (1234567.5, 1234570),
        (100663296.0, 100663296),
        (2.0, 2),
        (2.38584661e-05, 2.38585e-05),
        (3e22, 3e22),
    ],
)
def test_a_summary_keeps_six_digits_and_whole_numbers_whole(number: float, kept: float) -> None:
    value = Value(number, "s", "x@1", "lower", 3).row()["value"]
    assert (value, type(value)) == (kept, type(kept))
