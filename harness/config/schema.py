"""Turn plain mappings into dataclasses; errors name the key and the remedy."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from systems.api import BadInput

T = TypeVar("T")


def parse(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build `kind` from `values`; `where` is the config path that errors name.

    Raises:
        BadInput: a key is unknown or missing, or a value has the wrong type.
    """
    hints = get_type_hints(kind)
    known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise BadInput(f"unknown key `{_join(where, key)}`; {suggest(key, known)}")
    for name, item in known.items():
        if name not in values and item.default is MISSING and item.default_factory is MISSING:
            raise BadInput(f"`{_join(where, name)}` is missing")
    return kind(**{key: _convert(hints[key], value, _join(where, key)) for key, value in values.items()})


def suggest(word: str, options: Iterable[str]) -> str:
    """Return "did you mean" with the nearest option, and the list of all."""
    names = sorted(options)
    listed = f"there are: {', '.join(names) or 'none'}"
    near = get_close_matches(word, names, n=1, cutoff=0.5)
    return f"did you mean `{near[0]}`? {listed}" if near else listed


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(hint, value, where)
    if origin is Literal:
        if value not in get_args(hint):
            raise BadInput(f"`{where}` is {value!r}; {suggest(str(value), map(str, get_args(hint)))}")
        return value
    if is_dataclass(hint) and isinstance(value, Mapping):
        return parse(hint if isinstance(hint, type) else type(hint), value, where)
    if origin is tuple and isinstance(value, Sequence):
        listed = [value] if isinstance(value, str) else value  # `key=name` lists one
        return tuple(_convert(get_args(hint)[0], item, f"{where}[{i}]") for i, item in enumerate(listed))
    if origin is Mapping and isinstance(value, Mapping):
        return {key: _convert(get_args(hint)[1], item, _join(where, str(key))) for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = origin or hint
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is int):
        raise BadInput(f"`{where}` is {value!r}; {_describe(hint)} is needed")
    return value


def _convert_union(hint: Any, value: Any, where: str) -> Any:
    """Take the first alternative that fits, None only for None."""
    options = get_args(hint)
    if value is None and types.NoneType in options:
        return None
    for option in options:
        try:
            return _convert(option, value, where)
        except BadInput:
            continue
    raise BadInput(f"`{where}` is {value!r}; {_describe(hint)} is needed")


def _describe(hint: Any) -> str:
    names = {int: "an integer", float: "a number", str: "a text", bool: "true or false", type(None): "null"}
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_describe(option) for option in get_args(hint))
    return names.get(hint, "a list" if get_origin(hint) is tuple else "a mapping")
