"""Key files of marks that others have made: from the arrays that their own tools keep.

The projection matrices of Uchida's method have a row for each bit in MPAI's testbed (T x M) and a
column in dnn-watermark (M x T); which is told by the shape of the layer. A filter's M weights are
in the order (in, height, width) of torch or (height, width, in) of Keras. The payload of such a
key is not masked, and nothing has committed it: `kit.foreign` says what its null is worth.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.kit import carriers, commitments, foreign
from nnw_onnx.runs.suspect import AskLayers
from nnw_onnx.vocabulary import Array, Claim, Feeds, Json, Key, Layer, Method, Payload, Spec

Orientation: TypeAlias = Literal["auto", "rows", "columns"]
"""Whether the bits of a matrix are its rows (T x M) or its columns (M x T)."""
Order: TypeAlias = Literal["in-first", "in-last"]
"""How the weights of a filter lie: (in, height, width) or (height, width, in)."""
_OLDER = "made elsewhere: what it shows holds only if it is older than the network"


def projection_claim(
    network: OnnxNetwork,
    matrix: Array,
    payload: Payload | None,
    *,
    layer: str | None = None,
    orientation: Orientation = "auto",
    order: Order = "in-first",
    fair: bool = False,
    options: Mapping[str, Json] | None = None,
) -> Claim:
    """A key of Uchida's method with a matrix of somebody else's.

    Args:
        network: the marked network, or the one before; its layers tell what the matrix is of.
        matrix: of T bits and M weights a filter.
        payload: the T bits as they were put in, without any mask; None where only reading is
            wanted.
        layer: the carrier; the only kernel that the matrix fits if None.
        orientation: of the matrix; "auto" is told by the layer.
        order: of the weights of a filter.
        fair: whether the payload was drawn fairly, which its owner declares.
        options: of the method.

    Raises:
        ConfigurationError: the matrix fits no layer, or several; or the payload does not fit it.
    """
    _check_matrix(matrix)
    found, rows = _layer_of(network, matrix, layer, orientation)
    bits = _in_first(matrix if rows else matrix.T, found, order)
    _check_payload(payload, len(bits))
    noted = f"carrier {carriers.describe(found)}: {'as asked' if layer else 'the only one it fits'}"
    turned = f"matrix of {len(bits)} bits, one a {'row' if rows else 'column'}"
    return Claim(
        Key(
            plugins.create(Method, Spec("uchida", {"carrier": "mean", **(options or {})})).spec(),
            _secret(bits),
            len(bits),
            carries=len(bits),
            layers=(found.name,),
            shapes=(found.shape,),
            facts={foreign.MADE_BY: "projection matrix", foreign.FAIR: fair},
            arrays={foreign.MATRIX: bits},
            notes=(noted, turned, _OLDER),
        ),
        payload,
    )


def activation_claim(
    network: OnnxNetwork,
    matrix: Array,
    inputs: Array,
    payload: Payload | None,
    ask: AskLayers,
    *,
    layer: str,
    classes: int | None = None,
    target: int = 0,
    centres: Array | None = None,
    orientation: Orientation = "auto",
    fair: bool = False,
    options: Mapping[str, Json] | None = None,
) -> Claim:
    """A key of DeepSigns with a matrix, inputs of the marked class, and maybe all class centres.

    Args:
        network: the marked network.
        matrix: of T bits and as many numbers as the layer answers, or its channels on average.
        inputs: (n, ...) of the marked class, as the network is fed them.
        payload: see `projection_claim`, also for the others.
        ask: runs the network.
        layer: whose answers carry the bits.
        classes: number of classes; that of the centres if None.
        target: the marked class.
        centres: (classes, features) as they were learnt; kept for the owner to see.
        orientation: likewise.
        fair: likewise.
        options: likewise.

    Raises:
        ConfigurationError: matrix, centres or payload do not fit the answers of the layer.
    """
    _check_matrix(matrix)
    found, feeds = carriers.named(network, layer), _fed(network, inputs)
    features, pooled = _width(_answers(ask, feeds, found), matrix, orientation)
    bits = np.ascontiguousarray(matrix if _is_row_wise(matrix, features, orientation) else matrix.T)
    _check_payload(payload, len(bits))
    known = _class_count(classes, centres, features, target)
    arrays = {foreign.MATRIX: bits, "feed_0": np.asarray(inputs, np.float32)}
    if centres is not None:
        arrays["centres"] = np.asarray(centres, np.float32)
    given = {**(options or {}), "target": target, "count": len(inputs)}
    return Claim(
        Key(
            plugins.create(Method, Spec("deepsigns", given)).spec(),
            _secret(bits),
            len(bits),
            carries=len(bits),
            layers=(found.name,),
            shapes=(found.shape,),
            facts={
                foreign.MADE_BY: "projection matrix of answers",
                foreign.FAIR: fair,
                "classes": known,
                "features": features,
                "pooled": pooled,
            },
            arrays=arrays,
            notes=(f"carrier {carriers.describe(found)}: as asked, {features} answers", _OLDER),
        ),
        payload,
    )


def trigger_claim(
    network: OnnxNetwork,
    inputs: Array,
    labels: Sequence[int],
    *,
    classes: int | None = None,
    output: int = 0,
    fair: bool = False,
) -> Claim:
    """A key of Adi's method with triggers of somebody else's and the answers that they must get.

    Args:
        network: the marked network, or the one before.
        inputs: (n, ...) as the network is fed them.
        labels: (n,) the class of each.
        classes: how many there are; told by the network's output if None.
        output: index of the output that holds the scores.
        fair: whether the labels were drawn uniformly over all classes, which their owner declares.

    Raises:
        ConfigurationError: the numbers of triggers, labels and classes do not fit.
    """
    _fed(network, inputs)
    known = _output_classes(network, output) if classes is None else classes
    given = np.asarray(labels)
    if given.shape != (len(inputs),) or given.dtype.kind not in "iu" or not len(given):
        raise ConfigurationError(
            f"labels: expected a class for each of {len(inputs)} triggers, got {given.dtype} "
            f"{given.shape}; give one whole number a trigger"
        )
    if known < 2 or given.min() < 0 or given.max() >= known:
        raise ConfigurationError(
            f"labels: expected classes from 0 to {known - 1}, got {given.min()} to {given.max()}; "
            "correct them or the number of classes"
        )
    fed = np.ascontiguousarray(inputs, np.float32)
    key = Key(
        plugins.create(Method, Spec("adi", {"output": output})).spec(),
        _secret(fed),
        len(fed),
        carries=len(fed),
        facts={foreign.MADE_BY: "trigger inputs", foreign.FAIR: fair, "classes": known},
        arrays={"triggers": fed},
        notes=(f"no carrier layer: {len(fed)} trigger inputs, one for each symbol", _OLDER),
    )
    return Claim(key, Payload(tuple(given.tolist()), known))


def _check_matrix(matrix: Array) -> None:
    if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
        raise ConfigurationError(
            f"matrix: expected a table of finite numbers, got an array of shape {matrix.shape} or "
            "others; give the matrix that a mean is multiplied with"
        )


def _check_payload(payload: Payload | None, size: int) -> None:
    if payload is not None and (len(payload) != size or payload.alphabet != 2):
        raise ConfigurationError(
            f"payload: expected the {size} bits of the matrix, got {len(payload)}; give them as "
            "they were put in, or give the other orientation"
        )


def _layer_of(
    network: OnnxNetwork, matrix: Array, name: str | None, orientation: Orientation
) -> tuple[Layer, bool]:
    """The carrier, and whether the bits are the rows."""
    layers = carriers.kernels(network) if name is None else [carriers.named(network, name)]
    fits = [
        (layer, rows)
        for layer in layers
        for rows in (True, False)
        if orientation in ("auto", "rows" if rows else "columns")
        and carriers.inputs_per_filter(layer) == matrix.shape[1 if rows else 0]
    ]
    # More bits than weights a filter could not be put in, so that is not what is meant.
    possible = [fit for fit in fits if matrix.shape[0 if fit[1] else 1] < max(matrix.shape)]
    fits = possible or fits
    if len(fits) == 1:
        return fits[0]
    shape = " x ".join(map(str, matrix.shape))
    if not fits:
        sizes = [f"{x.name} ({carriers.inputs_per_filter(x)})" for x in layers]
        raise ConfigurationError(
            f"matrix: expected as many rows or columns as a filter has weights, got {shape}; the "
            f"kernels have {carriers.listed(sizes)}"
        )
    both = "; say whether bits are rows or columns" if len({x.name for x, _ in fits}) == 1 else ""
    names = carriers.listed(list(dict.fromkeys(layer.name for layer, _ in fits)))
    raise ConfigurationError(
        f"matrix: expected one layer that {shape} fits in one way, got {names}"
        f"{both or '; name the layer'}"
    )


def _in_first(bits: Array, layer: Layer, order: Order) -> Array:
    """The matrix with the weights of a filter as (in, *kernel)."""
    inner = layer.shape[1:]
    if order == "in-last" and len(inner) > 1:
        turned = np.moveaxis(bits.reshape(len(bits), *inner[1:], inner[0]), -1, 1)
        bits = turned.reshape(len(bits), math.prod(inner))
    return np.ascontiguousarray(bits)


def _fed(network: OnnxNetwork, inputs: Array) -> Feeds:
    """The inputs under the name of the network's only input."""
    names = [info.name for info in network.inputs]
    if len(names) != 1 or inputs.ndim < 1 or not len(inputs) or not np.isfinite(inputs).all():
        raise ConfigurationError(
            f"inputs: expected finite numbers for the one input of a network, got "
            f"{' x '.join(map(str, inputs.shape))} for {len(names)} inputs; give them as the "
            "network is fed them"
        )
    return {names[0]: np.asarray(inputs, np.float32)}


