"""Fetching models of the hub, for those who ask for it: with `HF_HUB_OFFLINE=0` in the environment, and only then."""

from __future__ import annotations

import os
from pathlib import Path

from systems.contract.config import ModelConfig
from systems.contract.errors import BadInput
from systems.contract.hub import UNWANTED
from systems.files.weight_files import checkpoint_files

ONLINE = ("0", "OFF", "NO", "FALSE")
"""What `HF_HUB_OFFLINE` reads when downloads are wanted; unset it stands for offline here."""


def fetch_models(config: ModelConfig, root: Path) -> None:
    """Download what a config names of the hub and is not here, where `HF_HUB_OFFLINE=0` is set; else do nothing.

    Raises:
        BadInput: it cannot be downloaded.
    """
    if os.environ.get("HF_HUB_OFFLINE", "1").upper() not in ONLINE:
        return
    missing = [(model, folder) for model, folder in config.downloads(root).items() if not _whole(folder)]
    if not missing:
        return
    from huggingface_hub import snapshot_download

    for model, folder in missing:
        place = None if config.root is None else str(folder)
        try:
            snapshot_download(model.repo, revision=model.revision, local_dir=place, ignore_patterns=list(UNWANTED))
        except Exception as error:  # of the network, the hub, the disk: each library raises its own
            raise BadInput(f"{model.repo} cannot be downloaded ({type(error).__name__}: {error})") from error


def _whole(folder: Path) -> bool:
    """Whether a model is there: a download that was interrupted leaves a folder, too."""
    try:
        return (folder / "config.json").is_file() and bool(checkpoint_files(folder))
    except BadInput:
        return False
