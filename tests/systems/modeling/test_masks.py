"""The kinds of a model's layers, as either form of transformers' own function tells them."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import MixtralConfig

from systems.modeling import masks


def test_the_kind_and_window_of_each_layer() -> None:
    assert (
        masks.kinds(MixtralConfig(num_hidden_layers=2, sliding_window=8))
        == [("sliding_attention", {"sliding_window": 8})] * 2
    )


def test_what_is_told_to_all_layers_goes_to_those_that_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As transformers 5.17 does."""
    names = ["sliding_attention", "full_attention", "linear_attention", "chunked_attention"]
    told: dict[str, Any] = {"sliding_window": 8, "number_of_states": 2}
    monkeypatch.setattr("transformers.cache_utils.get_layer_types_and_kwargs", lambda text: (names, told))
    windowed, stateful = {"sliding_window": 8}, {"number_of_states": 2}
    assert masks.kinds(None) == list(zip(names, [windowed, {}, stateful, windowed], strict=True))
