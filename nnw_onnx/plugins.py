"""Plug-ins: a name becomes a class, a class and its options become an instance.

A plug-in subclasses one of the bases of `nnw_onnx.vocabulary` as a frozen dataclass whose fields
are its options. Built-in plug-ins are files in a folder of this package; others come through the
entry points `nnw_onnx.methods`, `nnw_onnx.codes`, `nnw_onnx.modifications`, `nnw_onnx.datasets`,
`nnw_onnx.tasks`, `nnw_onnx.engines` and `nnw_onnx.trainers`, whose entry name is the plug-in's. The
core has no trainer of its own: they are in the adapters to the training frameworks.

What a plug-in can do is decided here and nowhere else, from the classes that it subclasses.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import inspect
import pkgutil
import typing
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import NamedTuple, TypeVar, overload

from nnw_onnx.errors import ConfigurationError, NnwError, PluginError, expected, shortened
from nnw_onnx.version import __version__
from nnw_onnx.vocabulary import (
    Code,
    Commits,
    Decodes,
    Detects,
    Embeds,
    Injects,
    Json,
    Key,
    Method,
    PlugIn,
    Restores,
    SeesWhole,
    Spec,
    Trains,
    Widens,
)
from nnw_onnx.vocabulary.words import type_in_words, with_article

if typing.TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from pydantic import TypeAdapter, ValidationError

    from nnw_onnx.vocabulary import Modification

P = TypeVar("P", bound=PlugIn)
T = TypeVar("T")

GROUPS: Mapping[str, str] = {
    "methods": "methods.Method",
    "codes": "methods.Code",
    "modifications": "modifications.Modification",
    "tasks": "tasks.Task",
    "datasets": "tasks.Dataset",
    "engines": "plans.Engine",
    "trainers": "training.Trainer",
}
"""Group -> where `nnw_onnx.vocabulary` has the base of its plug-ins; see `base`."""
_PACKAGE = "nnw-onnx"


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a plug-in: its name, type, default (None where it is required) and help.

    The type is in words, such as "number between 0 and 1".
    """

    name: str
    type: str
    default: object
    required: bool
    help: str


class Origin(NamedTuple):
    """The distribution that a plug-in comes from, with its version."""

    package: str
    version: str


@overload
def option(*, help: str) -> typing.Any: ...
@overload
def option(default: T, *, help: str) -> T: ...
def option(default: object = dataclasses.MISSING, *, help: str) -> object:
    """A dataclass field with the sentence that `nnw list` shows for it."""
    return dataclasses.field(default=default, metadata={"help": help})


def closest(word: str, words: Iterable[str]) -> str:
    """The most similar of `words` as a question in brackets, or an empty string."""
    found = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f" (did you mean {found[0]!r}?)" if found else ""


def base(group: str) -> type[PlugIn]:
    """What the plug-ins of a group subclass."""
    module, _, name = GROUPS[group].partition(".")
    found: type[PlugIn] = vars(importlib.import_module(f"nnw_onnx.vocabulary.{module}"))[name]
    return found


def names(group: str) -> list[str]:
    """Names of all plug-ins of a group, built-in ones first, each part sorted."""
    built_in = _built_in(group)
    return sorted(built_in) + sorted(set(_third_party(group)) - set(built_in))


def load(kind: type[P], name: str) -> type[P]:
    """The plug-in class of a name, such as `load(Method, "uchida")`.

    Raises:
        PluginError: no plug-in has this name, two have it, or it cannot be imported or is not one.
    """
    group = _group(kind)
    built_in, others = _built_in(group), _third_party(group)
    claimed = others.get(name, [])
    if len(claimed) + (name in built_in) > 1:
        owners = [_PACKAGE] * (name in built_in) + [_package(entry) for entry in claimed]
        raise PluginError(
            f"{group}: expected one plug-in named {name!r}, got one each from "
            f"{' and '.join(owners)}; uninstall one of them or rename its plug-in"
        )
    if name in built_in:
        return typing.cast("type[P]", _built_in_class(built_in[name], name, kind))
    if not claimed:
        everything = names(group)
        raise PluginError(
            f"{group}: expected one of {', '.join(everything)}; got {name!r}"
            f"{closest(name, everything)}; see 'nnw list {group}'"
        )
    return _imported(claimed[0], kind)


