"""Large batches: kernels of attention on the host, and what tunes their settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from systems.contract.iterations import Setting
from systems.contract.pair import ModelPair

if TYPE_CHECKING:
    from systems.tuning.iteration import Operators
    from systems.tuning.tuner import Roofline, Tuner


def attention_kernels() -> Mapping[str, Callable[[Any], Any]]:
    """Return the kernels that compute attention of drafted tokens on the host, by name, `chunked` among them.

    Each takes what `attention_work` makes.
    """
    from systems.methods.spec_moe_off.attention_kernels import KERNELS

    return KERNELS


def attention_work(
    rows: int, heads: int, key_heads: int, dim: int, prefix: int, drafted: int, seed: int, dtype: str
) -> Any:
    """Draw queries, keys and values of one layer: `rows` requests, `drafted` tokens behind `prefix` positions."""
    from systems.methods.spec_moe_off.attention_kernels import make_work

    return make_work(rows, heads, key_heads, dim, prefix, drafted, seed, dtype)


def attention_error(work: Any, kernel: str) -> float:
    """Return the greatest difference between a kernel's result and the same in double precision."""
    from systems.methods.spec_moe_off.attention_kernels import KERNELS, error

    return error(work, KERNELS[kernel])


def measure_operators(
    pair: ModelPair,
    prompts: Sequence[Sequence[int]],
    rows: Sequence[int],
    widths: Sequence[int],
    split: int,
    transfer: float,
) -> Operators:
    """Time the operators of an iteration of a large batch over real prompts; see `systems.tuning.measuring`.

    Raises:
        BadInput: times that no line fits.
    """
    from systems.tuning.measuring import measure_operators

    return measure_operators(cast("Any", pair), prompts, rows, widths, split, transfer)


def make_tuner(operators: Operators, setting: Setting, accepted: Sequence[int], longest: int) -> Tuner:
    """Return what predicts iterations of a batch for every draft length up to `longest`.

    Args:
        accepted: drafts accepted per row and step in a run with drafts of `longest`.

    Raises:
        BadInput: no steps.
    """
    from systems.tuning.tuner import Tuner, gains

    return Tuner(operators, setting, gains(accepted, longest))


def roofline(
    pair: ModelPair, row_positions: int, host_memory: float, link_bandwidth: float, slots: int, processors: int
) -> Roofline:
    """Return what decides a large batch's settings before anything is simulated; times this machine's memory."""
    from systems.tuning.measuring import host_bandwidth
    from systems.tuning.tuner import Roofline

    loaded = cast("Any", pair)
    row_bytes = row_positions * (loaded.position_bytes + (loaded.draft_position_bytes if pair.draft_bytes else 0))
    return Roofline(
        host_memory, row_bytes, host_bandwidth(), link_bandwidth, pair.num_experts, pair.top_k, slots, pair.num_layers,
        processors,
    )  # fmt: skip
