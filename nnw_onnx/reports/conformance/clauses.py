"""The data: profiles with their clauses, and departures. They come with the package."""

from __future__ import annotations

import functools
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.records import Options
from nnw_onnx.runs import toml

DEFAULT = "nnt-1.1"
"""The profile whose procedures an evaluation follows."""
_Id = Annotated[str, Field(pattern="^[a-z0-9]+(-[a-z0-9]+)*$")]
_Sentence = Annotated[str, Field(min_length=3, max_length=500)]


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Clause(_Data):
    """One clause.

    Attributes:
        id: unique in its profile.
        place: chapter of the standard, and where it has them its part and step.
        asks: what is asked there, in our words.
        informative: whether the standard only informs there.
        check: name of a function of `checks.CHECKS`.
        given: its arguments beside the report.
    """

    id: _Id
    place: _Sentence
    asks: _Sentence
    informative: bool = False
    check: str
    given: Options = {}


class Profile(_Data):
    """A document of the standard as clauses.

    Attributes:
        name: such as "nnt-1.1".
        standard: name and version of the document.
        aliases: other names.
        clauses: in the order of the document.
    """

    name: str
    standard: _Sentence
    aliases: tuple[str, ...] = ()
    clauses: Annotated[tuple[Clause, ...], Field(min_length=1)]


class Departure(_Data):
    """Something that is not implemented, or otherwise than the standard's words say.

    Attributes:
        id: unique.
        short: in a few words, for the README.
        text: in one or two sentences, for reports.
        clauses: those that it bears on, as PROFILE:CLAUSE.
    """

    id: _Id
    short: _Sentence
    text: _Sentence
    clauses: tuple[str, ...] = ()


class _Departures(_Data):
    departures: tuple[Departure, ...] = ()


@functools.cache
def profiles() -> tuple[Profile, ...]:
    """Every profile, the default one first, then by name."""
    paths = sorted((_folder() / "profiles").glob("*.toml"), key=lambda p: (p.stem != DEFAULT, p))
    return tuple(Profile.model_validate({"name": p.stem, **toml.parsed(p)}) for p in paths)


@functools.cache
def departures() -> tuple[Departure, ...]:
    """Every departure, in the order of the file."""
    return _Departures.model_validate(toml.parsed(_folder() / "departures.toml")).departures


def names() -> tuple[str, ...]:
    """Every name of a profile, aliases last."""
    found = profiles()
    return (*(p.name for p in found), *(alias for p in found for alias in p.aliases))


def find(name: str) -> Profile:
    """The profile of a name or an alias.

    Raises:
        ConfigurationError: there is none.
    """
    for profile in profiles():
        if name in (profile.name, *profile.aliases):
            return profile
    raise ConfigurationError(
        f"profile: expected one of {', '.join(names())}; got {name!r}"
        f"{plugins.closest(name, names())}; choose one of them"
    )


def _folder() -> Path:
    return Path(str(files("nnw_onnx.reports") / "conformance"))
