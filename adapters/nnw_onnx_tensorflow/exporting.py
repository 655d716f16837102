"""A Keras model as an ONNX file that is known to compute the same, and its key for that file."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, ModelFileError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.inference import Session
from nnw_onnx.kit import matching
from nnw_onnx.vocabulary import Array, Claim
from nnw_onnx_tensorflow import reading_back
from nnw_onnx_tensorflow._matching import match
from nnw_onnx_tensorflow._unfolding import unfold
from nnw_onnx_tensorflow._writing import write
from nnw_onnx_tensorflow.network import KerasNetwork, flat_outputs

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Exported:
    """A model that was written as ONNX.

    Attributes:
        network: the network of the file.
        max_difference: largest difference between an output of the runtime and of the model on
            the example inputs, divided by the largest absolute value of that output.
        renamed: path of a Keras variable -> name of the layer of the file that holds its values.
        factors: path of a kernel -> factor (out,) of each filter, where the file holds the kernel
            multiplied by them: the exporter folded a batch normalization into it.
        lost: path of a Keras variable -> why the file has no layer with its values.
    """

    network: OnnxNetwork
    max_difference: float
    renamed: Mapping[str, str]
    factors: Mapping[str, NDArray[np.float64]]
    lost: Mapping[str, str]


Examples: TypeAlias = Array | Sequence[Array]


def export(
    model: Any,
    example_inputs: Examples | str | Path,
    path: str | Path | Examples,
    *,
    keep_kernels: bool = True,
) -> Exported:
    """Write a built Keras model as ONNX, by `model.export(format="onnx")`, and check the file.

    Names do not survive an export; layers are found again by their values. On TensorFlow, tf2onnx
    folds a BatchNormalization that follows a convolution into its kernel W: filter o becomes
    gamma_o / sqrt(variance_o + epsilon) W_o. Where a watermark lies in the mean of the filters
    (Uchida), that mean becomes a weighted one: Symbols of a small margin may flip, and a negative
    gamma turns its filter's share over. `keep_kernels` undoes it: f Conv(x, W) + b has the trained
    W in the file, and a runtime folds it again when it loads it. With `keep_kernels=False` the file
    is what tf2onnx wrote, and the Symbol Error Rate of the model and of the file may differ: decode
    both. In a small Conv + BN net (32 to 140 Symbols in 144 weights a filter, factors 2.1 to 3.0)
    they were equal in all 24 trainings, 0 to 1.4 %. Whoever else exports the model folds, too. On
    torch nothing is folded.

    Export the object on which the mark was made; whether it holds it, and the file too, is read
    back, with a warning where it does not.

    Inputs stay channels-last. The batch is free, except where only a fixed one can be exported.

    Args:
        model: the model; it is not changed. On TensorFlow grouped convolutions cannot be exported.
        example_inputs: an array (n, ...), or one for each input.
        path: the file; it is replaced, and only if all went well. Path and examples may also come
            the other way round, as until version 0.2.0.
        keep_kernels: whether convolutions keep their trained kernels.

    Raises:
        ModelFileError: Keras cannot export the model, the file computes something else (relative
            difference above 1e-4), or it cannot be written. Nothing is left behind.
        ConfigurationError: a package that the export needs is not installed.
        InferenceError: the runtime refuses the file.
    """
    source = KerasNetwork(model)
    inputs, target = _in_order(example_inputs, path)
    with _workplace(target) as draft:
        write(model, draft, inputs)
        if keep_kernels:
            folded = match(source, open_network(draft))
            if folded.factors:
                unfold(draft, folded, source.weights)
        written = open_network(draft)
        difference = _difference(model, written, inputs)
        written.save(target)
    network = open_network(target)
    found = match(source, network)
    exported = Exported(network, difference, found.renamed, found.factors, found.lost)
    reading_back.check(model, network, lambda claim: rekey(claim, exported))
    return exported


def _in_order(
    first: Examples | str | Path, second: Examples | str | Path
) -> tuple[list[Array], Path]:
    """Example inputs and path, whichever comes first."""
    paths = [x for x in (first, second) if isinstance(x, str | Path)]
    examples = [x for x in (first, second) if not isinstance(x, str | Path)]
    if len(paths) != 1:
        raise ConfigurationError(
            f"export: expected example inputs and the path of a file, got {len(paths)} paths; call "
            "export(model, example_inputs, path)"
        )
    (found,) = examples
    several = found if isinstance(found, list | tuple) else [found]
    return [np.asarray(x) for x in several], Path(paths[0])


def rekey(claim: Claim, exported: Exported | OnnxNetwork | str | Path, model: Any = None) -> Claim:
    """The claim of a Watermark of the model, as one on the exported file.

    Layers of its key get their names in the file; the commitment stays the one that was made before
    the training.

    Args:
        claim: `Watermark.claim`.
        exported: what `export` has told; or a file of the model that `model.export` or tf2onnx has
            written, or the network in it.
        model: of such a file the model as it was exported, whose values are looked for; without it
            the carrier is the layer of a similar name, or the only one of its shape.

    Raises:
        CarrierNotFoundError: the file has no layer with the values of a carrier, filter by filter.
        ModelFileError: the file cannot be opened.
    """
    if not isinstance(exported, Exported):
        file = exported if isinstance(exported, OnnxNetwork) else open_network(Path(exported))
        return matching.rekeyed(claim, file, None if model is None else KerasNetwork(model))
    key, layers = claim.key, {layer.name: layer for layer in exported.network.layers}
    found = [layers[_renamed(name, exported)] for name in key.layers]
    notes = [f"layer {old} of the Keras model is {new.name} in the file"
             for old, new in zip(key.layers, found, strict=True)]  # fmt: skip
    notes += [
        f"the exporter multiplied its filters by {factors.min():.3g} to {factors.max():.3g}"
        for name in key.layers
        if (factors := exported.factors.get(name)) is not None
    ]
    changed = dataclasses.replace(
        key,
        layers=tuple(layer.name for layer in found),
        shapes=tuple(layer.shape for layer in found),
        notes=(*key.notes, *notes),
    )
    return dataclasses.replace(claim, key=changed)


def _renamed(name: str, exported: Exported) -> str:
    if name not in exported.renamed:
        reason = exported.lost.get(name, "the exported model has no such variable")
        raise CarrierNotFoundError(
            f"carrier: expected layer {name!r} in {exported.network.path.name!r}, got none: "
            f"{reason}; choose another layer, or export the model of the key"
        )
    return exported.renamed[name]


@contextlib.contextmanager
def _workplace(target: Path) -> Iterator[Path]:
    """A file in a folder of its own beside the target, which is gone afterwards."""
    try:
        folder = tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise ModelFileError(
            f"{target}: expected a path where a model can be written, got: {error.strerror}; "
            "choose another path"
        ) from error
    with folder as name:
        yield Path(name) / "model.onnx"


def _difference(model: Any, network: OnnxNetwork, inputs: Sequence[Array]) -> float:
    """Relative difference of the outputs; raises `ModelFileError` above the tolerance."""
    wanted = flat_outputs(model.predict_on_batch(inputs[0] if len(inputs) == 1 else list(inputs)))
    session = Session(network.runnable())
    feeds = {
        info.name: np.asarray(x, info.dtype) for info, x in zip(session.inputs, inputs, strict=True)
    }
    got = session.run(feeds)
    difference = np.inf
    if [g.shape for g in got] == [w.shape for w in wanted]:
        difference = max(_relative(g, w) for g, w in zip(got, wanted, strict=True))
    if not difference <= TOLERANCE:
        raise ModelFileError(
            f"export: expected a file that computes what the model does to {TOLERANCE:g}, got a "
            f"relative difference of {difference:.2g}; export it by hand and compare the layers"
        )
    return float(difference)


def _relative(got: Array, wanted: Array) -> float:
    if not wanted.size:
        return 0.0
    scale = max(float(np.abs(wanted).max()), float(np.finfo(np.float32).tiny))
    return float(np.abs(got.astype(np.float64) - wanted).max()) / scale
