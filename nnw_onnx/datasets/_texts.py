"""Texts of files and of tables, read as untrusted input."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

from nnw_onnx.errors import DatasetError

TABLES = (".tsv", ".csv")
STEMS = {"train": ("train",), "test": ("test", "dev", "val", "valid", "validation")}
"""Names that a file of a split may have, without its suffix."""

Row = tuple[int, list[str]]
"""Number of the line that a row ends in, and its cells."""


def table_of(names: Sequence[str], split: str) -> str:
    """The table of a split nearest to the top, or ""."""
    wanted = [stem + suffix for stem in STEMS[split] for suffix in TABLES]
    found = [n for n in names if n.rpartition("/")[2] in wanted]
    return min(found, key=lambda n: (n.count("/"), wanted.index(n.rpartition("/")[2])), default="")


def columns_of(title: str, content: bytes, columns: Mapping[str, str]) -> Iterator[list[str]]:
    """Some columns of each row of a table; blank rows are passed over.

    Args:
        title: of the file, for messages; one that ends in ".tsv" has no quotes.
        content: of the file.
        columns: option -> number of a column, or its name where there is a header.

    Raises:
        DatasetError: a row or column is missing, or the file is broken.
    """
    rows = rows_of(title, content, "\t" if title.endswith(".tsv") else ",")
    places = _places(title, rows, columns)
    for line, row in rows:
        if not any(row):
            continue
        if len(row) <= max(places):
            raise DatasetError(
                f"{title}: expected at least {max(places) + 1} columns, got {len(row)} in line "
                f"{line}; correct the file, or {_options(columns)}"
            )
        yield [row[place] for place in places]


def rows_of(title: str, content: bytes, separator: str) -> Iterator[Row]:
    """The rows of a table in UTF-8, blank ones too; without quotes where the separator is a tab.

    Raises:
        DatasetError: the table is broken or no text.
    """
    tabs = separator == "\t"
    reader = csv.reader(
        io.StringIO(decoded(title, content), newline=""),
        delimiter=separator,
        quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
        strict=not tabs,
    )
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise DatasetError(
            f"{title}: expected a whole table, got: {error} in line {reader.line_num}; get or "
            "save it again"
        ) from error


def _places(title: str, rows: Iterator[Row], columns: Mapping[str, str]) -> list[int]:
    """Numbers of the columns; a header is read only where one of them is a name."""
    wanted = list(columns.values())
    if all(name.isdecimal() for name in wanted):
        return [int(name) for name in wanted]
    _, header = next(rows, (0, []))
    missing = [n for n in wanted if not n.isdecimal() and n not in header]
    if missing:
        raise DatasetError(
            f"{title}: expected a column {missing[0]!r}, got {', '.join(header)[:200] or 'none'}; "
            f"correct {_options(columns)} (numbers count from 0)"
        )
    return [int(n) if n.isdecimal() else header.index(n) for n in wanted]


def _options(columns: Mapping[str, str]) -> str:
    """Their options in words."""
    return f"the option{'s' if len(columns) > 1 else ''} {' and '.join(columns)}"


def decoded(title: str, content: bytes) -> str:
    """A text in UTF-8, with or without a mark of it; raises `DatasetError` where it is none."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{title}: expected a text in UTF-8, got byte {error.start} of another encoding; "
            "save it as UTF-8"
        ) from error
