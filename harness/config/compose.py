"""From Hydra's composed config to `BenchConfig`.

Which systems run: `system=NAME` measures one; `systems=[NAME, ...]` (as the experiments set it) compares
several, interleaved. An entry may also be `{base: NAME, label: TEXT, override: {...}}`. On top of a list,
an override such as `system.drafter.draft_length=4` goes to every listed system that has the key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from harness.config import schema
from harness.config.bench import (
    AccuracyConfig,
    BenchConfig,
    DatasetConfig,
    HardwareConfig,
    MeasureConfig,
    TrackingConfig,
)
from harness.records.provenance import ROOT
from systems.api import BadInput, ModelConfig, SystemConfig

T = TypeVar("T")
Plain = dict[str, Any]
GROUPS: dict[str, type[Any]] = {
    "system": SystemConfig,
    "model": ModelConfig,
    "dataset": DatasetConfig,
    "hardware": HardwareConfig,
    "measure": MeasureConfig,
    "tracking": TrackingConfig,
    "accuracy": AccuracyConfig,
}
REFERENCE = "resident"
INERT = ("profiles", "define")
"""Top-level keys that a single comparison takes no notice of."""
CONF = ROOT / "conf"


@dataclass(frozen=True)
class Entry:
    """One item of `systems`: a system file, under another label and with other options if wanted."""

    base: str
    label: str | None = None
    override: Mapping[str, Any] = field(default_factory=dict)


class Composed(NamedTuple):
    """What Hydra has composed, unchecked: plain values, the config folders, and what was typed."""

    plain: Plain
    folders: Sequence[Path]
    overrides: Sequence[str]


@dataclass(frozen=True)
class Profile:
    """One item of `profiles`: a hardware file, what else differs under it, and a label where one file serves twice."""

    hardware: str
    label: str | None = None
    override: Mapping[str, Any] = field(default_factory=dict)


def goes_through_profiles(composed: Composed) -> bool:
    """Whether a composed config lists `profiles`, and none was chosen by typing `hardware=NAME`."""
    return bool(composed.plain.get("profiles")) and "hardware" not in _keys(composed.overrides)


def suite_configs(composed: Plain, folders: Sequence[Path], overrides: Sequence[str]) -> dict[str, BenchConfig]:
    """Check a composed config once per item of `profiles`, and return them by label; arguments as of `bench_config`.

    What is typed on the command line wins: a key of its own over a profile's, `hardware=NAME` over all profiles.

    Raises:
        BadInput: as `bench_config`; no profiles; an option of a hardware without the choice of one.
    """
    typed, listed = _keys(overrides), items(composed.get("profiles"))
    if "hardware" in typed:
        config = bench_config(composed, folders, overrides)
        return {config.hardware.name: config}
    if mine := next((key for key in typed if key.startswith("hardware.")), None):
        raise BadInput(f"`{mine}` belongs to one profile; choose it with hardware=NAME")
    if not listed:
        raise BadInput("`profiles` is empty; list hardware profiles there, or try experiment=bench_all")
    configs: dict[str, BenchConfig] = {}
    for index, item in enumerate(listed):
        profile = schema.parse(Profile, {"hardware": item} if isinstance(item, str) else item, f"profiles[{index}]")
        changed = _merge(composed, _without(profile.override, typed))
        mine = profile.override.get("hardware", {})
        changed["hardware"] = _merge(_read("hardware", profile.hardware, folders), mine)
        label = profile.label or profile.hardware
        if label in configs:
            raise BadInput(f"`profiles` has {label} twice; give each a `label` of its own")
        if timed_by := composed.get("timed_by"):
            changed["timed_by"] = f"{timed_by}#{label}"
        configs[label] = bench_config(changed, folders, overrides)
    return configs


def bench_config(composed: Plain, folders: Sequence[Path], overrides: Sequence[str]) -> BenchConfig:
    """Check a composed config.

    Args:
        composed: plain containers, interpolations resolved.
        folders: config folders, first match wins; systems in a list are read from their `system/`.
        overrides: what was typed, e.g. `system.prefetch.cutoff=4`.

    Raises:
        BadInput: unknown or ill-typed keys, unknown systems, duplicate labels.
    """
    values = {key: value for key, value in composed.items() if key not in INERT}
    own, listed = values.pop("system"), items(values.pop("systems", None))
    values["systems"] = _listed(listed, own, folders, overrides) if listed else {own["name"]: own}
    values["reference"] = _read("system", REFERENCE, folders)
    return schema.parse(BenchConfig, values, "")


def reading(kind: type[T]) -> Callable[[Plain, Sequence[Path], Sequence[str]], T]:
    """Return what checks a composed config of another kind, whose `systems` are listed as those of a `BenchConfig`."""

    def read(composed: Plain, folders: Sequence[Path], overrides: Sequence[str]) -> T:
        return schema.parse(kind, composed | {"systems": listed_systems(composed["systems"], folders)}, "")

    return read


def listed_systems(listed: Sequence[Any], folders: Sequence[Path]) -> dict[str, Plain]:
    """Read the systems of a list by label, unchecked; see `bench_config`.

    Raises:
        BadInput: unknown systems, duplicate labels.
    """
    return _listed(items(listed), {}, folders, ())


def items(listed: Any) -> Sequence[Any]:
    """Return what a key lists; `key=name` lists one."""
    return [listed] if isinstance(listed, str) else listed or []


def _listed(listed: Sequence[Any], own: Plain, folders: Sequence[Path], overrides: Sequence[str]) -> dict[str, Plain]:
    keys = _keys(overrides)
    if "system" in keys:
        raise BadInput("`system=` chooses one system and `systems=` lists several; give one of the two")
    entries: dict[str, Entry] = {}
    for index, item in enumerate(listed):
        entry = schema.parse(Entry, {"base": item} if isinstance(item, str) else item, f"systems[{index}]")
        label = entry.label or entry.base
        if label in entries:
            raise BadInput(f"two systems are labelled `{label}`; give each a `label` of its own")
        entries[label] = entry
    systems = {label: _read("system", entry.base, folders) for label, entry in entries.items()}
    for key in keys:
        if key.startswith("system."):
            systems = _broadcast(key, own, systems)
    return {label: _merge(systems[label], entry.override) for label, entry in entries.items()}


def _broadcast(key: str, own: Plain, systems: dict[str, Plain]) -> dict[str, Plain]:
    """Copy the value that `own` has at `key` into every system that has the key."""
    path = key.split(".")[1:]
    having = [label for label, system in systems.items() if _has(system, path)]
    if not having:
        raise BadInput(f"none of the systems {', '.join(systems)} has `{key}`")
    change: Any = reduce(lambda values, name: values[name], path, own)
    for name in reversed(path):
        change = {name: change}
    return systems | {label: _merge(systems[label], change) for label in having}


def _has(values: Any, path: Sequence[str]) -> bool:
    return not path or (isinstance(values, Mapping) and path[0] in values and _has(values[path[0]], path[1:]))


def _merge(values: Mapping[str, Any], changes: Mapping[str, Any]) -> Plain:
    """Return the values with the changes, key by key; another `part` keeps none of the options of the old one."""
    merged = dict(values)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        both = both and value.get("part", merged[key].get("part")) == merged[key].get("part")
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _without(changes: Mapping[str, Any], keys: Sequence[str], prefix: str = "") -> Plain:
    """Return the changes less those at the dotted `keys`."""
    kept = {name: value for name, value in changes.items() if prefix + name not in keys}
    return {
        name: _without(value, keys, f"{prefix}{name}.") if isinstance(value, Mapping) else value
        for name, value in kept.items()
    }


def _keys(overrides: Sequence[str]) -> list[str]:
    """Return the keys that were typed."""
    return [override.split("=", 1)[0].lstrip("+~") for override in overrides]


def _read(group: str, name: str, folders: Sequence[Path]) -> Plain:
    """Read `GROUP/NAME.yaml`."""
    from omegaconf import OmegaConf

    for folder in folders:
        if (file := folder / group / f"{name}.yaml").is_file():
            plain = OmegaConf.to_container(OmegaConf.load(file), resolve=True)
            assert isinstance(plain, dict)
            return {str(key): value for key, value in plain.items()}
    options = [file.stem for folder in folders for file in (folder / group).glob("*.yaml")]
    raise BadInput(f"no {group} `{name}`; {schema.suggest(name, options)}")
