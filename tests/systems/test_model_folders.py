"""Model folders as people have them: whose tokenizer is read, what a model is called, and what a broken folder says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from systems.api import BadInput, ModelConfig, load_pair, located
from tests.systems.tiny import make_pair

Break = Callable[[Path], object]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    make_pair(root).close()
    return root


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "pair"))


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("models/reference/target", "reference"),
        ("/srv/mixtral", "mixtral"),
        ("/srv/mixtral/", "mixtral"),
        ("./target", "target"),
        ("../qwen", "qwen"),
    ],
)
def test_a_model_without_a_name_has_its_folders(target: str, name: str) -> None:
    assert ModelConfig("", target, None, None).name == name
    assert ModelConfig("mine", target, None, None).name == "mine"


def test_without_a_tokenizer_it_is_the_targets_own(folder: Path) -> None:
    shared = load_pair(ModelConfig("", "target", "draft", None), folder)
    assert shared.encode("ab") == [1, 2], "of the folder above, as there is none in the target's"
    own = json.loads((folder / "tokenizer.json").read_text())
    own["model"]["vocab"] |= {"a": 2, "b": 1}
    (folder / "target" / "tokenizer.json").write_text(json.dumps(own))
    named = load_pair(ModelConfig("", "target", "draft", "."), folder)
    mine = load_pair(ModelConfig("", "target", "draft", None), folder)
    assert (named.encode("ab"), mine.encode("ab")) == ([1, 2], [2, 1])
    hashes = [pair.describe()["tokenizer"] for pair in (shared, named, mine)]
    assert hashes[0] == hashes[1] != hashes[2], "what is recorded is the content"


def test_paths_are_of_the_root_or_of_the_current_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert located("pair/target", Path("/nowhere")) == folder / "target"
    assert located("not/here", Path("/nowhere")) == Path("/nowhere/not/here")
    assert located(".", folder) == folder / "."
    assert located(str(folder), Path("/nowhere")) == folder


BROKEN: dict[str, tuple[Break, str]] = {
    "no config": (lambda f: (f / "target/config.json").unlink(), r"target/config\.json cannot be read"),
    "no config of the draft": (lambda f: (f / "draft/config.json").unlink(), r"draft/config\.json cannot be read"),
    "no JSON": (lambda f: (f / "target/config.json").write_text("{"), r"config\.json is not JSON"),
    "a list": (lambda f: (f / "target/config.json").write_text("[]"), "`model_type` is None"),
    "odd kind": (lambda f: (f / "target/config.json").write_text('{"model_type": "x"}'), "`model_type` is 'x'"),
    "odd numbers": (
        lambda f: (f / "draft/config.json").write_text('{"model_type": "mistral", "hidden_size": "x"}'),
        "cannot load the model in .*draft",
    ),
    "odd index": (lambda f: (f / "target/model.safetensors.index.json").write_text("{}"), "no index of weights"),
    "odd checksums": (lambda f: (f / "target/SHA256SUMS").write_text("x\n"), "SHA256SUMS cannot be read"),
    "odd tokenizer": (lambda f: (f / "tokenizer.json").write_text("{"), "the tokenizer in .* cannot be read"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), r"tokenizer\.json is missing"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_says_which_file_it_is(folder: Path, case: str) -> None:
    breaks, message = BROKEN[case]
    breaks(folder)
    with pytest.raises(BadInput, match=message):
        load_pair(ModelConfig("", "target", "draft", None), folder)


def test_links_that_lead_nowhere_and_other_files_do_no_harm(folder: Path) -> None:
    (folder / "target" / "README.md").symlink_to("../../blobs/gone")
    (folder / "target" / "notes").mkdir()
    load_pair(ModelConfig("", "target", "draft", None), folder).close()


def test_checksums_as_sha256sum_writes_them(folder: Path) -> None:
    import hashlib

    weights = folder / "target" / "model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    (folder / "target" / "SHA256SUMS").write_text(f"{digest} *{weights.name}\n\n")
    load_pair(ModelConfig("", "target", "draft", None), folder).close()
