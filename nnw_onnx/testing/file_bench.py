"""A bench for Modifications that go from file to file: a shipped network, digits, the runtime."""

from __future__ import annotations

import numpy as np

from nnw_onnx import plugins
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.runs.bench import Place, RunBench
from nnw_onnx.runs.places import network_paths
from nnw_onnx.runs.surroundings import Alone
from nnw_onnx.vocabulary import Dataset, Feeds, Spec

_DIGITS = Spec("digits", {"preprocessing": {"scale": 0.0625}})


def shipped_network() -> OnnxNetwork:
    """A small classifier of digits that comes with the package."""
    return open_network(network_paths(["nnw:digits/cnn-*.onnx"])[0])


def file_bench() -> RunBench:
    """A bench with the training samples of that classifier; nothing is trained."""
    samples = plugins.create(Dataset, _DIGITS).load("train")
    return RunBench(Alone(data=samples), shipped_network(), Place("check", "check"))


def feeds(bench: RunBench, count: int) -> Feeds:
    """Some inputs of the classifier."""
    return bench.samples().read(np.arange(count)).feeds
