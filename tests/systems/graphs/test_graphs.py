"""Forwards that are replayed give what stock transformers gives, and read nothing but what is where it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from systems.api import NullMeter, Request, build_system
from systems.compose import live
from systems.graphs import decoder as graphs
from systems.graphs.decoder import GraphedDecoder, GraphedDecoders, keys_read
from systems.graphs.recording import Recording
from systems.modeling.decoder import Decoder
from systems.modeling.experts import ExpertPort
from systems.modeling.grouped_experts import GroupedExperts
from systems.modeling.masks import Masks
from systems.operators import grouped
from systems.runtime.pair import Pair
from tests.systems.graphs.fake_capture import FakeCapture, memory
from tests.systems.runtime.test_streams import ON_DEVICE, decode, device, left_over, unlock
from tests.systems.test_exactness import copies, plain
from tests.systems.tiny import COSTS, FAMILIES, SYSTEMS, make_pair, requests, save_draft, save_target, save_tokenizer

TOKENS = 12


@pytest.fixture(autouse=True)
def no_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("systems.runtime.timing.draft_token_time", lambda pair, mixer: 1e-3)


@pytest.fixture(autouse=True)
def small_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of a few tokens pass from one number of keys to the next."""
    monkeypatch.setattr(graphs, "LEAST_KEYS", 8)


def keeping(made: list[FakeCapture]) -> Any:
    """Return what makes captures, and keeps them."""

    def make(device: torch.device) -> FakeCapture:
        made.append(FakeCapture(device))
        return made[-1]

    return make


class Graphs:
    """Lets systems that are built from now on compute by graphs, and keeps what was made."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.captures: list[FakeCapture] = []
        self.makers: list[GraphedDecoders] = []
        self.replays = self.recordings = 0
        replay, record = Recording.replay, Recording.record

        def replayed(recording: Recording) -> Tensor:
            self.replays += 1
            return replay(recording)

        def recorded(recording: Recording, *args: Any) -> None:
            self.recordings += 1
            record(recording, *args)

        patch.setattr(live, "decoders", self._make)
        patch.setattr(Recording, "replay", replayed)
        patch.setattr(Recording, "record", recorded)

    def _make(self, pair: Pair) -> GraphedDecoders:
        self.makers.append(GraphedDecoders(pair.port, keeping(self.captures)))
        return self.makers[-1]


def stock(pair: Pair) -> Callable[[Sequence[Request]], list[list[int]]]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(pair.config.target, experts_implementation="eager").eval()
    return lambda batch: [plain(model, request) for request in batch]


@pytest.fixture(scope="module")
def graph_pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("graphs"))


@pytest.fixture(scope="module")
def expected(graph_pair: Pair) -> Callable[[Sequence[Request]], list[list[int]]]:
    return stock(graph_pair)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ["offload", "sp_moe", "adapmoe", "spec_moe", "arbiter"])
def test_tokens_are_those_of_stock_transformers_without_a_race(
    name: str, batch: int, graph_pair: Pair, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(name, batch, graph_pair, expected, monkeypatch)


@pytest.mark.nightly
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ON_DEVICE)
def test_tokens_of_every_system_are_those_of_stock_transformers_without_a_race(
    name: str, batch: int, graph_pair: Pair, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(name, batch, graph_pair, expected, monkeypatch)


def check(name: str, batch: int, pair: Pair, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode two generations, of which the second finds the graphs of the first."""
    made = Graphs(monkeypatch)
    wanted = requests(batch, TOKENS)
    with monkeypatch.context() as patch:
        sim = device(patch, batch)
        config = SYSTEMS[name]
        try:
            system = build_system(config, pair, copies(config, pair) + 8 * pair.record_bytes, None, COSTS)
            for _ in range(2):
                meter = NullMeter([TOKENS] * batch)
                system.rehearse(wanted)
                system.generate(wanted, meter)
                assert meter.tokens == expected(wanted)
            assert "yes" in str(system.describe()["graphs"])
            recorded = sum(
                recording.recorded
                for maker in made.makers
                for kept in maker._kept.values()
                for recording in kept._shapes.values()
            )
            assert recorded == made.recordings, "what is recorded once is recorded"
            system.close()
        finally:
            unlock(pair)
    assert made.replays > 2 * TOKENS // 3
    assert sim.races + left_over(sim) == []


