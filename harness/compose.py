"""From Hydra's composed config to `BenchConfig`, and from Hydra's errors to sentences that help.

Which systems run: `system=NAME` measures one; `systems=[NAME, ...]` (as the experiments set it) compares
several, interleaved. An entry may also be `{base: NAME, label: TEXT, override: {...}}`. On top of a list,
an override such as `system.drafter.draft_length=4` goes to every listed system that has the key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import reduce
from pathlib import Path
from typing import Any

from harness import schema
from harness.config import (
    BenchConfig,
    DatasetConfig,
    HardwareConfig,
    MeasureConfig,
    TrackingConfig,
)
from systems.api import BadInput, ModelConfig, SystemConfig

Plain = dict[str, Any]
GROUPS: dict[str, type[Any]] = {
    "system": SystemConfig,
    "model": ModelConfig,
    "dataset": DatasetConfig,
    "hardware": HardwareConfig,
    "measure": MeasureConfig,
    "tracking": TrackingConfig,
}
REFERENCE = "resident"
CONF = Path(__file__).resolve().parents[1] / "conf"


@dataclass(frozen=True)
class Entry:
    """One item of `systems`: a system file, under another label and with other options if wanted."""

    base: str
    label: str | None = None
    override: Mapping[str, Any] = field(default_factory=dict)


def bench_config(composed: Plain, folders: Sequence[Path], overrides: Sequence[str]) -> BenchConfig:
    """Check a composed config.

    Args:
        composed: plain containers, interpolations resolved.
        folders: config folders, first match wins; systems in a list are read from their `system/`.
        overrides: what was typed, e.g. `system.prefetch.cutoff=4`.

    Raises:
        BadInput: unknown or ill-typed keys, unknown systems, duplicate labels.
    """
    values = dict(composed)
    own, listed = values.pop("system"), values.pop("systems", None) or []
    systems = _listed(listed, own, folders, overrides) if listed else {own["name"]: own}
    values["systems"] = {label: schema.parse(SystemConfig, s, f"system({label})") for label, s in systems.items()}
    values["reference"] = schema.parse(SystemConfig, _read(REFERENCE, folders), "system")
    return schema.parse(BenchConfig, values, "")


def _listed(listed: Sequence[Any], own: Plain, folders: Sequence[Path], overrides: Sequence[str]) -> dict[str, Plain]:
    keys = [override.split("=", 1)[0].lstrip("+~") for override in overrides]
    if "system" in keys:
        raise BadInput("`system=` chooses one system and `systems=` lists several; give one of the two")
    entries: dict[str, Entry] = {}
    for index, item in enumerate(listed):
        entry = schema.parse(Entry, {"base": item} if isinstance(item, str) else item, f"systems[{index}]")
        label = entry.label or entry.base
        if label in entries:
            raise BadInput(f"two systems are labelled `{label}`; give each a `label` of its own")
        entries[label] = entry
    systems = {label: _read(entry.base, folders) for label, entry in entries.items()}
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
    merged = dict(values)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _read(name: str, folders: Sequence[Path]) -> Plain:
    """Read `system/NAME.yaml`."""
    from omegaconf import OmegaConf

    for folder in folders:
        if (file := folder / "system" / f"{name}.yaml").is_file():
            plain = OmegaConf.to_container(OmegaConf.load(file), resolve=True)
            assert isinstance(plain, dict)
            return {str(key): value for key, value in plain.items()}
    options = [file.stem for folder in folders for file in (folder / "system").glob("*.yaml")]
    raise BadInput(f"no system `{name}`; {schema.suggest(name, options)}")


def explain(error: Exception) -> str:
    """Return one paragraph for an error of Hydra or OmegaConf: what exists, and what was probably meant."""
    missing, options = getattr(error, "missing_cfg_file", None), getattr(error, "options", None)
    if missing and "/" in str(missing):
        group, name = str(missing).rsplit("/", 1)
        return f"no {group} `{name}`; {schema.suggest(name, options or [])}"
    text = str(error)
    if override := getattr(error, "override", None):
        return f"cannot read `{override}`: {text.splitlines()[0]}; quote values with brackets or commas"
    if found := re.match(r"Could not override '([^']+)'", text):
        return _no_key(found[1])
    if text.startswith("Ambiguous value"):
        return f"{text.splitlines()[0]}; add --multirun to run one after the other, or compare: systems=[a,b]"
    return text


def _no_key(key: str) -> str:
    name, names = _siblings(key)
    if name in names:
        return f"`{key}` is not set in the chosen YAML; add it with a plus sign: `+{key}=...`"
    if not names:  # options of a part: which there are, only the part knows
        return (
            f"`{key}` is not set in the chosen conf/{key.partition('.')[0]}/*.yaml; `+{key}=...` asks the part itself"
        )
    return f"no config key `{key}`; {schema.suggest(name, names)}"


def _siblings(key: str) -> tuple[str, list[str]]:
    """Return the last part of a key and the names that could stand there."""
    group, _, rest = key.partition(".")
    if not rest:
        return key, sorted({*GROUPS, "experiment", *(item.name for item in fields(BenchConfig))} - {"reference"})
    *path, name = rest.split(".")
    if not path and group in GROUPS:
        return name, [item.name for item in fields(GROUPS[group])]
    return name, sorted(set(_used_names(group, path)))


def _used_names(group: str, path: Sequence[str]) -> Iterator[str]:
    """Yield the keys that the files of a group have at a path: the options of parts are known to parts only."""
    from omegaconf import OmegaConf

    for file in (CONF / group).glob("*.yaml"):
        found = OmegaConf.select(OmegaConf.load(file), ".".join(path), default=None)
        yield from map(str, found or ())