def create(kind: type[P], spec: Spec) -> P:
    """An instance of the plug-in with its options converted to their types and checked.

    Raises:
        PluginError: no such plug-in.
        ConfigurationError: an option that is unknown, missing or out of range.
    """
    from pydantic import ValidationError

    plugin = load(kind, spec.name)
    unknown = _unknown_options(plugin, spec)
    known = _names_of(plugin)
    given = {name: value for name, value in spec.options.items() if name in known}
    try:
        made: P = _validator(plugin).validate_python(_chosen(plugin, given))
    except ValidationError as error:
        faults = [*unknown, *_option_faults(plugin, error)]
        raise ConfigurationError(
            *(f"{spec.name}: {fault}; see 'nnw list {_group(kind)}'" for fault in faults)
        ) from error
    except (NnwError, KeyboardInterrupt):
        raise
    # The constructor is the plug-in's own; an exit of it would be taken for an answer.
    except BaseException as error:
        package, version = origin(plugin)
        words = " ".join(str(error).split())
        raise PluginError(
            f"{f'{spec.name} ({package} {version}'.strip()}): options: expected an instance, got "
            f"{type(error).__name__}: {words}; mend or remove the plug-in"
        ) from error
    if unknown:
        raise ConfigurationError(
            *(f"{spec.name}: {fault}; see 'nnw list {_group(kind)}'" for fault in unknown)
        )
    return made


@functools.cache
def _names_of(plugin: type[PlugIn]) -> tuple[str, ...]:
    return tuple(f.name for f in _fields(plugin) if f.init)


def _unknown_options(plugin: type[PlugIn], spec: Spec) -> list[str]:
    known = _names_of(plugin)
    return [
        f"expected an option among {', '.join(known) or 'none'}; got {given!r}"
        f"{closest(given, known)}"
        for given in spec.options
        if given not in known
    ]


def _option_faults(plugin: type[PlugIn], error: ValidationError) -> list[str]:
    """Everything that is wrong with the values of options, each option once."""
    hints = typing.get_type_hints(plugin, include_extras=True)
    found: dict[str, str] = {}
    for fault in error.errors():
        first = str(fault["loc"][0]) if fault["loc"] else ""
        where, words = _option_fault(hints.get(first), fault["loc"], fault["type"], fault["msg"])
        got = "" if words.endswith("got none") else f"; got {shortened(fault['input'])}"
        # A union has a fault for each of its types, and they say the same.
        found.setdefault(where, f"option {where or 'options'}: {words}{got}")
    return list(found.values())


def _option_fault(
    hint: object, location: tuple[int | str, ...], kind: str, message: str
) -> tuple[str, str]:
    """Dotted name of an option, and what was expected of it."""
    table = nested_table(hint)
    inside = len(location) > 1 and table is not None
    where = ".".join(map(str, location[:2] if inside else location[:1]))
    if kind in ("unexpected_keyword_argument", "extra_forbidden") and table is not None:
        known = [f.name for f in dataclasses.fields(table)]
        return where, (
            f"expected one of the keys {', '.join(known)}; got an unknown key"
            f"{closest(str(location[-1]), known)}"
        )
    if kind.startswith("missing"):
        return where, "expected a value, got none"
    if kind in ("value_error", "assertion_error") or hint is None:
        return where, expected(message)
    own = (
        typing.get_type_hints(table, include_extras=True).get(str(location[1])) if inside else hint
    )
    return where, f"expected {with_article(type_in_words(own))}"


def nested_table(hint: object) -> type[DataclassInstance] | None:
    """The dataclass that an option is a table of, as `preprocessing` is; None for any other."""
    for kind in (hint, *typing.get_args(hint)):
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            return kind
    return None


def _chosen(plugin: type[PlugIn], given: Mapping[str, Json]) -> dict[str, Json]:
    """The options, a number as text made the number that a `Literal` lists.

    A command line has text only, and pydantic converts it for every other type.
    """
    choices = _choices(plugin)
    return {
        name: choices[name].get(value, value) if isinstance(value, str) else value
        for name, value in given.items()
    }


