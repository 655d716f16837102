"""Types of options in words, as lists and errors tell them."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import annotated_types as at

_PLAIN: dict[object, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
}


def type_in_words(hint: object) -> str:
    """The type of an option as a person says it, such as "number between 0 and 1".

    Args:
        hint: a type with its `Annotated` bounds; None among several types is left out, since a
            default says that an option may be left out.
    """
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _bounded(inside[0], _flat(inside[1:]))
    if origin is typing.Literal:
        return _either([str(value) for value in inside])
    if origin in (typing.Union, types.UnionType):
        return _either([type_in_words(one) for one in inside if one is not type(None)])
    if origin is not None:
        return _container(origin, inside)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return "table"
    return _PLAIN.get(hint) or (hint.__name__ if isinstance(hint, type) else str(hint))


def with_article(words: str) -> str:
    """The same for the middle of a sentence: "a number between 0 and 1", but "hard or soft"."""
    first = words.partition(" ")[0]
    return f"a {words}" if first in ("whole", "number", "path", "table", "list", "text") else words


def _container(origin: object, inside: Sequence[object]) -> str:
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "table"
    items = [item for item in inside if item is not Ellipsis]
    kinds = list(dict.fromkeys(type_in_words(item) for item in items))
    if len(kinds) > 1:
        return f"list of {', '.join(kinds)}"
    many = f"{len(items)} " if 1 < len(items) == len(inside) else ""
    return f"list of {many}{_plural(kinds[0])}"


def _plural(words: str) -> str:
    for one in ("number", "text", "path", "table"):
        if words == one or words.startswith((f"{one} ", f"whole {one}")):
            return words.replace(one, f"{one}s", 1)
    return f"entries, each {words}"


def _bounded(base: object, bounds: Sequence[object]) -> str:
    words = type_in_words(base)
    if words == "number" and any(
        isinstance(b, at.MultipleOf) and b.multiple_of == 1 for b in bounds
    ):
        words = "whole number"
    if words in ("number", "whole number"):
        return f"{words} {_range(bounds)}".rstrip()
    return words


def _range(bounds: Sequence[object]) -> str:
    low = next((_number(b.ge) for b in bounds if isinstance(b, at.Ge)), None)
    above = next((_number(b.gt) for b in bounds if isinstance(b, at.Gt)), None)
    high = next((_number(b.le) for b in bounds if isinstance(b, at.Le)), None)
    below = next((_number(b.lt) for b in bounds if isinstance(b, at.Lt)), None)
    if low is not None and high is not None:
        return f"from {low} to {high}"
    if above is not None and below is not None:
        return f"between {above} and {below}"
    if above is not None and high is not None:
        return f"above {above}, at most {high}"
    words = (("of at least", low), ("above", above), ("of at most", high), ("below", below))
    return ", ".join(f"{word} {bound}" for word, bound in words if bound is not None)


def _number(bound: object) -> str:
    whole = isinstance(bound, float) and bound.is_integer()
    return f"{bound:.0f}" if whole else f"{bound}"


def _flat(metadata: Iterable[object]) -> list[object]:
    """Bounds with groups such as `Interval`, and those of pydantic's fields, taken apart."""
    from pydantic.fields import FieldInfo  # only where options are listed: it takes 50 ms

    found: list[object] = []
    for item in metadata:
        if isinstance(item, at.GroupedMetadata):
            found += list(item)
        else:
            found += item.metadata if isinstance(item, FieldInfo) else [item]
    return found


def _either(words: Sequence[str]) -> str:
    unique = list(dict.fromkeys(words))
    if len(unique) < 2:
        return unique[0] if unique else "nothing"
    return f"{', '.join(unique[:-1])} or {unique[-1]}"
