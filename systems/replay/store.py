"""One recording: a folder with a trace per drafter, the tokenizer, and the costs measured beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from systems.contract.config import SystemConfig
from systems.contract.costs import Costs
from systems.contract.errors import BadInput
from systems.contract.pair import ModelPair
from systems.contract.recording import Recording
from systems.contract.requests import Request
from systems.replay import costs, trace_file
from systems.replay.trace import Header, Trace
from systems.runtime.activation_file import Stored

TOKENIZER = "tokenizer.json"


class TraceFolder:
    """`systems.contract.recording.Traces`: reads a trace when a system asks for it.

    Args:
        models: what the pair that is to be replayed says of itself, see `ModelPair.describe`; None takes any.
        activations: asked for that pair's activation matrices; see `systems.contract.recording.Traces`.

    Raises:
        BadInput: the folder holds no recording.
    """

    def __init__(
        self,
        folder: Path,
        models: Mapping[str, Any] | None = None,
        activations: Callable[[], Stored | None] = lambda: None,
    ) -> None:
        self.activations = activations
        self.costs = costs.read(folder)
        self._folder, self._models = folder, models
        self._read: dict[Path, Trace] = {}

    @cached_property
    def header(self) -> Header:
        """What one of the traces was recorded from; of the models all say the same."""
        return trace_file.read_header(self._path("none"))

    @property
    def tokenizer(self) -> Path:
        """The file of the tokenizer that the models were recorded with.

        Raises:
            BadInput: it is missing.
        """
        path = self._folder / TOKENIZER
        if not path.is_file():
            raise BadInput(f"`replay` {self._folder} has lost its {TOKENIZER}; record it again")
        return path

    @property
    def record_bytes(self) -> int:
        """Bytes of one expert."""
        return self.header.record_bytes

    @property
    def expert_bytes(self) -> int:
        """Bytes of all experts."""
        return self.header.expert_bytes

    @property
    def requests(self) -> list[Request]:
        """What was recorded; see `systems.contract.recording.Recording`."""
        records = self.of("none").records
        return [Request(name, record.tokens, len(record.greedy)) for name, record in records.items()]

    def ensure_held(self, requests: Sequence[Request]) -> None:
        """Refuse requests that it does not hold; see `systems.contract.recording.Recording`."""
        for request in requests:
            self.of("none").of(request)

    def greedy(self, request: Request) -> list[int]:
        """What plain greedy decoding makes of a request; see `systems.contract.recording.Recording`."""
        return self.of("none").of(request).greedy

    def of(self, drafter: str) -> Trace:
        """Return the trace that a system with this drafter part can be replayed from.

        Plain decoding follows any trace: what a draft would say does not matter to it.

        Raises:
            BadInput: there is none, it is broken, or it is of other models.
        """
        path = self._path(drafter)
        if path not in self._read:
            self._read[path] = trace_file.load(path)
        self._check(self._read[path].header.facts, drafter)
        return self._read[path]

    def _path(self, drafter: str) -> Path:
        names = sorted(path.stem for path in self._folder.glob("*.npz"))
        if not names:
            raise BadInput(f"`replay` {self._folder} holds costs and no trace; record it again")
        name = drafter if drafter in names or drafter != "none" else names[0]
        if name not in names:
            raise BadInput(
                f"`replay` {self._folder} has no trace of drafter.part={drafter}, only of {', '.join(names)}"
            )
        return self._folder / f"{name}.npz"

    def _check(self, facts: Mapping[str, Any], drafter: str) -> None:
        if self._models is None:
            return
        for fact in ("target", "top_k", "dtype", *(["draft"] if drafter == "model" else [])):
            if facts.get(fact) != self._models[fact]:
                raise BadInput(
                    f"`replay` {self._folder} was recorded with another {fact} than {self._models['name']}'s; record "
                    f"it again with python -m harness record replay={self._folder}"
                )


def longest_drafters(systems: Sequence[SystemConfig]) -> list[Mapping[str, Any]]:
    """Return the drafters that replaying `systems` needs: of every part the one with the longest draft.

    Plain decoding is left out where something drafts.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for system in systems:
        part = system.drafter["part"]
        if part not in found or system.drafter.get("draft_length", 0) > found[part].get("draft_length", 0):
            found[part] = system.drafter
    return [drafter for part, drafter in found.items() if part != "none" or len(found) == 1]


def load_traces(folder: Path, pair: ModelPair | None = None) -> Recording:
    """Open a recording, of a pair where one is given.

    Raises:
        BadInput: there is none; a trace of it is broken, or of other models (said when it is asked for).
    """
    return TraceFolder(folder) if pair is None else TraceFolder(folder, pair.describe(), lambda: pair.activations)


def record_traces(
    model_pair: ModelPair, systems: Sequence[SystemConfig], requests: Sequence[Request], measured: Costs, folder: Path
) -> None:
    """Run the models over greedy requests and keep all that replaying `systems`, and others like them, needs.

    There is a trace per drafter; the folder is complete once the costs are there.
    """
    from systems.replay.record import record
    from systems.runtime.pair import loaded

    pair = loaded(model_pair)

    folder.mkdir(parents=True, exist_ok=True)
    for drafter in longest_drafters(systems):
        trace_file.save(record(pair, dict(drafter), requests), folder / f"{drafter['part']}.npz")
    pair.save_tokenizer(folder / TOKENIZER)
    costs.write(folder, measured)
