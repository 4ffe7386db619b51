"""Models that run: loading them, timing them, and building systems around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from systems.contract.config import ModelConfig, SystemConfig
from systems.contract.costs import Costs, HostCosts, LinkSpec
from systems.contract.errors import BadInput
from systems.contract.pair import ModelPair
from systems.contract.requests import Request
from systems.contract.system import System
from systems.contract.traffic import Transfer


def load_pair(config: ModelConfig, root: Path) -> ModelPair:
    """Load target, draft and tokenizer, downloaded before where that is asked for.

    Raises:
        BadInput: a file is missing, truncated or corrupted, or draft and target do not match.
    """
    from systems.files.downloading import fetch
    from systems.runtime.pair import load

    fetch(config, root)
    return load(config, root)


def next_logits(pair: ModelPair, texts: Sequence[Sequence[int]]) -> list[list[float]]:
    """Return the target's logits `(V,)` after each text of token ids, by plain transformers; see `runtime.scoring`."""
    from systems.runtime.scoring import next_logits as score

    return score(cast("Any", pair), texts)


def stock_ratings(
    pair: ModelPair, texts: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> list[list[tuple[int, float]]]:
    """Return what stock transformers thinks of each token behind prompts; see `runtime.scoring`.

    Raises:
        DidNotFit: its weights have no room beside ours.
    """
    from systems.runtime.scoring import stock_ratings as rate

    return rate(cast("Any", pair), texts)


def routing(pair: ModelPair, requests: Sequence[Request]) -> Any:
    """Decode greedily, and return where the target routes every decoded token: integers `(tokens, layers, k)`, the
    requests one behind the other.

    Raises:
        BadInput: a request that is not greedy.
    """
    from systems.replay.record import decoded_routing

    return decoded_routing(cast("Any", pair), requests)


def collect_activations(
    pair: ModelPair, batches: Iterable[Sequence[Request]], texts: Mapping[str, Any], path: Path
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
    from systems.replay.activations import collect

    return collect(cast("Any", pair), batches, texts, path)


def measure_costs(pair: ModelPair, widths: Sequence[int], prompts: Sequence[Sequence[int]]) -> Costs:
    """Time layers of a pair on this machine, with all experts resident, and the copy of an expert.

    Args:
        widths: positions per forward for which layers are timed.
        prompts: token ids; the models read what the target says behind the first of them.
    """
    from systems.compose.calibration import measure

    return measure(pair, widths, prompts)


def host_costs(pair: ModelPair) -> HostCosts | None:
    """Time one expert on this machine's processor where it lies; see `systems.compose.calibration.host_costs`."""
    from systems.compose.calibration import host_costs as measure

    return measure(pair)


def layer_time(pair: ModelPair, prompts: Sequence[Sequence[int]]) -> float:
    """Time (s) one target layer at one position, as `measure_costs` does; see there."""
    from systems.compose.calibration import layer_time as time

    return time(pair, prompts)


def dense_forward_times(
    pair: ModelPair, sizes: Sequence[tuple[int, int]], context: int
) -> dict[tuple[int, int], float]:
    """Time forwards (s) of `(rows, tokens each)` behind `context` positions, of a dense model with random weights that
    has the target's shape and as many active weights."""
    from systems.runtime.dense_control import forward_times

    return forward_times(cast("Any", pair), sizes, context)


def build_system(
    config: SystemConfig, pair: ModelPair, budget_bytes: int, link: LinkSpec | None, costs: Costs
) -> System:
    """Compose a system from its parts.

    Raises:
        BadInput: an unknown part or option, with the nearest valid one.
        DidNotFit: the budget cannot hold the draft and one layer's top-k experts.
        Unsupported: a peer that is not installed, or does not run this model on this device.
    """
    from systems.compose.build import build

    return build(config, pair, budget_bytes, link, costs)


def log_likelihood(system: System, tokens: Sequence[int]) -> list[float]:
    """Return how likely a built system finds each token but the first, given those before (log-probability, nats).

    Raises:
        BadInput: a peer or a replay, which tells no probabilities.
    """
    read = getattr(system, "log_likelihood", None)
    if read is None:
        raise BadInput("a peer or a replay tells no probabilities; leave it out of `systems`")
    found: list[float] = read(tokens)
    return found


def watch_transfers(system: System, hear: Callable[[Transfer], None]) -> None:
    """Tell `hear` of every transfer of a built system from now on, in order of start; any thread may call it.

    Raises:
        BadInput: a peer, whose transfers nobody sees.
    """
    cache = getattr(system, "cache", None)
    if cache is None:
        raise BadInput("a peer does not tell of its transfers; watch a composed system")
    cache.watch(hear)
