"""The configuration of an evaluation: `evaluation.toml`, read and validated.

Every mistake is one line with the dotted path of the key and, where a name is close, a suggestion.
Relative paths, which are options whose type is a path, are seen from the configuration's folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from pydantic import ValidationError

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.runs import mistakes, presets, toml
from nnw_onnx.runs.checks import NO_METHOD, Faults, check
from nnw_onnx.runs.network_tables import NetworkTable, lost_files
from nnw_onnx.runs.places import missing_networks, place_of
from nnw_onnx.runs.recipes import EngineTable
from nnw_onnx.runs.tables import DatasetTable, Evaluation, Table, mapped, seen_from
from nnw_onnx.vocabulary import Dataset, Json, PlugIn

__all__ = [
    "Evaluation",
    "configuration_schema",
    "evaluation_from",
    "find_evaluation",
    "read_evaluation",
    "shipped",
    "summaries",
    "with_dataset_path",
    "with_engine",
    "with_more_presets",
]

_STAND_INS = {"methods": {"name": "block-spread"}, "modifications": {"name": "bn-folding"}}


def read_evaluation(
    path: Path, data_set: Path | None = None, settings: Mapping[str, Json] | None = None
) -> Evaluation:
    """The evaluation of a TOML file; relative paths in it are relative to the file.

    Those of an evaluation that comes with the package are relative to the current folder.

    Args:
        path: the file.
        data_set: folder or file of the data set, instead of the one in the configuration.
        settings: dotted key -> value instead of the one in the file, such as "session.threads" or
            "methods.0.margin".

    Raises:
        ConfigurationError: the file is missing, too large, not TOML, or a key or value is wrong.
    """
    data: dict[str, object] = dict(toml.parsed(path))
    for key, value in (settings or {}).items():
        _set(data, key, value)
    own = path.resolve() in {known.resolve() for known in shipped().values()}
    return evaluation_from(data, path.name, Path.cwd() if own else path.resolve().parent, data_set)


def evaluation_from(
    data: Mapping[str, object], source: str, folder: Path, data_set: Path | None = None
) -> Evaluation:
    """The evaluation of a parsed TOML document; `source` names it in errors."""
    found = Faults()
    evaluation, unknown = _validated(data, found)
    if evaluation is not None:
        evaluation = _anchored(evaluation, folder)
        with found.at(""):
            if data_set is not None:
                changed = with_dataset_path(evaluation.dataset, data_set.resolve())
                evaluation = evaluation.model_copy(update={"dataset": changed})
            check(evaluation, unknown)
        for name in evaluation.presets:
            with found.at(""):
                presets.tables_of(name, folder)
        if not found.lines:
            return evaluation
        # What lies elsewhere is looked for later; but who mends a file wants to know it all.
        found.lines += [*missing_networks(evaluation.networks), *lost_files(evaluation.networks)]
    elif not {"methods", "networks"} & set(data):
        found.lines.append(NO_METHOD)
    raise ConfigurationError(*(f"{source}: {line}" for line in dict.fromkeys(found.lines)))


def shipped() -> dict[str, Path]:
    """Name -> file of the evaluations that come with the package."""
    folder = Path(str(files("nnw_onnx") / "evaluations"))
    return {p.stem: p for p in sorted(folder.glob("*.toml"))}


def summaries() -> dict[str, str]:
    """Name -> summary of the evaluations that come with the package, data or no data."""
    return {name: str(toml.parsed(path).get("summary", "")) for name, path in shipped().items()}


def configuration_schema() -> dict[str, object]:
    """JSON Schema of an evaluation, which ships as `evaluations/evaluation.schema.json`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Evaluation.model_json_schema(),
    }


def find_evaluation(name: str | Path) -> Path:
    """A shipped evaluation by name, or the file of this path."""
    known = shipped()
    if str(name) in known:
        return known[str(name)]
    path = Path(name)
    if path.suffix == ".onnx":
        raise ConfigurationError(
            f"evaluation: expected a TOML file or one of {', '.join(known)}; got the network "
            f"{str(name)!r}; make an evaluation of it with 'nnw new-evaluation'"
        )
    if not path.exists() and path.suffix != ".toml":
        raise ConfigurationError(
            f"evaluation: expected a TOML file or one of {', '.join(known)}; got {str(name)!r}"
            f"{plugins.closest(str(name), known)}; see 'nnw list evaluations'"
        )
    return path


def with_dataset_path(dataset: DatasetTable, path: Path) -> DatasetTable:
    """The same data set, read from another path."""
    options = plugins.path_options(plugins.load(Dataset, dataset.name))
    if not options:
        raise ConfigurationError(
            f"data: expected a data set that is read from files, got {dataset.name!r}, which is "
            "bundled; leave --data out"
        )
    return dataset.model_copy(update={options[0]: str(path)})


def with_engine(evaluation: Evaluation, name: str) -> Evaluation:
    """The same evaluation on another engine, by its name or as NAME://PLACE (see `EngineTable`)."""
    changed = evaluation.model_copy(update={"engine": EngineTable.model_validate(name)})
    check(changed)
    return changed


