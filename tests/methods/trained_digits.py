"""Watermarks that a short training puts into the shipped networks of digits, as a run does it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nnw_onnx import plugins
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.runs.bench import Place, RunBench
from nnw_onnx.runs.inject import Injected, inject
from nnw_onnx.runs.surroundings import Alone, Trainings
from nnw_onnx.vocabulary import (
    Dataset,
    Detection,
    Key,
    Method,
    Payload,
    Recipe,
    Samples,
    Spec,
    Technology,
)

MODELS = Path(__file__).resolve().parents[2] / "models" / "digits"
SECRET = bytes(range(32))
_DIGITS = Spec("digits", {"preprocessing": {"scale": 0.0625}})


def plain(index: int = 0) -> OnnxNetwork:
    """An unwatermarked network: 0, 1 and 2 differ in their seeds only."""
    return open_network(MODELS / f"cnn-{index}.onnx")


def samples(split: str = "train") -> Samples:
    """The digits from 0 to 1."""
    return plugins.create(Dataset, _DIGITS).load(split)


def recipe(epochs: float = 8, **changes: float) -> Recipe:
    """A short training that ends at a rate of 0."""
    given = {"learning_rate": 0.03, "batch_size": 64, "own_per_batch": 16, **changes}
    return Recipe(epochs=epochs, **given)


def bench(
    network: OnnxNetwork, technology: Technology | None = None, layers: tuple[str, ...] = ()
) -> RunBench:
    """Of one network, with the trainer of PyTorch; layers are those aimed at."""
    trainings = Trainings(Spec("torch"), recipe(), "cross-entropy")
    around = Alone(data=samples(), trainings=trainings)
    return RunBench(around, network, Place("test", "test", technology=technology, layers=layers))


def put_in(
    method: Method, training: Recipe | None = None, network: OnnxNetwork | None = None
) -> Injected:
    """A network with a watermark of no payload."""
    start = network or plain()
    technology = Technology(method.spec(), 0, recipe=training or recipe())
    return inject(technology, start, Payload(), SECRET, bench(start))


def detect(method: Method, network: OnnxNetwork, key: Key) -> Detection:
    """What its Detector says of a network, which it runs."""
    found = plugins.detects(method)
    assert found is not None
    return found.detect(bench(network).suspect_of(network)(method), Payload(), key)


def accuracy(network: OnnxNetwork) -> float:
    """Share of the test digits that are told rightly."""
    test = samples("test").fitted(network.inputs)
    batch = test.read(np.arange(len(test)))
    scores = next(iter(bench(network).run(network, batch.feeds).values()))
    return float(np.mean(np.argmax(scores, axis=1) == batch.targets))
