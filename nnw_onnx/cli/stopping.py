"""Signals that ask a command to stop: it ends in order at the first, and at once at the second."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

BY_SIGNAL = 128
"""Exit status of a command that a signal stopped, less the number of the signal."""
# SIGHUP is a terminal that is gone; Windows has none.
_ASKING = [vars(signal)[n] for n in ("SIGINT", "SIGTERM", "SIGHUP") if n in vars(signal)]


class StoppedError(KeyboardInterrupt):
    """A signal that asks to stop; whoever stops at Ctrl-C stops at it too.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def stoppable() -> Iterator[None]:
    """Let the block be stopped by Ctrl-C, `kill` and the end of the terminal.

    What is ignored, as under nohup, stays so. A second signal ends the process without more ado:
    its workers follow it, and the next run puts away what they leave.

    Raises:
        StoppedError: the first of them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: h for n in _ASKING if (h := signal.getsignal(n)) is not signal.SIG_IGN}

    def first(number: int, frame: FrameType | None) -> None:
        for one in before:
            signal.signal(one, _at_once)
        raise StoppedError(number)

    for number in before:
        signal.signal(number, first)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _at_once(number: int, frame: FrameType | None) -> None:
    os._exit(BY_SIGNAL + number)
