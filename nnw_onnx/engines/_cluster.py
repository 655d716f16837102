"""The near end of an engine on many machines: items out, outcomes back in the order of the items.

A task that a worker cannot begin comes back with what it lacks; that is sent to its host, once, and
the task goes out again, to whoever is free. A worker that is lost costs its tasks nothing but time:
the cluster gives them to others, and only the first answer to an item counts. What a task has
written comes back with its answer and is kept here, so that workers write nothing of their own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from nnw_onnx.engines import _worker
from nnw_onnx.errors import ConfigurationError, RunError
from nnw_onnx.inference import opened, packed
from nnw_onnx.kit import parcels, permissions
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Engine, Outcome, Parcel, Portable

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 4
"""Tasks on their way for each that a cluster works on: workers never wait for the next one."""
_MOST_TIMES = 3


class LostError(Exception):
    """A worker that is no longer there."""


class Cluster(Protocol):
    """What a scheduler of many machines can do; a handle stands for a task."""

    def at_once(self) -> int:
        """How many tasks it works on at the same time; 0 where no worker fits."""
        ...

    def submit(self, task: _worker.Task) -> Any:
        """Send a task to whoever is free; its handle."""
        ...

    def done(self, handles: Iterable[Any]) -> list[Any]:
        """Those of some handles whose tasks have ended; it waits for a while."""
        ...

    def answer(self, handle: Any) -> _worker.Answer:
        """What a worker said; raises `RunError` where the cluster has given the task up."""
        ...

    def at(self, where: str, function: Callable[..., Any], *args: object) -> Any:
        """A call on one worker, done at once; raises `LostError` where it is not there."""
        ...

    def cancel(self, handles: Iterable[Any]) -> None:
        """Forget tasks."""
        ...


@dataclass(frozen=True)
class Limits:
    """What each task may take, and whether files are looked for at their own paths."""

    timeout: float
    memory_limit: int | None
    look: bool = True


@dataclass
class _Sent:
    """An item on its way."""

    task: _worker.Task
    known: tuple[Parcel, ...]


@dataclass(frozen=True, kw_only=True)
class ClusterEngine(Engine):
    """An engine whose tasks run on the workers of a cluster; the records are the same as serial.

    A worker is trusted with networks, data and keys, and the cluster with running code.
    """

    elsewhere = True

    shared_files: bool = option(
        True, help="use files that workers find at the same path with the same content"
    )

    @abstractmethod
    def cluster(self, gpu: bool) -> AbstractContextManager[Cluster]:
        """A cluster with workers, or with workers that have a GPU.

        Raises:
            ConfigurationError: there is none.
        """

    def map(
        self,
        call: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        timeout: float,
        memory_limit: int | None,
    ) -> Iterator[Outcome[Result]]:
        """Outcomes in the order of the items."""
        limits = Limits(timeout, memory_limit, self.shared_files)
        with self.cluster(isinstance(call, Portable) and call.gpu) as cluster:
            yield from carried(cluster, call, items, limits)


def carried(
    cluster: Cluster, call: Callable[[Item], Result], items: Iterable[Item], limits: Limits
) -> Iterator[Outcome[Result]]:
    """Outcomes of `call(item)` in the order of the items, by the workers of a cluster.

    Raises:
        ConfigurationError: no worker fits, or one has other versions.
        RunError: the cluster has given a task up.
        Exception: a bug inside `call`.
    """
    return _Carrier(cluster, call, limits).outcomes(items)


@dataclass
class _Carrier:
    cluster: Cluster
    call: Callable[[Any], Any]
    limits: Limits
    sent: dict[int, _Sent] = field(default_factory=dict)
    pending: dict[Any, int] = field(default_factory=dict)
    answers: dict[int, bytes] = field(default_factory=dict)
    shipped: dict[tuple[str, str], int] = field(default_factory=dict)
    next: int = 0

    def __post_init__(self) -> None:
        self.portable = self.call if isinstance(self.call, Portable) else None
        self.common = self.portable.common() if self.portable else ()
        self.versions: Mapping[str, str] = _worker.versions()

    def outcomes(self, items: Iterable[Any]) -> Iterator[Outcome[Any]]:
        count = 0
        try:
            for item in items:
                self._send(count, self._sent(item))
                count += 1
                while len(self.sent) >= AHEAD * self._at_once():
                    yield from self._advance()
            while self.next < count:
                yield from self._advance()
        finally:
            self.cluster.cancel(self.pending)

    def _at_once(self) -> int:
        return max(1, self.cluster.at_once())

    def _sent(self, item: Any) -> _Sent:
        own = self.portable.files(item) if self.portable else ()
        secrets = self.portable.secrets(item) if self.portable else {}
        files = (*self.common, *own)
        task = _worker.Task(
            call=packed(self.call, item),
            parcels=files,
            secrets=secrets,
            timeout=self.limits.timeout,
            memory_limit=self.limits.memory_limit,
            permitted=permissions.permitted(),
            versions=self.versions,
            look=self.limits.look,
        )
        return _Sent(task, files)

    def _send(self, index: int, sent: _Sent) -> None:
        self.sent[index] = sent
        self.pending[self.cluster.submit(sent.task)] = index

    def _advance(self) -> Iterator[Outcome[Any]]:
        for handle in self.cluster.done(self.pending):
            index = self.pending.pop(handle)
            answer = self.cluster.answer(handle)
            if answer.refused:
                raise ConfigurationError(f"worker {answer.where}: {answer.refused}")
            if answer.missing:
                self._ship(answer, self.sent[index])
                self._send(index, self.sent[index])
            else:
                self._keep(answer)
                self.answers[index] = answer.outcome
        while self.next in self.answers:
            del self.sent[self.next]
            self.next += 1
            yield opened(self.answers.pop(self.next - 1))

    def _keep(self, answer: _worker.Answer) -> None:
        """Take what a task has left, at once: a run that is killed finds what is finished."""
        if self.portable:
            self.portable.keep(answer.left, answer.gone)

    def _ship(self, answer: _worker.Answer, sent: _Sent) -> None:
        """Send what a host lacks, unless it was sent there for another task meanwhile."""
        for parcel in sent.known:
            place = answer.host, parcel.digest
            if parcel.digest not in answer.missing:
                continue
            # Every task that was on its way to the host before it came says that it is missing.
            times = self.shipped.get(place, 0)
            if times and self._there(answer.where, parcel):
                continue
            if times >= _MOST_TIMES:
                raise RunError(
                    f"worker {answer.where}: expected it to keep {parcel.path}, got a host that "
                    "loses it; look at the space and the rights of its cache folder (NNW_CACHE)"
                )
            self.shipped[place] = times + 1
            try:
                self._sent_to(answer.where, parcel)
            except LostError:
                return  # others get the task, and say for themselves what they lack

    def _there(self, where: str, parcel: Parcel) -> bool:
        try:
            return bool(self.cluster.at(where, _worker.has, parcel, self.limits.look))
        except LostError:
            return True

    def _sent_to(self, where: str, parcel: Parcel) -> None:
        for portion in parcels.pieces(parcel):
            self.cluster.at(where, _worker.receive, parcel, portion)
        if wrong := self.cluster.at(where, _worker.settle, parcel):
            raise RunError(
                f"worker {where}: expected all of {parcel.path}, got {wrong}; see that nothing "
                "changes it while it is sent, and start the run again, which resumes it"
            )
