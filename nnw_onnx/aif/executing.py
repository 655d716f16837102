"""Who carries modules out: a process of its own, as an evaluation runs its trials."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, TypeVarTuple

from nnw_onnx.aif.ports import Given, Module
from nnw_onnx.aif.running import Executor
from nnw_onnx.aif.setups import Setup
from nnw_onnx.errors import FrameworkError
from nnw_onnx.inference import IsolatedPool
from nnw_onnx.runs.stage import timeout_of
from nnw_onnx.runs.tables import Evaluation

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class Worker:
    """A process that calls functions one after the other; use it as a context manager.

    A network from elsewhere may crash, hang or ask for too much memory: that ends the call.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        """Nothing is started; time and memory that a call may take are those of the evaluation."""
        self._limits = timeout_of(evaluation), evaluation.session.memory_limit
        self._kept = IsolatedPool(1, *self._limits)
        self._fresh: IsolatedPool | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def call(
        self, function: Callable[[*Arguments], T], *args: *Arguments, fresh: bool = False
    ) -> T:
        """What an importable function returns.

        Args:
            function: what is called.
            args: of it; they can be sent to another process.
            fresh: whether in a new process, which does nothing else.

        Raises:
            FrameworkError: it failed; the message is the reason.
        """
        pool = self._kept
        if fresh:
            pool = self._fresh = IsolatedPool(1, *self._limits)
        outcome = next(pool.map(_called, [(function, args)]))
        if fresh:
            pool.stop()
        if outcome.error is not None:
            raise FrameworkError(outcome.error)
        return outcome.value  # type: ignore[return-value]  # None may be the function's own value

    def stop(self) -> None:
        """End the process at once; may be called from another thread."""
        self._kept.stop()
        if self._fresh is not None:
            self._fresh.stop()


class Isolated(Executor):
    """Modules in a worker, set up for one cell of an evaluation."""

    def __init__(self, setup: Setup, worker: Worker) -> None:
        """Nothing is run yet."""
        self._setup, self._worker = setup, worker

    def run(self, module: Module, given: Given, folder: Path) -> Given:
        """See `Executor`; raises `FrameworkError` with what the module said."""
        return self._worker.call(module.function, given, self._setup, folder, fresh=module.alone)

    def stop(self) -> None:
        """See `Executor`."""
        self._worker.stop()


def _called(call: tuple[Callable[[*Arguments], T], tuple[*Arguments]]) -> T:
    function, args = call
    return function(*args)