@functools.cache
def _choices(plugin: type[PlugIn]) -> dict[str, dict[str, Json]]:
    """Option -> text of each value that a `Literal` lists -> the value; {} for other types."""
    return {
        name: {str(c): c for c in reversed(typing.get_args(hint))}
        if typing.get_origin(hint) is typing.Literal
        else {}
        for name, hint in _hints(plugin).items()
    }


def method_of(key: Key) -> Method:
    """The method of a key, with the options that its key keeps.

    Raises:
        PluginError: no such method.
        ConfigurationError: an option that is out of range.
    """
    before = load(Method, key.method.name).before
    return create(Method, Spec(key.method.name, {**before, **key.method.options}))


def code_of(key: Key) -> Code | None:
    """The error-correcting code of a key, or None."""
    return None if key.code is None else create(Code, key.code)


def origin(plugin: PlugIn | type[PlugIn]) -> Origin:
    """Package and version that a plug-in comes from; "" where its module is of no distribution."""
    kind = plugin if isinstance(plugin, type) else type(plugin)
    top = kind.__module__.partition(".")[0]
    if top == "nnw_onnx":
        return Origin(_PACKAGE, __version__)
    for group in GROUPS:
        for entry in (e for entries in _third_party(group).values() for e in entries):
            if entry.module.partition(".")[0] == top and entry.dist is not None:
                return Origin(entry.dist.name, entry.dist.version)
    return Origin(top, "")


def options(plugin: type[PlugIn]) -> list[Option]:
    """The options of a plug-in class, in order."""
    return list(_options(plugin))


@functools.cache
def _options(plugin: type[PlugIn]) -> tuple[Option, ...]:
    hints = typing.get_type_hints(plugin, include_extras=True)
    return tuple(
        Option(
            name=f.name,
            type=type_in_words(hints[f.name]),
            default=None if f.default is dataclasses.MISSING else f.default,
            required=f.default is dataclasses.MISSING,
            help=f.metadata.get("help", ""),
        )
        for f in _fields(plugin)
        if f.init
    )


@functools.cache
def path_options(plugin: type[PlugIn]) -> tuple[str, ...]:
    """Names of the options that are paths: relative ones are seen from the configuration.

    An option is one where its type is `Path`, or `Path | None`.
    """
    hints = _hints(plugin)
    return tuple(
        f.name for f in _fields(plugin) if Path in (hints[f.name], *typing.get_args(hints[f.name]))
    )


def summary(plugin: type[PlugIn]) -> str:
    """One line that says what a plug-in is: its summary, else the first line of its docstring."""
    return plugin.summary or (inspect.getdoc(plugin) or "").partition("\n")[0]


def injects(method: Method) -> Injects | None:
    """The method as one that is put in without training, or None."""
    return method if isinstance(method, Injects) else None


def trains(method: Method) -> Trains | None:
    """The method as one that training puts in, or None."""
    return method if isinstance(method, Trains) else None


def embeds(method: Method) -> Embeds | None:
    """The method as one that carries its injection out by itself, or None."""
    return method if isinstance(method, Embeds) else None


def sees_whole(method: Method) -> SeesWhole | None:
    """The method as one that is shown networks whole, or None."""
    return method if isinstance(method, SeesWhole) else None


def widens(method: Method) -> Widens | None:
    """The method as one whose networks have a class more than their task, or None."""
    return method if isinstance(method, Widens) else None


def decodes(method: Method) -> Decodes | None:
    """The method as one that reads Symbols, or None."""
    return method if isinstance(method, Decodes) else None


def commits(method: Method) -> Commits | None:
    """The method as one whose commitment binds more than its carriers, or None."""
    return method if isinstance(method, Commits) else None


def restores(method: Method) -> Restores | None:
    """The method as one that gives weights back, or None."""
    return method if isinstance(method, Restores) else None


def reads_symbols(method: type[Method]) -> bool:
    """Whether methods of a class read Symbols."""
    return issubclass(method, Decodes)


def detects(method: Method) -> Detects | None:
    """The method as one with a test of its own, or None."""
    return method if isinstance(method, Detects) else None