@pytest.mark.parametrize("family", [*FAMILIES, "windowed"])
def test_families_run_as_they_are(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    window = {"sliding_window": 5} if family == "windowed" else {}
    save_target(tmp_path / "target", "mixtral" if window else family, **window)
    save_draft(tmp_path / "draft")
    save_tokenizer(tmp_path)
    pair = make_pair(tmp_path)
    made, wanted = Graphs(monkeypatch), requests(1, TOKENS)
    with monkeypatch.context() as patch:
        sim = device(patch, 0)
        try:
            assert decode(pair, SYSTEMS["sp_moe"], wanted) == stock(pair)(wanted)
        finally:
            unlock(pair)
    assert made.replays
    assert not sim.races
    pair.close()


@torch.inference_mode()
@pytest.mark.parametrize("role", ["target", "draft"])
def test_graphs_read_what_lies_outside_of_them_where_it_stays(role: str, graph_pair: Pair) -> None:
    """Besides keys and values, the buffers of a recording and what is left for experts: what two recordings find at the
    same addresses, as long as neither lets go of anything."""
    model, found = getattr(graph_pair, role), list[set[int]]()
    kept = []
    for _ in range(2):
        captures: list[FakeCapture] = []
        made = GraphedDecoder(model, 1, 64, graph_pair.port, keeping(captures))
        made.prefill(0, [1, 2, 3])
        for turn in range(3):
            made.forward(torch.tensor([[turn]]), [3 + turn])
        (recording,), (capture,) = made._shapes.values(), captures
        stores: Any = made._cache._stores  # type: ignore[union-attr]
        own = {memory(tensor) for store in stores for tensor in store.values()}
        own |= {memory(tensor) for tensor in (recording.tokens, recording.starts, *_left_for_experts(recording))}
        found.append(set(capture.outside) - own)
        kept.append((made, capture))
    assert found[0] == found[1] != set()


def _left_for_experts(recording: Recording) -> list[Tensor]:
    cells = [cell.cell_contents for step in recording._steps for cell in getattr(step, "__closure__", None) or ()]
    return [content for content in cells if isinstance(content, Tensor)]


@torch.inference_mode()
def test_a_replay_gives_the_bits_of_the_forward_that_was_recorded(graph_pair: Pair) -> None:
    """Of the same keys, computed one operator at a time; at positions that it was not recorded at."""
    port = ExpertPort()
    made = GraphedDecoder(graph_pair.draft, 2, 64, port, FakeCapture)  # type: ignore[arg-type]
    known = Decoder(graph_pair.draft, 2, 64)
    for decoder in (made, known):
        for row, prompt in enumerate(([1, 2, 3], [4, 5, 6, 7])):
            decoder.prefill(row, prompt)
    for turn in range(5):
        tokens, starts = torch.tensor([[turn, 3], [5, turn]]), [3 + turn, 4 + turn // 2]
        given = made.forward(tokens, starts)
        keys = keys_read(max(starts) + 2, 64)
        positions = torch.tensor(starts)[:, None] + torch.arange(2)
        known._cache.begin_at(positions, keys)  # type: ignore[union-attr]
        masks = Masks(graph_pair.draft)(positions, keys, False)
        assert torch.equal(given, known._logits(tokens, positions, known._cache, masks, 0).logits)
    assert made.refused is None
    assert sum(recording.recorded for recording in made._shapes.values())


def test_what_no_graph_holds_is_said_and_computed_as_ever(
    graph_pair: Pair, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Graphs(monkeypatch)
    layer = graph_pair.target.model.layers[1].self_attn
    hook = layer.register_forward_pre_hook(lambda module, args, named: _reads(named), with_kwargs=True)
    system = build_system(SYSTEMS["offload"], graph_pair, 8 * graph_pair.record_bytes, None, COSTS)
    meter, wanted = NullMeter([TOKENS]), requests(1, TOKENS)
    with pytest.warns(UserWarning, match="does not run as graphs.*not permitted when stream is capturing"):
        system.generate(wanted, meter)
    hook.remove()
    assert meter.tokens == expected(wanted)
    assert "not of MixtralForCausalLM" in str(system.describe()["graphs"])
    assert not made.replays
    system.close()


def _reads(named: Any) -> None:
    named["hidden_states"].sum().item()


def test_keys_are_read_up_to_the_next_power_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "LEAST_KEYS", 128)
    assert [keys_read(end, 1024) for end in (1, 128, 129, 512, 513, 1024)] == [128, 128, 256, 512, 1024, 1024]
    assert keys_read(600, 700) == 700


def _masks_nothing(patch: pytest.MonkeyPatch) -> None:
    call = Masks.__call__
    patch.setattr(Masks, "__call__", lambda self, positions, end, last: call(self, positions * 0 + end, end, last))


def _records_positions(patch: pytest.MonkeyPatch) -> None:
    """As numbers of the host, which stay those of the recording."""
    own, forward = GraphedDecoder._computed, GraphedDecoder.forward
    at = [0]

    def computed(self: GraphedDecoder, known: Recording, keys: int) -> Tensor:
        return own(self, Recording(known.tokens, torch.full_like(known.starts, at[0])), keys)

    def noted(self: GraphedDecoder, tokens: Tensor, starts: Sequence[int]) -> Tensor:
        at[0] = starts[0]
        return forward(self, tokens, starts)

    patch.setattr(GraphedDecoder, "_computed", computed)
    patch.setattr(GraphedDecoder, "forward", noted)


def _leaves_experts_out(patch: pytest.MonkeyPatch) -> None:
    own = Recording._leaving_experts

    def leaving(self: Recording, port: Any, capture: Any, steps: list[Any]) -> Any:
        return own(self, port, capture, [])

    patch.setattr(Recording, "_leaving_experts", leaving)


def _reads_the_tokens_it_was_recorded_with(patch: pytest.MonkeyPatch) -> None:
    record = Recording.record

    def recorded(self: Recording, *args: Any) -> None:
        record(self, *args)
        self.tokens = self.tokens.clone()

    patch.setattr(Recording, "record", recorded)


@pytest.mark.parametrize(
    "mutant", [_masks_nothing, _records_positions, _leaves_experts_out, _reads_the_tokens_it_was_recorded_with]
)
def test_what_is_broken_is_found(
    mutant: Callable[[pytest.MonkeyPatch], None], graph_pair: Pair, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Graphs(monkeypatch)
    mutant(monkeypatch)
    config = SYSTEMS["sd_offload"]
    budget = copies(config, graph_pair) + 8 * graph_pair.record_bytes
    system = build_system(config, graph_pair, budget, None, COSTS)
    meter, wanted = NullMeter([TOKENS]), requests(1, TOKENS)
    system.generate(wanted, meter)
    system.close()
    assert meter.tokens != expected(wanted)


COMPUTES_NOTHING = {
    "empty",
    "new_empty",
    "view",
    "to",
    "detach",
    "detach_",
    "resolve_conj",
    "resolve_neg",
    "lift_fresh",
}


class Launches(TorchDispatchMode):
    """Counts operators that a device would be given; kernels of ours as two."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if name not in COMPUTES_NOTHING:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


@torch.inference_mode()
def test_a_layer_is_a_few_launches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DeepSeek-V2 at width 1, all experts there: reading the choice, its table, two kernels, their sum's way into the
    next graph, that graph."""
    save_target(tmp_path / "target", "deepseek_v2")
    save_draft(tmp_path / "draft")
    save_tokenizer(tmp_path)
    pair = make_pair(tmp_path)
    launched: list[int] = []
    monkeypatch.setattr(grouped, "launch", lambda *operands: launched.append(2))
    monkeypatch.setattr(live, "kind_of_experts", lambda pair: GroupedExperts)
    Graphs(monkeypatch)
    counted: list[int] = []

    def replay(recording: Recording) -> Tensor:
        for step in recording._steps:
            launched.clear()
            with Launches() as launches:
                if step.__qualname__.startswith("FakeCapture"):
                    launched.append(1)
                    with _disable_current_modes():
                        step()
                else:
                    launched.append(2)  # the choice is read, and the table written: in one memory neither is a copy
                    step()
            counted.append(sum(launched) + len(launches.names))
            print(launches.names)
        return recording._logits

    monkeypatch.setattr(Recording, "replay", replay)
    system = build_system(SYSTEMS["resident"], pair, pair.expert_bytes, None, COSTS)
    system.generate(requests(1, TOKENS), NullMeter([TOKENS]))
    system.close()
    pair.close()
    layers = pair.num_layers
    forwards = len(counted) // (2 * layers + 1)
    assert forwards > 3
    assert sum(counted) / forwards <= 6 * layers + 1
