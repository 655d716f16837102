"""What one stage asks of an engine: a function of a run's context and a task, wherever it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from nnw_onnx import plugins
from nnw_onnx.errors import InferenceError, NnwError, UnavailableError
from nnw_onnx.graph import open_network
from nnw_onnx.kit.parcels import parcel_of
from nnw_onnx.runs import folders, mishaps
from nnw_onnx.runs.context import Context, Source
from nnw_onnx.runs.finished import PLACE, Finished
from nnw_onnx.runs.keys import is_key
from nnw_onnx.runs.plan import InjectionTask
from nnw_onnx.runs.sources import named_files
from nnw_onnx.vocabulary import Dataset, Parcel, Portable, Trial

Item = TypeVar("Item")
Result = TypeVar("Result")
_GPUS = ("cuda", "tensorrt", "nvtensorrt", "rocm", "migraphx", "dml")
_GIVEN = "given"


@dataclass(frozen=True)
class Work(Portable[Item, Result]):
    """A function of a context and a task.

    Attributes:
        function: what carries a task out.
        context: what all tasks have in common.
        moves: paths of the run -> where they are on this machine; none where it is the owner's.
        finished: digest of the plan of which records are kept until they are appended, or "".
    """

    function: Callable[[Context, Item], Result]
    context: Context
    moves: tuple[tuple[str, str], ...] = ()
    finished: str = ""

    @property
    def gpu(self) -> bool:
        """Whether networks run, or are trained, on a GPU."""
        trainings = self.context.trainings
        device = trainings.trainer.options.get("device") if trainings else None
        names = (*self.context.settings.providers, str(device))
        return any(name.lower().startswith(_GPUS) for name in names)

    def __call__(self, item: Item) -> Result:
        """The record of a task."""
        record = self._carried_out(item)
        if self.finished and isinstance(record, BaseModel):
            try:
                Finished(self.context.folder, self.finished).put(record)
            except OSError as error:
                raise mishaps.of_the_machine(error) from error
        return record

    def _carried_out(self, item: Item) -> Result:
        if not self.moves:
            return self.function(self.context, item)
        self.context.store.make_places()
        try:
            record = self.function(self.context, moved(item, dict(self.moves)))
        except NnwError as error:
            # One of the two kinds that an engine tells apart: it stops a run, or fails a task.
            stops = isinstance(error, UnavailableError)
            kind = UnavailableError if stops else InferenceError
            raise kind(self._told(str(error))) from error
        return self._of_the_run(record)

    def common(self) -> tuple[Parcel, ...]:
        """Networks, data and other files of the configuration."""
        context = self.context
        chains = [s.before for s in _data(context)] + [context.after]
        networks = [
            *context.networks,
            *(mark.file for mark in context.marked),
            *(reference.file for reference in context.references if reference),
            *(file for chain in chains for file in chain.files),
            *(context.path_of(name) for name, _ in context.sources.networks),
        ]
        files = [path for path in dict.fromkeys(_files(context)) if not is_key(path)]
        return (
            *(_network(path) for path in dict.fromkeys(networks)),
            *(parcel_of(path) for path in files),
        )

    def files(self, item: Item) -> tuple[Parcel, ...]:
        """The networks of its injections."""
        parents = item.parents if isinstance(item, Trial) else ()
        paths = (self.context.store.network_path(parent) for parent in parents)
        return tuple(
            _network(path) if path.suffix == ".onnx" else parcel_of(path)
            for path in paths
            if path.exists()
        )

    def secrets(self, item: Item) -> dict[str, bytes]:
        """Keys, and the states of trainings that were interrupted."""
        store, found = self.context.store, {}
        for name in _injections(item):
            if (key := store.key_path(name)).exists():
                found[f"keys/{key.name}"] = folders.content(key)
        task = item.identity if isinstance(item, Trial | InjectionTask) else ""
        for path in store.checkpoint_paths(task):
            found[f"checkpoints/{path.name}"] = folders.content(path)
        for path, name in _given(self.context).items():
            found[name] = folders.content(path)
        return found

    def at(self, places: Mapping[str, str], folder: str) -> Work[Item, Result]:
        """The same work with its files elsewhere, and what it writes in a folder of its own."""
        own = {str(path): f"{folder}/{name}" for path, name in _given(self.context).items()}
        moves = {**places, **own}
        run = self.context.folder
        received = tuple(
            (Path(path).relative_to(run).as_posix(), Path(place))
            for path, place in places.items()
            if Path(path).is_relative_to(run)
        )
        names = (name for name, _ in self.context.sources.networks)
        paths = ((name, str(self.context.path_of(name))) for name in names)
        opened = tuple((name, Path(moves.get(path, path))) for name, path in paths)
        context = moved(self.context, moves)
        context = replace(context, folder=Path(folder), received=received, opened=opened)
        return replace(self, context=context, moves=(*moves.items(), (str(run), folder)))

    def keep(self, left: Mapping[str, bytes], gone: Iterable[str]) -> None:
        """Put what a task has written into the run folder."""
        store = self.context.store
        # A record last: it says that key and network are there.
        for name in sorted(left, key=lambda name: name.startswith(f"{PLACE}/")):
            store.keep(name, left[name])
        for name in gone:
            store.forget(name)

    def _of_the_run(self, record: Result) -> Result:
        """A record as the owner's machine would have written it: with the paths of the run."""
        reason = vars(record).get("reason") if isinstance(record, BaseModel) else None
        if not isinstance(record, BaseModel) or not isinstance(reason, str):
            return record
        told: Result = record.model_copy(update={"reason": self._told(reason)})
        return told

    def _told(self, words: str) -> str:
        for path, place in sorted(self.moves, key=lambda move: -len(move[1])):
            words = words.replace(place, path)
        return words


