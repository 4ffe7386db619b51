"""Model folders: looking at them, and getting them."""

from __future__ import annotations

from pathlib import Path

from systems.contract.config import ModelConfig, SystemConfig
from systems.contract.folder_report import FolderReport


def fetch_models(config: ModelConfig, root: Path) -> None:
    """Download what a config names of the hub and is not here, where `HF_HUB_OFFLINE=0` is set; else do nothing.

    Raises:
        BadInput: it cannot be downloaded.
    """
    from systems.files.downloading import fetch

    fetch(config, root)


def inspect_folder(folder: Path, target: Path | None = None) -> FolderReport:
    """Report on a model folder, whatever is wrong with it, without loading weights.

    Args:
        target: the folder of the target that it is to be the draft of; None: of none.

    Raises:
        BadInput: there is no such folder.
    """
    from systems.compose.inspection import inspect

    return inspect(folder, target)


def unsuited(
    config: SystemConfig, target: FolderReport, draft: FolderReport | None, activations: bool = False
) -> str | None:
    """Return why a system cannot use a target, and a draft where there is one; None: it can.

    Args:
        activations: whether activation matrices of the target were collected.
    """
    from systems.compose.inspection import unsuited as reason

    return reason(config, target, draft, activations)
