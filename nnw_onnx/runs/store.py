"""The run folder: the only place where a run reads and writes its records.

    plan.json  injections.jsonl  records.jsonl  costs.jsonl  environment.json
    keys/<identity>.npz  networks/<identity>.npz (or .onnx)  checkpoints/<name>.npz
    progress/<name>

Records are appended in the order of the plan, one JSON line each, and forced to the disk, so a
run that is cut off at any moment can be resumed; a last line that was cut off is dropped.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from nnw_onnx.errors import RunError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.records import CostRecord, Environment, InjectionRecord, Plan, TrialRecord
from nnw_onnx.vocabulary import Array

Model = TypeVar("Model", bound=BaseModel)
RECORDS: dict[type[BaseModel], str] = {
    InjectionRecord: "injections.jsonl",
    TrialRecord: "records.jsonl",
    CostRecord: "costs.jsonl",
}
MAX_BYTES = 1 << 30
FORM = 2
"""Of the run folders that this version reads and writes."""
READERS = {1: "nnw-onnx 0.1 (pip install 'nnw-onnx<0.2')"}
"""Older form -> the version that reads it."""
TASK_NOTE = "task.txt"
"""Says in a work folder which training it belongs to."""
SINGLE: dict[type[BaseModel], str] = {Plan: "plan.json", Environment: "environment.json"}


class Store:
    """A run folder that may not exist yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def exists(self) -> bool:
        """Whether a plan was written here."""
        return (self.folder / SINGLE[Plan]).is_file()

    def key_path(self, identity: str) -> Path:
        """Where the secret key of an injection lies."""
        return self.folder / "keys" / f"{identity}.npz"

    def create(self) -> None:
        """Make the folder; keys are for the owner's eyes only.

        Raises:
            RunError: the folder is not empty, or cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            unknown = [p.name for p in self.folder.iterdir() if p.name != ".lock"]
            if unknown:
                raise RunError(
                    f"{self.folder}: expected a new or empty run folder, got one with "
                    f"{unknown[0]}; choose another with --run-folder"
                )
            (self.folder / "keys").mkdir(mode=0o700)
            (self.folder / "networks").mkdir()
        except OSError as error:
            raise RunError(
                f"{self.folder}: expected a folder that can be written, got: {error.strerror}; "
                "choose another with --run-folder"
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; raises `RunError` where another one holds it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / ".lock", timeout=0):
                yield
        except Timeout as error:
            raise RunError(
                f"{self.folder}: expected a run folder of its own, got one that another "
                "process is writing; wait for it or choose another with --run-folder"
            ) from error

    def write(self, value: BaseModel) -> None:
        """Write plan or environment atomically."""
        write_atomically(
            self.folder / SINGLE[type(value)], value.model_dump_json(indent=1).encode() + b"\n"
        )

    def read(self, model: type[Model]) -> Model:
        """Read plan or environment; raises `RunError` where it is missing, broken or too old."""
        path = self.folder / SINGLE[model]
        try:
            content = _content(path)
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
        return self.read(model) if (self.folder / SINGLE[model]).exists() else None

    def records(self, model: type[Model]) -> list[Model]:
        """All whole records of a kind; raises `RunError` where one is broken."""
        path = self.folder / RECORDS[model]
        if not path.exists():
            return []
        found = []
        lines = _content(path).split(b"\n")
        for number, line in enumerate(lines[:-1], 1):
            try:
                found.append(model.model_validate_json(line))
            except ValidationError as error:
                raise _broken(path, number, error) from error
        return found

    def drop_torn_lines(self) -> None:
        """Cut off a last line that an interruption left without its end."""
        for name in RECORDS.values():
            path = self.folder / name
            if path.exists() and not (data := path.read_bytes()).endswith(b"\n"):
                with path.open("r+b") as file:
                    file.truncate(data.rfind(b"\n") + 1)

    def append(self, record: BaseModel) -> None:
        """Append one record and force it to the disk."""
        with (self.folder / RECORDS[type(record)]).open("ab") as file:
            file.write(record.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def save_network(self, identity: str, network: OnnxNetwork, original: OnnxNetwork) -> None:
        """Keep what an injection made: the weights that it replaced, or a graph of its own."""
        path = self.folder / "networks" / f"{identity}.npz"
        if network.sha256 != original.sha256:
            network.save(path.with_suffix(".onnx"))
            return
        # In a type that numpy can store and that holds each value.
        write_arrays(
            path, {name: _exact(network.weights[name]) for name in sorted(network.replaced)}
        )

    def load_network(self, identity: str, original: OnnxNetwork) -> OnnxNetwork:
        """The network of an injection; raises `RunError` where its file is not whole."""
        path = self.folder / "networks" / f"{identity}.npz"
        graph = path.with_suffix(".onnx")
        if graph.exists():
            return open_network(graph)
        return original.with_weights(read_arrays(path))

    def checkpoint(self, name: str) -> StoredCheckpoint:
        """Where a training keeps its state."""
        return StoredCheckpoint(self.folder / "checkpoints" / f"{name}.npz")

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
            with contextlib.suppress(OSError):
                found.append(path.read_text(encoding="utf-8", errors="replace"))
        return found


class StoredCheckpoint:
    """A `vocabulary.Checkpoint` in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> Mapping[str, Array] | None:
        """The arrays kept last, or None; raises `RunError` where the file is not whole."""
        return read_arrays(self.path) if self.path.exists() else None

    def save(self, arrays: Mapping[str, Array]) -> None:
        """Keep these arrays instead."""
        self.path.parent.mkdir(exist_ok=True)
        write_arrays(self.path, arrays)

    def discard(self) -> None:
        """Keep nothing any more."""
        self.path.unlink(missing_ok=True)