@dataclass(frozen=True)
class Look(Work[Item, Result]):
    """A look at the machine that carries tasks out, for which nothing of the run travels."""

    def common(self) -> tuple[Parcel, ...]:
        """Nothing."""
        return ()


def moved(value: Any, places: Mapping[str, str]) -> Any:
    """A value with every path in it that has another place there, whether path or text."""
    if isinstance(value, Path):
        return Path(places.get(str(value), value))
    if isinstance(value, str):
        return places.get(value, value)
    if type(value) in (tuple, list):
        return type(value)(moved(part, places) for part in value)
    if isinstance(value, dict):
        return {key: moved(part, places) for key, part in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: vars(value)[f.name] for f in dataclasses.fields(value) if f.init}
        return replace(value, **{name: moved(part, places) for name, part in fields.items()})
    return value


def _network(path: Path) -> Parcel:
    file, *data = open_network(path).sources
    return parcel_of(file, data)


def _data(context: Context) -> list[Source]:
    given = (context.data, context.training_data, context.transfer_data, context.transfer)
    return [source for source in given if source is not None]


def _files(context: Context) -> Iterator[Path]:
    """Files and folders that options name and that are there; who misses one says so himself."""
    named = [
        path
        for source in _data(context)
        for path in named_files(plugins.load(Dataset, source.dataset.name), source.dataset)
    ]
    for path in (*named, *(path for path, _ in context.sources.files)):
        if Path(path).exists():
            yield Path(path)


def _given(context: Context) -> dict[Path, str]:
    """Key files that a configuration names -> their names in the folder of a task."""
    keys = [mark.key for mark in context.marked]
    keys += [path for path in _files(context) if is_key(path)]
    return {path: f"{_GIVEN}/{i}/{path.name}" for i, path in enumerate(dict.fromkeys(keys))}


def _injections(item: object) -> list[str]:
    if not isinstance(item, Trial):
        return []
    heard = [name for claims in item.claims for name in claims.injections]
    return list(dict.fromkeys((*item.parents, *heard)))
