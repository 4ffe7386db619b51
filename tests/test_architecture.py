"""The arrows between packages, read from the source: `docs/architecture.md` says who may know whom."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import house

ROOT = Path(__file__).parents[1]
INSIDE = ROOT / "harness" / "sandbox" / "inside"
"""Started by an interpreter that sees this one folder, and nothing that is installed."""


def _imports(file: Path, nested: bool = True) -> Iterator[str]:
    """Names of imported modules; of `from a import b` both `a` and `a.b`."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree) if nested else tree.body:
        if isinstance(node, ast.Import):
            yield from (item.name for item in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 or file.parent == INSIDE, f"{file}: relative import"
            yield from ("." * node.level + f"{node.module}.{item.name}" for item in node.names)


def _files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def _within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


@pytest.mark.parametrize("file", _files("harness"), ids=lambda file: file.name)
def test_harness_reaches_systems_through_the_api_only(file: Path) -> None:
    for name in _imports(file):
        assert not _within(name, "systems") or _within(name, "systems.api"), name


@pytest.mark.parametrize("file", sorted(INSIDE.glob("*.py")), ids=lambda file: file.name)
def test_what_runs_in_the_sandbox_needs_the_standard_library_and_its_neighbours_only(file: Path) -> None:
    for name in _imports(file):
        assert name.startswith(".") or name.split(".")[0] in sys.stdlib_module_names, name


@pytest.mark.parametrize("file", _files("systems") + _files("models"), ids=lambda file: file.name)
def test_nobody_below_knows_the_harness(file: Path) -> None:
    assert not [name for name in _imports(file) if _within(name, "harness", "tests")]


@pytest.mark.parametrize("file", _files("systems/policies") + _files("systems/cache"), ids=lambda file: file.name)
def test_policies_and_the_cache_know_no_tensors(file: Path) -> None:
    assert not [name for name in _imports(file) if _within(name, "torch", "transformers")]


@pytest.mark.parametrize("file", _files("systems/contract"), ids=lambda file: file.name)
def test_the_contract_knows_nothing_but_itself(file: Path) -> None:
    for name in _imports(file):
        assert name.split(".")[0] in sys.stdlib_module_names or _within(name, "systems.contract"), name


def test_the_api_offers_the_contract_at_once_and_the_rest_when_it_is_asked_for() -> None:
    file = ROOT / "systems" / "api.py"
    api = importlib.import_module("systems.api")
    at_once = {item.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.ImportFrom)
               and _within(str(node.module), "systems.contract") for item in node.names}  # fmt: skip
    later = [name for names in api.LATER.values() for name in names]
    assert set(api.__all__) == at_once | set(later)
    assert len(api.__all__) == len(at_once) + len(later)
    typed = {name for name in _imports(file) if _within(name, "systems") and not _within(name, "systems.contract")}
    assert typed == {f"{module}.{name}" for module, names in api.LATER.items() for name in names}
    for name in later:
        assert getattr(api, name).__doc__, name


def test_the_api_loads_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "numpy", "systems.runtime", "systems.compose", "systems.replay"}
    code = f"import sys, systems.api; assert not {heavy!r} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


@pytest.mark.parametrize("file", _files("systems"), ids=lambda file: file.name)
def test_nobody_inside_goes_out_by_the_api(file: Path) -> None:
    assert not [name for name in _imports(file) if _within(name, "systems.api")]


LIGHT = "metrics", "records.cells", "measure.meter", "verdict.identities", "tables.table", "cli.launch"


