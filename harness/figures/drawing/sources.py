"""Where a figure's numbers lie and what makes them: the presets of `conf/experiment/` say both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.config.compose import CONF
from harness.records.provenance import file_hash
from harness.records.published import Missing, Summary, commit, read_json, read_set

Plain = Mapping[str, Any]


@dataclass(frozen=True)
class Experiment:
    """The records of a preset: one summary, or one per point where it sweeps."""

    name: str

    @property
    def publishes(self) -> bool:
        """Whether it names a folder of `results/`."""
        return "output" in self._preset

    @property
    def folder(self) -> str:
        """Its folder below `results/`."""
        output: str = self._preset["output"]
        return output.removeprefix("results/").partition("/${")[0]

    @property
    def points(self) -> int:
        """Summaries of a whole record."""
        total = 1
        for key, values in self._swept.items():
            total *= _count(key, str(values))
        return total

    @property
    def command(self) -> str:
        """What makes the records."""
        if self._swept:
            return f"python -m harness --multirun experiment={self.name}"
        return f"python -m harness experiment={self.name}"

    def read(self, results: Path) -> list[Summary]:
        """Return the summaries, all of them.

        Raises:
            Missing: some points have not been measured.
            Unreadable: see `harness.records.published`.
        """
        found = read_set(results / self.folder, self.command)
        if len(found) < self.points:
            there = ", ".join(summary.point for summary in found)
            raise Missing(
                f"{results / self.folder} has {len(found)} of {self.points} points ({there});"
                f" make the others with: {self.command}"
            )
        return found

    @cached_property
    def _preset(self) -> dict[str, Any]:
        from omegaconf import OmegaConf

        plain: Any = OmegaConf.to_container(OmegaConf.load(CONF / "experiment" / f"{self.name}.yaml"), resolve=False)
        assert isinstance(plain, dict)
        return {str(key): value for key, value in plain.items()}

    @property
    def _swept(self) -> Plain:
        params: Plain = self._preset.get("hydra", {}).get("sweeper", {}).get("params", {})
        return params


@dataclass(frozen=True)
class Measured:
    """A file that a command of its own writes, with its own schema."""

    path: str
    schema: str
    command: str

    def read(self, results: Path) -> Plain:
        """Return its content.

        Raises:
            Missing, Unreadable: see `harness.records.published.read_json`.
        """
        return read_json(results / self.path, self.schema, self.command)


Source = Experiment | Measured


def command_for(folder: str) -> str | None:
    """Return what makes the records in a folder of `results/`; None for a folder that no preset writes."""
    presets = (Experiment(file.stem) for file in sorted((CONF / "experiment").glob("*.yaml")))
    return next((preset.command for preset in presets if preset.publishes and preset.folder == folder), None)


def origin(source: Source, results: Path) -> list[dict[str, Any]]:
    """Return what a figure says about where it comes from: files with their hashes, run keys, commits."""
    if isinstance(source, Experiment):
        return [_of_summary(summary, results) for summary in source.read(results)]
    stored = source.read(results)
    facts: dict[str, Any] = {"file": source.path, "sha256": file_hash(results / source.path)}
    if "provenance" in stored:
        facts["commits"] = [commit(stored["provenance"])]
    return [facts | {name: stored[name] for name in ("key", "commits") if name in stored}]


def _of_summary(summary: Summary, results: Path) -> dict[str, Any]:
    return {
        "file": summary.file.relative_to(results).as_posix(),
        "sha256": summary.digest,
        "key": summary.key,
        "commits": summary.commits,
    }


def _count(key: str, values: str) -> int:
    """Return how many values a sweep of Hydra's, such as `0.1,0.2` or `range(1,9)`, goes through."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    override = OverridesParser.create().parse_override(f"{key}={values}")
    return len(list(override.sweep_string_iterator())) if override.is_sweep_override() else 1


def rows_of(summaries: Sequence[Summary]) -> list[dict[str, Any]]:
    """Return all rows."""
    return [row for summary in summaries for row in summary.rows]
