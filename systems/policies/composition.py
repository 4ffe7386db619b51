"""From a system's YAML to its parts, which are found by their names where they lie."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from systems.contract.config import SystemConfig
from systems.contract.errors import BadInput
from systems.contract.traits import Traits
from systems.policies.decoding_part import AttentionPart, DrafterPart, EnginePart, GatingPart, GovernorPart
from systems.policies.part import NOTHING, Part, PlacementPart, PredictorPart, PrefetchPart, ResidencyPart, TransferPart

ROOT = Path(__file__).parents[1]
HOMES = "policies", "cache", "drafters", "peers", "methods"
"""The folders of `systems` that parts live in, at any depth."""
KINDS: dict[str, type[Part]] = {
    made.kind: made
    for made in (
        DrafterPart, GovernorPart, PredictorPart, PrefetchPart, ResidencyPart, PlacementPart, TransferPart, GatingPart,
        AttentionPart, EnginePart,
    )
}  # fmt: skip
_NAMES = re.compile(r'(?m)^    part: ClassVar\[str\] = "(\w+)"$')


@dataclass(frozen=True, slots=True)
class Composition:
    """The parts of one composed system."""

    drafter: DrafterPart
    governor: GovernorPart
    predictor: PredictorPart
    prefetch: PrefetchPart
    residency: ResidencyPart
    placement: PlacementPart
    transfer: TransferPart
    gating: GatingPart
    attention: AttentionPart

    @classmethod
    def of(cls, config: SystemConfig) -> Composition:
        """Read them from a system's YAML; see `part`."""
        return cls(**{field.name: part(field.name, getattr(config, field.name)) for field in fields(cls)})

    @property
    def parts(self) -> tuple[Part, ...]:
        """All of them."""
        return tuple(getattr(self, field.name) for field in fields(self))

    def check(self) -> None:
        """Refuse parts that would silently do nothing together.

        Raises:
            BadInput: naming the part that is missing or too many.
        """
        for one in (self.predictor, self.residency, *self.parts):
            one.check(self)


def check_system(config: SystemConfig) -> None:
    """Refuse a system that no pair of models could run.

    Raises:
        BadInput: an unknown part or option, a value out of range, or parts that do not go together.
        Unsupported: a peer that is not installed.
    """
    engine: EnginePart = part("engine", config.engine)
    composition = Composition.of(config)
    if engine.does_nothing:
        composition.check()
    else:
        engine.check(composition)


def part(kind: str, config: Mapping[str, Any]) -> Any:
    """Return the part that a system's YAML names, with its options.

    Raises:
        BadInput: an unknown part, option, or value of the wrong type; the nearest valid name is suggested.
    """
    options = dict(config)
    made = find(kind, str(options.pop("part", "none")))
    known = {field.name for field in fields(made)}
    for name in options:
        if name not in known:
            raise BadInput(f"{kind}.{name} is not an option of {kind}.part={config.get('part')}{_nearest(name, known)}")
    hints = get_type_hints(made)
    for name, value in options.items():
        _check_type(f"{kind}.{name}", value, hints[name])
    return made(**options)


def required_packages(config: SystemConfig) -> tuple[str, ...]:
    """Return the packages that a system runs on beyond the project's own dependencies.

    Raises:
        BadInput: an unknown engine, or option of it.
    """
    packages: tuple[str, ...] = part("engine", config.engine).packages
    return packages


def traits(config: SystemConfig) -> Traits:
    """Return what the parts of a system say of it; their options are not looked at.

    Raises:
        BadInput: a part that is unknown.
    """
    found: dict[str, Any] = {kind: find(kind, str(getattr(config, kind).get("part", "none"))) for kind in KINDS}
    there = {kind: made.part not in NOTHING for kind, made in found.items()}
    residency: type[ResidencyPart] = found["residency"]
    return Traits(
        composed=not there["engine"],
        drafts=there["drafter"],
        governed=there["governor"],
        prefetches=there["prefetch"],
        keeps_all=residency.keeps_all,
        keeps_nothing=residency.keeps_nothing,
        moves_nothing=residency.moves_nothing,
        knows_future=residency.knows_future,
        computes_in_place=there["placement"],
    )


@cache
def find(kind: str, name: str) -> type[Part]:
    """Return the part of a name. Only the modules that have a part of that name are imported.

    Raises:
        BadInput: there is none; the nearest name is suggested.
    """
    base = KINDS[kind]
    if name and name == base.part:
        return base
    found = [made for module in _modules().get(name, ()) for made in _parts(module, kind) if made.part == name]
    if not found:
        modules = {module for those in _modules().values() for module in those}
        known = {base.part, *(made.part for module in modules for made in _parts(module, kind))} - {""}
        raise BadInput(f"{kind}.part={name} is unknown{_nearest(name, known)}")
    return found[0]


@cache
def _modules() -> dict[str, list[str]]:
    """Names of parts to the modules that say `part: ClassVar[str] = "NAME"`."""
    found: dict[str, list[str]] = {}
    for home in HOMES:
        for file in sorted((ROOT / home).rglob("*.py")):
            for name in dict.fromkeys(_NAMES.findall(file.read_text(encoding="utf-8"))):
                found.setdefault(name, []).append(".".join(file.relative_to(ROOT.parent).with_suffix("").parts))
    return found


def _parts(module: str, kind: str) -> Iterator[type[Part]]:
    """Parts of a kind that a module defines, by name; what has none is an ancestor of some."""
    for made in vars(import_module(module)).values():
        ours = isinstance(made, type) and issubclass(made, Part) and made.__module__ == module
        if ours and made.kind == kind and made.part:
            yield made


def _nearest(name: str, known: set[str]) -> str:
    if not known:
        return "; it has no options"
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ";"
    return f"{hint} There are: {', '.join(sorted(known))}"


def _check_type(key: str, value: Any, hint: Any) -> None:
    if not _fits(value, hint):
        alternatives = get_args(hint) or (hint,)
        raise BadInput(f"{key}={value!r} is not {' or '.join(getattr(a, '__name__', repr(a)) for a in alternatives)}")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from YAML has the type of an option: exactly, but an integer may stand for a float."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if get_origin(hint) is dict:
        kinds = get_args(hint)
        return type(value) is dict and all(
            _fits(v, k) for item in value.items() for v, k in zip(item, kinds, strict=True)
        )
    return type(value) is hint or (hint is float and type(value) is int)
