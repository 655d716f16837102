"""What the tests of training share: a small evaluation, and a student of another architecture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nnw_onnx.runs import evaluate
from nnw_onnx.runs.evaluation import read_evaluation, with_engine
from nnw_onnx.runs.prepare import prepare

MODEL = Path(__file__).resolve().parents[2] / "models" / "digits" / "cnn-0.onnx"
TRAINED = """
title = "Trained"
networks = ["nnw:digits/cnn-0.onnx"]
payloads = 1
payload_sizes = [24]
[dataset]
name = "digits"
limit = 300
preprocessing = { scale = 0.0625 }
[training]
initial_epochs = 40
batch_size = 32
learning_rate = 0.05
[[methods]]
name = "uchida"
strength = 0.1
[methods.training]
epochs = 6
[[methods]]
name = "adi"
[methods.training]
epochs = 6
[[modifications]]
name = "l1-pruning"
layers = "carrier"
intensities = [50]
[[modifications]]
name = "fine-tuning"
intensities = [0.05]
learning_rate = 0.05
[[modifications]]
name = "distillation"
intensities = [2]
learning_rate = 0.1
student = "student.onnx"
[[modifications]]
name = "overwriting"
intensities = [2]
[control]
wrong_keys = 10
[preview]
samples = 0
[cost]
cells = 1
sessions = 1
repetitions = 5
warmups = 1
training_batches = 10
"""


def write_student(path: Path) -> None:
    """A network of one hidden layer for the same images."""
    rng = np.random.Generator(np.random.Philox(0))
    weights = {
        "hidden": rng.normal(size=(32, 64)), "hidden_bias": np.zeros(32),
        "last": rng.normal(size=(10, 32)), "last_bias": np.zeros(10),
    }  # fmt: skip
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Gemm", ["flat", "hidden", "hidden_bias"], ["sum"], transB=1),
        helper.make_node("Relu", ["sum"], ["active"]),
        helper.make_node("Gemm", ["active", "last", "last_bias"], ["scores"], transB=1),
    ]
    tensors = [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()]
    image = helper.make_tensor_value_info("image", 1, ["n", 1, 8, 8])
    scores = helper.make_tensor_value_info("scores", 1, ["n", 10])
    graph = helper.make_graph(nodes, "student", [image], [scores], tensors)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def configuration(folder: Path, text: str = TRAINED) -> Path:
    path = folder / "trained.toml"
    write_student(folder / "student.onnx")
    path.write_text(text, encoding="utf-8")
    return path


def carried_out(
    path: Path,
    folder: Path,
    *,
    engine: str | None = None,
    tell: Callable[[str], None] = lambda message: None,
) -> Path:
    """Every stage of an evaluation, without its report; the run folder."""
    asked = read_evaluation(path)
    if engine is not None:
        asked = with_engine(asked, engine)
    evaluate.run(prepare(asked, folder), progress=False, tell=tell)
    return folder
