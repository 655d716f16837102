"""What is finished and waits for its turn: records of tasks whose forerunners are still at work.

    finished/<identity>    a digest of the plan and the record; the record

Records are appended in the order of the plan. Whoever carries a task out writes its record here at
once, so that a run that is killed meanwhile does nothing twice. There are never more of them than
an engine has tasks on their way, and each is removed when it is appended. What is torn, of another
plan or of another task is no record: that task is done again.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from nnw_onnx.errors import RunError
from nnw_onnx.kit.writing import replacing
from nnw_onnx.runs import folders

Model = TypeVar("Model", bound=BaseModel)
PLACE = "finished"
LARGEST = 1 << 26
"""Bytes of a record that is kept; a larger one waits in memory only."""
_IDENTITY = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Finished:
    """Records of a run that wait to be appended.

    Attributes:
        folder: of the run, or of a task that runs on another machine.
        plan: SHA-256 (hex) of the plan; "" where nothing is kept.
    """

    folder: Path
    plan: str

    def put(self, record: BaseModel) -> None:
        """Keep a record; raises `OSError` where it cannot be written."""
        line = record.model_dump_json().encode()
        if not self.plan or len(line) > LARGEST:
            return
        path = self._path(vars(record)["identity"])
        path.parent.mkdir(exist_ok=True)
        # Not forced to the disk, which takes as long as to append it does: the digest tells whether
        # a loss of power has left all of it.
        with replacing(path) as file:
            file.write(self._digest(line) + b"\n" + line)

    def identities(self) -> set[str]:
        """Of the tasks of which something is kept.

        Raises:
            RunError: it is more than a run can have.
        """
        place = self.folder / PLACE
        found = [*place.iterdir()] if place.is_dir() else []
        if (size := sum(path.lstat().st_size for path in found)) > folders.MAX_BYTES:
            raise RunError(
                f"{PLACE}: expected at most {folders.MAX_BYTES} bytes of records that wait, got "
                f"{size}; remove this folder, what is in it is done again"
            )
        return {path.name for path in found if _IDENTITY.fullmatch(path.name)}

    def record(self, identity: str, model: type[Model]) -> Model | None:
        """The record of a task; None where there is none that is whole and of this plan."""
        try:
            kept = folders.content(self._path(identity), LARGEST + _DIGITS + 1)
            if kept[:_DIGITS] != self._digest(kept[_DIGITS + 1 :]):
                return None
            record = model.model_validate_json(kept[_DIGITS + 1 :])
        except (OSError, RunError, ValidationError):
            return None
        return record if vars(record)["identity"] == identity else None

    def forget(self, identity: str) -> None:
        """Keep no record of a task any more."""
        self._path(identity).unlink(missing_ok=True)

    def forget_failed(self, models: Iterable[type[BaseModel]]) -> None:
        """Keep no record of these kinds that says of a task that it failed."""
        for identity in self.identities():
            found = (self.record(identity, model) for model in models)
            if any(record and vars(record)["status"] == "failed" for record in found):
                self.forget(identity)

    def clear(self) -> None:
        """Keep nothing any more."""
        shutil.rmtree(self.folder / PLACE, ignore_errors=True)

    def _path(self, identity: str) -> Path:
        return self.folder / PLACE / identity

    def _digest(self, line: bytes) -> bytes:
        return hashlib.sha256(self.plan.encode() + line).hexdigest().encode()


_DIGITS = 2 * hashlib.sha256().digest_size
