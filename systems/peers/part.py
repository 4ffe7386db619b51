"""Systems that other people wrote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from systems.contract.costs import LinkSpec
from systems.contract.errors import BadInput, Unsupported
from systems.contract.options import require_length
from systems.contract.system import System
from systems.policies.decoding_part import EnginePart
from systems.policies.part import ResidencyPart

if TYPE_CHECKING:
    from systems.policies.composition import Composition
    from systems.runtime.pair import Pair


@dataclass(frozen=True, slots=True)
class PeerResidencyPart(ResidencyPart):
    """`residency.part: peer`: the engine itself decides what stays, within the budget; not for `composed`."""

    part: ClassVar[str] = "peer"

    def check(self, others: Composition) -> None:
        """Refuse to be of a composed system."""
        raise BadInput("residency.part=peer leaves it to the engine, and engine.part=composed has none of its own")


@dataclass(frozen=True, slots=True)
class PeerPart(EnginePart):
    """A peer. All its experts are resident, if its `residency` is not `peer`."""

    residency: ClassVar[str] = "all"

    def check(self, others: Composition) -> None:
        """Refuse parts that a peer would ignore, a residency that is not its own, by which budgets are judged, and
        packages that are not here.

        Raises:
            Unsupported: with the command that installs them.
        """
        for other in others.parts:
            if not other.does_nothing and other.kind != "residency":
                raise BadInput(
                    f"{other.kind}.part={other.part} does nothing in engine.part={self.part}; set {other.kind}.part="
                    "none"
                )
        if others.residency.part != self.residency:
            raise BadInput(f"engine.part={self.part} needs residency.part={self.residency}")
        if missing := self.missing:
            needed = f"engine.part={self.part} needs {' and '.join(missing)}"
            raise Unsupported(f"{needed}: pip install 'spmoe-bench[{self.extra}]'")


@dataclass(frozen=True, slots=True)
class TransformersPart(PeerPart):
    """`engine.part: transformers`: generation by transformers itself, all experts resident."""

    part: ClassVar[str] = "transformers"

    def build(self, pair: Pair, budget_bytes: int, link: LinkSpec | None) -> System:
        """Make the peer."""
        from systems.peers.generate import TransformersGenerate

        return TransformersGenerate(pair)


@dataclass(frozen=True, slots=True)
class TransformersAssistedPart(PeerPart):
    """`engine.part: transformers_assisted`: the same, the pair's draft assisting with `draft_length` tokens."""

    draft_length: int = 2

    part: ClassVar[str] = "transformers_assisted"
    needs_draft: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_length("engine", self.draft_length, "transformers")

    def build(self, pair: Pair, budget_bytes: int, link: LinkSpec | None) -> System:
        """Make the peer."""
        from systems.peers.assisted import TransformersAssisted

        return TransformersAssisted(pair, self)


@dataclass(frozen=True, slots=True)
class AccelerateOffloadPart(PeerPart):
    """`engine.part: accelerate_offload`: transformers' generation, experts offloaded by accelerate's hooks."""

    part: ClassVar[str] = "accelerate_offload"
    residency: ClassVar[str] = "peer"
    extra: ClassVar[str] = "peers"
    packages: ClassVar[tuple[str, ...]] = ("accelerate",)

    def build(self, pair: Pair, budget_bytes: int, link: LinkSpec | None) -> System:
        """Make the peer."""
        from systems.peers.accelerate_offload import AccelerateOffload

        return AccelerateOffload(pair, budget_bytes, link)


@dataclass(frozen=True, slots=True)
class LlamaCppPart(PeerPart):
    """`engine.part: llama_cpp`: generation by llama.cpp on the processor, all experts resident."""

    part: ClassVar[str] = "llama_cpp"
    extra: ClassVar[str] = "llama-cpp"
    packages: ClassVar[tuple[str, ...]] = ("xllamacpp", "gguf")

    def build(self, pair: Pair, budget_bytes: int, link: LinkSpec | None) -> System:
        """Make the peer."""
        return _llama_cpp(pair, 0)


@dataclass(frozen=True, slots=True)
class LlamaCppDraftPart(LlamaCppPart):
    """`engine.part: llama_cpp_draft`: the same, the pair's draft proposing `draft_length` tokens."""

    draft_length: int = 2

    part: ClassVar[str] = "llama_cpp_draft"

    def __post_init__(self) -> None:
        require_length("engine", self.draft_length, "llama_cpp")

    def build(self, pair: Pair, budget_bytes: int, link: LinkSpec | None) -> System:
        """Make the peer."""
        return _llama_cpp(pair, self.draft_length)


@dataclass(frozen=True, slots=True)
class OpenVinoGenAIPart(PeerPart):
    """`engine.part: openvino_genai`: generation by OpenVINO GenAI on the processor, all experts resident."""

    part: ClassVar[str] = "openvino_genai"
    extra: ClassVar[str] = "openvino"
    packages: ClassVar[tuple[str, ...]] = ("openvino", "openvino_genai")

    def build(self, pair: Pair, budget_bytes: int, link: LinkSpec | None) -> System:
        """Make the peer."""
        from systems.peers.openvino_genai import OpenVinoGenAI

        return OpenVinoGenAI(pair)


def _llama_cpp(pair: Pair, draft_length: int) -> System:
    from systems.peers.llama_cpp import LlamaCpp

    return LlamaCpp(pair, draft_length)
