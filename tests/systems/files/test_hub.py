"""Models of the hub by name: found where `huggingface_hub` finds them, named with their command where they are not."""

from __future__ import annotations

import inspect
import runpy
import shlex
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from systems.api import BadInput, ModelConfig, fetch_models, load_pair
from systems.contract.hub import HubModel, cache
from tests.systems.files.test_checkpoints import COMMIT, as_downloaded, save

ENVIRONMENTS: list[dict[str, str]] = [
    {},
    {"HF_HOME": "/srv/hf"},
    {"XDG_CACHE_HOME": "/srv/cache"},
    {"HF_HOME": "~/models"},
    {"HF_HOME": "$PLACE/hf", "PLACE": "/srv"},
    {"HUGGINGFACE_HUB_CACHE": "/srv/old"},
    {"HF_HUB_CACHE": "/srv/new", "HUGGINGFACE_HUB_CACHE": "/srv/old", "HF_HOME": "/srv/hf"},
]


@pytest.mark.parametrize("variables", ENVIRONMENTS, ids=" ".join)
def test_the_cache_is_where_the_hubs_own_library_looks(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HOME", "XDG_CACHE_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(cache()) == runpy.run_path(str(constants.__file__))["HF_HUB_CACHE"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"hf://mistralai/Mixtral-8x7B-v0.1@{COMMIT}", HubModel("mistralai", "Mixtral-8x7B-v0.1", COMMIT)),
        ("hf://a/b", HubModel("a", "b", "main")),
        ("hf://a/b@refs/pr/1", HubModel("a", "b", "refs/pr/1")),
        ("a/b", None),
        ("hf://a", None),
        ("/srv/hf:/a", None),
    ],
)
def test_names_are_told_from_paths(text: str, expected: HubModel | None) -> None:
    assert HubModel.named(text) == expected


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with `tiny/target`, and where it is."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    as_downloaded(tmp_path / "hub", folder, "tiny/target")
    return tmp_path / "hub"


@pytest.mark.parametrize("revision", ["main", COMMIT])
def test_a_snapshot_is_the_one_that_the_hubs_own_library_returns(revision: str, hub: Path) -> None:
    found = huggingface_hub.snapshot_download("tiny/target", revision=revision, cache_dir=hub, local_files_only=True)
    assert HubModel("tiny", "target", revision).folder(None) == Path(found)


def test_a_root_comes_before_the_cache(hub: Path, tmp_path: Path) -> None:
    model, root = HubModel("tiny", "target", COMMIT), tmp_path / "root"
    assert model.folder(root) == model.folder(None), "of the cache, as the root has none"
    for place in ("tiny/target", "target"):
        (root / place).mkdir(parents=True)
        assert model.folder(root) == root / place
    assert model.folder(root / "target") == root / "target", "the folder itself"


def test_what_is_not_here_is_named_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    config = ModelConfig("m", f"hf://tiny/target@{COMMIT}", None, None)
    with pytest.raises(BadInput, match=r"tiny/target, revision 0123.* is not on this machine") as caught:
        load_pair(config, tmp_path)
    (command,) = [line.strip() for line in str(caught.value).splitlines() if "hf download" in line]
    words = shlex.split(command)
    assert words[:5] == ["hf", "download", "tiny/target", "--revision", COMMIT]
    rooted = ModelConfig("m", f"hf://tiny/target@{COMMIT}", None, None, root="my models")
    with pytest.raises(BadInput, match=r"--local-dir '.*/my models/target'"):
        load_pair(rooted, tmp_path)


def test_the_command_has_options_that_the_hubs_own_command_knows() -> None:
    from huggingface_hub.cli.download import download

    words = shlex.split(HubModel("a", "b").command(Path("c")))
    known = {f"--{name.replace('_', '-')}" for name in inspect.signature(download).parameters}
    assert {word for word in words if word.startswith("--")} <= known


def test_a_root_without_a_model_of_the_hub_is_refused() -> None:
    with pytest.raises(BadInput, match=r"`model.root` is where models of the hub lie, and `model.target` is a path"):
        ModelConfig("m", "models/mine", None, None, root="/srv")


class Downloads(list[dict[str, Any]]):
    """Stands for `snapshot_download`, and notes what it is asked for."""

    def __call__(self, repo: str, **options: Any) -> None:
        self.append({"repo": repo} | options)


def test_nothing_is_downloaded_unless_it_is_asked_for(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads = Downloads()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", downloads)
    config = ModelConfig("m", f"hf://tiny/other@{COMMIT}", "hf://tiny/target", None)
    for value in ("1", None):
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        if value is not None:
            monkeypatch.setenv("HF_HUB_OFFLINE", value)
        fetch_models(config, tmp_path)
    assert not downloads
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    fetch_models(config, tmp_path)
    assert [call["repo"] for call in downloads] == ["tiny/other", "tiny/target"], "and what has no weights yet"
    assert downloads[0]["revision"] == COMMIT
    assert "*.gguf" in downloads[0]["ignore_patterns"]


def test_what_is_whole_is_not_downloaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads = Downloads()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", downloads)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    save(tmp_path)
    fetch_models(ModelConfig("m", "hf://tiny/target", "hf://tiny/draft", None, root="."), tmp_path)
    assert not downloads
