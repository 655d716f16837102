"""A started workflow: its thread, the queues between its modules, and states that are told."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nnw_onnx.aif import files
from nnw_onnx.aif.channels import Message, Queue
from nnw_onnx.aif.codes import (
    MPAI_AIM_ALIVE,
    MPAI_AIM_DEAD,
    MPAI_ERROR,
    MPAI_ERROR_MODULE_NOT_FOUND,
    MPAI_ERROR_PORT_CREATION_FAILED,
    MPAI_ERROR_WRITE,
)
from nnw_onnx.aif.ports import Given, Module
from nnw_onnx.aif.workflows import End, Part, Workflow, in_order
from nnw_onnx.errors import FrameworkError, NnwError

State = Literal["running", "paused", "stopped"]


class Executor(ABC):
    """Who carries modules out."""

    @abstractmethod
    def run(self, module: Module, given: Given, folder: Path) -> Given:
        """The outputs of a module, written into a folder."""

    @abstractmethod
    def stop(self) -> None:
        """End what runs at once, where that can be done; may be called from another thread."""


@dataclass(frozen=True)
class Events:
    """Who is told what happens, on the thread where it does.

    Attributes:
        begins: with the name of a module that is about to run.
        moved: with source, target and data object of a message that was written.
    """

    begins: Callable[[str], None] = lambda name: None
    moved: Callable[[End, End, Message], None] = lambda source, target, message: None


class Running:
    """One workflow that was started; every method may be called from any thread.

    A module runs once all its inputs are there and all that hear it have room (the standard's
    overflow "Block"); it takes the oldest message of each input. One module runs at a time, the
    first of those that could in the order of the topology: costs are measured, and memory is
    bounded, as in an evaluation, and what happens is the same each time.
    """

    def __init__(
        self, workflow: Workflow, executor: Executor, folder: Path, events: Events | None = None
    ) -> None:
        """Start the thread.

        Args:
            workflow: one that was checked.
            executor: runs its modules.
            folder: gets a folder for each run of a module.
            events: who is told what happens.
        """
        self.workflow, self._executor, self._folder = workflow, executor, folder
        self._events = events or Events()
        self._order = tuple(in_order(workflow))
        self._changed = threading.Condition()
        self._state: State = "running"
        self._failure: BaseException | None = None
        self._parts: dict[str, State] = {part.name: "running" for part in workflow.parts}
        self._queues = _queues(workflow)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=workflow.short)
        self._thread.submit(self._loop).add_done_callback(self._ended)

    def pause(self) -> None:
        """Begin nothing more until `resume`; what runs is finished."""
        self._set("paused")

    def resume(self) -> None:
        """Go on."""
        self._set("running")

    def stop(self) -> None:
        """End: nothing begins any more, and messages that wait are lost."""
        with self._changed:
            self._state = "stopped"
            self._changed.notify_all()

    def join(self) -> None:
        """Wait until the thread has ended, as it does after `stop`."""
        self._thread.shutdown(wait=True)

    def set_part(self, name: str, state: State) -> None:
        """Run, pause or stop one module; one that is stopped loses what waits, and what comes."""
        part = self._part(name)
        with self._changed:
            self._parts[part.name] = state
            for queue in self._inputs(part).values() if state == "stopped" else ():
                queue.clear()
            self._changed.notify_all()

    def status(self, name: str) -> int:
        """`MPAI_AIM_ALIVE` from start to stop, else `MPAI_AIM_DEAD`."""
        part = None if self._is_whole(name) else self._part(name)
        with self._changed:
            alive = self._going and (part is None or self._parts[part.name] != "stopped")
        return MPAI_AIM_ALIVE if alive else MPAI_AIM_DEAD

    def write(self, name: str, port: str, message: Message) -> None:
        """Write a message to an input; room for it is not waited for."""
        source, targets = self._written(name, port)
        with self._changed:
            self._check_alive()
            # All or nothing: those without room are asked first, and say so.
            for target in sorted(targets, key=lambda one: not self._queues[one].full):
                self._queues[target].put(message)
            self._changed.notify_all()
        for target in targets:
            self._events.moved(source, target, message)

    def read(self, name: str, port: str, timeout: float | None = None) -> Message:
        """The oldest message at an output, for which is waited `timeout` seconds, None for ever.

        Raises:
            FrameworkError: the workflow was stopped, or nothing came.
            NnwError: why the workflow failed.
        """
        queue = self._queue(End("" if self._is_whole(name) else f"{name} (no workflow)", port))
        with self._changed:
            self._changed.wait_for(lambda: len(queue) or not self._going, timeout)
            if not len(queue):
                self._check_alive()
                raise FrameworkError(
                    f"{name}.{port}: expected a message within {timeout:g} s, got none; wait "
                    "longer, or write the inputs"
                )
            message = queue.take()
            self._changed.notify_all()
        return message

    def count(self, name: str, port: str) -> int:
        """How many messages wait at a port: at an input of the workflow, at most in any place."""
        with self._changed:
            return max(map(len, self._at(name, port)))

    def reset(self, name: str, port: str) -> None:
        """Forget the messages at a port."""
        with self._changed:
            for queue in self._at(name, port):
                queue.clear()
            self._changed.notify_all()

    @property
    def _going(self) -> bool:
        return self._state != "stopped" and self._failure is None

    def _loop(self) -> None:
        runs = 0
        while (turn := self._next()) is not None:
            part, given = turn
            runs += 1
            self._events.begins(part.name)
            folder = files.make_folder(self._folder / f"{runs:03d}-{part.module.short}")
            self._send(part, self._run(part, given, folder))

    def _next(self) -> tuple[Part, Given] | None:
        """The module whose turn it is, and what it is given; None where nothing more comes."""
        with self._changed:
            self._changed.wait_for(lambda: not self._going or self._turn() is not None)
            part = self._turn() if self._going else None
            if part is None:
                return None
            given = {port: queue.take().data for port, queue in self._inputs(part).items()}
            self._changed.notify_all()
        return part, given

    def _turn(self) -> Part | None:
        if self._state != "running":
            return None
        return next((part for part in self._order if self._could(part)), None)

    def _could(self, part: Part) -> bool:
        inputs = self._inputs(part).values()
        if self._parts[part.name] != "running" or not inputs or not all(inputs):
            return False
        ends = [End(part.name, port.name) for port in part.module.outputs]
        return not any(self._queues[one].full for end in ends for one in self._heard_by(end))

    def _run(self, part: Part, given: Given, folder: Path) -> Given:
        try:
            return self._executor.run(part.module, given, folder)
        except NnwError as error:
            line = " ".join(" ".join(map(str, error.args)).split())
            code = error.code if isinstance(error, FrameworkError) else MPAI_ERROR
            raise FrameworkError(f"{part.name}: {line}", code) from error

    def _send(self, part: Part, made: Given) -> None:
        """Write what a module made to all that hear it, unless it was stopped meanwhile."""
        for port in part.module.outputs:
            source, data = End(part.name, port.name), made.get(port.name)
            if type(data) is not port.kind:
                raise FrameworkError(
                    f"{source}: expected {port.kind.header()} from the module, got "
                    f"{type(data).__name__}; mend the module",
                    MPAI_ERROR_WRITE,
                )
            for target in self._heard_by(source):
                if self._put(part, target, Message(data)):
                    self._events.moved(source, target, Message(data))

    def _put(self, part: Part, target: End, message: Message) -> bool:
        with self._changed:
            stopped = "stopped" in (self._parts[part.name], self._parts.get(target.part))
            if stopped or not self._going:
                return False
            self._queues[target].put(message)
            self._changed.notify_all()
        return True

    def _ended(self, future: Future[None]) -> None:
        """What a module raised ends the workflow, and is what its readers are told."""
        with self._changed:
            # What was cut off because somebody stopped it has not failed.
            self._failure = None if self._state == "stopped" else future.exception()
            self._changed.notify_all()

    def _inputs(self, part: Part) -> dict[str, Queue]:
        ends = {port.name: End(part.name, port.name) for port in part.module.inputs}
        return {name: self._queues[end] for name, end in ends.items() if end in self._queues}

    def _heard_by(self, source: End) -> list[End]:
        return [c.target for c in self.workflow.channels if c.source == source]

    def _set(self, state: State) -> None:
        with self._changed:
            self._check_alive()
            self._state = state
            self._changed.notify_all()

    def _check_alive(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._state == "stopped":
            raise FrameworkError(
                f"{self.workflow.short}: expected a workflow that runs, got one that was stopped; "
                "start it again"
            )

    def _is_whole(self, name: str) -> bool:
        return name in ("", self.workflow.header, self.workflow.short)

    def _part(self, name: str) -> Part:
        found = next((part for part in self.workflow.parts if name == part.name), None)
        if found is None:
            names = ", ".join(part.name for part in self.workflow.parts)
            raise FrameworkError(
                f"{name}: expected a module of {self.workflow.short}, one of {names}, got none of "
                "this name; correct it",
                MPAI_ERROR_MODULE_NOT_FOUND,
            )
        return found

    def _written(self, name: str, port: str) -> tuple[End, list[End]]:
        """Where a message comes from, and every input that it is written to."""
        source = End("", port)
        if not self._is_whole(name):
            return source, [self._there(End(self._part(name).name, port))]
        return source, self._heard_by(source) or [self._there(End(self.workflow.short, port))]

    def _at(self, name: str, port: str) -> list[Queue]:
        """The queues of a port: of an output of the workflow, or of an input."""
        if self._is_whole(name) and End("", port) in self._queues:
            return [self._queues[End("", port)]]
        return [self._queues[end] for end in self._written(name, port)[1]]

    def _queue(self, end: End) -> Queue:
        return self._queues[self._there(end)]

    def _there(self, end: End) -> End:
        if end not in self._queues:
            raise FrameworkError(
                f"{end}: expected a port of {self.workflow.short} that is connected, got none of "
                "this name; correct it",
                MPAI_ERROR_PORT_CREATION_FAILED,
            )
        return end


def _queues(workflow: Workflow) -> dict[End, Queue]:
    """One at each target of a channel, as deep as its port says."""
    found = {}
    for channel in workflow.channels:
        port = workflow.port(channel.target, source=False)
        if port is None:
            raise TypeError(f"{channel.target}: expected a workflow that was checked")
        source = workflow.port(channel.source, source=True)
        deep = port if channel.source.part or source is None else replace(port, depth=source.depth)
        found[channel.target] = Queue(channel.target.part or workflow.short, deep)
    return found
