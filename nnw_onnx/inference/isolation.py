"""Isolation: calls in worker processes, so that a crash or a hang costs one item only.

A model can kill the runtime, never return, or ask for more memory than there is. Workers are
fresh processes (never forks), each with one thread of arithmetic, a memory limit and a time limit.

The memory limit is RLIMIT_DATA on Linux: heap and anonymous mappings count, mapped files and the
address space that CUDA only reserves do not. Other systems do not enforce such a limit, so there
`memory_bytes` has no effect and the time limit is the only guard.
"""

from __future__ import annotations

import contextlib
import logging
import math
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures import wait as wait_for_futures
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, TypeVarTuple

from nnw_onnx.errors import ConfigurationError, InferenceError, NnwError, UnavailableError
from nnw_onnx.inference._bare_processes import BareContext
from nnw_onnx.kit import permissions
from nnw_onnx.kit.scratch import Scratch
from nnw_onnx.math.threads import THREAD_VARIABLES

if TYPE_CHECKING:
    from nnw_onnx.vocabulary import Outcome

DEFAULT_TIMEOUT = 600.0
MIN_MEMORY = 256 * 2**20
MEMORY = 4 * 2**30
"""Bytes that a network from elsewhere may take for what it computes, whatever its size."""
_COPIES, _INNER = 8, 64
_NO_MEMORY = "ran out of memory"
# Exit code 1: a worker that waited for a lock which a killed one holds, and gave up.
_BY_SOMEBODY_ELSE = (-9, -15, 1)
_GROUP = ".group"
"""Ending of the files by whose names the groups of processes of workers are known."""
_LOOK_EVERY = 5.0
"""Seconds after which it is looked whether there are workers at all."""
_log = logging.getLogger(__name__)
# PickleError, reached without its module, which is banned because no file may be unpickled.
_UNSENDABLE = next(c for c in Exception.__subclasses__() if c.__name__ == "PickleError")

Item = TypeVar("Item")
T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


@dataclass(eq=False)
class _Scheduled:
    """An item that was sent to the workers of a pool."""

    call: bytes
    future: Future[bytes]
    pool: Any

    def answer(self) -> bytes:
        """What its worker answers; raises `BrokenProcessPool` where nobody is left to do so."""
        while not self.future.done():
            active = self.pool.active
            wait_for_futures([self.future], _LOOK_EVERY)
            if not active and not self.future.done():
                raise BrokenProcessPool
        return self.future.result()


class _KilledError(Exception):
    """A worker that was ended by somebody else, or a pool that has none any more."""

    def __init__(self, how: str, *, broken: bool = False) -> None:
        super().__init__(how)
        self.broken = broken


class WorkerTracebackError(Exception):
    """The traceback of a bug inside a worker: the cause of the error raised in the parent."""


