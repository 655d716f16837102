"""What a person sees of a stage: behind its bar how trainings are; without a terminal, lines."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from nnw_onnx.measures.clock import seconds
from nnw_onnx.runs.store import Store

_SECONDS = 2.0
LINE_EVERY = 30.0
"""Seconds between two lines where there is no terminal."""
_log = logging.getLogger(__name__)


class Bar(Protocol):
    """A progress bar, such as one of tqdm."""

    disable: bool

    def set_postfix_str(self, s: str) -> None:
        """Show some words behind it."""
        ...


class Count:
    """How far a stage is.

    Attributes:
        title: of the stage.
        total: number of its tasks.
        done: so many are done, those of an earlier session included.
    """

    def __init__(self, title: str, done: int, total: int) -> None:
        self.title, self.done, self.total = title, done, total
        self._first, self._start = done, seconds()

    def line(self) -> str:
        """How far it is and how much longer it may take, if it goes on as so far."""
        took = seconds() - self._start
        left = self.total - self.done
        words = f"{self.title}: {self.done:,} of {self.total:,} after {duration(took)}"
        if self.done == self._first or not left:
            return words
        return f"{words}, about {duration(took * left / (self.done - self._first))} left"


def duration(seconds: float) -> str:
    """A time as people say it, such as "40 s", "12 min" or "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def shown_progress(store: Store, bar: Bar, count: Count) -> Iterator[None]:
    """Show how far trainings are behind a bar; where there is none, log a line now and then."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(LINE_EVERY if bar.disable else _SECONDS):
            trainings = "; ".join(store.progress())
            if bar.disable:
                _log.info("%s", "; ".join(filter(None, (count.line(), trainings))))
            else:
                bar.set_postfix_str(trainings)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
