"""Perplexity of systems on texts, untimed: what a lossy system costs, told more finely than by right and wrong.

    python -m harness perplexity 'systems=[offload,adapmoe_gated,moe_spec,int4]' dataset=wikitext2

Each text is read as far as it would have been generated: the prompt's tokens and `measure.max_new_tokens` more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from harness import datasets
from harness.accuracy.scorers import module
from harness.cli.launch import launch
from harness.config import compose
from harness.config.bench import BenchConfig
from harness.datasets.spec import Text
from harness.measure.contender import Contender
from harness.measure.session import Session, opened
from harness.metrics.base import Definition, Value
from harness.metrics.intervals import Interval, pooled_interval
from harness.records import provenance
from harness.records.files import dump, ensure_writable, write_text
from harness.records.summary_file import Row
from harness.tables import columns, table
from harness.tables.columns import Column, fixed
from systems import api
from systems.api import BadInput

PERPLEXITY = Definition(
    "perplexity@1", "-", "lower", "exp of the mean negative log-probability of a text's tokens, pooled over texts"
)
RATIO = Definition("perplexity_ratio@1", "x", "lower", "perplexity / that of the first lossless system, same texts")
COLUMNS = (
    Column("perplexity", "perplexity", fixed(3), interval=True),
    Column("ratio", "perplexity_ratio", fixed(4), interval=True),
)
Likelihoods = Sequence[Sequence[float]]
"""Log-probabilities of the tokens of each text."""


def main() -> int:
    """Command line; exit codes are those of `harness.cli.launch.main`."""
    return launch(lambda config: show(config, measure(config), Console()), compose.bench_config)


def measure(config: BenchConfig) -> list[Row]:
    """Return a row per system.

    Raises:
        BadInput: a dataset that is no text, or a system that tells no probabilities.
    """
    spec = datasets.spec_of(config.dataset)
    if not isinstance(spec.task, Text):
        raise BadInput(f"dataset={config.dataset.name} has no texts to be read as they are; wikitext2 and c4 have")
    prompts = datasets.load(config.dataset)
    with opened(config, prompts) as session:
        whole = {prompt.id: spec.task.reference(prompt.row) for prompt in prompts}
        lengths = {request.id: len(request.prompt) + request.max_new_tokens for request in session.selection.requests}
        texts = [session.pair.encode(whole[id])[:length] for id, length in lengths.items()]
        found = {contender.label: _likelihoods(session, contender, texts) for contender in session.contenders}
    return rows(config, found)


def rows(config: BenchConfig, found: Mapping[str, Likelihoods]) -> list[Row]:
    """Return perplexities and their ratios to the first lossless system, intervals over texts."""
    first = next((label for label in found if config.systems[label].lossless), None)
    return [
        {
            "system": label,
            "lossless": config.systems[label].lossless,
            "metrics": {
                "perplexity": _perplexity(mine).row(),
                **({"perplexity_ratio": _ratio(mine, found[first], first).row()} if first else {}),
            },
        }
        for label, mine in found.items()
    ]


def show(config: BenchConfig, found: Sequence[Row], console: Console) -> None:
    """Print the table; with `output`, write `perplexity.json` there."""
    drawn = columns.section(f"Perplexity of {config.model.name} on {config.dataset.name}", found, COLUMNS)
    table.draw([drawn], console)
    table.say([f"{item.id} ({item.unit}): {item.text}" for item in (PERPLEXITY, RATIO)], console)
    if config.output is not None:
        ensure_writable(Path(config.output))
        facts = {"schema": "spmoe-bench/perplexity/1", "config": config.identity(), "rows": found}
        write_text(Path(config.output) / "perplexity.json", dump(provenance.scrub(facts), indent=1))


def _likelihoods(session: Session, contender: Contender, texts: Sequence[Sequence[int]]) -> Likelihoods:
    session.warm_up(contender)  # thresholds are learned there
    if contender.system is None:
        raise BadInput(f"{contender.label}: {contender.reason_out}")
    return [api.log_likelihood(contender.system, text) for text in texts]


def _perplexity(found: Likelihoods) -> Value:
    value = module("perplexity").compute(predictions=[list(text) for text in found])["perplexity"]
    _, low, high = _pooled([-math.fsum(text) for text in found], found)
    return PERPLEXITY.known(value, len(found), low, high)


def _ratio(found: Likelihoods, reference: Likelihoods, over: str) -> Value:
    losses = [math.fsum(theirs) - math.fsum(mine) for mine, theirs in zip(found, reference, strict=True)]
    value, low, high = _pooled(losses, found)
    return RATIO.known(value, len(found), low, high, over)


def _pooled(losses: Sequence[float], found: Likelihoods) -> Interval:
    """Return exp of losses per token with its interval over texts."""
    pairs = [(loss, float(len(text))) for loss, text in zip(losses, found, strict=True)]
    value, low, high = pooled_interval(pairs, "signed")
    if low is None or high is None:
        return math.exp(value), None, None
    return math.exp(value), math.exp(low), math.exp(high)