def _answers(ask: AskLayers, feeds: Feeds, layer: Layer) -> Array:
    return ask({name: values[:1] for name, values in feeds.items()}, [layer.name])[layer.name]


def _width(answers: Array, matrix: Array, orientation: Orientation) -> tuple[int, bool]:
    """Number of answers that a bit is made of, and whether they are means over positions."""
    flat = answers.size
    means = answers.shape[-1] if answers.ndim == 3 else answers.shape[1] if answers.ndim > 3 else 0
    sides = {"auto": matrix.shape, "rows": matrix.shape[1:], "columns": matrix.shape[:1]}
    for features, pooled in ((flat, False), (means, True)):
        if features in sides[orientation]:
            return features, pooled
    raise ConfigurationError(
        f"matrix: expected {flat}{f' or {means}' if means else ''} numbers a bit, as the layer "
        f"answers, got {' x '.join(map(str, matrix.shape))}; name the layer it was made for"
    )


def _is_row_wise(matrix: Array, features: int, orientation: Orientation) -> bool:
    if orientation != "auto":
        return orientation == "rows"
    if matrix.shape == (features, features):
        raise ConfigurationError(
            "matrix: expected a shape that tells rows from columns, got as many; say whether bits "
            "are rows or columns"
        )
    return bool(matrix.shape[1] == features)


def _class_count(classes: int | None, centres: Array | None, features: int, target: int) -> int:
    if centres is not None and (centres.ndim != 2 or centres.shape[1] != features):
        raise ConfigurationError(
            f"centres: expected {features} numbers a class, got an array of shape "
            f"{centres.shape}; give those of this layer"
        )
    known = len(centres) if classes is None and centres is not None else classes
    if known is None or not 0 <= target < known:
        raise ConfigurationError(
            f"classes: expected a number above the marked class {target}, got {known}; give it"
        )
    return known


def _output_classes(network: OnnxNetwork, output: int) -> int:
    shapes = [info.shape for info in network.outputs]
    last = shapes[output][-1] if output < len(shapes) and shapes[output] else None
    if not isinstance(last, int):
        raise ConfigurationError(
            f"classes: expected a number, because output {output} of the network tells none, got "
            "none; give it"
        )
    return last


def _secret(values: NDArray[np.generic]) -> bytes:
    """The secret of ties and shuffles: it follows from what the key holds."""
    return hashlib.sha256(b"nnw-onnx foreign key 1" + commitments.digest(values).encode()).digest()
