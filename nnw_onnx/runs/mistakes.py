"""What pydantic finds wrong with a configuration, one line each: where, what, and a suggestion."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel

from nnw_onnx import plugins
from nnw_onnx.errors import expected, shortened

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def deepest(faults: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """One fault a place: not each member of a union, nor a list that is short of a wrong entry."""
    placed = {tuple(_location(fault)): fault for fault in reversed(faults)}
    return [
        fault
        for place, fault in reversed(placed.items())
        if not any(len(other) > len(place) and other[: len(place)] == place for other in placed)
    ]


def _location(fault: ErrorDetails) -> list[int | str]:
    """The keys of a place, without pydantic's names for the members of a union."""
    return [part for part in fault["loc"] if "[" not in str(part) and part != "str"]


def one_line(document: type[BaseModel], fault: ErrorDetails) -> str:
    """A mistake: dotted path, what is wrong, what was got, a suggestion.

    Args:
        document: what was validated.
        fault: found in it.
    """
    location = _location(fault)
    where = ".".join(map(str, location)) or document.__name__.lower()
    if fault["type"] == "extra_forbidden":
        known = list(_table_at(document, location[:-1]).model_fields)
        return (
            f"{where}: expected one of the keys {', '.join(known)}; got an unknown key"
            f"{plugins.closest(str(location[-1]), known)}"
        )
    if fault["type"] == "missing":
        return f"{where}: expected a value, got none; add it"
    message = expected(fault["msg"])
    got = (
        "" if isinstance(fault["input"], dict) else f"; got {shortened(fault['input'])}; correct it"
    )
    return f"{where}: {message}{got}"


def _table_at(document: type[BaseModel], location: list[int | str]) -> type[BaseModel]:
    """The table at a location of the document; of lists, that of the entries."""
    table = document
    for part in location:
        if isinstance(part, str):
            table = next(_tables_in(table.model_fields[part].annotation))
    return table


def _tables_in(annotation: object) -> Iterator[type[BaseModel]]:
    """The table classes inside an annotation such as tuple[X, ...] | None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _tables_in(inner)
