"""Clauses on the form of a plug-in: a frozen dataclass whose options can be recorded."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable

from nnw_onnx import plugins
from nnw_onnx.testing.checks import made, require
from nnw_onnx.vocabulary import Modification, Parameter, PlugIn


def _frozen(plugin: PlugIn) -> None:
    # The standard library keeps this flag under a private name and offers no other way to read it.
    parameters = vars(type(plugin)).get("__dataclass_params__")
    frozen = dataclasses.is_dataclass(plugin) and parameters is not None and parameters.frozen
    require(frozen, "a frozen dataclass", type(plugin).__name__, "decorate it with frozen=True")


def _named(plugin: PlugIn) -> None:
    require(
        re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", plugin.name),
        "a name of lower-case words joined by '-'",
        repr(plugin.name),
        "rename it",
    )
    lines = plugins.summary(type(plugin)).strip().splitlines()
    require(len(lines) == 1, "a summary of one line", f"{len(lines)} lines", "rewrite it")


def _explained(plugin: PlugIn) -> None:
    silent = [o.name for o in plugins.options(type(plugin)) if not o.help]
    require(not silent, "a help text for every option", f"none for {silent}", "use plugins.option")


def _round_trip(plugin: PlugIn) -> None:
    recorded = json.loads(json.dumps(dict(plugin.spec().options), allow_nan=False))
    again = made(type(plugin), **recorded)
    require(again == plugin, f"{plugin!r} again", repr(again), "use options that JSON can hold")


def _parameter(modification: Modification) -> None:
    parameter = modification.parameter
    ordered = isinstance(parameter, Parameter) and (
        parameter.low is None or parameter.high is None or parameter.low <= parameter.high
    )
    require(
        parameter is None or ordered,
        "None or a Parameter with low <= high",
        repr(parameter),
        "declare the class variable 'parameter'",
    )
    known = [o.name for o in plugins.options(type(modification))]
    require(
        parameter is None or parameter.option in known,
        f"a Parameter whose option is one of {known}",
        parameter and repr(parameter.option),
        "name the field that a sweep fills",
    )
    number = modification.number
    require(
        number is None or (isinstance(number, int) and number >= 0),
        "the number of the Modification in the standard, or None",
        repr(number),
        "declare the class variable 'number'",
    )


CLAUSES: dict[str, Callable[[PlugIn], None]] = {
    "is a frozen dataclass": _frozen,
    "has a name and a summary of one line": _named,
    "explains every option": _explained,
    "is made again from its recorded options": _round_trip,
}

MODIFICATION_CLAUSES: dict[str, Callable[[Modification], None]] = {
    "declares its parameter": _parameter,
}
