"""What is compared with what, on routings small enough to count by hand."""

from __future__ import annotations

import pytest
import torch

from models import alignment


def test_order_and_set_are_told_apart() -> None:
    """Three tokens of one layer: the same, the same set in another order, one expert wrong."""
    chosen = torch.tensor([[[0, 1], [2, 3], [4, 5]]])
    predicted = torch.tensor([[[0, 1], [3, 2], [4, 6]]])
    found = alignment.agreement(predicted, chosen)
    assert {name: values.tolist() for name, values in found.items()} == {
        "hard": [[1.0, 0.0, 0.0]], "soft": [[0.0, 1.0, 0.0]], "mismatch": [[0.0, 0.0, 1.0]],
    }  # fmt: skip


def test_int4_keeps_weights_within_half_a_level() -> None:
    matrix = torch.randn(4, 256, generator=torch.Generator().manual_seed(0))
    rounded = alignment.dequantised(matrix)
    steps = matrix.view(4, 2, 128).abs().amax(-1) / 7
    off = (rounded - matrix).view(4, 2, 128).abs().amax(-1)
    assert (off <= steps / 2 + 1e-6).all()
    assert not torch.equal(rounded, matrix)


def test_the_key_follows_weights_and_prompts() -> None:
    known = alignment.origin({"target": "aa", "draft": "bb"}, 3)
    assert known["key"] == alignment.origin({"draft": "bb", "target": "aa"}, 3)["key"]
    assert known["key"] != alignment.origin({"target": "ab", "draft": "bb"}, 3)["key"]
    assert known["key"] != alignment.origin({"target": "aa", "draft": "bb"}, 4)["key"]


def test_a_layer_without_a_forerunner_is_unknown() -> None:
    observations = [{"recall": torch.ones(3, 2), "next_layer_recall": torch.zeros(2, 2)}]
    found = alignment.summarise(observations, 3)
    assert found["by_layer"] == {"recall": [1.0, 1.0, 1.0], "next_layer_recall": [None, 0.0, 0.0]}
    assert found["recall"] == pytest.approx(1.0)