def test_light_modules_stay_light() -> None:
    """They work where wandb, datasets, hydra, pyarrow, torch and transformers are not installed."""
    heavy = ("torch", "transformers", "datasets", "hydra", "omegaconf", "wandb", "pyarrow", "psutil")
    imports = "; ".join(f"import harness.{name}" for name in LIGHT)
    code = f"import sys; sys.modules.update(dict.fromkeys({heavy}, None)); {imports}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_a_replay_computes_nothing() -> None:
    """Systems are replayed, and models imagined, where torch and transformers are not installed."""
    code = """
import sys
sys.modules.update(dict.fromkeys(("torch", "transformers"), None))
from systems import api
part = {"part": "model", "draft_length": 2}
draft = api.DraftShape(recall=0.9, acceptance=0.9, bytes=9000, layers=2)
shape = api.ModelShape(
    name="toy", source="none", layers=2, moe_layers=2, experts=4, top_k=2, hidden=64, intermediate=64, other_bytes=1,
    statistics={"skew": 0.0, "request_skew": 0.0, "reuse": 0.6, "ahead": [0.9, 0.8]}, draft=draft, self_draft=draft,
)
costs = api.Costs({1: 1e-3, 3: 1e-3}, {1: 1e-4}, 1e-3, 0.0)
traces = api.imagine_traces(shape, costs, 2, 1, 4, 8, 0)
system = api.SystemConfig(
    "sp_moe", "", drafter=part, predictor={"part": "draft_attention"}, prefetch={"part": "cutoff", "cutoff": "auto"}
)
link = api.LinkSpec(1e8, 0.0, virtual=True)
built = api.build_replay(system, traces, 200_000, link, costs)
built.calibrate(traces.requests)
meter = api.NullMeter([8])
built.generate(traces.requests, meter)
assert len(meter.tokens[0]) == 8
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


FLOORS = {
    "harness": (
        ("records", "sandbox", "terminal"),
        ("config", "metrics"),
        ("datasets", "verdict"),
        ("accuracy",),
        ("measure", "tables"),
        ("bench",),
        ("cli", "sweeps"),
        ("doctor", "gates", "studies"),
        ("export", "figures", "gpu_bench"),
        ("predict", "report"),
        ("tracking",),
        ("commands",),
    ),
    "systems": (
        ("contract",),
        ("files", "operators", "policies"),
        ("store",),
        ("cache",),
        ("modeling",),
        ("graphs",),
        ("runtime",),
        ("drafters", "peers"),
        ("methods",),
        ("compose",),
        ("replay", "tuning"),
    ),
}
"""The rooms of the packages, each below those that may look into it; `docs/architecture.md` draws them."""
LISTS = "harness/datasets", "harness/figures", "harness/metrics", "harness/earlier"
"""Folders that are lists: one file a dataset, a figure, a metric, a former command."""


@pytest.mark.parametrize("package", FLOORS)
def test_rooms_look_down_only(package: str) -> None:
    floor = {f"{package}.{room}": level for level, rooms in enumerate(FLOORS[package]) for room in rooms}
    rooms = set(house.room_graph(package)) - {package, "harness.earlier"}
    assert rooms == set(floor), "each room has a floor"
    up = [ends for ends in house.arrows() if set(ends) <= rooms and floor[ends[0]] <= floor[ends[1]]]
    assert not up, {ends: house.arrows()[ends] for ends in up}


def test_no_file_needs_itself_to_be_imported() -> None:
    assert not house.cycles(house.file_graph())


def test_folders_of_the_harness_stay_small() -> None:
    counts = Counter(str(file.parent.relative_to(ROOT)) for file in _files("harness"))
    assert not {folder: count for folder, count in counts.items() if count > 15 and folder not in LISTS}


def test_files_and_functions_stay_small() -> None:
    """A reader holds it all: no file above 300 lines, no function above 60, half of them at most 9."""
    lengths = []
    for file in _files("harness"):
        source = file.read_text()
        assert len(source.splitlines()) <= 300, file
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= 60, f"{file}: {node.name}"
                lengths.append(length)
    assert sorted(lengths)[len(lengths) // 2] <= 9


def test_nothing_names_folders_of_a_developers_machine() -> None:
    for file in [*_files("harness"), *(ROOT / "conf").rglob("*.yaml")]:
        for prefix in (str(Path.home()), "/home/", "/Users/"):
            assert prefix not in file.read_text(), file
