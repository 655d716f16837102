"""What a person sees while networks are trained: loss, penalty and watermark error."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from nnw_onnx.runs.store import Store

_SECONDS = 2.0


class Bar(Protocol):
    """A progress bar, such as one of tqdm."""

    disable: bool

    def set_postfix_str(self, s: str) -> None:
        """Show some words behind it."""
        ...


@contextmanager
def shown_progress(store: Store, bar: Bar) -> Iterator[None]:
    """Show how far the trainings of the workers are, behind a progress bar."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_SECONDS):
            bar.set_postfix_str("; ".join(store.progress()))

    watcher = threading.Thread(target=watch, daemon=True)
    if not bar.disable:
        watcher.start()
    try:
        yield
    finally:
        over.set()
        if watcher.is_alive():
            watcher.join()
