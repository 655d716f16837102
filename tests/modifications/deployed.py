"""A network with something to do for every deployment transformation, and the way through files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nnw_onnx import plugins
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.inference import Session
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.testing import ArrayBench
from nnw_onnx.vocabulary import Modification, Network, Spec

ALL = (
    ("bn-folding", {}),
    ("graph-optimization", {"level": "basic"}),
    ("graph-optimization", {"level": "extended"}),
    ("graph-optimization", {"level": "all"}),
    ("constant-folding", {}),
    ("simplification", {"tool": "onnxslim"}),
    ("simplification", {"tool": "onnxsim"}),
    ("opset-conversion", {"opset": 21}),
    ("initializers-to-constants", {}),
    ("constants-to-initializers", {}),
    ("external-data", {}),
    ("dropped-names", {}),
    ("re-export", {}),
    ("float16", {}),
    ("bfloat16", {}),
    ("int8", {"mode": "dynamic"}),
    ("int8", {"mode": "dynamic", "per_channel": True}),
    ("int8", {}),
    ("int8", {"per_channel": False}),
    ("int8", {"form": "qoperator"}),
    ("int8", {"form": "qoperator", "per_channel": False}),
    ("int4", {}),
    ("int4", {"form": "qdq"}),
)
"""Every one with the options that make another transformation of it."""


def name_of(pair: tuple[str, dict[str, object]]) -> str:
    """A transformation in words."""
    return " ".join([pair[0], *(f"{k}={v}" for k, v in pair[1].items())])


def through_file(given: Network, change) -> OnnxNetwork:
    folder = Path(tempfile.mkdtemp())
    source, target = folder / "source" / "net.onnx", folder / "target" / "net.onnx"
    source.parent.mkdir()
    target.parent.mkdir()
    given.save(source)
    change(source, target)
    return open_network(target)


def apply(network: OnnxNetwork, name: str, samples=None, **options) -> OnnxNetwork:
    """The network after a Modification, calibrated on samples where it wants that."""
    modification = plugins.create(Modification, Spec(name, options))
    bench = ArrayBench(samples=samples or samples_for(network), through_file=through_file)
    rng = np.random.Generator(np.random.PCG64(0))
    return modification.modify(network, bench, rng).network


def samples_for(network: OnnxNetwork, count: int = 64) -> ArraySamples:
    rng = np.random.Generator(np.random.PCG64(4))
    (port,) = network.inputs
    return ArraySamples(
        {port.name: rng.random((count, *port.shape[1:]), np.float32)}, np.zeros(count, np.int64)
    )


def answers(network: OnnxNetwork, samples: ArraySamples, count: int = 32) -> np.ndarray:
    feeds = samples.fitted(network.inputs).read(np.arange(count)).feeds
    return next(iter(Session(network.runnable()).predict(feeds).values()))


def difference(before: np.ndarray, after: np.ndarray) -> float:
    """The largest change of an answer over the largest answer."""
    return float(np.abs(after - before).max() / np.abs(before).max())


def workbench(path: Path) -> OnnxNetwork:
    """Two convolutions, a normalisation, a transposed matrix, a matrix, and Constant nodes."""
    rng = np.random.Generator(np.random.PCG64(11))

    def drawn(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    arrays = {
        "c1.weight": drawn(32, 8, 3, 3), "c2.weight": drawn(48, 32, 3, 3),
        "bn.weight": rng.normal(size=48).astype(np.float32), "bn.bias": drawn(48, 1)[:, 0],
        "bn.mean": 0.1 * drawn(48, 1)[:, 0],
        "bn.var": (0.5 + rng.random(48)).astype(np.float32),
        "fc1.weight": drawn(64, 48), "fc2.weight": np.ascontiguousarray(drawn(10, 64).T),
    }  # fmt: skip
    offset = numpy_helper.from_array(drawn(64, 1)[:, 0])
    make = helper.make_node
    nodes = [
        make("Constant", [], ["offset"], "constants", value=offset),
        make("Constant", [], ["factor"], value_float=1.5),
        make("Conv", ["x", "c1.weight"], ["a"], "conv1", pads=[1] * 4),
        make("Relu", ["a"], ["b"]),
        make("Conv", ["b", "c2.weight"], ["c"], "conv2", pads=[1] * 4),
        make("BatchNormalization", ["c", "bn.weight", "bn.bias", "bn.mean", "bn.var"], ["d"]),
        make("Relu", ["d"], ["e"]),
        make("GlobalAveragePool", ["e"], ["f"]),
        make("Flatten", ["f"], ["g"]),
        make("Transpose", ["fc1.weight"], ["fc1.turned"], "turn", perm=[1, 0]),
        make("MatMul", ["g", "fc1.turned"], ["h"], "fc1"),
        make("Add", ["h", "offset"], ["i"]),
        make("Mul", ["i", "factor"], ["j"]),
        make("Relu", ["j"], ["k"]),
        make("MatMul", ["k", "fc2.weight"], ["y"], "fc2"),
    ]
    ports = [
        helper.make_tensor_value_info("x", 1, ["n", 8, 8, 8]),
        helper.make_tensor_value_info("y", 1, ["n", 10]),
    ]
    stored = [numpy_helper.from_array(values, name) for name, values in arrays.items()]
    graph = helper.make_graph(nodes, "workbench", ports[:1], ports[1:], stored)
    sets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=8), path)
    return open_network(path)
