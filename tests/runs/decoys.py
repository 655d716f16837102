"""Networks that hold two kernels of one shape, of which one only is used: L, the carrier's name.

A decoy has the name and shape of the carrier, and no answer depends on it; the kernel that is used
has another name.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

SHAPE = (32, 8, 3, 3)
OPSET = 17


def kernels(seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of the network but for the carrier, and an unmarked carrier."""
    rng = np.random.Generator(np.random.PCG64(seed))
    sizes = {"first": (8, 3, 3, 3), "L": SHAPE, "head": (10, 32)}
    return {n: (0.1 * rng.standard_normal(s)).astype(np.float32) for n, s in sizes.items()}


def plain(path: Path, carrier: np.ndarray, name: str = "L", **others: np.ndarray) -> Path:
    """Conv, Relu, Conv by the carrier, pooling, a linear classifier."""
    return write(path, carrier_nodes("h", name, "c"), {name: carrier, **others})


def carrier_nodes(source: str, weights: str, target: str) -> list[NodeProto]:
    return [helper.make_node("Conv", [source, weights], [target])]


def write(
    path: Path,
    middle: list[NodeProto],
    arrays: dict[str, np.ndarray],
    after: list[NodeProto] | None = None,
    outputs: tuple[str, ...] = ("y",),
) -> Path:
    """The network whose `middle` makes c (n, 32, ...) of h (n, 8, ...)."""
    base = kernels()
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"]),
        helper.make_node("Relu", ["a"], ["h"]),
        *middle,
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "head"], ["y"], transB=1),
        *(after or []),
    ]
    given = {"first": base["first"], "head": base["head"], **arrays}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 10, 10])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in given.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.save(model, path)
    return path


def scalar(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def dead_conv(path: Path, live: np.ndarray, decoy: np.ndarray) -> Path:
    """A Conv by L whose answer nothing uses."""
    middle = [*carrier_nodes("h", "used", "c"), *carrier_nodes("h", "L", "unused")]
    return write(path, middle, {"used": live, "L": decoy})


def never_taken(path: Path, live: np.ndarray, decoy: np.ndarray) -> Path:
    """A branch by L for inputs that no one has."""
    branches = [
        helper.make_graph(
            carrier_nodes("h", name, f"o_{name}"),
            f"by_{name}",
            [],
            [helper.make_tensor_value_info(f"o_{name}", TensorProto.FLOAT, None)],
        )
        for name in ("L", "used")
    ]
    middle = [
        helper.make_node("ReduceMax", ["h"], ["top"], keepdims=0),
        helper.make_node("Greater", ["top", "huge"], ["never"]),
        helper.make_node("If", ["never"], ["c"], then_branch=branches[0], else_branch=branches[1]),
    ]
    return write(path, middle, {"used": live, "L": decoy, "huge": scalar(1e30)})


def answer_times(path: Path, live: np.ndarray, decoy: np.ndarray, factor: float) -> Path:
    """What L answers, times a number, added to what the other one answers."""
    middle = [
        *carrier_nodes("h", "used", "u"),
        *carrier_nodes("h", "L", "l"),
        helper.make_node("Mul", ["l", "factor"], ["m"]),
        helper.make_node("Add", ["u", "m"], ["c"]),
    ]
    return write(path, middle, {"used": live, "L": decoy, "factor": scalar(factor)})


def answer_times_computed_zero(path: Path, live: np.ndarray, decoy: np.ndarray) -> Path:
    """The same with a zero that is computed from the input."""
    middle = [
        *carrier_nodes("h", "used", "u"),
        *carrier_nodes("h", "L", "l"),
        helper.make_node("ReduceMax", ["h"], ["top"], keepdims=0),
        helper.make_node("Sub", ["top", "top"], ["nought"]),
        helper.make_node("Mul", ["l", "nought"], ["m"]),
        helper.make_node("Add", ["u", "m"], ["c"]),
    ]
    return write(path, middle, {"used": live, "L": decoy})


def cancelled(path: Path, live: np.ndarray, decoy: np.ndarray) -> Path:
    """What L answers minus the same."""
    middle = [
        *carrier_nodes("h", "used", "u"),
        *carrier_nodes("h", "L", "l"),
        helper.make_node("Identity", ["l"], ["again"]),
        helper.make_node("Sub", ["l", "again"], ["m"]),
        helper.make_node("Add", ["u", "m"], ["c"]),
    ]
    return write(path, middle, {"used": live, "L": decoy})


def weights_times_zero(path: Path, live: np.ndarray, decoy: np.ndarray) -> Path:
    """A kernel that is 0 L + used."""
    middle = [
        helper.make_node("Mul", ["L", "nought"], ["m"]),
        helper.make_node("Add", ["m", "used"], ["w"]),
        *carrier_nodes("h", "w", "c"),
    ]
    return write(path, middle, {"used": live, "L": decoy, "nought": scalar(0)})


def weights_clipped(path: Path, live: np.ndarray, decoy: np.ndarray) -> Path:
    """A kernel that is Clip(L, 0, 0) + used."""
    middle = [
        helper.make_node("Clip", ["L", "nought", "nought"], ["m"]),
        helper.make_node("Add", ["m", "used"], ["w"]),
        *carrier_nodes("h", "w", "c"),
    ]
    return write(path, middle, {"used": live, "L": decoy, "nought": scalar(0)})


def weights_chosen(path: Path, live: np.ndarray, decoy: np.ndarray) -> Path:
    """A kernel that is Where(never, L, used)."""
    middle = [
        helper.make_node("Where", ["never", "L", "used"], ["w"]),
        *carrier_nodes("h", "w", "c"),
    ]
    return write(path, middle, {"used": live, "L": decoy, "never": np.array(False)})


def one_minus(path: Path, live: np.ndarray, decoy: np.ndarray) -> Path:
    """A kernel that is 1 - L: what is stored under the name is the decoy's opposite."""
    del decoy
    middle = [helper.make_node("Sub", ["one", "L"], ["w"]), *carrier_nodes("h", "w", "c")]
    return write(path, middle, {"L": 1 - live, "one": scalar(1)})


KINDS = {
    "dead Conv": dead_conv,
    "branch never taken": never_taken,
    "answer times 0": lambda p, a, b: answer_times(p, a, b, 0.0),
    "answer times 1e-30": lambda p, a, b: answer_times(p, a, b, 1e-30),
    "answer times a computed 0": answer_times_computed_zero,
    "answer minus itself": cancelled,
    "weights times 0": weights_times_zero,
    "weights clipped to 0": weights_clipped,
    "weights not chosen": weights_chosen,
}
