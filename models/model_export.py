"""Export of a trained torch network to one clean ONNX file, verified through onnxruntime."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model_data import Split
    from numpy.typing import NDArray

OPSET = 17
INPUT_NAME = "input"
OUTPUT_NAME = "logits"
BATCH = 500
# Of |torch - onnxruntime|, relative to the largest logit: some tens of float32 roundings.
MAX_DIFFERENCE = 1e-5
# Packages whose version decides the bytes of the result.
PACKAGES = ("torch", "onnx", "onnxruntime", "onnxruntime-gpu", "numpy")
"""Those of them that are installed are recorded."""


class ExportError(Exception):
    """The exported file does not compute what the torch network computes."""


@dataclass(frozen=True)
class Evaluation:
    """Logits of a network on a test set and the share of right answers."""

    logits: NDArray[np.float32]
    accuracy: float


def evaluate_torch(network: torch.nn.Module, test: Split) -> Evaluation:
    """Run a torch network in evaluation mode and float32."""
    network.eval()
    with torch.no_grad():
        parts = [
            network(torch.from_numpy(test.images[start : start + BATCH])).numpy()
            for start in range(0, len(test.labels), BATCH)
        ]
    return _evaluation(parts, test.labels)


def evaluate_onnx(content: bytes, test: Split) -> Evaluation:
    """Run a serialised ONNX network through onnxruntime on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    parts = [
        session.run([OUTPUT_NAME], {INPUT_NAME: test.images[start : start + BATCH]})[0]
        for start in range(0, len(test.labels), BATCH)
    ]
    return _evaluation(parts, test.labels)


def export(network: torch.nn.Module, example: torch.Tensor, graph_name: str) -> onnx.ModelProto:
    """Export a network with every weight bit-exact and under its torch parameter name.

    The TorchScript exporter without constant folding keeps BatchNormalization as nodes; the
    newer exporter folds it into the convolution before it, under the convolution's own name.

    Args:
        network: the network; it is put into evaluation mode.
        example: an input batch; only its shape matters.
        graph_name: the name written into the file.

    Returns:
        The model: weights inside, batch size dynamic, no doc strings.

    Raises:
        ExportError: a parameter is missing from the file or was changed.
    """
    network.eval()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        exported = Path(folder, "model.onnx")
        torch.onnx.export(
            network,
            (example,),
            exported,
            dynamo=False,
            do_constant_folding=False,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_axes={INPUT_NAME: {0: "batch"}, OUTPUT_NAME: {0: "batch"}},
        )
        model = onnx.load(exported)
    _clean(model, graph_name)
    _check_weights(model, network)
    onnx.checker.check_model(model, full_check=True)
    return model


def finish(
    network: torch.nn.Module,
    example: torch.Tensor,
    test: Split,
    *,
    out: Path,
    metadata: Mapping[str, str],
) -> dict[str, object]:
    """Export, verify, label and write a trained network.

    Args:
        network: the trained network.
        example: an input batch for the exporter.
        test: the test set, its images as the network takes them.
        out: the file to write.
        metadata: entries of the model's `metadata_props`; the accuracy is added.

    Returns:
        What was measured: accuracy, number of test images and weights, difference, sha256.

    Raises:
        ExportError: onnxruntime's answers differ from torch's.
    """
    reference = evaluate_torch(network, test)
    model = export(network, example, f"{metadata['data']}-{out.stem}")
    measured = evaluate_onnx(model.SerializeToString(), test)
    difference = float(np.abs(reference.logits - measured.logits).max())
    largest = float(np.abs(reference.logits).max())
    print(
        f"max |torch - onnxruntime| = {difference:.3g} on {len(test.labels)} test images "
        f"(largest |logit| {largest:.3g})"
    )
    print(f"top-1: torch {reference.accuracy:.4f}, onnxruntime {measured.accuracy:.4f}")
    if difference > MAX_DIFFERENCE * largest or measured.accuracy != reference.accuracy:
        message = f"{out.name}: onnxruntime does not reproduce torch's answers"
        raise ExportError(message)
    entries = {**metadata, "accuracy": f"{measured.accuracy:.6f}"}
    onnx.helper.set_model_props(model, entries)
    content = model.SerializeToString(deterministic=True)
    write_atomically(out, content)
    digest = hashlib.sha256(content).hexdigest()
    print(f"wrote {out.name}: {len(content)} bytes, sha256 {digest}")
    return {
        "accuracy": measured.accuracy,
        "n_test": len(test.labels),
        "weights": sum(parameter.numel() for parameter in network.parameters()),
        "max_difference_torch_onnxruntime": difference,
        "sha256": digest,
    }


def write_record(out: Path, record: Mapping[str, object]) -> None:
    """Write the record of a training beside the model, as `<model>.training.json`."""
    installed = {d.name for d in importlib.metadata.distributions()}
    versions = {n: importlib.metadata.version(n) for n in PACKAGES if n in installed}
    text = json.dumps({**record, "versions": versions}, indent=2) + "\n"
    write_atomically(out.with_suffix(".training.json"), text.encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name in its folder, then rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
            os.fchmod(stream.fileno(), 0o644)
        os.replace(temporary, path)  # noqa: PTH105 - `temporary` is a plain string
    except BaseException:
        os.unlink(temporary)  # noqa: PTH108 - `temporary` is a plain string
        raise


def _evaluation(parts: list[NDArray[np.float32]], labels: NDArray[np.int64]) -> Evaluation:
    """Join the logits of all batches and score them."""
    logits = np.concatenate(parts)
    return Evaluation(logits, float((logits.argmax(axis=1) == labels).mean()))


def _clean(model: onnx.ModelProto, graph_name: str) -> None:
    """Name the graph and its nodes, and remove stack traces and other notes of the exporter."""
    model.doc_string = ""
    model.graph.doc_string = ""
    model.graph.name = graph_name
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        node.name = node.name.lstrip("/")
        del node.metadata_props[:]
    # Names of intermediate results: "/block1/conv1/Conv_output_0" -> "block1/conv1/Conv_output_0".
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [name.lstrip("/") for name in names]
    for value in model.graph.value_info:
        value.name = value.name.lstrip("/")


def _check_weights(model: onnx.ModelProto, network: torch.nn.Module) -> None:
    """Compare every initializer with the torch tensor of the same name, bit by bit."""
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    state = {
        name: tensor.numpy()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    if stored.keys() != state.keys():
        message = f"initializers differ in {sorted(stored.keys() ^ state.keys())}"
        raise ExportError(message)
    changed = [name for name in state if stored[name].tobytes() != state[name].tobytes()]
    if changed:
        message = f"the exporter changed {changed}"
        raise ExportError(message)
