"""An evaluation as benches see it: the digits, and a trainer that only notes what it is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.inference import SessionSettings
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.runs.bench import Trainings
from nnw_onnx.vocabulary import (
    Checkpoint,
    Epoch,
    Job,
    Moment,
    Recipe,
    Samples,
    Spec,
    Trained,
    Trainer,
)

MODEL = Path(__file__).resolve().parents[2] / "models" / "digits" / "cnn-0.onnx"


@dataclass(frozen=True)
class Noting(Trainer):
    """A trainer whose training adds what `steps` says; it keeps the jobs that it was given."""

    name = "noting"
    jobs: ClassVar[list[Job]] = []
    starts: ClassVar[list[OnnxNetwork]] = []

    def check(self) -> None: ...

    def train(self, network, job, *, on_epoch=lambda e: None, on_batch=None, checkpoint=None):
        self.jobs.append(job)
        self.starts.append(network)
        rng = np.random.Generator(np.random.Philox(job.seed))
        name = network.layers[0].name
        weights = np.array(network.weights[name])
        state: dict[str, Any] = dict(job.additions.state) if job.additions else {}
        if job.additions and job.additions.penalty:
            moment = Moment(
                {n: network.weights[n] for n in job.additions.carriers}, {}, None,
                np.zeros(1, bool), state, 0, lambda w: w,
            )  # fmt: skip
            penalty = job.additions.penalty(moment)
            for layer, gradient in penalty.weights.items():
                assert layer == name
                weights -= gradient.astype(weights.dtype)
            state |= penalty.state
        else:
            weights += rng.normal(size=weights.shape).astype(weights.dtype) * 1e-3
        after = network.with_weights({name: weights})
        watched = None if job.watch is None else job.watch(after)
        epoch = Epoch(1, 0.5, 0.25 if job.additions else None, watched)
        on_epoch(epoch)
        return Trained(after, (epoch,), 3, state)

    def gradient(self, network, feeds, targets, loss, output=0):
        return {name: np.sign(values) for name, values in feeds.items()}


@dataclass
class Kept:
    """A checkpoint in memory."""

    def load(self) -> None:
        return None

    def save(self, arrays: object) -> None: ...


@dataclass
class Around:
    """See `bench.Surroundings`."""

    trainings: Trainings | None = field(
        default_factory=lambda: Trainings(Spec("noting"), Recipe(), "cross-entropy", 0, 10.0)
    )
    settings: SessionSettings = field(default_factory=SessionSettings)
    batch_size: int = 16
    seed: int = 7
    names: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def training_samples(self, of: str) -> Samples:
        rng = np.random.Generator(np.random.Philox(3 if of == "task" else 4))
        images = rng.uniform(size=(40, 1, 8, 8)).astype(np.float32)
        facts = {"classes": [str(n) for n in range(10)]}
        return ArraySamples({"pixels": images}, rng.integers(0, 10, 40), facts=facts)

    def named(self, name: str) -> OnnxNetwork:
        return open_network(MODEL.parent / name)

    def checkpoint(self, name: str, most: int) -> Checkpoint:
        self.names.append(name)
        return Kept()

    def tell_progress(self, name: str, words: str) -> None:
        self.told.append(words)

    def forget_progress(self, name: str) -> None:
        self.told.append(f"end of {name}")
