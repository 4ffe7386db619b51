"""The parts that systems are composed of, by name, each with its own options and nothing else."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from systems.api import BadInput
from systems.policies.residency import LruOptions


@dataclass(frozen=True, slots=True)
class NoPart:
    """The part `none`."""


@dataclass(frozen=True, slots=True)
class ModelDrafterOptions:
    """`drafter.part: model`: the pair's draft model proposes `draft_length` tokens per step."""

    draft_length: int = 2

    def __post_init__(self) -> None:
        expected = "at least 1; drafter.part=none drafts nothing"
        _require(self.draft_length >= 1, "drafter.draft_length", self.draft_length, expected)


@dataclass(frozen=True, slots=True)
class DraftAttentionOptions:
    """`predictor.part: draft_attention`: SP-MoE's predictor."""


@dataclass(frozen=True, slots=True)
class CutoffPrefetchOptions:
    """`prefetch.part: cutoff`: fetch what is predicted for the first `cutoff` MoE layers.

    `cutoff` counts layers: 0 is none, `auto` asks the latency model after warm-up. `worker` lets transfers run
    beside drafting; without it drafting waits for them. `batch_io` is the most records in one I/O call.
    """

    cutoff: int | Literal["auto"] = "auto"
    worker: bool = True
    batch_io: int = 4

    def __post_init__(self) -> None:
        valid = self.cutoff == "auto" or (isinstance(self.cutoff, int) and self.cutoff >= 0)
        _require(valid, "prefetch.cutoff", self.cutoff, "auto or a number of layers from 0")
        _require(self.batch_io >= 1, "prefetch.batch_io", self.batch_io, "at least 1")


@dataclass(frozen=True, slots=True)
class AllResidentOptions:
    """`residency.part: all`: every expert has a slot, whatever the budget says: the upper bound."""


@dataclass(frozen=True, slots=True)
class TransformersOptions:
    """`engine.part: transformers`: generation by transformers itself, all experts resident."""


PARTS: dict[str, dict[str, type[Any]]] = {
    "drafter": {"none": NoPart, "model": ModelDrafterOptions},
    "predictor": {"none": NoPart, "draft_attention": DraftAttentionOptions},
    "prefetch": {"none": NoPart, "cutoff": CutoffPrefetchOptions},
    "engine": {"composed": NoPart, "transformers": TransformersOptions},
    "residency": {"lru": LruOptions, "all": AllResidentOptions},
}


def part(group: str, config: Mapping[str, Any]) -> Any:
    """Return the options object of a part named in a system's YAML.

    Raises:
        BadInput: an unknown part, option, or value of the wrong type; the nearest valid name is suggested.
    """
    options = dict(config)
    kind = _lookup(f"{group}.part", str(options.pop("part", "none")), PARTS[group])
    known = {field.name for field in fields(kind)}
    for name in options:
        if name not in known:
            raise BadInput(
                f"{group}.{name} is not an option of {group}.part={config.get('part')}{_nearest(name, known)}"
            )
    hints = get_type_hints(kind)
    for name, value in options.items():
        _check_type(f"{group}.{name}", value, hints[name])
    return kind(**options)


def _lookup(key: str, name: str, table: Mapping[str, type[Any]]) -> type[Any]:
    if name not in table:
        raise BadInput(f"{key}={name} is unknown{_nearest(name, set(table))}")
    return table[name]


def _nearest(name: str, known: set[str]) -> str:
    if not known:
        return "; it has no options"
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ";"
    return f"{hint} There are: {', '.join(sorted(known))}"


def _check_type(key: str, value: Any, hint: Any) -> None:
    if type(value) in (allowed := get_args(hint) or (hint,)):
        return
    if not any(value in get_args(option) for option in allowed):
        raise BadInput(f"{key}={value!r} is not {' or '.join(getattr(a, '__name__', repr(a)) for a in allowed)}")


def _require(valid: bool, key: str, value: object, expected: str) -> None:
    if not valid:
        raise BadInput(f"{key}={value} must be {expected}")
