"""The far end of an engine on many machines: one task, carried out in a process of its own.

A worker of a cluster runs `carry_out` in a thread. It keeps processes that survive what they run,
each with a folder of its own, from task to task, so that a crash, a hang or a lack of memory costs
one task and never the worker. What only the owner may have is in that folder while the task runs,
and nowhere after it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from nnw_onnx.inference import IsolatedPool, packed, unpacked
from nnw_onnx.kit import parcel_room, parcels, permissions
from nnw_onnx.vocabulary import Parcel, Portable

IDLE = 60.0
"""Seconds without a task after which a worker ends its processes."""
_RUNTIMES = ("onnxruntime-gpu", "onnxruntime")


@dataclass(frozen=True)
class Task:
    """One item on its way to a worker.

    Attributes:
        call: `packed` function and item.
        parcels: what it reads.
        secrets: see `vocabulary.Portable`.
        timeout: seconds that it may take.
        memory_limit: bytes that it may take, or None.
        permitted: code of the user's own that may run.
        versions: of the packages on which records depend.
        look: whether files are looked for at their own paths.
    """

    call: bytes
    parcels: tuple[Parcel, ...]
    secrets: Mapping[str, bytes]
    timeout: float
    memory_limit: int | None
    permitted: tuple[permissions.Permitted, ...]
    versions: Mapping[str, str]
    look: bool


@dataclass(frozen=True)
class Answer:
    """What a worker says of a task.

    Attributes:
        where: the worker, as its cluster calls it.
        host: what it shares with workers that have the same folder of parcels.
        outcome: what `inference.opened` takes; empty where the task did not run.
        missing: digests of parcels that are not there.
        refused: why this worker takes no task of this run, or "".
        left: files that the task has written, by their names in its folder.
        gone: names of secrets that it has removed.
    """

    where: str
    host: str = ""
    outcome: bytes = b""
    missing: tuple[str, ...] = ()
    refused: str = ""
    left: Mapping[str, bytes] = field(default_factory=dict)
    gone: tuple[str, ...] = ()


def versions() -> dict[str, str]:
    """What must be the same for records to be the same: packages and their versions."""
    found = {"Python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    plugins = {
        entry.dist.name
        for group in metadata.entry_points().groups
        if group.startswith("nnw_onnx.")
        for entry in metadata.entry_points(group=group)
        if entry.dist is not None
    }
    for name in sorted({"nnw-onnx", "numpy", "onnx", *plugins}):
        found[name] = _version(name)
    runtimes = (_version(name) for name in _RUNTIMES)
    found["onnxruntime"] = next((version for version in runtimes if version != "none"), "none")
    return found


def carry_out(task: Task, where: str) -> Answer:
    """Carry a task out in a process of this worker, or say what it lacks.

    Args:
        task: what to do.
        where: the name of this worker.
    """
    if refused := _refused(task.versions):
        return Answer(where, refused=refused)
    with _busy():
        places = {parcel: _place(parcel, task.look) for parcel in task.parcels}
        if missing := tuple(p.digest for p, place in places.items() if place is None):
            return Answer(where, parcels.host(), missing=missing)
        found = {p.path: place for p, place in places.items() if place is not None}
        with _slot(task) as slot:
            return slot.answer(task, found, where)


def has(parcel: Parcel, look: bool) -> bool:
    """Whether a parcel is on this host."""
    return _place(parcel, look) is not None


def receive(parcel: Parcel, portion: tuple[parcels.Piece, ...]) -> None:
    """Put pieces of a parcel aside on this host."""
    parcels.receive(parcel, portion)


def settle(parcel: Parcel) -> str:
    """Give what was received its place; what is wrong with it, or ""."""
    return parcels.settle(parcel)


def stop() -> None:
    """End all processes that no task uses, remove their folders, and hold no parcel for them."""
    with _LOCK:
        idle = [slot for slots in _FREE.values() for slot in slots]
        _FREE.clear()
        if not _TASKS:
            _PLACES.clear()
            parcel_room.release()
    for slot in idle:
        slot.stop()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


def _refused(wanted: Mapping[str, str]) -> str:
    own = _own_versions()
    wrong = [f"{n} {v}, got {own.get(n, 'none')}" for n, v in wanted.items() if own.get(n) != v]
    return "" if not wrong else f"expected {wrong[0]}; install the same versions on every host"


_PLACES: dict[tuple[Parcel, bool], str] = {}
_VERSIONS: dict[str, str] = {}


def _own_versions() -> dict[str, str]:
    if not _VERSIONS:
        _VERSIONS.update(versions())
    return _VERSIONS


def _place(parcel: Parcel, look: bool) -> str | None:
    """Where a parcel is; its content is looked at once, for that takes as long as reading it."""
    known = _PLACES.get((parcel, look))
    if known is not None and Path(known).exists():
        return known
    found = parcels.place_of(parcel, look)
    if found is not None:
        _PLACES[parcel, look] = found
    return found


class _Slot:
    """A process that survives what it runs, with a folder."""

    def __init__(self, task: Task) -> None:
        self.pool = IsolatedPool(1, task.timeout, task.memory_limit)
        self.folder = Path(tempfile.mkdtemp(prefix="nnw-task-"))
        self._clean = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def answer(self, task: Task, places: Mapping[str, str], where: str) -> Answer:
        """Carry a task out."""
        parcels.empty(self.folder)
        try:
            for name, content in task.secrets.items():
                parcels.write_private(self.folder / name, content)
            call = (task.call, places, str(self.folder), task.permitted)
            outcome = self.pool.answer(packed(_call, call))
            there = dict(parcels.contents(self.folder))
        finally:
            parcels.empty(self.folder)
        left = {n: c for n, c in there.items() if task.secrets.get(n) != c}
        return Answer(where, outcome=outcome, left=left, gone=tuple(task.secrets.keys() - there))

    def stop(self) -> None:
        """End the process and remove the folder."""
        self.pool.stop()
        self._clean()


def _call(
    call: tuple[bytes, Mapping[str, str], str, tuple[permissions.Permitted, ...]],
) -> object:
    """One item in a process of its own; with the places of this machine."""
    content, places, folder, permitted = call
    permissions.permit(
        permissions.Permitted(Path(places.get(str(p.path), p.path)), p.sha256) for p in permitted
    )
    function, item = unpacked(content)
    if isinstance(function, Portable):
        function = function.at(places, folder)
    return function(item)


_LOCK = threading.Lock()
_FREE: dict[object, list[_Slot]] = {}
_TASKS: list[object] = []
"""One entry for each task that is under way."""
_TIMER: list[threading.Timer] = []


@contextlib.contextmanager
def _slot(task: Task) -> Iterator[_Slot]:
    """A process with these limits, which no other task uses meanwhile."""
    # Ray gives a worker other devices from task to task, and a process keeps those it began with.
    key = (task.timeout, task.memory_limit, os.environ.get("CUDA_VISIBLE_DEVICES"))
    with _LOCK:
        slots = _FREE.get(key) or []
        slot = slots.pop() if slots else None
    slot = slot or _Slot(task)
    try:
        yield slot
    finally:
        with _LOCK:
            _FREE.setdefault(key, []).append(slot)


@contextlib.contextmanager
def _busy() -> Iterator[None]:
    """A task, during which parcels stay where they are."""
    with _LOCK:
        _TASKS.append(None)
    try:
        yield
    finally:
        with _LOCK:
            _TASKS.pop()
        _later(stop)


def _later(call: Callable[[], Any]) -> None:
    """Call it once nothing has been done for a while."""
    timer = threading.Timer(IDLE, call)
    timer.daemon = True
    with _LOCK:
        while _TIMER:
            _TIMER.pop().cancel()
        _TIMER.append(timer)
        timer.start()
