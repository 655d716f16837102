"""The run folder: the only place where a run reads and writes its records.

    plan.json  injections.jsonl  records.jsonl  costs.jsonl  environment.json
    keys/<identity>.npz  networks/<identity>.npz (or .onnx)  checkpoints/<name>.npz
    progress/<name>  finished/<identity>

Records are appended in the order of the plan, one JSON line each, and forced to the disk, so a
run that is cut off at any moment can be resumed; a last line that was cut off is dropped. A run
folder may come from elsewhere: see `runs.folders`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from nnw_onnx.errors import RunError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.kit.writing import replacing, settle
from nnw_onnx.records import CostRecord, Environment, InjectionRecord, Plan, TrialRecord
from nnw_onnx.runs import folders
from nnw_onnx.runs.arrays import read_arrays, write_arrays
from nnw_onnx.runs.collecting import uncollected
from nnw_onnx.runs.finished import PLACE, Finished
from nnw_onnx.text import one_line
from nnw_onnx.vocabulary import Array

Model = TypeVar("Model", bound=BaseModel)
RECORDS: dict[type[BaseModel], str] = {
    InjectionRecord: "injections.jsonl",
    TrialRecord: "records.jsonl",
    CostRecord: "costs.jsonl",
}
FORM = 2
"""Of the run folders that this version reads and writes."""
READERS = {1: "nnw-onnx 0.1 (pip install 'nnw-onnx<0.2')"}
"""Older form -> the version that reads it."""
TASK_NOTE = "task.txt"
"""Says in a work folder which training it belongs to, and by what claim."""
_WIDEST = 8
_OF_TASKS = re.compile(
    r"(keys|networks|checkpoints)/[0-9a-z][0-9a-z-]*\.(npz|onnx|onnx\.data)|"
    rf"{PLACE}/[0-9a-f]{{64}}"
)
_MOST_WORDS = 4096
SINGLE: dict[type[BaseModel], str] = {Plan: "plan.json", Environment: "environment.json"}


class Store:
    """A run folder that may not exist yet."""

    def __init__(self, folder: Path, elsewhere: Mapping[str, Path] | None = None) -> None:
        """Nothing is read or written yet.

        Args:
            folder: of the run.
            elsewhere: files that are read from another place, by their names in the folder.
        """
        self.folder, self._elsewhere = folder, elsewhere or {}

    @property
    def exists(self) -> bool:
        """Whether a plan was written here."""
        return os.path.lexists(self.folder / SINGLE[Plan])

    def key_path(self, identity: str) -> Path:
        """Where the secret key of an injection lies."""
        return self.folder / "keys" / f"{identity}.npz"

    def create(self) -> None:
        """Make the folder, or what is left to be made of it; keys are for the owner's eyes only.

        Raises:
            RunError: the folder is not empty, or cannot be made.
        """
        folders.make(self.folder, "--run-folder")
        unknown = [p.name for p in sorted(self.folder.iterdir()) if not _is_empty_part(p)]
        if unknown:
            raise RunError(
                f"{self.folder}: expected a new or empty run folder, got one with "
                f"{unknown[0]}; choose another with --run-folder"
            )
        try:
            (self.folder / "keys").mkdir(mode=0o700, exist_ok=True)
            (self.folder / "networks").mkdir(exist_ok=True)
            settle(self.folder)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def make_places(self) -> None:
        """Make the folders that a task writes into, where a worker has a folder of its own."""
        (self.folder / "keys").mkdir(mode=0o700, exist_ok=True)
        (self.folder / "networks").mkdir(exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process, without what one that died has left unfinished.

        Raises:
            RunError: another one holds it, it holds what is no plain file or folder, or it cannot
                be written.
        """
        folders.make(self.folder, "--run-folder")
        # Before the lock, which is a file too; keys would not be secret in a folder of others.
        folders.expect_plain(self.folder)
        with self._held():
            yield

    @contextmanager
    def _held(self) -> Iterator[None]:
        lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            lock.acquire()
            self._tidy()
        except Timeout as error:
            raise RunError(
                f"{self.folder}: expected a run folder of its own, got one that another "
                "process is writing; wait for it or choose another with --run-folder"
            ) from error
        except OSError as error:
            lock.release()
            raise _unwritable(self.folder, error) from error
        try:
            yield
            self._tidy()  # a worker that was killed may have left something since
        finally:
            lock.release()

    def _tidy(self) -> None:
        """Put away what a process left that died: unfinished files, words on its trainings."""
        keys, progress = self.folder / "keys", self.folder / "progress"
        if keys.is_dir():
            keys.chmod(0o700)
        folders.tidy(self.folder)
        for path in progress.iterdir() if progress.is_dir() else ():
            path.unlink()

    def write(self, value: BaseModel) -> None:
        """Write plan or environment: on the disk as a whole, or not at all."""
        content = value.model_dump_json(indent=1).encode() + b"\n"
        with replacing(self.folder / SINGLE[type(value)], durable=True) as file:
            file.write(content)

    def read(self, model: type[Model]) -> Model:
        """Read plan or environment; of the plan, after a look at all that is in the folder.

        Raises:
            RunError: it is missing, broken or too old, or the folder holds what is no plain file
                or folder.
        """
        path = self.folder / SINGLE[model]
        try:
            if model is Plan:
                folders.expect_plain(self.folder)
            content = folders.content(path)
            if model is Plan:
                _check_form(self.folder, content)
            return model.model_validate_json(content)
        except OSError as error:
            raise RunError(
                f"{self.folder}: expected a run folder with {path.name}, got none; "
                "give the folder that 'nnw evaluate' named"
            ) from error
        except ValidationError as error:
            raise _broken(path, 1, error) from error

    def read_if_there(self, model: type[Model]) -> Model | None:
        """Like `read`, but None where the run did not get that far."""
        return self.read(model) if os.path.lexists(self.folder / SINGLE[model]) else None

    def records(self, model: type[Model]) -> list[Model]:
        """All whole records of a kind, each once; raises `RunError` where one is broken."""
        with uncollected():
            return list(self.each(model))

    def each(self, model: type[Model]) -> Iterator[Model]:
        """The same, one after the other, for whoever does not keep them."""
        path = self.folder / RECORDS[model]
        if not os.path.lexists(path):
            return
        seen: dict[str, bytes] = {}
        for number, line in enumerate(folders.lines(path), 1):
            try:
                record = model.model_validate_json(line)
            except ValidationError as error:
                raise _broken(path, number, error) from error
            if _is_new(path, number, vars(record)["identity"], line, seen):
                yield record

    def rewrite(self, model: type[Model], records: Sequence[Model]) -> None:
        """Write all records of a kind anew: on the disk as a whole, or as they were before."""
        with replacing(self.folder / RECORDS[model], durable=True) as file:
            file.writelines(_line(record) for record in records)

    def finished(self) -> Finished:
        """Records that wait to be appended; raises `RunError` or `OSError` without a plan."""
        plan = folders.content(self.folder / SINGLE[Plan])
        return Finished(self.folder, hashlib.sha256(plan).hexdigest())

    def forget_failed(self) -> None:
        """Keep no record of what failed, so that it is done again, and the run is unfinished."""
        (self.folder / SINGLE[Environment]).unlink(missing_ok=True)
        self.finished().forget_failed(RECORDS)
        for model in (InjectionRecord, TrialRecord, CostRecord):
            records = self.records(model)
            kept = [record for record in records if vars(record)["status"] != "failed"]
            if len(kept) != len(records):
                self.rewrite(model, kept)

    def drop_torn_lines(self) -> None:
        """Cut off a last line that an interruption left without its end."""
        for name in RECORDS.values():
            path = self.folder / name
            if os.path.lexists(path) and not (data := folders.content(path)).endswith(b"\n"):
                folders.cut(path, data.rfind(b"\n") + 1)

    def append(self, record: BaseModel) -> None:
        """Append one record and force it to the disk."""
        folders.append(self.folder / RECORDS[type(record)], _line(record))

    def save_network(self, identity: str, network: OnnxNetwork, original: OnnxNetwork) -> None:
        """Keep what an injection made: the weights that it replaced, or a graph of its own."""
        path = self.folder / "networks" / f"{identity}.npz"
        if network.sha256 != original.sha256:
            network.save(path.with_suffix(".onnx"))
            settle(path.parent)
            return
        # In a type that numpy can store and that holds each value.
        weights = {name: _exact(network.weights[name]) for name in sorted(network.replaced)}
        write_arrays(path, weights, original.sha256)

    def network_path(self, identity: str) -> Path:
        """The file of what an injection made: weights, or a graph of its own (.onnx)."""
        names = (f"networks/{identity}{suffix}" for suffix in (".onnx", ".npz"))
        graph, weights = (self._elsewhere.get(name, self.folder / name) for name in names)
        return graph if graph.exists() else weights

    def load_network(self, identity: str, original: OnnxNetwork) -> OnnxNetwork:
        """The network of an injection; raises `RunError` where its file is not whole."""
        path = self.network_path(identity)
        if path.suffix == ".onnx":
            return open_network(path)
        most = sum(layer.size for layer in original.layers) * _WIDEST
        return original.with_weights(read_arrays(path, most, original.sha256))

    def checkpoint(self, name: str, most: int = 0) -> StoredCheckpoint:
        """Where a training keeps its state, of which at most `most` bytes are loaded."""
        return StoredCheckpoint(self.folder / "checkpoints" / f"{name}.npz", most)

    def checkpoint_paths(self, task: str) -> list[Path]:
        """The states of the trainings of a task that were interrupted."""
        folder = self.folder / "checkpoints"
        return sorted(folder.glob(f"{task}-*.npz")) if task and folder.is_dir() else []

    def keep(self, name: str, content: bytes) -> None:
        """Put in what a task has written elsewhere, by its name; what no task writes is left out.

        A network and a record are written as they would be here, a key and the state of a training
        so that only their owner can read them.
        """
        if _OF_TASKS.fullmatch(name) is None:
            return
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        secret = not name.startswith(("networks/", f"{PLACE}/"))
        with replacing(
            path, private=secret, durable=name.startswith(("keys/", "networks/"))
        ) as file:
            file.write(content)

    def forget(self, name: str) -> None:
        """Remove the state of a training that a task has removed elsewhere."""
        if name.startswith("checkpoints/") and _OF_TASKS.fullmatch(name):
            (self.folder / name).unlink(missing_ok=True)

    def tell_progress(self, name: str, words: str) -> None:
        """Say how far a training is, for `progress` to find."""
        folder = self.folder / "progress"
        folder.mkdir(exist_ok=True)
        write_atomically(folder / name, words.encode())

    def forget_progress(self, name: str) -> None:
        """Say no more of a training that is over."""
        (self.folder / "progress" / name).unlink(missing_ok=True)

    def progress(self) -> list[str]:
        """How far each training under way is, one line each."""
        folder = self.folder / "progress"
        found = []
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            # A worker may be done with it by now.
            with contextlib.suppress(OSError, RunError):
                words = folders.content(path, _MOST_WORDS).decode(errors="replace")
                found.append(one_line(words))
        return found


