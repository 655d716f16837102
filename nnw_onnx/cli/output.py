"""The one output sink: data to stdout, messages to stderr.

Names of layers come from untrusted files, so nothing that a terminal would obey is passed through.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TextIO

from nnw_onnx.text import document as whole
from nnw_onnx.text import harmless, one_line

# A list of numbers that json has spread over lines; a string in JSON holds no line end.
NUMBERS = re.compile(r"(?<=\[)\n[-+.,\deE\s]*\n\s*(?=\])")
BOLD_RED, YELLOW, PLAIN = "\033[1;31m", "\033[33m", "\033[0m"


LOGGER = logging.getLogger("nnw_onnx")
_LEVEL = [logging.INFO]
"""Least level of what is told; in a list, because there is one for the process."""


class InterruptedRunError(Exception):
    """The person stopped a command that can go on later; the message says how.

    Attributes:
        status: exit status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Format(StrEnum):
    """How an answer is written."""

    TEXT = "text"
    JSON = "json"


def text(*lines: str) -> None:
    """Write lines of an answer to stdout."""
    _write(sys.stdout, "\n".join(harmless(line) for line in lines) + "\n")


def document(content: str) -> None:
    """Write a whole document (a report, a configuration, a help text) to stdout, harmless."""
    _write(sys.stdout, whole(content if content.endswith("\n") else content + "\n"))


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
        grid.add_row(*map(harmless, row))
    width = None if sys.stdout.isatty() else 1 << 16
    console = Console(width=width, markup=False, highlight=False, emoji=False)
    with console.capture() as captured:
        console.print(grid)
    _write(sys.stdout, "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n")


def set_level(level: int) -> None:
    """Say how much is told from now on: `logging.ERROR`, `INFO` (as it is) or `DEBUG`."""
    _LEVEL[0] = level
    LOGGER.setLevel(level)


@contextmanager
def listening() -> Iterator[None]:
    """Write to stderr what the package logs."""
    handler, before = _Handler(), LOGGER.level
    LOGGER.addHandler(handler)
    set_level(logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        set_level(logging.INFO)
        LOGGER.setLevel(before)


class _Handler(logging.Handler):
    """Messages of the package as the command line tells them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; a step with its time, an error with where it comes from."""
        if record.levelno >= logging.WARNING:
            warning(record.getMessage())
        elif record.levelno >= logging.INFO:
            note(record.getMessage())
        else:
            note(f"{record.relativeCreated / 1000:.1f} s: {record.getMessage()}")
        if record.exc_info:
            for line in logging.Formatter().formatException(record.exc_info).splitlines():
                note(line)


def note(message: str) -> None:
    """Write a message to stderr, unless only the answer is asked for."""
    if _LEVEL[0] > logging.INFO:
        return
    _write(sys.stderr, f"nnw: {harmless(message)}\n")


def warning(message: str) -> None:
    """Write a warning to stderr: what was asked was done, but not all is as it should be."""
    if _LEVEL[0] > logging.WARNING:
        return
    _write(sys.stderr, f"nnw: {_coloured('warning:', YELLOW)} {harmless(message)}\n")


def error(message: str) -> None:
    """Write an error to stderr, in one line."""
    _write(sys.stderr, f"nnw: {_coloured('error:', BOLD_RED)} {one_line(message)}\n")


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
