"""A replay of a trace equals the live run on the same virtual clock: every count, every byte, every nanosecond."""

import dataclasses
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from systems.api import BadInput, Costs, HostCosts, LinkSpec, Request, SystemConfig, build_system, log_likelihood
from systems.policies.composition import part
from systems.replay import trace_file
from systems.replay.pair import RecordedPair
from systems.replay.record import record
from systems.replay.system import ReplayedSystem
from systems.replay.trace import Trace
from systems.runtime.pair import Pair
from tests.systems.test_exactness import Checked, copies
from tests.systems.tiny import COSTS as PLAIN_COSTS
from tests.systems.tiny import LOSSLESS, SYSTEMS, requests

COSTS = dataclasses.replace(PLAIN_COSTS, draft_layer={1: 5e-4, 2: 8e-4, 6: 1e-3})
LINK = LinkSpec(bandwidth=20e6, latency=2e-5, virtual=True)
WARM_UP = [dataclasses.replace(request, id=f"warm-{request.id}") for request in requests(2, 8, seed=77)]


def batch_of(count: int) -> list[Request]:
    made = requests(count, seed=count)
    return [dataclasses.replace(r, id=f"{count}-{r.id}", max_new_tokens=16 - 3 * i) for i, r in enumerate(made)]


class Traces:
    """A trace per drafter, recorded when first asked for, through a file."""

    def __init__(self, pair: Pair, folder: Path) -> None:
        self._pair, self._folder = pair, folder
        self.of = cache(self._record)

    def _record(self, part: str) -> Trace:
        options = next(s.drafter for s in SYSTEMS.values() if s.drafter["part"] == part)
        # One token longer than any system drafts, so that a shorter draft is replayed from a longer one.
        longer = dict(options) | ({"draft_length": 4} if part != "none" else {})
        path = self._folder / f"{part}.npz"
        trace_file.save(record(self._pair, longer, [*batch_of(1), *batch_of(3), *WARM_UP]), path)
        return trace_file.load(path)


@pytest.fixture(scope="module")
def traces(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Traces:
    return Traces(pair, tmp_path_factory.mktemp("traces"))


def measured(
    system: Any, batch: Sequence[Request], warm_up: Sequence[Request] = WARM_UP, at_once: int | None = None
) -> tuple[list[list[int]], list[Any], list[int], int, dict[str, Any]]:
    meter = Checked([r.max_new_tokens for r in batch])
    for request in warm_up:
        system.calibrate([request])
    system.rehearse(batch)
    start = system.now_ns()
    system.generate(batch, meter, at_once)
    took = system.now_ns() - start
    facts = system.describe()
    system.close()
    return meter.tokens, [dataclasses.asdict(report) for report in meter.reports], meter.accepted, took, facts


def both(
    config: SystemConfig, pair: Pair, trace: Trace, batch: list[Request], slots: int = 9, costs: Costs = COSTS
) -> tuple[Any, Any]:
    budget = copies(config, pair) + slots * pair.record_bytes
    live = measured(build_system(config, pair, budget, LINK, costs), batch)
    return live, measured(ReplayedSystem(config, trace, budget, LINK, costs), batch)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", LOSSLESS)
def test_live_and_replay_are_equal(name: str, count: int, pair: Pair, traces: Traces) -> None:
    config = SYSTEMS[name]
    if part("drafter", config.drafter).untold():
        pytest.skip("its drafts depend on what is in fast memory")
    if count > 1 and config.drafter["part"] == "prompt_lookup":
        pytest.skip("rows of different draft lengths are padded with tokens that no trace holds")
    live, replayed = both(config, pair, traces.of(config.drafter["part"]), batch_of(count))
    for ours, theirs in zip(live, replayed, strict=True):
        assert ours == theirs


@pytest.mark.parametrize("name", ["sd_offload", "sp_moe"])
def test_rows_may_join_while_nothing_is_drafted(name: str, pair: Pair, traces: Traces) -> None:
    """Cascade decodes four steps plainly first. The second row leaves after two of them, and the third joins, which has
    then less for the draft to read than the first: that accepts what it would have accepted, had it read all along."""
    config = dataclasses.replace(SYSTEMS[name], governor={"part": "cascade"})
    batch = [dataclasses.replace(r, max_new_tokens=n) for r, n in zip(batch_of(3), (16, 3, 10), strict=True)]
    budget = copies(config, pair) + 9 * pair.record_bytes
    live = measured(build_system(config, pair, budget, LINK, COSTS), batch, [], 2)
    assert live == measured(ReplayedSystem(config, traces.of("model"), budget, LINK, COSTS), batch, [], 2)
    assert sum(live[2]) > 0, "drafts are accepted"


@pytest.mark.parametrize("count", [1, 3])
def test_what_is_drafted_ahead_is_replayed(count: int, pair: Pair, traces: Traces) -> None:
    """The host keeps verifications waiting; lengths are governed, none included, up to the longest of the trace."""
    drafter = {**SYSTEMS["arbiter"].drafter, "draft_length": 4, "optional": False}
    config = dataclasses.replace(SYSTEMS["arbiter"], drafter=drafter)
    slow = dataclasses.replace(COSTS, host=HostCosts(3e-3))
    live, replayed = both(config, pair, traces.of("model"), batch_of(count), costs=slow)
    assert live == replayed


@pytest.mark.parametrize("length", [1, 2, 4])
@pytest.mark.parametrize("cutoff", [2, "auto"])
def test_other_draft_lengths_and_cutoffs_need_no_new_trace(
    length: int, cutoff: Any, pair: Pair, traces: Traces
) -> None:
    config = dataclasses.replace(
        SYSTEMS["sp_moe"],
        drafter={"part": "model", "draft_length": length},
        prefetch={"part": "cutoff", "cutoff": cutoff},
    )
    live, replayed = both(config, pair, traces.of("model"), batch_of(1), slots=12)
    assert live == replayed


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"prefetch": {"part": "cutoff", "cutoff": "auto", "worker": False}},
        {"prefetch": {"part": "cutoff", "cutoff": "auto", "batch_io": 4}},
        {"placement": {"part": "cpu"}},
        {"residency": {"part": "lru", "scope": "global"}},
        {"residency": {"part": "static_hot"}},
        {"residency": {"part": "activation_aware"}},
        {"residency": {"part": "lookahead"}},
        {"residency": {"part": "pinned", "per_layer": 1}},
        {"residency": {"part": "all"}},
    ],
    ids=str,
)
def test_the_cutoff_is_chosen_alike_however_time_passes(changes: dict[str, Any], pair: Pair, traces: Traces) -> None:
    """Live on this machine's clock, live on a virtual one, replayed: the same steps are played at the same costs."""
    config = dataclasses.replace(SYSTEMS["sp_moe"], **changes)
    budget = copies(SYSTEMS["sp_moe"], pair) + 10 * pair.record_bytes
    chosen = []
    for system in (
        build_system(config, pair, budget, dataclasses.replace(LINK, virtual=False), COSTS),
        build_system(config, pair, budget, LINK, COSTS),
        ReplayedSystem(config, traces.of("model"), budget, LINK, COSTS),
    ):
        for batch in (batch_of(3), WARM_UP[:1], WARM_UP[1:]):
            system.calibrate(batch)
        facts = system.describe()
        system.close()
        chosen.append([facts["cutoff"], facts["cutoff_step_ms"], facts["cutoff_steps"]])
    assert chosen[0] == chosen[1] == chosen[2]
    assert len(chosen[0][1]) == 5