class IsolatedPool:
    """Worker processes that survive what they run; use it as a context manager.

    Code of one's own that may run here may run in them.

    Example:
        with IsolatedPool(2, timeout=60) as pool:
            outcomes = list(pool.map(function, items))
    """

    def __init__(
        self,
        workers: int = 1,
        timeout: float = DEFAULT_TIMEOUT,
        memory_bytes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[object, ...] = (),
    ) -> None:
        """Describe the pool; workers start with the first item, and what they print is thrown away.

        Args:
            workers: number of processes.
            timeout: seconds an item may take, the initializer in a new worker included.
            memory_bytes: limit of a worker's private memory (Linux only), `MIN_MEMORY` to
                `sys.maxsize`, or None.
            initializer: called in each worker before its first item; must be importable.
            initargs: its arguments.

        Raises:
            ConfigurationError: a number is out of its range.
        """
        leave_if_importing_main()
        if workers < 1 or not (timeout > 0 and math.isfinite(timeout)):
            raise ConfigurationError(
                f"workers: expected at least 1 and a finite time limit above 0 s, got {workers} "
                f"and {timeout:g} s; correct them"
            )
        if memory_bytes is not None:
            _check_memory(memory_bytes)
        self._workers = workers
        self._timeout = timeout
        self._prepare = bytes(ForkingPickler.dumps((initializer, initargs)))
        self._initargs = (memory_bytes, self._prepare, permissions.permitted())
        self._pool: Any = None
        self._scratch: Scratch | None = None
        self._started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End all workers at once, whatever they are doing."""
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()
            self._pool = None
        if self._scratch is not None:
            self._end_groups()
            self._scratch.close()
            self._scratch = None

    def map(self, function: Callable[[Item], T], items: Iterable[Item]) -> Iterator[Outcome[T]]:
        """Outcomes of `function(item)` in the order of the items.

        Only a few items more than there are workers are taken from `items` ahead of the outcomes.
        An item whose worker is killed from outside is done once more, alone, before it fails.

        Args:
            function: importable (not a lambda).
            items: values that can be sent to another process.

        Raises:
            ConfigurationError: the workers cannot start.
            UnavailableError: raised by `function`, for what is no item's own fault.
            Exception: an error inside `function` that is no `NnwError` is a bug and is raised
                here, caused by the worker's traceback.
        """
        pending: deque[_Scheduled] = deque()
        try:
            for item in items:
                pending.append(self._schedule(packed(function, item), self._workers))
                if len(pending) > self._workers:
                    yield opened(self._next(pending))
            while pending:
                yield opened(self._next(pending))
        except KeyboardInterrupt:
            self.stop()
            raise
        finally:
            for scheduled in pending:
                scheduled.future.cancel()

    def answer(self, call: bytes) -> bytes:
        """What became of one `packed` call: what `opened` takes, here or in another process.

        Raises:
            ConfigurationError: the workers cannot start.
        """
        return self._next(deque([self._schedule(call, self._workers)]))

    def _schedule(self, call: bytes, workers: int) -> _Scheduled:
        if self._pool is not None and not self._pool.active:
            self.stop()  # its workers were killed while they had nothing to do
        if self._pool is None:
            self._pool = self._made(call, workers)
        with _interrupts_blocked():
            future: Future[bytes] = self._pool.schedule(_call, args=(call,), timeout=self._timeout)
        return _Scheduled(call, future, self._pool)

    def _made(self, call: bytes, workers: int) -> Any:
        """The pool, whose workers run the main script only where it defines what they are sent."""
        from pebble import ProcessPool

        needs_main = b"__main__" in call or b"__main__" in self._prepare
        context = multiprocessing.get_context("spawn") if needs_main else BareContext()
        self._scratch = Scratch()
        return ProcessPool(
            max_workers=workers,
            initializer=_start_worker,
            initargs=(*self._initargs, str(self._scratch.path)),
            context=context,
        )

    def _end_groups(self) -> None:
        """End what workers that are gone have started and left behind."""
        if self._scratch is None or sys.platform == "win32":
            return
        for mark in self._scratch.path.glob(f"*{_GROUP}"):
            leader = int(mark.stem)
            if not _exists(leader):
                with contextlib.suppress(OSError):
                    os.killpg(leader, signal.SIGKILL)
                # At once, because another process may get its number later.
                mark.rename(mark.with_suffix(".ended"))

    def _next(self, pending: deque[_Scheduled]) -> bytes:
        """The first answer; an item whose worker was killed by somebody else is done once more.

        Nobody knows what a killed worker has left in the pipes and locks that all share, so all are
        ended.
        """
        first = pending.popleft()
        try:
            return self._answer(first)
        except _KilledError as killed:
            _log.info("a worker was %s; what it did is done once more, alone", killed)
        others = [scheduled for scheduled in pending if not scheduled.future.done()]
        self.stop()
        answer = self._alone(first.call)
        self.stop()
        for scheduled in others:
            again = self._schedule(scheduled.call, self._workers)
            scheduled.future, scheduled.pool = again.future, again.pool
        return answer

    def _alone(self, call: bytes) -> bytes:
        """An answer with the machine for itself: the system kills for lack of memory."""
        try:
            return self._answer(self._schedule(call, 1))
        except _KilledError as killed:
            if killed.broken:
                raise ConfigurationError(_not_started(self._started)) from None
            return _failure(f"{killed}; it was the second time, and nothing ran beside it")

    def _answer(self, scheduled: _Scheduled) -> bytes:
        from pebble import ProcessExpired

        try:
            answer = scheduled.answer()
        except FutureTimeoutError:
            self._end_groups()
            return _failure(f"took longer than {self._timeout:g} s")
        except ProcessExpired as error:
            if error.exitcode in _BY_SOMEBODY_ELSE:
                raise _KilledError(death(error.exitcode)) from None
            self._end_groups()
            return _failure(death(error.exitcode))
        except BrokenProcessPool:
            raise _KilledError("lost", broken=True) from None
        self._started = True
        return answer


def packed(function: Callable[[Item], object], item: Item) -> bytes:
    """A call as it travels between our own processes; no file ever holds one.

    Raises:
        InferenceError: there is not enough memory for another copy of it.
    """
    try:
        return bytes(ForkingPickler.dumps((function, item)))
    except MemoryError:
        raise InferenceError(
            "worker: expected enough memory to send it the network, got none left; use a smaller "
            "network, or a machine with more"
        ) from None


def unpacked(call: bytes) -> tuple[Callable[[Any], Any], Any]:
    """Function and item of a `packed` call of our own."""
    function, item = ForkingPickler.loads(call)
    return function, item


def opened(answer: bytes) -> Outcome[Any]:
    """The outcome that an answer of `IsolatedPool.answer` tells.

    Raises:
        Exception: a bug inside the call; its cause is the traceback of the worker.
    """
    kind, content = ForkingPickler.loads(answer)
    if kind == "bug":
        sent, text = content
        raise ForkingPickler.loads(sent) from WorkerTracebackError(f"\n{text}")
    if kind == "stop":
        raise content
    if kind == "failed":
        return _failed(content)
    return _done(content)


def run_isolated(
    function: Callable[[*Arguments], T],
    *args: *Arguments,
    timeout: float = DEFAULT_TIMEOUT,
    memory_bytes: int | None = None,
) -> Outcome[T]:
    """The outcome of one call `function(*args)` in a process of its own."""
    with IsolatedPool(1, timeout, memory_bytes) as pool:
        return next(pool.map(_spread, [(function, args)]))


def sheltered(function: Callable[[*Arguments], T], source: Path, *args: *Arguments) -> T:
    """The value of `function(*args)`, which does something to a model file from elsewhere.

    Tools in native code crash, hang or take any memory on graphs made for it. So they run in a
    process of their own; in a worker, which is one already, as they are.

    Args:
        function: importable (not a lambda).
        source: the model file, which says how much memory it may take.
        args: of the function.

    Raises:
        InferenceError: it crashed, took too long, or failed; the message says how.
    """
    if multiprocessing.parent_process() is not None:
        return function(*args)
    size = sum(p.stat().st_size for p in source.parent.iterdir() if p.name.startswith(source.name))
    outcome = run_isolated(function, *args, memory_bytes=memory_for(size, 0))
    if outcome.error is not None and ": expected " not in outcome.error:
        raise InferenceError(
            f"model: expected one that this Modification takes, got: {outcome.error}; leave this "
            "Modification out for it"
        )
    return unwrap(outcome)


def memory_for(weights: int, feeds: int) -> int:
    """Bytes of memory that a worker may take to run a network from elsewhere.

    A few kilobytes of a model can ask for any amount. Weights may be copied and packed by the
    runtime several times over, and inner values be much larger than what is fed.

    Args:
        weights: bytes of the model.
        feeds: bytes of what is fed at once.
    """
    import psutil

    base = min(MEMORY, int(psutil.virtual_memory().total) // 2)
    return min(MIN_MEMORY + base + _COPIES * weights + _INNER * feeds, sys.maxsize)


def unwrap(outcome: Outcome[T]) -> T:
    """The value of an outcome.

    Raises:
        InferenceError: the item failed; the message is the reason.
    """
    if outcome.error is not None:
        raise InferenceError(outcome.error)
    return outcome.value  # type: ignore[return-value]  # None may be the function's own value


def leave_if_importing_main() -> None:
    """End this process where it is a worker that is only importing the user's script.

    A script without `if __name__ == "__main__":` calls us again in each worker; the parent then
    says so in one line, and the workers say nothing.
    """
    # The flag by which the standard library itself recognises this situation.
    if vars(multiprocessing.current_process()).get("_inheriting", False):
        os._exit(1)


def _check_memory(limit: int) -> None:
    if not isinstance(limit, int) or not MIN_MEMORY <= limit <= sys.maxsize:
        raise ConfigurationError(
            f"memory limit: expected a whole number from {MIN_MEMORY} bytes, which an idle worker "
            f"with onnxruntime needs, to {sys.maxsize}, got {limit}; correct it"
        )


_prepare: bytes | None = None


def _start_worker(
    memory_bytes: int | None,
    prepare: bytes,
    code: tuple[permissions.Permitted, ...],
    scratch: str,
) -> None:
    """Set up a worker; pebble calls it before the first item."""
    global _prepare  # noqa: PLW0603 - the state of a worker process is the process
    permissions.permit(code)
    _prepare = prepare
    _silence()
    # pebble's handler cannot run while native code hangs; the default ends the process at once.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _one_thread()
    _lead_group(Path(scratch))
    threading.Thread(target=_follow_parent, daemon=True).start()
    limit_memory(memory_bytes)


def _call(call: bytes) -> bytes:
    """Run one item inside the worker; whatever happens becomes bytes."""
    global _prepare  # noqa: PLW0603 - as above
    try:
        if _prepare is not None:
            initializer, initargs = ForkingPickler.loads(_prepare)
            if initializer is not None:
                initializer(*initargs)
            _prepare = None
        function, item = ForkingPickler.loads(call)
        return bytes(ForkingPickler.dumps(("done", function(item))))
    except UnavailableError as error:
        return bytes(ForkingPickler.dumps(("stop", error)))
    except NnwError as error:
        return _failure(" ".join(str(error).split()))
    except MemoryError:
        return _failure(_NO_MEMORY)
    except Exception as error:  # noqa: BLE001 - the edge of a process: all is raised in the parent
        return _bug(error)


def _bug(error: Exception) -> bytes:
    text = traceback.format_exc()
    try:
        sent = bytes(ForkingPickler.dumps(error))
        ForkingPickler.loads(sent)
    except (TypeError, AttributeError, ValueError, _UNSENDABLE):
        sent = bytes(ForkingPickler.dumps(RuntimeError(f"{type(error).__name__}: {error}")))
    return bytes(ForkingPickler.dumps(("bug", (sent, text))))


def _failure(reason: str) -> bytes:
    return bytes(ForkingPickler.dumps(("failed", reason)))


def _failed(reason: str) -> Outcome[Any]:
    # Imported here: a worker imports this module before it limits the threads of numpy.
    from nnw_onnx.vocabulary import Outcome

    return Outcome(error=reason)


def _done(value: T) -> Outcome[T]:
    from nnw_onnx.vocabulary import Outcome

    return Outcome(value)


def _spread(call: tuple[Callable[[*Arguments], T], tuple[*Arguments]]) -> T:
    function, args = call
    return function(*args)


def death(exitcode: int) -> str:
    """How a process ended, in words: its exit code, or the signal that killed it as -number."""
    if exitcode >= 0:
        return f"ended its process with exit code {exitcode}"
    number = -exitcode
    try:
        name = f" ({signal.Signals(number).name})"
    except ValueError:
        name = ""
    hint = ", perhaps by the system for lack of memory" if number == 9 else ""
    return f"killed by signal {number}{name}{hint}"


def _not_started(started: bool) -> str:
    if started:
        return (
            "workers: expected them to stay alive, got a pool that broke; start the run again, "
            "which resumes it"
        )
    return (
        "workers: expected worker processes to start, got none that lives; in a script put the "
        'call under: if __name__ == "__main__":'
    )


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start threads and processes so that Ctrl-C is never theirs; the mask is inherited."""
    if sys.platform == "win32":
        yield
        return
    # Started later, by the thread that starts workers, it would unblock the signal there.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _one_thread() -> None:
    for variable in THREAD_VARIABLES:
        os.environ[variable] = "1"
    if "numpy" in sys.modules:
        with contextlib.suppress(ImportError):
            from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # no types

            threadpool_limits(1)


def limit_memory(memory_bytes: int | None) -> None:
    """Limit the private memory of this process (Linux only); None leaves it as it is."""
    if memory_bytes is None or sys.platform != "linux":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _lead_group(scratch: Path) -> None:
    """Keep temporary files where the pool removes them, and be known by what is started here."""
    tempfile.tempdir = str(scratch)
    os.environ.update({name: str(scratch) for name in ("TMPDIR", "TEMP", "TMP")})
    if sys.platform != "win32":
        os.setpgid(0, 0)
        (scratch / f"{os.getpid()}{_GROUP}").touch()


def _follow_parent() -> None:
    """End a worker whose parent is gone, even while native code hangs, and what it has started."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        if sys.platform != "win32" and os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is there, and of somebody else
        pass
    return True
