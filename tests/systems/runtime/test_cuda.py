"""The CUDA side behind the same interfaces; runs where there is a device."""

import dataclasses

import pytest
import torch

from systems.api import BadInput, LinkSpec, NullMeter, build_system, load_pair
from systems.runtime.pair import Pair
from tests.systems.tiny import COSTS, SYSTEMS, make_pair, requests

pytestmark = pytest.mark.cuda


@pytest.fixture
def cuda_pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    root = tmp_path_factory.mktemp("cuda")
    config = dataclasses.replace(make_pair(root).config, device="cuda")
    pair = load_pair(config, root)
    assert isinstance(pair, Pair)
    return pair


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", ["offload", "sd_offload", "sp_moe"])
def test_tokens_equal_the_resident_system(name: str, batch: int, cuda_pair: Pair) -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    emitted = []
    for config in (SYSTEMS["resident"], SYSTEMS[name]):
        budget = cuda_pair.draft_bytes + 6 * cuda_pair.record_bytes
        system = build_system(config, cuda_pair, budget, None, COSTS)
        meter = NullMeter([24] * batch)
        system.generate(requests(batch, 24), meter)
        system.close()
        emitted.append(meter.tokens)
    assert emitted[0] == emitted[1]


def test_the_host_slab_is_page_locked(cuda_pair: Pair) -> None:
    system = build_system(SYSTEMS["offload"], cuda_pair, 6 * cuda_pair.record_bytes, None, COSTS)
    assert cuda_pair.store.slab.is_pinned()  # type: ignore[attr-defined]
    system.close()


def test_a_paced_link_is_refused(cuda_pair: Pair) -> None:
    with pytest.raises(BadInput, match="hardware=local"):
        build_system(SYSTEMS["offload"], cuda_pair, 6 * cuda_pair.record_bytes, LinkSpec(1e9, 0.0), COSTS)
