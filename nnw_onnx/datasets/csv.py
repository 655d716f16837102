"""Data set `csv`: a table of features, with a class or numbers for each row."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Len
from numpy.typing import NDArray

from nnw_onnx.datasets._samples import (
    LIMIT_HELP,
    LINKS_HELP,
    check_classes,
    check_values,
    labelled,
    mapped,
)
from nnw_onnx.datasets._splits import SPLITS, check_split
from nnw_onnx.datasets._texts import TABLES, Row, rows_of, table_of
from nnw_onnx.errors import DatasetError
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.kit.samples import ArraySamples, ImageSamples, evenly
from nnw_onnx.kit.sources import FileSource, Source, check_size, open_source
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Array, Dataset, Json, Samples

_TAB_SUFFIX = ".tsv"
_CELL_BYTES = 8


class _Table(NamedTuple):
    """Features (n, f) with their names, and the cells (n, k) of what is to be told."""

    names: tuple[str, ...]
    features: NDArray[Any]
    told: list[Row]


@dataclass(frozen=True)
class Csv(Dataset):
    """Rows of numbers, the first row naming the columns; one column or more is to be told.

    The path is a table, or a folder or archive that holds `train.csv` and `test.csv` (or `dev`,
    `val`, `validation`; or .tsv, which has no quotes). With `classes` the column to be told holds
    a class for each row, otherwise numbers.
    """

    name: ClassVar[str] = "csv"
    summary: ClassVar[str] = (
        "rows of features with a class or numbers: .csv, .tsv, folder or archive"
    )

    path: Path = option(help="table, folder, .tar, .tar.gz, .tgz or .zip file")
    targets: Annotated[tuple[str, ...], Len(1)] = option(help="columns that are to be told")
    features: tuple[str, ...] = option(
        (), help="columns that are fed, in the order of the network; without it, all others"
    )
    classes: tuple[str, ...] | Literal["sorted"] | None = option(
        None, help="classes in the order of the network, or sorted; without it, targets are numbers"
    )
    separator: Annotated[str, Len(0, 1)] = option(
        "", help="between columns; without it a tab in .tsv and a comma elsewhere"
    )
    only_split: Literal["train", "test"] | None = option(
        None, help="the split of a single table; without it, it serves for each"
    )
    test_every: Annotated[int, Ge(2)] | None = option(
        None, help="of a single table: every row of this number is for testing, the others train"
    )
    inputs: Literal["one", "columns"] = option(
        "one", help="one input of all features, or an input for each, named as its column"
    )
    follow_links: bool = option(False, help=LINKS_HELP)
    limit: Annotated[int, Ge(1)] | None = option(None, help=LIMIT_HELP)
    preprocessing: Preprocessing = option(
        Preprocessing(), help="of the features: a table of scale, mean, std (one, or one a column)"
    )
    target_preprocessing: Preprocessing = option(
        Preprocessing(), help="of numbers to be told, where networks answer in others: likewise"
    )

    def load(self, split: str) -> Samples:
        """Samples of "train" or "test", in the order of the table.

        Raises:
            DatasetError: a file or column is missing, a cell is no finite number, a class is not
                among those given, or another split.
        """
        check_split(self.name, split)
        source = self._source()
        # Sorted classes are those of both splits.
        wanted = SPLITS if self.classes == "sorted" else (split,)
        tables = {s: self._read(source, s) for s in wanted}
        table = self._chosen(source, tables[split], split)
        if self.classes is None:
            return self._of_numbers(source.title, table)
        every = [cells[0] for t in tables.values() for _, cells in t.told]
        return self._of_classes(source.title, table, self._classes(source.title, every))

    def _of_numbers(self, title: str, table: _Table) -> Samples:
        columns = self.targets
        numbers = [
            [_number(title, line, *cell) for cell in zip(columns, cells, strict=True)]
            for line, cells in table.told
        ]
        targets = self.target_preprocessing.apply(np.array(numbers), (None, len(columns)))
        if self.inputs == "columns":
            return self._columns(table, targets, {})
        return ImageSamples(mapped(table.features), mapped(targets), self.preprocessing)

    def _of_classes(self, title: str, table: _Table, classes: list[str]) -> Samples:
        targets = _places(title, table.told, classes)
        if self.inputs == "columns":
            return self._columns(table, targets, {"classes": classes})
        return labelled(table.features, targets, classes, title, self.preprocessing)

    def _columns(self, table: _Table, targets: Array, facts: dict[str, Json]) -> Samples:
        ready = self.preprocessing.apply(table.features, (None, len(table.names)))
        feeds = {name: ready[:, i : i + 1] for i, name in enumerate(table.names)}
        return ArraySamples(feeds, targets, facts)

    def _source(self) -> Source:
        if self._is_table():
            return FileSource(self.path)
        return open_source(self.path, follow_links=self.follow_links)

    def _is_table(self) -> bool:
        return self.path.name.endswith(TABLES) and self.path.is_file()

    def _read(self, source: Source, split: str) -> _Table:
        """The table of a split, or the single one; an empty one where there is none."""
        name = table_of(source.names, split)
        if self._is_table():
            name = self.path.name if self.only_split in (None, split) else ""
        if not name:
            return _Table((), np.empty((0, 0)), [])
        content = dict(source.read([name]))[name]
        separator = self.separator or ("\t" if name.endswith(_TAB_SUFFIX) else ",")
        title = source.title if name == source.title else f"{source.title}: {name}"
        return self._parsed(title, content, separator)

    def _chosen(self, source: Source, table: _Table, split: str) -> _Table:
        """The rows of a split, no more than the limit; raises `DatasetError` where none are."""
        places = np.arange(len(table.told))
        if self.test_every is not None and self._is_table():
            tested = places % self.test_every == self.test_every - 1
            places = places[tested if split == "test" else ~tested]
        places = places[evenly(len(places), self.limit)]
        if not len(places):
            raise DatasetError(
                f"{source.place}: expected rows of the split {split!r}, got none; correct the "
                "options path, only_split and test_every"
            )
        with np.errstate(over="ignore"):
            features = table.features[places].astype(np.float32)
        check_values(features, source.title)
        return _Table(table.names, features, [table.told[i] for i in places])

    def _parsed(self, title: str, content: bytes, separator: str) -> _Table:
        rows = rows_of(title, content, separator)
        _, header = next(rows, (0, []))
        header = [name.strip() for name in header]
        targets = [_column(title, header, name) for name in self.targets]
        rest = [n for i, n in enumerate(header) if i not in targets]
        names = self.features or tuple(rest)
        places = [_column(title, header, name) for name in names]
        values, told = array("d"), list[Row]()
        for line, row in rows:
            if not any(row):
                continue
            if len(row) != len(header):
                raise DatasetError(
                    f"{title}: expected {len(header)} columns, as the first row names, got "
                    f"{len(row)} in line {line}; correct the file, or the option separator"
                )
            values.extend(_number(title, line, header[i], row[i]) for i in places)
            told.append((line, [row[i].strip() for i in targets]))
            check_size(title, (len(told), len(names)), _CELL_BYTES)
        return _Table(names, np.array(values).reshape(len(told), len(names)), told)

    def _classes(self, title: str, every: Sequence[str]) -> list[str]:
        """Classes in the order of the network: those of all rows, where none are given."""
        if len(self.targets) != 1:
            raise DatasetError(
                f"{self.name}: expected one column of classes, got {len(self.targets)}; correct "
                "the option targets, or leave out classes for numbers"
            )
        if isinstance(self.classes, tuple):
            return list(self.classes)
        found = sorted(set(every))
        check_classes(title, len(found))
        return sorted(found, key=int) if all(c.isdecimal() for c in found) else found


def _column(title: str, header: Sequence[str], name: str) -> int:
    if header.count(name) != 1:
        raise DatasetError(
            f"{title}: expected one column {name!r} in the first row, got "
            f"{', '.join(header)[:200] or 'none'}; correct the options targets, features and "
            "separator"
        )
    return header.index(name)


def _number(title: str, line: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DatasetError(
            f"{title}: expected a finite number in column {column!r}, got {cell[:80]!r} in line "
            f"{line}; fill it in, or leave the column out by the option features"
        )
    return value


def _places(title: str, told: Sequence[Row], classes: Sequence[str]) -> NDArray[np.int64]:
    index = {name: i for i, name in enumerate(classes)}
    unknown = [(line, cells[0]) for line, cells in told if cells[0] not in index]
    if unknown:
        line, name = unknown[0]
        raise DatasetError(
            f"{title}: expected classes among {', '.join(classes)[:200]}, got {name[:80]!r} in "
            f"line {line}; correct the options classes and targets"
        )
    return np.array([index[cells[0]] for _, cells in told], np.int64)
