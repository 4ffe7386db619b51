"""Models: those that have an entry, and what a folder holds, without loading it.

    python -m harness models                     # the entries of conf/model, and which are here
    python -m harness models FOLDER              # family, experts, bytes, what works with it, what does not
    python -m harness models FOLDER --draft FOLDER
    python -m harness models NAME                # the folders of an entry, wherever they are

A folder that cannot be run as a target ends with exit code 1.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from harness.cli.launch import FAILURE, OK, typed
from harness.config import compose, schema
from harness.records.provenance import ROOT
from harness.terminal import grid
from systems import api
from systems.api import FolderReport, ModelConfig, SystemConfig

T = TypeVar("T")
HEADINGS = ("model", "here", "disk", "experts", "other", "draft", "budget", "prompts", "licence")


def main() -> int:
    """Command line; 0, 1 for a folder that cannot be run, 2 for one that is not there."""
    return typed(_main)


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", help="a model folder of transformers, or the name of an entry")
    parser.add_argument("--draft", type=Path, help="the folder of its draft model")
    given = parser.parse_args()
    console = Console()
    if given.folder is None:
        _list(console)
        return OK
    entry = None if Path(given.folder).is_dir() else entries().get(given.folder)
    folder, draft_folder = _folders(given.folder, given.draft, entry)
    target = api.inspect_folder(folder)
    draft = None if draft_folder is None else api.inspect_folder(draft_folder, folder)
    _show(target, *verdicts(target, draft, entry is not None and entry.activations is not None), console)
    return FAILURE if target.refusals else OK


def _folders(name: str, draft: Path | None, entry: ModelConfig | None) -> tuple[Path, Path | None]:
    """Return the folders of target and draft: the given ones, or an entry's."""
    if entry is None:
        return Path(name), draft
    entry.check_here(ROOT)
    own = entry.folder(entry.draft, ROOT) if entry.draft else None
    return entry.folder(entry.target, ROOT), draft or own


def entries() -> dict[str, ModelConfig]:
    """Return the entries of `conf/model` by name."""
    return _group("model", ModelConfig)


def facts(report: FolderReport) -> Iterator[tuple[str, str]]:
    """Yield what a folder holds, as a heading and a text each."""
    yield "family", report.family or "unknown"
    yield "layers", f"{report.layers}, {report.moe_layers} of them with experts"
    if report.moe_layers:
        yield "experts", f"{report.experts} a layer, {report.top_k or 'unknown how many'} for a token"
        yield "experts' bytes", f"{size(report.expert_bytes)} as stored{_each(report)}"
    yield "other bytes", size(report.other_bytes)
    if report.unread_bytes:
        yield "not read", f"{size(report.unread_bytes)} of layers that predict several tokens"
    yield "stored as", ", ".join(f"{dtype} {size(count)}" for dtype, count in report.dtypes) or "unknown"
    if report.quantised:
        yield "quantised", report.quantised
    if report.expert_weights:
        halves, whole = size(2 * report.expert_weights), size(4 * report.expert_weights)
        yield "slow memory", f"{halves} with model.dtype=bfloat16 or float16, {whole} with float32"
    tokens = "no tokenizer.json" if report.tokens is None else f"{report.tokens:,} of the tokenizer"
    yield "tokens", f"{report.vocabulary:,} of the model, {tokens}"
    yield "context", f"{report.context:,}"
    yield "chat template", "yes" if report.chat else "no"


def verdicts(
    target: FolderReport, draft: FolderReport | None, activations: bool = False
) -> tuple[list[str], dict[str, list[str]]]:
    """Return the systems that can use the models, and those that cannot by the reason; see `unsuited`."""
    works: list[str] = []
    reasons: dict[str, list[str]] = {}
    for name, system in _group("system", SystemConfig).items():
        reason = api.unsuited(system, target, draft, activations)
        works.append(name) if reason is None else reasons.setdefault(reason, []).append(name)
    return works, reasons


def size(count: int) -> str:
    """Return bytes as people read them."""
    for unit, least in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= least:
            return f"{count / least:.3g} {unit}" if count < 1000 * least else f"{count / least:,.0f} {unit}"
    return f"{count} B"


def _each(report: FolderReport) -> str:
    count = report.moe_layers * report.experts
    return f", {size(report.expert_bytes // count)} each" if count else ""


def _group(group: str, kind: type[T]) -> dict[str, T]:
    """Read the files of a config group by name."""
    from omegaconf import OmegaConf

    found: dict[str, T] = {}
    for file in sorted((compose.CONF / group).glob("*.yaml")):
        plain: Any = OmegaConf.to_container(OmegaConf.load(file))
        found[file.stem] = schema.parse(kind, plain, group)
    return found


def _show(target: FolderReport, works: list[str], reasons: dict[str, list[str]], console: Console) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for heading, text in facts(target):
        table.add_row(heading, text)
    console.print(table)
    for refusal in target.refusals:
        console.print(f"cannot be run: {refusal}", highlight=False, markup=False)
    if target.refusals:
        return
    console.print(f"\nworks: {', '.join(works)}", highlight=False)
    for reason, names in reasons.items():
        console.print(f"does not: {', '.join(names)}\n  {reason}", highlight=False, markup=False)
    if target.expert_weights and 2 * target.expert_weights > _memory():
        text = f"the experts exceed this machine's memory, {size(_memory())}; model.store=pack serves them from a file"
        console.print(text, highlight=False)


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _list(console: Console) -> None:
    lines: list[tuple[str, ...]] = []
    missing: list[str] = []
    for name, config in entries().items():
        card, absent = config.card, config.missing(ROOT)
        sizes = ["-"] * 5 if card is None else _sizes(card)
        prompts = {True: "chat", False: "texts", "auto": "as its tokenizer"}[config.chat]
        lines.append((name, "no" if absent else "yes", *sizes, prompts, card.licence if card else "-"))
        missing += [command for command in absent.values() if command]
    grid.draw(HEADINGS, lines, console, folds=("licence",), lefts=HEADINGS)
    if missing:
        console.print("\nTo get or make what is not here (or name a folder with model.root=FOLDER):", highlight=False)
    for command in dict.fromkeys(missing):
        console.print(f"  {command}", highlight=False, soft_wrap=True)


def _sizes(card: api.ModelCard) -> list[str]:
    return [
        *(size(count) if count else "-" for count in (card.disk, card.experts, card.others, card.draft)),
        card.budget,
    ]
