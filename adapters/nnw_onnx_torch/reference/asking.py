"""Asking a class in its process: what goes in, what may come out, and whose fault it is if not."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from nnw_onnx.errors import InferenceError, PluginError, TrainingError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.inference import Server, memory_for
from nnw_onnx.kit import spending
from nnw_onnx.kit.permissions import Permitted
from nnw_onnx.vocabulary import Array, Job, Json, Network

_PROCESS = "nnw_onnx_torch.reference.process"
_ROOM = 1 << 27
"""Bytes of an answer beside the weights of a network."""
_CHUNK = 1024
Head = Mapping[str, Json]


@dataclass(frozen=True)
class Answer:
    """What a class answered: plain values and arrays, of which nothing is believed yet."""

    head: Mapping[str, Any]
    arrays: Mapping[str, Array]


@dataclass(frozen=True)
class Asker:
    """A class that may be asked.

    Attributes:
        code: the file that may run.
        name: of the class.
        fixed: what goes with every question.
        timeout: seconds that an answer may take, of a training each epoch.
        memory: bytes that it may take; None for what a network of its size may need.
    """

    code: Permitted
    name: str
    fixed: Head
    timeout: float
    memory: int | None

    def ask(
        self,
        what: str,
        network: Network | None = None,
        arrays: Mapping[str, Array] | None = None,
        told: Head | None = None,
        on_epoch: Callable[[Mapping[str, Any]], None] = lambda epoch: None,
    ) -> Answer:
        """The answer to one question.

        Args:
            what: see `answers`.
            network: whose file is shown, or None.
            arrays: that go with it.
            told: what the question says beside.
            on_epoch: is told of each epoch of a training.

        Raises:
            PluginError: the class is not there, fails, takes too long or answers nonsense.
            TrainingError: PyTorch does not run the network.
        """
        onnx = None if network is None else _onnx(network)
        with tempfile.TemporaryDirectory(prefix="nnw-class-") as folder:
            file, work = Path(folder) / "network.onnx", Path(folder) / "work"
            work.mkdir()
            if onnx is not None:
                onnx.save(file)
            head: dict[str, Json] = {
                **self.fixed, **(told or {}),
                "what": what, "file": str(self.code.path), "sha256": self.code.sha256,
                "class": self.name, "work_dir": str(work), "memory": self.memory or _memory(onnx),
                "network": str(file),
            }  # fmt: skip
            return self._answer(head, arrays or {}, _most(onnx), on_epoch)

    def _answer(
        self,
        head: Head,
        arrays: Mapping[str, Array],
        most: int,
        on_epoch: Callable[[Mapping[str, Any]], None],
    ) -> Answer:
        what = str(head["what"])
        try:
            for told, found in _server().ask(head, arrays, timeout=self.timeout, most=most):
                kind = told.get("kind")
                spending.spend(told)
                if kind == "epoch":
                    on_epoch(told)
                elif kind == "failed":
                    raise self._failed(told)
                elif kind == "done":
                    return Answer(told, found)
        except InferenceError as error:
            raise self.fault(what, str(error)) from error
        raise self.fault(what, "expected an answer, got none; mend the class")

    def fault(self, member: str, words: str) -> PluginError:
        """The error of a class that breaks its contract."""
        return PluginError(f"{self.name} ({self.code.path.name}): {member}: {words}")

    def _failed(self, told: Mapping[str, Json]) -> PluginError | TrainingError:
        words, member = str(told.get("words"))[:1000], str(told.get("member"))[:40]
        if told.get("whose") == "class":
            return self.fault(member, f"{words}; mend the class")
        return PluginError(words) if member == "class" else TrainingError(words)


@contextmanager
def staged(job: Job) -> Iterator[dict[str, Json]]:
    """A job in words, its samples in files that the process maps."""
    with tempfile.TemporaryDirectory(prefix="nnw-samples-") as folder:
        feeds = _written(job, Path(folder))
        yield {
            "samples": folder, "feeds": feeds, "digest": job.samples.digest,
            "recipe": dataclasses.asdict(job.recipe), "loss": job.loss, "seed": job.seed,
            "output": job.output,
        }  # fmt: skip


def _written(job: Job, folder: Path) -> list[str]:
    """Write samples and targets as .npy files; the names of the feeds in their order."""
    count, files = len(job.samples), dict[str, Array]()
    names: list[str] = []
    for start in range(0, count, _CHUNK):
        stop = min(count, start + _CHUNK)
        batch = job.samples.read(np.arange(start, stop))
        names = list(batch.feeds)
        parts = {str(i): np.asarray(values) for i, values in enumerate(batch.feeds.values())}
        parts["targets"] = np.asarray(batch.targets)
        for name, values in parts.items():
            if name not in files:
                files[name] = _file(folder / f"{name}.npy", (count, *values.shape[1:]), values)
            files[name][start:stop] = values
    return names


def _file(path: Path, shape: tuple[int, ...], like: Array) -> Array:
    if like.dtype == object:
        raise TrainingError(
            "targets: expected numbers of one shape for all samples, got others; choose a data "
            "set whose targets can be stacked"
        )
    found: Array = np.lib.format.open_memmap(path, mode="w+", dtype=like.dtype, shape=shape)
    return found


@lru_cache(maxsize=1)
def _server() -> Server:
    return Server(_PROCESS)


def _onnx(network: Network) -> OnnxNetwork:
    if not isinstance(network, OnnxNetwork):
        raise TrainingError(
            f"network: expected one of an ONNX file, got a {type(network).__name__}; open it with "
            "nnw_onnx.open"
        )
    return network


def _weights(network: OnnxNetwork | None) -> int:
    return 0 if network is None else 8 * sum(layer.size for layer in network.layers)


def _memory(network: OnnxNetwork | None) -> int:
    return memory_for(_weights(network), _ROOM)


def _most(network: OnnxNetwork | None) -> int:
    return _ROOM + _weights(network)
