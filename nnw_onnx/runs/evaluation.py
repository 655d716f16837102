"""The configuration of an evaluation: `evaluation.toml`, read and validated.

Every mistake is one line with the dotted path of the key and, where a name is close, a suggestion.
Relative paths, which are options whose type is a path, are seen from the configuration's folder.
"""

from __future__ import annotations

import tomllib
import typing
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ValidationError

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, PluginError, expected, shortened
from nnw_onnx.runs.checks import check
from nnw_onnx.runs.places import SHIPPED_PREFIX
from nnw_onnx.runs.recipes import PluginTable
from nnw_onnx.runs.tables import DatasetTable, Evaluation, Table, mapped
from nnw_onnx.vocabulary import Dataset, PlugIn

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
]

MAX_BYTES = 1 << 20


def read_evaluation(path: Path, data_set: Path | None = None) -> Evaluation:
    """The evaluation of a TOML file; relative paths in it are relative to the file.

    Args:
        path: the file.
        data_set: folder or file of the data set, instead of the one in the configuration.

    Raises:
        ConfigurationError: the file is missing, too large, not TOML, or a key or value is wrong.
    """
    try:
        if path.exists() and (not path.is_file() or path.stat().st_size > MAX_BYTES):
            raise ConfigurationError(
                f"{path}: expected a regular file of at most 1 MiB, got another; give the TOML file"
            )
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigurationError(
            f"{path}: expected a readable evaluation file, got: {reason}; "
            "'nnw list evaluations' shows the ones that come with nnw"
        ) from error
    except (ValueError, RecursionError) as error:
        reason = str(error).split(";")[0]
        raise ConfigurationError(
            f"{path.name}: expected TOML, got: {reason}; correct it"
        ) from error
    return evaluation_from(data, path.name, path.resolve().parent, data_set)


def evaluation_from(
    data: Mapping[str, object], source: str, folder: Path, data_set: Path | None = None
) -> Evaluation:
    """The evaluation of a parsed TOML document; `source` names it in errors."""
    try:
        evaluation = _anchored(Evaluation.model_validate(data), folder)
        if data_set is not None:
            changed = with_dataset_path(evaluation.dataset, data_set.resolve())
            evaluation = evaluation.model_copy(update={"dataset": changed})
        check(evaluation)
    except ValidationError as error:
        raise ConfigurationError(f"{source}: {_one_line(error)}") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: {error}") from error
    return evaluation


def shipped() -> dict[str, Path]:
    """Name -> file of the evaluations that come with the package."""
    folder = Path(str(files("nnw_onnx") / "evaluations"))
    return {p.stem: p for p in sorted(folder.glob("*.toml"))}


def summaries() -> dict[str, str]:
    """Name -> summary of the evaluations that come with the package, data or no data."""
    return {
        name: str(tomllib.loads(path.read_text(encoding="utf-8")).get("summary", ""))
        for name, path in shipped().items()
    }


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
    """The same evaluation on another engine (with that engine's defaults)."""
    changed = evaluation.model_copy(update={"engine": PluginTable(name=name)})
    check(changed)
    return changed


def _anchored(evaluation: Evaluation, folder: Path) -> Evaluation:
    """Relative paths made relative to the configuration's folder."""

    def move(kind: type[PlugIn], table: Table) -> Table:
        given = table.spec.options
        moved = {
            name: str(folder / value)
            for name in _paths(kind, table.name)
            if isinstance(value := given.get(name), str)
        }
        return table.model_copy(update=moved)

    networks = tuple(
        n if n.startswith(SHIPPED_PREFIX) else str(folder / n) for n in evaluation.networks
    )
    return mapped(evaluation, move).model_copy(update={"networks": networks}).at(folder)


def _paths(kind: type[PlugIn], name: str) -> list[str]:
    try:
        return plugins.path_options(plugins.load(kind, name))
    except PluginError:
        return []  # the check that follows says where the name stands


def _one_line(error: ValidationError) -> str:
    """The first mistake: dotted path, what is wrong, what was got, a suggestion."""
    first = error.errors()[0]
    # These parts are pydantic's names for the members of a union, not keys.
    location = [part for part in first["loc"] if "[" not in str(part) and part != "str"]
    where = ".".join(map(str, location)) or "evaluation"
    if first["type"] == "extra_forbidden":
        known = list(_table_at(location[:-1]).model_fields)
        return (
            f"{where}: expected one of the keys {', '.join(known)}; got an unknown key"
            f"{plugins.closest(str(location[-1]), known)}"
        )
    if first["type"] == "missing":
        return f"{where}: expected a value, got none; add it"
    message = expected(first["msg"])
    got = (
        "" if isinstance(first["input"], dict) else f"; got {shortened(first['input'])}; correct it"
    )
    return f"{where}: {message}{got}"


def _table_at(location: list[int | str]) -> type[BaseModel]:
    """The table at a location of the configuration; of lists, that of the entries."""
    table: type[BaseModel] = Evaluation
    for part in location:
        if isinstance(part, str):
            table = next(_tables_in(table.model_fields[part].annotation))
    return table


def _tables_in(annotation: object) -> Iterator[type[BaseModel]]:
    """The table classes inside an annotation such as tuple[X, ...] | None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _tables_in(inner)
