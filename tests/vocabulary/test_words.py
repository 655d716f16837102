"""Types of options as a person says them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import annotated_types as at
import pytest
from pydantic import Field

from nnw_onnx import plugins
from nnw_onnx.vocabulary.words import type_in_words, with_article


@dataclass(frozen=True)
class Inner:
    x: int = 0


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "whole number"),
        (float | None, "number"),
        (bool, "true or false"),
        (str, "text"),
        (Path | None, "path"),
        (Annotated[float, at.Gt(0), at.Lt(1)], "number between 0 and 1"),
        (Annotated[float, at.Ge(0), at.Le(1)], "number from 0 to 1"),
        (Annotated[float, at.Gt(0), at.Le(1e6)] | None, "number above 0, at most 1000000"),
        (Annotated[int, at.Ge(1)], "whole number of at least 1"),
        (Annotated[float, at.Lt(2.5)], "number below 2.5"),
        (Annotated[float, at.Ge(1), at.Le(32), at.MultipleOf(1)], "whole number from 1 to 32"),
        (Annotated[float, at.Interval(gt=0, lt=1)], "number between 0 and 1"),
        (Annotated[float, Field(ge=0, le=10)], "number from 0 to 10"),
        (Literal["hard", "soft"], "hard or soft"),
        (Literal[1, 2, 3], "1, 2 or 3"),
        (tuple[str, ...], "list of texts"),
        (list[int], "list of whole numbers"),
        (tuple[int, int] | None, "list of 2 whole numbers"),
        (tuple[Annotated[int, at.Ge(1), at.Le(9)], ...], "list of whole numbers from 1 to 9"),
        (tuple[str, ...] | Annotated[int, at.Ge(2)], "list of texts or whole number of at least 2"),
        (tuple[int, str], "list of whole number, text"),
        (tuple[Literal["a", "b"], ...], "list of entries, each a or b"),
        (Mapping[str, int], "table"),
        (Inner | None, "table"),
    ],
)
def test_types_in_words(hint: object, words: str) -> None:
    assert type_in_words(hint) == words


def test_articles() -> None:
    assert with_article("number between 0 and 1") == "a number between 0 and 1"
    assert with_article("hard or soft") == "hard or soft"


@pytest.mark.parametrize("group", list(plugins.GROUPS))
def test_no_option_shows_how_python_writes_types(group: str) -> None:
    for name in plugins.names(group):
        for option in plugins.options(plugins.load(plugins.base(group), name)):
            assert not set("[]|") & set(option.type), f"{name}.{option.name}: {option.type}"
            assert "Annotated" not in option.type
