"""Fewer operators, the same model: what is replaced computes what the module did, and what would not is left alone."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from systems.api import ModelConfig, load_pair
from systems.compose.resident import resident_experts
from systems.modeling.decoder import Decoder
from systems.runtime.pair import Pair
from tests.systems.tiny import FAMILIES, save_draft, save_target, save_tokenizer

TEXT = [3, 1, 4, 1, 5, 9, 2, 6]
LOADED: dict[tuple[str, str, int], Pair] = {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("operators")
    while LOADED:
        LOADED.popitem()[1].close()


def loaded(folder: Path, family: str, operators: Any, layers: int = 4) -> Pair:
    """A tiny pair of a family, made once."""
    if (family, operators, layers) not in LOADED:
        root = folder / f"{family}-{layers}"
        if not root.exists():
            save_target(root / "target", family, num_hidden_layers=layers)
            save_draft(root / "draft", num_hidden_layers=layers)
            save_tokenizer(root)
        pair: Any = load_pair(ModelConfig("tiny", "target", "draft", ".", operators=operators), root)
        LOADED[family, operators, layers] = pair
    return LOADED[family, operators, layers]


@torch.inference_mode()
def logits(pair: Pair, model: Any = None) -> torch.Tensor:
    """Logits of a prompt, of two drafts behind it, and of three tokens one by one."""
    with resident_experts(pair) as pair.port.mixer:
        decoder = Decoder(model or pair.target, 1, len(TEXT))
        found = [decoder.prefill(0, TEXT[:3])[None], decoder.forward(torch.tensor([TEXT[3:5]]), [3])[0]]
        found += [decoder.forward(torch.tensor([[token]]), [at])[0] for at, token in enumerate(TEXT[5:], 5)]
    return torch.cat(found)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_reads_as_it_did(family: str, folder: Path) -> None:
    stock, fused = loaded(folder, family, "stock"), loaded(folder, family, "fused")
    torch.testing.assert_close(logits(fused), logits(stock), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits(fused, fused.draft), logits(stock, stock.draft), rtol=1e-4, atol=1e-4)


def test_stock_operators_are_the_modules_own(folder: Path) -> None:
    """`test_families` says that they give the same bits."""
    pair = loaded(folder, "mixtral", "stock")
    for model in (pair.target, pair.draft):
        assert not [module for module in model.modules() if "forward" in vars(module)]
        assert all(weight.is_contiguous() for weight in model.parameters())
    assert not pair.store.shape.by_inputs


def test_weights_are_no_more_than_before(folder: Path) -> None:
    """Merged maps lie one above the other, and each map's own weight is its part of that."""
    stock, fused = loaded(folder, "mixtral", "stock"), loaded(folder, "mixtral", "fused")
    assert stock.non_expert_bytes == fused.non_expert_bytes
    attention = fused.target.model.layers[0].self_attn
    parts = [attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]
    assert len({part.untyped_storage().data_ptr() for part in parts}) == 1
    assert parts[0].untyped_storage().nbytes() == sum(part.nbytes for part in parts)
    for name, weight in stock.target.state_dict().items():
        assert torch.equal(weight, fused.target.state_dict()[name]), name


class Counting(TorchDispatchMode):
    """Counts operators that compute something: views only say where it lies."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view:
            self.seen[func._schema.name.removeprefix("aten::")] += 1
        return func(*args, **(kwargs or {}))


@torch.inference_mode()
def operators(pair: Pair, model: Any) -> int:
    """How many operators a forward of one token takes."""
    with resident_experts(pair) as pair.port.mixer:
        decoder = Decoder(model, 1, len(TEXT))
        decoder.prefill(0, TEXT[:-1])
        with Counting() as counting:
            decoder.forward(torch.tensor([TEXT[-1:]]), [len(TEXT) - 1])
    return counting.seen.total()


def per_layer(folder: Path, family: str, operator: str, role: str = "target") -> float:
    """Operators of one MoE layer: what two more layers take, halved."""
    small, large = (loaded(folder, family, operator, layers) for layers in (2, 4))
    return (operators(large, getattr(large, role)) - operators(small, getattr(small, role))) / 2


@pytest.mark.parametrize(
    ("family", "stock", "fused", "draft"), [("mixtral", 47, 29, (36, 17)), ("deepseek_v2", 69, 52, (36, 17))]
)
def test_operators_per_layer(family: str, stock: int, fused: int, draft: tuple[int, int], folder: Path) -> None:
    assert per_layer(folder, family, "stock") == stock
    assert per_layer(folder, family, "fused") == fused
    assert (per_layer(folder, family, "stock", "draft"), per_layer(folder, family, "fused", "draft")) == draft
