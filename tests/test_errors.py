"""What validators say, in the words of all errors."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from nnw_onnx.errors import expected


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid")


@dataclass(config=ConfigDict(extra="forbid"))
class Options:
    size: int = 0


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (Annotated[int, Field(ge=1)], 0, "expected a number greater than or equal to 1"),
        (float, "abc", "expected a number"),
        (Literal["a", "b"], "c", "expected 'a' or 'b'"),
        (Annotated[tuple[int, ...], Field(min_length=1)], [], "expected at least 1 item"),
        (Table, "bch", "expected a table"),
        (Options, "none", "expected a table"),
        (Options, {"sise": 1}, "expected a known key, got another"),
    ],
)
def test_validators_speak_of_what_was_expected(kind: object, value: object, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    assert expected(caught.value.errors()[0]["msg"]) == words


def test_words_of_our_own_stay() -> None:
    own = "expected either name or steps; keep one of them"
    assert expected(f"Value error, {own}") == expected(own) == own