@contextmanager
def work_folder(wanted: Path | None, task: str) -> Iterator[Path]:
    """Where the state of a task is kept; it is removed when the task is done."""
    if wanted is None:
        with tempfile.TemporaryDirectory(prefix="nnw-") as folder:
            yield Path(folder)
        return
    note = wanted / TASK_NOTE
    if wanted.exists() and not (note.is_file() and note.read_text(encoding="utf-8") == task):
        raise RunError(
            f"{wanted}: expected a new work folder or that of this very training, got another; "
            "give another --work-folder"
        )
    try:
        wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
        note.write_text(task, encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"{wanted}: expected a folder that can be written, got: {error.strerror}; give "
            "another --work-folder"
        ) from error
    yield wanted
    shutil.rmtree(wanted)


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write named arrays so that the file is either there as a whole or not at all."""
    names = sorted(arrays)
    members = {f"w{i}": arrays[name] for i, name in enumerate(names)}
    text = np.frombuffer(json.dumps(names).encode(), np.uint8)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.savez(file, names=text, **members)  # type: ignore[arg-type]  # numpy types **kwargs as bool
    temporary.replace(path)


def read_arrays(path: Path) -> dict[str, Array]:
    """Named arrays of a file; raises `RunError` where it is not whole."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = json.loads(archive["names"].tobytes())
            return {name: archive[f"w{i}"] for i, name in enumerate(names)}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise RunError(
            f"{path.name}: expected the arrays that a run keeps, got: {error}; "
            "start the run again in a new folder"
        ) from error


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file so that it is either there as a whole or not at all."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _content(path: Path) -> bytes:
    """All bytes of a regular file of the run folder; a run folder is untrusted input too."""
    if path.exists() and (path.is_symlink() or not path.is_file()):
        raise RunError(f"{path.name}: expected a regular file, got another kind; start a new run")
    if path.stat().st_size > MAX_BYTES:
        raise RunError(f"{path.name}: expected at most 1 GiB, got a larger file; start a new run")
    return path.read_bytes()


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


def _exact(array: Array) -> Array:
    return array if array.dtype == np.float64 else array.astype(np.float32)


def _broken(path: Path, number: int, error: ValidationError) -> RunError:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "line"
    return RunError(
        f"{path.name}, line {number}: expected a record, got: {where}: {first['msg']}; "
        "the file was changed by hand or by another version; start a new run"
    )