class StoredCheckpoint:
    """A `vocabulary.Checkpoint` in a file."""

    def __init__(self, path: Path, most: int) -> None:
        self.path, self._most = path, most

    def load(self) -> Mapping[str, Array] | None:
        """The arrays kept last, or None.

        Raises:
            RunError: the file is not whole, too large, or that of another training.
        """
        if not os.path.lexists(self.path):
            return None
        return read_arrays(self.path, self._most, self.path.stem)

    def save(self, arrays: Mapping[str, Array]) -> None:
        """Keep these arrays instead; they may hold what a method must keep secret."""
        self.path.parent.mkdir(exist_ok=True)
        write_arrays(self.path, arrays, self.path.stem, private=True)

    def discard(self) -> None:
        """Keep nothing any more."""
        self.path.unlink(missing_ok=True)


@contextmanager
def work_folder(wanted: Path | None, task: str, read: Sequence[Path] = ()) -> Iterator[Path]:
    """Where the state of a task is kept; it is removed when the task is done.

    Args:
        wanted: the folder, or None for a temporary one.
        task: identity of the task.
        read: files that the task needs, which must not be removed with it.

    Raises:
        RunError: it is that of another task, holds what is no plain file or folder, or what is
            read; or it cannot be written.
    """
    if wanted is None:
        with tempfile.TemporaryDirectory(prefix="nnw-") as folder:
            write_atomically(Path(folder) / TASK_NOTE, task.encode())
            yield Path(folder)
        return
    folders.expect_plain(wanted)
    for path in read:
        if path.resolve().is_relative_to(wanted.resolve()):
            raise RunError(
                f"{wanted}: expected a folder for the state of a training alone, which is removed "
                f"when it is done, got one with {path.name}; give another --work-folder"
            )
    if wanted.exists() and _noted(wanted)[:1] != [task]:
        raise RunError(
            f"{wanted}: expected a new work folder or that of this very training, got another; "
            "give another --work-folder"
        )
    try:
        wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
        wanted.chmod(0o700)
        if not _noted(wanted):
            write_atomically(wanted / TASK_NOTE, task.encode())
    except OSError as error:
        raise RunError(
            f"{wanted}: expected a folder that can be written, got: {error.strerror}; give "
            "another --work-folder"
        ) from error
    yield wanted
    shutil.rmtree(wanted)


