"""Plug-ins: a name becomes a class, a class and its options become an instance.

A plug-in is a frozen dataclass with the class variables `name` and `summary`; its fields are its
options. Built-in plug-ins are files in a folder of this package; others come through the entry
points `nnw_onnx.methods`, `nnw_onnx.modifications`, `nnw_onnx.datasets`, `nnw_onnx.tasks`,
`nnw_onnx.engines` and `nnw_onnx.trainers`, whose entry name is the plug-in's name. The core has no
trainer of its own: they are in the adapters to the training frameworks.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import pkgutil
import typing
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from nnw_onnx.errors import ConfigurationError, PluginError
from nnw_onnx.vocabulary import Key, Spec

FOLDERS: dict[str, str | None] = {
    "methods": "nnw_onnx.methods",
    "modifications": "nnw_onnx.modifications",
    "datasets": "nnw_onnx.datasets",
    "tasks": "nnw_onnx.tasks",
    "engines": "nnw_onnx.runs.engines",
    "trainers": None,
}


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a plug-in: its name, type, default (None where it is required) and help."""

    name: str
    type: str
    default: Any
    required: bool
    help: str


def option(default: Any = dataclasses.MISSING, *, help: str) -> Any:
    """A dataclass field with the sentence that `nnw list` shows for it."""
    return dataclasses.field(default=default, metadata={"help": help})


def closest(word: str, words: Iterable[str]) -> str:
    """The most similar of `words` as a question in brackets, or an empty string."""
    found = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f" (did you mean {found[0]!r}?)" if found else ""


def names(group: str) -> list[str]:
    """Names of all plug-ins of a group, built-in ones first, each part sorted."""
    built_in = _built_in(group)
    return sorted(built_in) + sorted(set(_third_party(group)) - set(built_in))


def load(group: str, name: str) -> type[Any]:
    """The plug-in class of a name.

    Raises:
        PluginError: no plug-in has this name, or it cannot be imported or is not one.
    """
    built_in = _built_in(group)
    if name in built_in:
        return _class_in(importlib.import_module(built_in[name]), name)
    third_party = _third_party(group)
    if name not in third_party:
        everything = names(group)
        raise PluginError(
            f"{group}: expected one of {', '.join(everything)}; got {name!r}"
            f"{closest(name, everything)}; see 'nnw list {group}'"
        )
    entry = third_party[name]
    try:
        plugin = entry.load()
    except (ImportError, AttributeError) as error:
        raise PluginError(
            f"{group}: expected {entry.value} to be importable for {name!r}, got: {error}; "
            "reinstall the package that provides it"
        ) from error
    if not (dataclasses.is_dataclass(plugin) and getattr(plugin, "name", None) == name):
        raise PluginError(
            f"{group}: expected {entry.value} to be a dataclass named {name!r}, "
            f"got {plugin!r}; run nnw_onnx.testing's checks on it"
        )
    return typing.cast("type[Any]", plugin)


def create(group: str, spec: Spec) -> Any:
    """An instance of the plug-in with its options converted to their types and checked.

    Raises:
        PluginError: no such plug-in.
        ConfigurationError: an option that is unknown, missing or out of range.
    """
    from pydantic import TypeAdapter, ValidationError

    plugin = load(group, spec.name)
    known = [f.name for f in dataclasses.fields(plugin) if f.init]
    for given in spec.options:
        if given not in known:
            raise ConfigurationError(
                f"{spec.name}: expected an option among {', '.join(known) or 'none'}; got "
                f"{given!r}{closest(given, known)}; see 'nnw list {group}'"
            )
    try:
        return TypeAdapter(plugin).validate_python(dict(spec.options))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "options"
        if first["type"].startswith("missing"):
            raise ConfigurationError(
                f"{spec.name}: option {where}: expected a value, got none; see 'nnw list {group}'"
            ) from error
        raise ConfigurationError(
            f"{spec.name}: option {where}: {first['msg']}; got {first['input']!r}; "
            f"see 'nnw list {group}'"
        ) from error


def method_of(key: Key) -> Any:
    """The method of a key, with the options that its key keeps.

    What a key keeps beside options of the method, such as the number of classes that its triggers
    are for, is the method's own affair.

    Raises:
        PluginError: no such method.
        ConfigurationError: an option that is out of range.
    """
    known = {f.name for f in dataclasses.fields(load("methods", key.method)) if f.init}
    return create("methods", Spec(key.method, {k: v for k, v in key.options.items() if k in known}))


def spec_of(plugin: Any) -> Spec:
    """Name and all options of an instance: enough to make it again."""
    return Spec(plugin.name, {f.name: getattr(plugin, f.name) for f in dataclasses.fields(plugin)})


def options(plugin: type[Any]) -> list[Option]:
    """The options of a plug-in class, in order."""
    hints = typing.get_type_hints(plugin)
    return [
        Option(
            name=f.name,
            type=_type_name(hints[f.name]),
            default=None if f.default is dataclasses.MISSING else f.default,
            required=f.default is dataclasses.MISSING,
            help=f.metadata.get("help", ""),
        )
        for f in dataclasses.fields(plugin)
        if f.init
    ]


def _built_in(group: str) -> dict[str, str]:
    """Name -> module of the plug-ins in the package's own folder; nothing is imported but it."""
    package = FOLDERS[group]
    if package is None:
        return {}
    folder = importlib.import_module(package)
    modules = [m.name for m in pkgutil.iter_modules(folder.__path__)]
    return {m.replace("_", "-"): f"{package}.{m}" for m in modules if not m.startswith("_")}


def _third_party(group: str) -> dict[str, EntryPoint]:
    return {e.name: e for e in entry_points(group=f"nnw_onnx.{group}")}


def _class_in(module: Any, name: str) -> type[Any]:
    for value in vars(module).values():
        if isinstance(value, type) and vars(value).get("name") == name:
            return value
    raise PluginError(f"{module.__name__}: expected a class named {name!r}, got none; add it")


def _type_name(hint: Any) -> str:
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _type_name(typing.get_args(hint)[0])
    if origin is typing.Literal:
        return " | ".join(map(str, typing.get_args(hint)))
    if isinstance(hint, type) and origin is None:
        return hint.__name__
    return str(hint).replace("typing.", "")