def enrols(method: Method) -> bool:
    """Whether nothing is put in: the key is all that the method makes."""
    return not isinstance(method, Injects | Trains)


def runs_the_network(method: Method) -> bool:
    """Whether Decoder and Detector run the network (workflow WIR) or only read it (NIR)."""
    return method.access != "weights"


def needs_training(modification: Modification) -> bool:
    """Whether a Modification trains."""
    return "trainer" in modification.needed()


@functools.cache
def _group(kind: type[PlugIn]) -> str:
    # By name, so that asking for a method does not load what all others subclass.
    known = {f"{one.__module__}.{one.__qualname__}" for one in kind.__mro__}
    for group, where in GROUPS.items():
        if f"nnw_onnx.vocabulary.{where}" in known:
            return group
    raise PluginError(f"plug-ins: expected a kind of {', '.join(GROUPS)}, got {kind.__name__}")


def _fields(plugin: type[PlugIn]) -> tuple[dataclasses.Field[object], ...]:
    if not dataclasses.is_dataclass(plugin):
        raise PluginError(
            f"{plugin.__name__}: expected a frozen dataclass, got a plain class; decorate it"
        )
    return dataclasses.fields(plugin)


# To find them takes milliseconds, and a trial makes its plug-ins many times.
@functools.cache
def _hints(plugin: type[PlugIn]) -> dict[str, typing.Any]:
    return typing.get_type_hints(plugin)


# Likewise.
@functools.cache
def _validator(plugin: type[PlugIn]) -> TypeAdapter[typing.Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(plugin)


@functools.cache
def _built_in(group: str) -> dict[str, str]:
    """Name -> module of the plug-ins in the package's own folder; nothing is imported but it."""
    if group == "trainers":
        return {}
    package = f"nnw_onnx.{group}"
    folder = importlib.import_module(package)
    modules = [m.name for m in pkgutil.iter_modules(folder.__path__)]
    return {m.replace("_", "-"): f"{package}.{m}" for m in modules if not m.startswith("_")}


# What is installed does not change while a process runs, and reading it takes 25 ms.
@functools.cache
def _third_party(group: str) -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=f"nnw_onnx.{group}"):
        known = found.setdefault(entry.name, [])
        # An editable installation may be listed twice.
        if all((e.value, _package(e)) != (entry.value, _package(entry)) for e in known):
            known.append(entry)
    return found


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.module.partition(".")[0]


def _imported(entry: EntryPoint, kind: type[P]) -> type[P]:
    group = _group(kind)
    try:
        plugin = entry.load()
        if isinstance(plugin, type):
            typing.get_type_hints(plugin)  # raises where a type of an option does not exist
    except KeyboardInterrupt:
        raise
    # A module may end in any way; an exit of it would end a listing without a word.
    except BaseException as error:
        words = " ".join(str(error).split())
        raise PluginError(
            f"{group}: expected {entry.value} of {_package(entry)} to be importable for "
            f"{entry.name!r}, got: {type(error).__name__}: {words}; reinstall or remove the package"
        ) from error
    if not (
        isinstance(plugin, type)
        and issubclass(plugin, kind)
        and dataclasses.is_dataclass(plugin)
        and vars(plugin).get("name") == entry.name
        and _describes_itself(plugin)
    ):
        raise PluginError(
            f"{group}: expected {entry.value} of {_package(entry)} to be a dataclass named "
            f"{entry.name!r} that subclasses {kind.__name__}, got {plugin!r}; run "
            "nnw_onnx.testing's checks on it"
        )
    return plugin


def _describes_itself(plugin: type[PlugIn]) -> bool:
    from nnw_onnx.vocabulary import Modification, Parameter

    parameter = plugin.parameter if issubclass(plugin, Modification) else None
    return isinstance(plugin.summary, str) and isinstance(parameter, Parameter | None)


@functools.cache
def _built_in_class(module: str, name: str, kind: type[PlugIn]) -> type[PlugIn]:
    for value in vars(importlib.import_module(module)).values():
        if isinstance(value, type) and issubclass(value, kind) and vars(value).get("name") == name:
            return value
    raise PluginError(f"{name}: expected its module to have a class of this name, got none; add it")