def test_a_recording_knows_of_the_models_what_they_say(pair: Pair, traces: Traces, root: Path, tmp_path: Path) -> None:
    """All but the weights, which it does not load; and what plain greedy decoding makes of each request."""
    trace, batch = traces.of("model"), batch_of(3)
    tokenizer = tmp_path / "tokenizer.json"
    pair.save_tokenizer(tokenizer)
    found = RecordedPair(pair.config, root, trace.header, tokenizer)
    numbers = ("vocab_size", "context_length", "num_layers", "num_experts", "top_k", "record_bytes", "expert_bytes")
    for name in ("name", *numbers, "draft_bytes", "non_expert_bytes", "stop_tokens", "device"):
        assert getattr(found, name) == getattr(pair, name), name
    assert found.describe() == pair.describe()
    text = pair.decode(batch[0].prompt)
    assert found.encode(text) == pair.encode(text)
    assert found.decode(batch[0].prompt) == text
    (outputs, *_), _ = both(SYSTEMS["offload"], pair, trace, batch)
    assert [trace.of(request).greedy for request in batch] == outputs

    absent = dataclasses.replace(pair.config, target="nowhere", draft="nowhere")
    assert RecordedPair(absent, root, trace.header, tokenizer).describe() == pair.describe()
    renamed = RecordedPair(dataclasses.replace(absent, name="other"), root, trace.header, tokenizer).describe()
    assert renamed["target"] is renamed["draft"] is None, "who knows which weights that would be"
    tokenizer.write_text("{")
    with pytest.raises(BadInput, match=r"tokenizer\.json is not a tokenizer .*record again"):
        RecordedPair(pair.config, root, trace.header, tokenizer)


def test_a_trace_says_what_it_cannot_replay(pair: Pair, traces: Traces, tmp_path: Path) -> None:
    trace = traces.of("model")
    with pytest.raises(BadInput, match=r"recorded with drafter\.part=model"):
        ReplayedSystem(SYSTEMS["moe_speq"], trace, 10**9, LINK, COSTS)
    longer = dataclasses.replace(SYSTEMS["sd_offload"], drafter={"part": "model", "draft_length": 9})
    with pytest.raises(BadInput, match="beyond the 4 of the trace"):
        ReplayedSystem(longer, trace, 10**9, LINK, COSTS)
    with pytest.raises(BadInput, match="gating"):
        ReplayedSystem(SYSTEMS["adapmoe_gated"], trace, 10**9, LINK, COSTS)
    system = ReplayedSystem(SYSTEMS["offload"], trace, 10**9, LINK, COSTS)
    with pytest.raises(BadInput, match="a replay tells no probabilities"):
        log_likelihood(system, [1, 2])
    with pytest.raises(BadInput, match="request new is not in the trace"):
        system.calibrate([dataclasses.replace(WARM_UP[0], id="new")])
    with pytest.raises(BadInput, match="another prompt"):
        system.calibrate([dataclasses.replace(WARM_UP[0], prompt=(1, 2, 3))])
    (tmp_path / "broken.npz").write_bytes(b"PK not a trace")
    for name, message in (("broken.npz", "is not a trace"), ("absent.npz", "is missing")):
        with pytest.raises(BadInput, match=message):
            trace_file.load(tmp_path / name)
