"""Where the host reads what a device has computed, which makes it wait for all that is submitted: only where this says.

Seen are `tolist` and whatever asks for one number or for a size that depends on values; they are charged to the file of
ours that is nearest in the stack.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from systems.api import NullMeter, build_system
from systems.runtime.pair import Pair
from tests.systems.test_exactness import copies
from tests.systems.tiny import COSTS, SYSTEMS, requests

ROOT = Path(__file__).parents[3]
TOKENS = 4
HOST_VALUES = (
    "aten::_local_scalar_dense", "aten::item", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::is_nonzero"
)  # fmt: skip
ALLOWED = {
    "systems/modeling/experts.py": "a layer has to know which experts it needs: once per layer and forward",
    "systems/runtime/loop.py": "the first token of a prompt",
    "systems/runtime/sampling.py": "what was drafted, and what the target says: twice per step",
    "systems/runtime/naming.py": "a predictor's experts",
    "systems/drafters/model.py": "a predictor's experts, and whether the draft had foreseen the target's own token",
    "systems/methods/moe_speq/drafter.py": "the draft's routing and its weights, for the scheduler",
    "systems/methods/moe_speq/quantised.py": "a layer has to know which copies it needs",
    "systems/methods/spec_moe/drafter.py": "who is to be stood in for",
}


class Watching(TorchDispatchMode):
    """Counts where the host reads values."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def note(self) -> None:
        frame: Any = sys._getframe(1)
        while frame is not None:
            name = frame.f_code.co_filename
            if name.startswith(f"{ROOT}/systems/"):
                self.seen[name.removeprefix(f"{ROOT}/")] += 1
                return
            frame = frame.f_back

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        if name in HOST_VALUES or (name == "aten::index" and any(_is_mask(index) for index in args[1])):
            self.note()
        return func(*args, **(kwargs or {}))


def _is_mask(index: Any) -> bool:
    """How many values a mask picks out is known on the device only."""
    return index is not None and index.dtype == torch.bool


NAMES = ["offload", "sp_moe", "sd_offload", "sd_adapmoe", "spec_moe", "moe_spec", "oracle", "moe_speq", "int4"]


@pytest.mark.parametrize("name", NAMES)
def test_the_host_waits_for_the_device_where_it_must_only(
    name: str, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, watching = SYSTEMS[name], Watching()
    tolist = torch.Tensor.tolist

    def seen(tensor: torch.Tensor) -> Any:
        watching.note()
        return tolist(tensor)

    monkeypatch.setattr("systems.runtime.timing.draft_token_time", lambda pair, mixer: 1e-3)
    system = build_system(config, pair, copies(config, pair) + 12 * pair.record_bytes, None, COSTS)
    batch = requests(1, TOKENS)
    try:
        system.rehearse(batch)
        monkeypatch.setattr(torch.Tensor, "tolist", seen)
        with watching:
            system.generate(batch, meter := Steps([TOKENS]))
    finally:
        system.close()
    assert set(watching.seen) <= set(ALLOWED), watching.seen
    forwards = meter.steps + 1 + (meter.drafted if name == "spec_moe" else 0)
    assert watching.seen["systems/modeling/experts.py"] <= pair.num_layers * forwards
    assert watching.seen["systems/runtime/sampling.py"] == 2 * meter.steps


class Steps(NullMeter):
    """Counts steps, and the tokens that were drafted."""

    steps = drafted = 0

    def step(self, rows: Any, drafted: Any, accepted: Any) -> None:
        self.steps += 1
        self.drafted += max(drafted)


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize(
    "wait",
    [lambda values: values[values > 2], lambda values: torch.equal(values, values), lambda values: values[0].item()],
)
def test_a_hidden_wait_is_seen(wait: Any, inference: bool) -> None:
    """As boolean indexing, comparing, and asking for a number are, in torch's inference mode too."""
    with torch.inference_mode(inference):
        values = torch.arange(4)
        names: list[str] = []

        class Named(Watching):
            def note(self) -> None:
                names.append("seen")

        with Named():
            wait(values)
    assert names
