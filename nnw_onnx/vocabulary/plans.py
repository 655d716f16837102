"""What is planned: plain values, hashed, sent to workers; and who carries them out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeVar

from nnw_onnx.vocabulary.specs import PlugIn, Spec, Step
from nnw_onnx.vocabulary.training import Recipe

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Technology:
    """How a watermark is put in.

    Attributes:
        method: the method with its options.
        size: bits of the payload, before code and alphabet; 0 for a method that carries none.
        code: error-correcting code, or None.
        recipe: of the training that puts it in; None where nothing is trained.
        start: from the "trained" networks or from "scratch", fresh weights.
        layers: carriers that the owner asks for, or ().
    """

    method: Spec
    size: int
    code: Spec | None = None
    recipe: Recipe | None = None
    start: Literal["trained", "scratch"] = "trained"
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claims:
    """Which claims a trial hears.

    Attributes:
        of: those of injections, or random wrong keys of a technology.
        injections: identities, for "injections".
        technology: index, for "wrong".
        count: how many wrong ones.
        first: index of the first of them; their secrets follow from it.
    """

    of: Literal["injections", "wrong"] = "injections"
    injections: tuple[str, ...] = ()
    technology: int | None = None
    count: int = 0
    first: int = 0


@dataclass(frozen=True)
class Trial:
    """One network, modified or not, to be run and examined.

    Attributes:
        identity: SHA-256 (hex) of everything it follows from.
        network: index of the unwatermarked network.
        parents: identities of injections; empty for the unwatermarked network; several are copies
            of several recipients, the first of them the one that is modified.
        copies: number of copies that go in; those of the unwatermarked network are itself.
        payload: index of the payload of the first parent, 0 without one.
        steps: Modifications, one after the other.
        setting: index of the plan's setting, or None without Modification.
        intensity: of the step that is swept, or None.
        claims: what is asked of the result.
        technology: the one that a step itself depends on (an overwriting by the same method).
        repetition: 0, 1, ...: each with draws of its own.
    """

    identity: str
    network: int
    parents: tuple[str, ...] = ()
    copies: int = 1
    payload: int = 0
    steps: tuple[Step, ...] = ()
    setting: int | None = None
    intensity: float | None = None
    claims: tuple[Claims, ...] = ()
    technology: int | None = None
    repetition: int = 0


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What became of one item: a value, or one line that says why there is none."""

    value: Result | None = None
    error: str | None = None


@dataclass(frozen=True)
class Parcel:
    """A file or folder that tasks read, known by its content, so that it may lie elsewhere.

    Attributes:
        path: where it is, absolute.
        digest: SHA-256 (hex) of the names and contents of all files in it.
        beside: names of files that belong to it, seen from the folder that it lies in.
    """

    path: str
    digest: str
    beside: tuple[str, ...] = ()


class Portable(ABC, Generic[Item, Result]):
    """A call that other machines can carry out: it says what it reads and takes what is left.

    What a task leaves is in a folder of its own, empty but for what `secrets` gives; whoever
    carries it out brings that back to `keep`, also where the task itself failed.
    """

    @property
    def gpu(self) -> bool:
        """Whether it should run where a GPU is."""
        return False

    @abstractmethod
    def __call__(self, item: Item) -> Result:
        """The result of one item, where everything lies."""

    @abstractmethod
    def common(self) -> tuple[Parcel, ...]:
        """What every item reads."""

    @abstractmethod
    def files(self, item: Item) -> tuple[Parcel, ...]:
        """What this item reads beside that."""

    @abstractmethod
    def secrets(self, item: Item) -> dict[str, bytes]:
        """Contents that must not stay anywhere, by their names in the folder of the task."""

    @abstractmethod
    def at(self, places: Mapping[str, str], folder: str) -> Callable[[Item], Result]:
        """The same call where its files lie elsewhere.

        Args:
            places: path of each parcel -> where it is there.
            folder: of the task there.
        """

    @abstractmethod
    def keep(self, left: Mapping[str, bytes], gone: Iterable[str]) -> None:
        """Take what a task has left.

        Args:
            left: files that it has written, by their names in its folder.
            gone: names of those of `secrets` that it has removed.
        """


class Engine(PlugIn):
    """Who carries out tasks: the plug-ins of `nnw_onnx.engines`.

    Attributes:
        elsewhere: whether tasks run on other machines, which then must have what they need.
    """

    elsewhere: ClassVar[bool] = False

    @property
    def at_once(self) -> int:
        """How many items it works on at the same time, as far as it knows."""
        return 1

    @contextmanager
    def kept(self) -> Iterator[Engine]:
        """This engine for several calls of `map`, between which its workers may go on living."""
        yield self

    @abstractmethod
    def map(
        self,
        call: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        timeout: float,
        memory_limit: int | None,
    ) -> Iterator[Outcome[Result]]:
        """Outcomes in the order of the items; `call` and items can be pickled.

        Args:
            call: a function of a module, or a value with `__call__`; a `Portable` one says what
                other machines need for it.
            items: plain values.
            timeout: seconds that one item may take.
            memory_limit: bytes that one may take, or None.
        """
