"""Processes that begin without running the script of whoever calls us.

A spawned process runs the main script again, so that what it defines can be sent there. A script
without `if __name__ == "__main__":` would do its work twice for a process that needs nothing of it.
They also say nothing from the start, where the standard library would tell of a pool that ended
while one of them was starting.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
from collections.abc import Iterator
from multiprocessing import spawn
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

_SILENCE = (
    "import os; n = os.open(os.devnull, os.O_WRONLY); os.dup2(n, 1); os.dup2(n, 2); os.close(n); "
)
"""What a process does first that is to print nothing."""
_LOCK = threading.Lock()
_DAEMON = threading.Lock()


class BareProcess(SpawnProcess):
    """A spawned process in which `__main__` is empty; a daemon may start it too."""

    def start(self) -> None:
        """Start it."""
        with _as_no_daemon():
            super().start()

    @staticmethod
    def _Popen(process: Any) -> Any:  # noqa: N802 - the name that the standard library calls
        with _without_main(), _silenced():
            return SpawnProcess._Popen(process)


class BareContext(SpawnContext):
    """The start method "spawn" with such processes."""

    Process = BareProcess


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Leave the main script out of what this thread, and no other, sends to a process it starts.

    One thread at a time, because the standard library's functions are other ones meanwhile.
    """
    mine = threading.get_ident()
    with _LOCK:
        told = spawn.get_preparation_data

        def without(name: str) -> dict[str, Any]:
            data = told(name)
            bare = threading.get_ident() == mine
            return {k: v for k, v in data.items() if not (bare and k.startswith("init_main_"))}

        spawn.get_preparation_data = without
        try:
            yield
        finally:
            spawn.get_preparation_data = told


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Let processes that this thread starts, and no others, print nothing."""
    mine = threading.get_ident()
    told = spawn.get_command_line

    def silent(**words: Any) -> list[str]:
        line = told(**words)
        ours = threading.get_ident() == mine
        return [f"{_SILENCE}{w}" if ours and line[i - 1] == "-c" else w for i, w in enumerate(line)]

    spawn.get_command_line = silent
    try:
        yield
    finally:
        spawn.get_command_line = told


@contextlib.contextmanager
def _as_no_daemon() -> Iterator[None]:
    """Let this process start others even where it is a daemon, as workers of Dask are.

    The standard library forbids it because a daemon is killed without a word to its children; ours
    end by themselves when their parent does.
    """
    config: dict[str, object] = vars(multiprocessing.current_process())["_config"]
    with _DAEMON:
        was = config.pop("daemon", None)
        try:
            yield
        finally:
            if was is not None:
                config["daemon"] = was
