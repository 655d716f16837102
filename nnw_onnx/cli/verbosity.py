"""How much every command tells: -q and -v."""

from __future__ import annotations

import functools
import inspect
import logging
import typing
from collections.abc import Callable
from typing import Annotated

import typer

from nnw_onnx.cli import output
from nnw_onnx.errors import ConfigurationError

Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only the answer, and errors.")]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="Each step too, and where an error comes from.")
]
COMMON: dict[str, object] = {"quiet": Quiet, "verbose": Verbose}


def with_verbosity(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options -q and -v behind its own.

    typer reads options from a signature, so the wrapper has one that is longer by two.
    """

    @functools.wraps(command)
    def wrapper(*words: object, quiet: bool, verbose: bool, **options: object) -> None:
        if quiet and verbose:
            raise ConfigurationError("-q: expected -q or -v, got both; leave one out")
        output.set_level(_level(quiet=quiet, verbose=verbose))
        command(*words, **options)

    hints = typing.get_type_hints(command, include_extras=True)
    own = inspect.signature(command, eval_str=True)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in COMMON.items()
    ]
    vars(wrapper)["__signature__"] = own.replace(parameters=[*own.parameters.values(), *more])
    wrapper.__annotations__ = {**hints, **COMMON}
    return wrapper


def _level(*, quiet: bool, verbose: bool) -> int:
    if quiet:
        return logging.ERROR
    return logging.DEBUG if verbose else logging.INFO
