"""From Hydra's errors to sentences that help."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import fields

from harness.config import schema
from harness.config.bench import BenchConfig
from harness.config.compose import CONF, GROUPS, INERT


def explain(error: Exception, root: str = "config") -> str:
    """Return one paragraph for an error of Hydra or OmegaConf: what exists, and what was probably meant.

    Args:
        root: the file of `conf/` that was composed.
    """
    missing, options = getattr(error, "missing_cfg_file", None), getattr(error, "options", None)
    if missing and "/" in str(missing):
        group, name = str(missing).rsplit("/", 1)
        own = "; a folder of your own: model.target=FOLDER" if group == "model" else ""
        return f"no {group} `{name}`; {schema.suggest(name, options or [])}{own}"
    text = str(error)
    if override := getattr(error, "override", None):
        return _unreadable(str(override), text.splitlines()[0])
    if found := re.match(r"Could not override '([^']+)'", text):
        return _no_key(found[1], root)
    if found := re.search(r"full_key: (\S+)", text):
        return f"`{found[1]}` has no value here: {text.splitlines()[0]}; see what the experiment has under `define`"
    if text.startswith("Ambiguous value"):
        return f"{text.splitlines()[0]}; add --multirun to run one after the other, or compare: systems=[a,b]"
    return text


def _unreadable(override: str, reason: str) -> str:
    """Say that Hydra cannot take an argument apart, and how it can."""
    key, _, value = override.partition("=")
    quoted = f"{key}='{value.strip(chr(39))}'"
    return (
        f"cannot read `{override}`: {reason}; Hydra wants quotes, besides the shell's, around values with brackets,"
        f' commas or letters beyond ASCII: "{quoted}"'
    )


def _no_key(key: str, root: str) -> str:
    name, names = _siblings(key, root)
    if name in names:
        return f"`{key}` is not set in the chosen YAML; add it with a plus sign: `+{key}=...`"
    if not names:  # options of a part: which there are, only the part knows
        return (
            f"`{key}` is not set in the chosen conf/{key.partition('.')[0]}/*.yaml; `+{key}=...` asks the part itself"
        )
    return f"no config key `{key}`; {schema.suggest(name, names)}"


def _siblings(key: str, root: str) -> tuple[str, list[str]]:
    """Return the last part of a key and the names that could stand there."""
    group, _, rest = key.partition(".")
    if not rest and root != "config":
        return key, sorted(_own_names(root))
    if not rest:
        return key, sorted(
            {*GROUPS, "experiment", *INERT, *(item.name for item in fields(BenchConfig))} - {"reference"}
        )
    *path, name = rest.split(".")
    if not path and group in GROUPS:
        return name, [item.name for item in fields(GROUPS[group])]
    return name, sorted(set(_used_names(group, path)))


def _own_names(root: str) -> Iterator[str]:
    """Yield the keys and groups of a command that has a config of its own."""
    from omegaconf import OmegaConf

    found = OmegaConf.to_container(OmegaConf.load(CONF / f"{root}.yaml"), resolve=False)
    assert isinstance(found, dict)
    yield from (str(name) for name in found if name not in ("defaults", "hydra"))
    groups = [str(name) for entry in found["defaults"] if isinstance(entry, dict) for name in entry]
    yield from (name for name in groups if name != "hydra")


def _used_names(group: str, path: Sequence[str]) -> Iterator[str]:
    """Yield the keys that the files of a group have at a path: the options of parts are known to parts only."""
    from omegaconf import OmegaConf

    for file in (CONF / group).glob("*.yaml"):
        found = OmegaConf.select(OmegaConf.load(file), ".".join(path), default=None)
        yield from map(str, found or ())
