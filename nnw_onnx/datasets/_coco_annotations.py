"""Files of annotations in the form of COCO, as untrusted input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeVar

from annotated_types import Ge, Gt, Le, Len

from nnw_onnx.errors import DatasetError, expected, shortened
from nnw_onnx.kit.images import MAX_DECODED_SIDE

Identity = Annotated[int, Ge(-(1 << 62)), Le(1 << 62)]
Side = Annotated[int, Gt(0), Le(MAX_DECODED_SIDE)]
Number = Annotated[float, Ge(-1e9), Le(1e9)]


@dataclass(frozen=True)
class Picture:
    """An image: its id, its file, and its size in pixels."""

    id: Identity
    file_name: str
    height: Side
    width: Side


@dataclass(frozen=True)
class Category:
    """A class of things."""

    id: Identity
    name: str


@dataclass(frozen=True)
class Annotation:
    """A box around a thing: left, top, width and height in pixels; or around a crowd of them."""

    image_id: Identity
    category_id: Identity
    bbox: Annotated[tuple[Number, ...], Len(4, 4)]
    iscrowd: Literal[0, 1] = 0


@dataclass(frozen=True)
class Annotations:
    """What a file says."""

    images: Annotated[tuple[Picture, ...], Len(1)]
    categories: Annotated[tuple[Category, ...], Len(1)]
    annotations: tuple[Annotation, ...] = field(default=())


One = TypeVar("One", Picture, Category)


def read_annotations(title: str, content: bytes) -> Annotations:
    """The annotations of a file, images and categories in the order of their ids.

    Raises:
        DatasetError: it is none, or two of its images or categories have one id.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        found = TypeAdapter(Annotations).validate_json(content)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "the file"
        got = "nothing" if fault["type"] == "missing" else shortened(fault["input"])
        raise DatasetError(
            f"{title}: expected annotations in the form of COCO, got {got} as {where}: "
            f"{expected(fault['msg'])}; mend the file"
        ) from error
    images, categories = _ordered(title, found.images), _ordered(title, found.categories)
    return Annotations(images, categories, found.annotations)


def _ordered(title: str, found: Sequence[One]) -> tuple[One, ...]:
    if len({one.id for one in found}) < len(found):
        raise DatasetError(
            f"{title}: expected images and categories with an id each, got one id twice; mend the "
            "file"
        )
    return tuple(sorted(found, key=lambda one: one.id))