def bind(folder: Path, commitment: str) -> None:
    """Say in a work folder by which claim its training puts a watermark in."""
    write_atomically(folder / TASK_NOTE, f"{_noted(folder)[0]}\n{commitment}".encode())


def bound(folder: Path) -> str:
    """The commitment of that claim, or "" where none was made yet."""
    return "".join(_noted(folder)[1:])


def _noted(folder: Path) -> list[str]:
    try:
        return folders.content(folder / TASK_NOTE, _MOST_WORDS).decode(errors="replace").split()
    except OSError:
        return []


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it is either there as a whole or not at all."""
    with replacing(path) as file:
        file.write(data)


def _check_form(folder: Path, content: bytes) -> None:
    """Refuse the run folder of another version of nnw-onnx in one line."""
    try:
        plan = json.loads(content)
    except (ValueError, RecursionError):
        return  # the model says what is wrong with it
    form = plan.get("schema_version") if isinstance(plan, dict) else None
    if type(form) is int and form in READERS:
        raise RunError(
            f"{folder}: expected a run folder of form {FORM}, got one of form {form}; "
            f"{READERS[form]} reads it"
        )


def _is_empty_part(path: Path) -> bool:
    """Whether a run that was ended before its plan was written can have left this."""
    if path.name in ("keys", "networks"):
        return path.is_dir() and not any(path.iterdir())
    return path.name == ".lock"


def _unwritable(folder: Path, error: OSError) -> RunError:
    return RunError(
        f"{folder}: expected a folder that can be written, got: {error.strerror or error}; mend "
        "that or choose another with --run-folder"
    )


def _line(record: BaseModel) -> bytes:
    return record.model_dump_json().encode() + b"\n"


def _is_new(path: Path, number: int, identity: str, line: bytes, seen: dict[str, bytes]) -> bool:
    """Whether a record is the first of its task: a line that was copied counts no second time."""
    digest = hashlib.blake2b(line, digest_size=16).digest()
    first = seen.setdefault(identity, digest)
    if first != digest:
        raise RunError(
            f"{path.name}, line {number}: expected one record of a task, got two that differ; "
            "the file was changed by hand, start a new run"
        )
    return first is digest


def _exact(array: Array) -> Array:
    return array if array.dtype == np.float64 else array.astype(np.float32)


def _broken(path: Path, number: int, error: ValidationError) -> RunError:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "line"
    return RunError(
        f"{path.name}, line {number}: expected a record, got: {where}: {first['msg']}; "
        "the file was changed by hand or by another version; start a new run"
    )
