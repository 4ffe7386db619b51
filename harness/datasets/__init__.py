"""Datasets: one small file each, with its pinned source, prompt, stop rules and scorer."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable

from harness.config.bench import DatasetConfig
from harness.config.schema import suggest
from harness.datasets import catalogue
from harness.datasets.base import Prompt, Selection, fingerprint, select
from harness.datasets.reading import read
from harness.datasets.sources import locate
from harness.datasets.spec import Generated, Located, Spec
from systems.api import BadInput

__all__ = ["SPECS", "Prompt", "Selection", "fingerprint", "load", "select", "spec_of"]

SPECS: dict[str, Spec] = {
    spec.name: spec
    for spec in (
        importlib.import_module(f"{catalogue.__name__}.{file.name}").SPEC
        for file in pkgutil.iter_modules(catalogue.__path__)
    )
}
"""Every file of `harness/datasets/catalogue/`."""


def spec_of(config: DatasetConfig) -> Spec:
    """Return the description of the configured dataset.

    Raises:
        BadInput: there is none of that name.
    """
    if config.name not in SPECS:
        raise BadInput(f"no dataset `{config.name}`; {suggest(config.name, SPECS)}")
    return SPECS[config.name]


def load(config: DatasetConfig) -> list[Prompt]:
    """Return all prompts of the configured dataset, in its own order.

    Raises:
        BadInput: an unknown dataset, one that is not here, or a file with a row that cannot be used.
    """
    spec = spec_of(config)
    if isinstance(spec.source, Generated) and config.path is None:
        return _prompts(spec, ((spec.name, row) for row in spec.source.make(config)), spec.name)
    path = locate(spec, config.path)
    return _prompts(spec, read(path, spec.columns), str(path))


def _prompts(spec: Spec, rows: Iterable[Located], origin: str) -> list[Prompt]:
    prompts: list[Prompt] = []
    places: dict[str, str] = {}
    for number, (where, row) in enumerate(spec.problems(rows)):
        id = spec.id(row, number)
        if id in places:
            raise BadInput(f"{where}: id {id!r} is that of {places[id].removeprefix(f'{origin}, ')} too")
        places[id] = where
        prompts.append(Prompt(id, spec.prompt(row), {name: row[name] for name in spec.columns}))
    if not prompts:
        raise BadInput(f"{origin} holds no problems; rows with {', '.join(f'`{name}`' for name in spec.columns)} do")
    return prompts
