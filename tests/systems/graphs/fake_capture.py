"""A stand-in for a device's graphs: operators are kept when they are called, and called again at a replay.

As on a device nothing may be read while a graph is captured, and what it computes then is nowhere to be seen: results
are poisoned when the capture ends, and what lives outside of it gets its old content back. A replay poisons its results
first, and computes each into the memory that it had. What a graph reads that neither it nor a graph before it has
computed lives outside, `outside`: whoever captures has to see to it that it stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from systems.graphs.capture import Replay

READS = (
    "aten::_local_scalar_dense", "aten::item", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::is_nonzero"
)  # fmt: skip
NOT_PERMITTED = "operation not permitted when stream is capturing"


def memory(tensor: Tensor) -> int:
    """Where the storage of a tensor is."""
    return tensor.untyped_storage().data_ptr()


def tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def poison(results: list[Tensor]) -> None:
    for result in results:
        if result.is_floating_point():
            result.fill_(float("nan"))


class _Keeping(TorchDispatchMode):
    """Keeps the operators of one graph."""

    def __init__(self, owner: FakeCapture) -> None:
        super().__init__()
        self._owner = owner
        self.calls: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self.results: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._schema.name in READS:
            raise RuntimeError(NOT_PERMITTED)
        inputs = tensors((args, kwargs))
        self._owner.reads(inputs)
        if func._schema.is_mutable:
            self._owner.changes(args[0] if "out" not in kwargs else kwargs["out"])
        made = func(*args, **kwargs)
        known = {memory(tensor) for tensor in inputs}
        fresh = [tensor for tensor in tensors(made) if memory(tensor) not in known]
        self.calls.append((func, args, kwargs, tensors(made) if fresh else []))
        self.results += fresh
        self._owner.computed |= {memory(tensor) for tensor in fresh}
        return made


class FakeCapture:
    """In the place of `systems.graphs.capture.Capture`.

    Attributes:
        outside: tensors that its graphs read, by the address of their memory.
        computed: memory that its graphs write first.
        graphs: how many were captured.
    """

    def __init__(self, device: torch.device) -> None:
        self.outside: dict[int, Tensor] = {}
        self.computed: set[int] = set()
        self._before: dict[int, tuple[Tensor, Tensor]] = {}
        self._mode: _Keeping | None = None
        self.graphs = 0

    @contextmanager
    def open(self) -> Iterator[None]:
        tolist = Tensor.tolist

        def refused(tensor: Tensor) -> Any:
            raise RuntimeError(NOT_PERMITTED)

        Tensor.tolist = refused  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            Tensor.tolist = tolist  # type: ignore[method-assign]
            if self._mode is not None:
                self._mode.__exit__(None, None, None)
                self._mode = None
            for tensor, content in self._before.values():
                tensor.copy_(content)
            self._before.clear()

    def begin(self) -> None:
        self._mode = _Keeping(self)
        self._mode.__enter__()
        self.graphs += 1

    def end(self) -> Replay:
        mode = self._mode
        assert mode is not None
        mode.__exit__(None, None, None)
        self._mode = None
        calls, results = mode.calls, mode.results
        poison(results)

        def replay() -> None:
            poison(results)
            for func, args, kwargs, made in calls:
                again = tensors(func(*args, **kwargs))
                for result, value in zip(made, again, strict=False):
                    result.copy_(value)

        return replay

    def reads(self, inputs: list[Tensor]) -> None:
        for tensor in inputs:
            if memory(tensor) not in self.computed:
                self.outside.setdefault(memory(tensor), tensor)

    def changes(self, tensor: Tensor) -> None:
        where = memory(tensor)
        if where not in self.computed and where not in self._before:
            whole = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())  # type: ignore[call-overload]
            self._before[where] = whole, whole.clone()
