"""A program in a process of its own that answers questions: for code of which nothing is believed.

`isolation` sends pickles both ways, which is for our own functions. Here only `frames` go in and
out: JSON and arrays. The program is started once and asked many times; it is killed with all that
it has started when an answer takes too long or is none.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING

from nnw_onnx.errors import InferenceError
from nnw_onnx.inference import frames
from nnw_onnx.math.threads import THREAD_VARIABLES

if TYPE_CHECKING:
    from nnw_onnx.vocabulary import Array, Json

_BOOT = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
import importlib
importlib.import_module(sys.argv[2]).serve()
"""
"""What the process runs: the module's `serve`, with the path of this one."""
_START = 600.0
"""Seconds that it may take to start."""
LAST = ("done", "failed")
"""Kinds of a frame with which an answer ends."""


class Server:
    """The process of a module that has a function `serve`, which reads and writes frames.

    It writes a first one when it is ready, whose content does not matter.

    Attributes:
        module: dotted name.
    """

    def __init__(self, module: str) -> None:
        """Nothing is started yet."""
        self.module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._late = False

    def ask(
        self,
        head: Mapping[str, Json],
        arrays: Mapping[str, Array],
        *,
        timeout: float,
        most: int,
    ) -> Iterator[tuple[dict[str, Json], dict[str, Array]]]:
        """Every frame of an answer; the last has the kind "done" or "failed".

        Args:
            head: the question.
            arrays: that go with it.
            timeout: seconds that each frame of the answer may take.
            most: bytes of the arrays of a frame.

        Raises:
            InferenceError: it took too long, ended, or answered something that is no frame. It is
                started anew for the next question.
        """
        done = False
        try:
            self._start()
            with self._in_time(timeout):
                frames.write(self._input, head, arrays)
            while not done:
                with self._in_time(timeout):
                    told = frames.read(self._output, most)
                done = told[0].get("kind") in LAST
                yield told
        except (frames.BrokenFrameError, OSError) as error:
            late = self._late
            self.stop()
            raise _ended(timeout, late=late) from error
        finally:
            if not done or sys.platform == "win32":  # no forks: it has answered its only question
                self.stop()

    def stop(self) -> None:
        """End the process and everything that it has started, at once."""
        process, self._process = self._process, None
        if process is not None:
            _kill(process)
            process.wait()
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    if stream is not None:
                        stream.close()

    @contextlib.contextmanager
    def _in_time(self, timeout: float) -> Iterator[None]:
        """Kill the process where what is inside takes longer: a blocked read then ends."""
        process, self._late = self._started(), False

        def kill() -> None:
            self._late = True
            _kill(process)

        timer = threading.Timer(timeout, kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    @property
    def _input(self) -> IO[bytes]:
        stream = self._started().stdin
        if stream is None:
            raise OSError("closed")
        return stream

    @property
    def _output(self) -> IO[bytes]:
        stream = self._started().stdout
        if stream is None:
            raise OSError("closed")
        return stream

    def _start(self) -> None:
        """Start the process where there is none, and wait for its first frame."""
        if self._process is None:
            with self._in_time(_START):
                frames.read(self._output, 0)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, json.dumps(sys.path), self.module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")},
                start_new_session=True,  # so that all that it starts can be ended with it
            )
        return self._process


def _kill(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        process.kill()
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _ended(timeout: float, *, late: bool) -> InferenceError:
    got = f"none within {timeout:g} s" if late else "an end of its process"
    return InferenceError(f"expected an answer, got {got}; mend the code, or give it more time")