def with_providers(evaluation: Evaluation, names: Sequence[str]) -> Evaluation:
    """The same evaluation whose networks are run with other providers, in order of preference."""
    session = evaluation.session.with_providers(names)
    return evaluation.model_copy(update={"session": session})


def with_more_presets(evaluation: Evaluation, names: Sequence[str], folder: Path) -> Evaluation:
    """The same evaluation with more presets behind its own.

    Args:
        evaluation: to be changed.
        names: of shipped presets, or files; one that it has already is not added again.
        folder: that files are seen from.

    Raises:
        ConfigurationError: a preset does not exist or is wrong in itself.
    """
    for name in names:
        presets.tables_of(name, folder)
    known = presets.shipped()
    more = [name if name in known else str(folder.resolve() / name) for name in names]
    every = tuple(dict.fromkeys((*evaluation.presets, *more)))
    return evaluation.model_copy(update={"presets": every})


def _set(data: dict[str, object], key: str, value: Json) -> None:
    """Put a value at a dotted key; tables that are not there yet are made."""
    inside: object = data
    *way, last = key.split(".")
    for part in way:
        if isinstance(inside, dict):
            inside = inside.setdefault(part, {})
        else:
            inside = _entry(inside, part, key)
    if not last or not isinstance(inside, dict | list):
        raise ConfigurationError(
            f"setting {key}: expected the dotted path of a key, such as session.threads or "
            "methods.0.margin, got another; correct it"
        )
    if isinstance(inside, dict):
        inside[last] = value
    else:
        _ = _entry(inside, last, key)
        inside[int(last)] = value


def _entry(entries: object, part: str, key: str) -> object:
    """An entry of a list by its number."""
    if isinstance(entries, list) and part.isdecimal() and int(part) < len(entries):
        return entries[int(part)]
    got = f"a list of {len(entries)}" if isinstance(entries, list) else "a value without keys"
    cure = f"0 to {len(entries) - 1}" if isinstance(entries, list) and entries else "another key"
    raise ConfigurationError(f"setting {key}: expected an entry {part!r}, got {got}; use {cure}")


def _anchored(evaluation: Evaluation, folder: Path) -> Evaluation:
    """Relative paths made relative to the configuration's folder."""

    def move(kind: type[PlugIn], table: Table) -> Table:
        return seen_from(folder, kind, table)

    changed: dict[str, object] = {
        "networks": tuple(_moved(entry, folder) for entry in evaluation.networks)
    }
    if around := evaluation.composed:
        places = {side: tuple(place_of(n, folder) for n in names) for side, names in around}
        changed["composed"] = around.model_copy(update=places)
    return mapped(evaluation, move).model_copy(update=changed).at(folder)


def _moved(entry: str | NetworkTable, folder: Path) -> str | NetworkTable:
    if isinstance(entry, str):
        return place_of(entry, folder)
    moved = {"file": place_of(entry.file, folder)}
    if entry.marked is not None and entry.key is not None:
        moved |= {"marked": str(folder / entry.marked), "key": str(folder / entry.key)}
    if entry.reference is not None:
        moved["reference"] = place_of(entry.reference, folder)
    return entry.model_copy(update=moved)


def _validated(
    data: Mapping[str, object], found: Faults
) -> tuple[Evaluation | None, frozenset[str]]:
    """The tables of a document.

    Where some keys are wrong, it is without them, so that the rest can be checked; and with the
    places of entries that had to be replaced.
    """
    try:
        return Evaluation.model_validate(data), frozenset()
    except ValidationError as error:
        faults = mistakes.deepest(error.errors())
        found.lines += [mistakes.one_line(Evaluation, fault) for fault in faults]
    rest = json.loads(json.dumps(data, default=str))
    unknown = frozenset(filter(None, [_remove(rest, fault["loc"]) for fault in faults]))
    try:
        return Evaluation.model_validate(rest), unknown
    except ValidationError:
        return None, unknown  # a key that must be there is wrong, so there is no more to check


def _remove(data: dict[str, object], location: Sequence[int | str]) -> str | None:
    """Take the wrong key of a location out of a document.

    Returns:
        The dotted path of an entry of `[[methods]]` or `[[modifications]]` that is wrong as a whole
        and has another in its place, which keeps the numbers of those that follow; else None.
    """
    owner, last = data, ""
    inside: object = data
    for part in location:
        if isinstance(inside, dict) and part in inside:
            owner, last, inside = inside, str(part), inside[part]
        elif isinstance(inside, list) and isinstance(part, int) and part < len(inside):
            inside = inside[part]
        else:
            break
    table = str(location[0]) if location else ""
    entries, whole = data.get(table), isinstance(inside, dict) and inside is not owner.get(last)
    if whole and isinstance(entries, list) and table in _STAND_INS:
        entries[int(location[1])] = _STAND_INS[table]
        return f"{table}.{location[1]}"
    owner.pop(last, None)
    return None
