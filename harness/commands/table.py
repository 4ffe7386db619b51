"""The commands: `python -m harness NAME`. Each lives in a module with a `main()` that reads `sys.argv`."""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """One line of the list."""

    module: str
    about: str


ROOMS: dict[str, dict[str, Command]] = {
    "Measure": {
        "bench": Command("harness.commands.bench", "compare systems: once, in profiles, or in a sweep (--multirun)"),
        "suite": Command("harness.commands.suite", "the same, and `profiles` must be listed"),
        "timeline": Command("harness.studies.timeline", "what happens when: a picture, and a file for Perfetto"),
        "perplexity": Command("harness.studies.perplexity", "what a lossy system costs, on texts"),
        "batches": Command("harness.studies.batches.command", "a run over several batch sizes: where speculation pays"),
    },
    "Gate": {
        "check": Command("harness.gates.check", "counts against the committed baselines; fails on a change"),
        "compare": Command("harness.gates.compare", "two result sets; fails on a regression"),
        "noise": Command("harness.gates.noise", "this machine's noise floor, which `compare` uses"),
        "losslessness": Command("harness.gates.losslessness", "outputs that differ: ties of rounding, or bugs"),
        "overhead": Command("harness.studies.overhead", "what measuring costs, and our loop beside transformers'"),
    },
    "Predict": {
        "record": Command("harness.predict.record", "traces from which systems are replayed"),
        "activations": Command("harness.predict.activations", "activation matrices of many sequences"),
        "grid": Command("harness.predict.grid", "which system wins where, replayed"),
        "plan": Command("harness.predict.plan", "which system for a model and a machine that are not at hand"),
        "paper_scale": Command("harness.predict.paper_scale.command", "the papers' numbers beside predictions"),
        "fidelity": Command("harness.predict.fidelity", "how well a replay predicted a live run"),
        "who_wins": Command("harness.predict.who_wins", "the fastest system by budget and link, on four machines"),
        "compiled": Command("harness.predict.compiled", "a compiled copy of `systems`, for long replays"),
    },
    "Study": {
        "moesd": Command("harness.studies.moesd.command", "MoESD: speculation over batch size and sparsity"),
        "attention": Command("harness.studies.attention", "the chunked attention kernel beside what it replaces"),
        "tune": Command("harness.studies.tune.command", "SpecMoEOff's tuner beside the sweep that it replaces"),
    },
    "Show": {
        "figures": Command("harness.figures.__main__", "draw every figure from stored records"),
        "report": Command("harness.report.__main__", "a page per result set, with Markdown and CSV"),
        "pages": Command("harness.report.pages", "fill the tables of README and docs from published results"),
        "datasets": Command("harness.datasets.__main__", "the datasets, and what is here of them"),
        "export": Command("harness.export.__main__", "results in the formats of other tools"),
        "models": Command("harness.doctor.models", "published models, or what works with a model folder"),
        "gpu_bench": Command("harness.gpu_bench.__main__", "the kit for a device that is there for minutes"),
        "doctor": Command("harness.doctor.__main__", "what this machine can do, and what will be noisy on it"),
    },
}
COMMANDS = {name: command for room in ROOMS.values() for name, command in room.items()}
