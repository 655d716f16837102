"""Clauses on the form of a plug-in: a frozen dataclass whose options can be recorded."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from nnw_onnx import plugins
from nnw_onnx.testing.checks import made, require
from nnw_onnx.vocabulary import (
    Parameter,
    TrainedModification,
    WatermarkingMethod,
    WeightModification,
    adds_to_training,
)


def clauses(group: str) -> Iterator[tuple[str, Callable[[Any], None]]]:
    """Name and function of each clause for a group of plug-ins."""
    yield (
        "has every member of its protocol",
        lambda plugin: _members(plugin, _protocol(plugin, group)),
    )
    yield "is a frozen dataclass", _frozen
    yield "has a name and a summary of one line", _named
    yield "explains every option", _explained
    yield "is made again from its recorded options", _round_trip
    if group == "modifications":
        yield "declares its parameter", _parameter


def _protocol(plugin: Any, group: str) -> type[Any]:
    if group == "methods":
        return WatermarkingMethod
    trains = hasattr(plugin, "modify_by_training")
    return TrainedModification if trains else WeightModification


def _members(plugin: Any, protocol: type[Any]) -> None:
    wanted = [*protocol.__annotations__, *(n for n in vars(protocol) if not n.startswith("_"))]
    if adds_to_training(plugin):
        wanted.remove("inject")
    missing = sorted({name for name in wanted if not hasattr(plugin, name)})
    require(not missing, f"the members of {protocol.__name__}", f"none of {missing}", "add them")


def _frozen(plugin: Any) -> None:
    frozen = dataclasses.is_dataclass(plugin) and getattr(plugin, "__dataclass_params__").frozen  # noqa: B009 - private to the standard library's dataclasses, unknown to type checkers
    require(frozen, "a frozen dataclass", type(plugin).__name__, "decorate it with frozen=True")


def _named(plugin: Any) -> None:
    require(
        re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", plugin.name),
        "a name of lower-case words joined by '-'",
        repr(plugin.name),
        "rename it",
    )
    lines = plugin.summary.strip().splitlines()
    require(len(lines) == 1, "a summary of one line", f"{len(lines)} lines", "rewrite it")


def _explained(plugin: Any) -> None:
    silent = [o.name for o in plugins.options(type(plugin)) if not o.help]
    require(not silent, "a help text for every option", f"none for {silent}", "use plugins.option")


def _round_trip(plugin: Any) -> None:
    recorded = json.loads(json.dumps(dict(plugins.spec_of(plugin).options), allow_nan=False))
    again = made(type(plugin), **recorded)
    require(again == plugin, f"{plugin!r} again", repr(again), "use options that JSON can hold")


def _parameter(plugin: Any) -> None:
    parameter = plugin.parameter
    require(
        isinstance(parameter, Parameter) and parameter.low <= parameter.high,
        "a Parameter with low <= high",
        repr(parameter),
        "declare the class variable 'parameter'",
    )
    number = plugin.number
    require(
        number is None or (isinstance(number, int) and number >= 0),
        "the number of the Modification in the standard, or None",
        repr(number),
        "declare the class variable 'number'",
    )
