"""The one output sink: data to stdout, messages to stderr.

Names of layers come from untrusted files, so nothing that a terminal would obey is passed through.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import TextIO

# A list of numbers that json has spread over lines; a string in JSON holds no line end.
NUMBERS = re.compile(r"(?<=\[)\n[-+.,\deE\s]*\n\s*(?=\])")
BOLD_RED, YELLOW, PLAIN = "\033[1;31m", "\033[33m", "\033[0m"


class Format(StrEnum):
    """How an answer is written."""

    TEXT = "text"
    JSON = "json"


def text(*lines: str) -> None:
    """Write lines of an answer to stdout."""
    _write(sys.stdout, "\n".join(printable(line) for line in lines) + "\n")


def document(content: str) -> None:
    """Write a whole document (a report, a configuration, a help text) to stdout as it is."""
    _write(sys.stdout, content if content.endswith("\n") else content + "\n")


def as_json(value: object) -> None:
    """Write a value to stdout as JSON, ASCII only; raises `ValueError` for NaN or infinity."""
    content = json.dumps(value, indent=2, allow_nan=False)
    _write(sys.stdout, NUMBERS.sub(lambda m: " ".join(m.group().split()), content) + "\n")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Write aligned columns to stdout; in a pipe no row is ever wrapped or coloured.

    Args:
        columns: headings.
        rows: one cell for each column.
        right: headings of the columns that are aligned to the right, such as numbers.
    """
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        grid.add_column(
            column, justify="right" if column in right else "left", overflow="fold", no_wrap=False
        )
    for row in rows:
        grid.add_row(*map(printable, row))
    width = None if sys.stdout.isatty() else 1 << 16
    console = Console(width=width, markup=False, highlight=False, emoji=False)
    with console.capture() as captured:
        console.print(grid)
    _write(sys.stdout, "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n")


def note(message: str) -> None:
    """Write a message to stderr."""
    _write(sys.stderr, f"nnw: {printable(message)}\n")


def warning(message: str) -> None:
    """Write a warning to stderr: what was asked was done, but not all is as it should be."""
    _write(sys.stderr, f"nnw: {_coloured('warning:', YELLOW)} {printable(message)}\n")


def error(message: str) -> None:
    """Write an error to stderr, in one line."""
    one_line = printable(" ".join(message.split()))
    _write(sys.stderr, f"nnw: {_coloured('error:', BOLD_RED)} {one_line}\n")


def printable(line: str) -> str:
    """The line with every character that is not printable written as an escape sequence."""
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def _coloured(word: str, colour: str) -> str:
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        return f"{colour}{word}{PLAIN}"
    return word


def _write(stream: TextIO, content: str) -> None:
    """Write and flush; a reader that went away is not an error, the exit status still answers."""
    try:
        stream.write(content)
        stream.flush()
    except BrokenPipeError:
        # The interpreter flushes once more when it ends, and would complain.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except OSError:
        # A message that cannot be told must not change the answer.
        if stream is not sys.stderr:
            raise
    except UnicodeEncodeError:
        stream.write(content.encode("ascii", "backslashreplace").decode())
        stream.flush()
