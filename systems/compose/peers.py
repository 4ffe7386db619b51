"""From the options of a peer to the peer. Each is imported when asked for: not all of them need be installed."""

from __future__ import annotations

from dataclasses import fields
from importlib.util import find_spec
from typing import Any

from systems.compose.options.residency import AllResidentOptions
from systems.compose.parts import Options
from systems.contract.config import SystemConfig
from systems.contract.costs import LinkSpec
from systems.contract.errors import BadInput, Unsupported
from systems.contract.options import NoPart
from systems.contract.system import System
from systems.peers.options import (
    AccelerateOffloadOptions,
    LlamaCppDraftOptions,
    LlamaCppOptions,
    PeerResidencyOptions,
    TransformersAssistedOptions,
)
from systems.runtime.pair import Pair


def build_peer(engine: Any, config: SystemConfig, pair: Pair, budget_bytes: int, link: LinkSpec | None) -> System:
    """Make the peer that the options `engine` stand for.

    Args:
        link: what those who move experts move them over.

    Raises:
        BadInput: parts beside the engine, or a draft that is missing.
        DidNotFit: the budget is below what the peer loads at once.
        Unsupported: a package that is not installed, or the peer does not run this model on this device.
    """
    _check_parts(engine, config)
    _check_installed(engine, config)
    if isinstance(engine, AccelerateOffloadOptions):
        from systems.peers.accelerate_offload import AccelerateOffload

        return AccelerateOffload(pair, budget_bytes, link)
    if isinstance(engine, LlamaCppOptions | LlamaCppDraftOptions):
        from systems.peers.llama_cpp import LlamaCpp

        return LlamaCpp(pair, getattr(engine, "draft_length", 0))
    if isinstance(engine, TransformersAssistedOptions):
        from systems.peers.assisted import TransformersAssisted

        return TransformersAssisted(pair, engine)
    from systems.peers.generate import TransformersGenerate

    return TransformersGenerate(pair)


def _check_installed(engine: Any, config: SystemConfig) -> None:
    """Refuse an engine whose packages are not here, with the command that installs them."""
    missing = [name for name in getattr(engine, "packages", ()) if find_spec(name) is None]
    if missing:
        needed = f"engine.part={config.engine['part']} needs {' and '.join(missing)}"
        raise Unsupported(f"{needed}: pip install 'spmoe-bench[{engine.extra}]'")


def _check_parts(engine: Any, config: SystemConfig) -> None:
    """Refuse parts that a peer would ignore, and a residency that is not the peer's: budgets are judged by it."""
    name, options = config.engine["part"], Options.of(config)
    for group in (field.name for field in fields(options) if field.name != "residency"):
        if not isinstance(getattr(options, group), NoPart):
            chosen = getattr(config, group)["part"]
            raise BadInput(f"{group}.part={chosen} does nothing in engine.part={name}; set {group}.part=none")
    offloads = isinstance(engine, AccelerateOffloadOptions)
    if not isinstance(options.residency, PeerResidencyOptions if offloads else AllResidentOptions):
        raise BadInput(f"engine.part={name} needs residency.part={'peer' if offloads else 'all'}")
