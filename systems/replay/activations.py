"""Collecting activation matrices from the live target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systems.compose.resident import NOTHING, recorded_parts
from systems.compose.running import RunningSystem
from systems.contract.config import SystemConfig
from systems.contract.errors import BadInput
from systems.contract.pair import ModelPair
from systems.contract.requests import Request
from systems.methods.moe_infinity.matching import ActivationMatching
from systems.runtime import activation_file
from systems.runtime.pair import loaded


def collect_activations(
    model_pair: ModelPair, batches: Iterable[Sequence[Request]], texts: Mapping[str, Any], path: Path
) -> int:
    """Decode greedily with all experts resident, and write where each sequence's decoded tokens were routed.

    Args:
        texts: what the requests are, for the record.
        path: the file, which the model's config may then name as `activations`.

    Returns:
        How many sequences there are; one that ended with its first token is none.

    Raises:
        BadInput: a request that is not greedy, or no sequence.
    """
    pair = loaded(model_pair)
    config = SystemConfig("collector", "", residency={"part": "activation_aware"})
    found = list[NDArray[np.float64]]()
    with recorded_parts(pair, config) as parts:
        assert isinstance(parts.listener, ActivationMatching)
        system = RunningSystem(pair, parts, NOTHING, pair.expert_bytes, 0)
        parts.listener.on_finished = found.extend
        for batch in batches:
            if any(request.sampling.temperature for request in batch):
                raise BadInput("activation matrices are those of greedy decoding; set measure.sampling.temperature=0")
            system.calibrate(batch)
    if not found:
        raise BadInput("no sequence decoded a token behind its first; raise `measure.max_new_tokens`")
    activation_file.save(path, np.stack(found), pair.describe(), texts)
    return len(found)
