"""Marks that others have made, with the keys of their own tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from nnw_onnx import plugins
from nnw_onnx.api import arguments
from nnw_onnx.api.arguments import AnyNetwork
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.vocabulary import Array, Claim, Payload

if TYPE_CHECKING:
    from nnw_onnx.graph import OnnxNetwork
    from nnw_onnx.kit.preprocessing import Preprocessing
    from nnw_onnx.runs.foreign_keys import Order, Orientation

_Arrays: TypeAlias = Array | str | Path | None
_Labels: TypeAlias = Sequence[int] | str | Path | None

_FOREIGN = {
    "uchida": ("matrix",),
    "deepsigns": ("matrix", "inputs", "centres"),
    "adi": ("inputs", "labels"),
}
"""What keys of each method are made of; centres may be left out."""


def import_key(
    network: AnyNetwork,
    method: str,
    *,
    matrix: Array | str | Path | None = None,
    inputs: Array | str | Path | None = None,
    labels: Sequence[int] | str | Path | None = None,
    payload: Payload | str | None = None,
    fair: bool = False,
    layer: str | None = None,
    orientation: Orientation = "auto",
    order: Order = "in-first",
    classes: int | None = None,
    target: int = 0,
    centres: Array | str | Path | None = None,
    output: int = 0,
    preprocessing: Preprocessing | None = None,
) -> Claim:
    """The claim of a mark that others have made, from the arrays that their own tools keep.

    Nothing has committed such a key, and its payload is not masked: its evidence holds only if it
    is older than the network, and is exact only where its matrix is symmetric about 0, or the
    payload was drawn fairly. `detect` says which; `detect(..., wrong_keys=1000)` compares it with
    shuffles of itself.

    Args:
        network: the marked network, or the one before; its layers tell what a matrix is of.
        method: "uchida" (a matrix), "deepsigns" (a matrix, inputs and the layer) or "adi" (inputs
            and labels).
        matrix: an array, or an .npy file; bits are rows (T x M) or columns (M x T).
        inputs: as the network is fed them: of the marked class, or triggers; an array or an .npy
            file, and for triggers a folder of images too.
        labels: of triggers: classes, or a file of them.
        payload: the bits of a matrix as they were put in; None where it is only to be read.
        fair: whether payload, or labels, were drawn fairly by chance: its owner's word for it.
        layer: carrier of a matrix; for "uchida" the only kernel that it fits if None.
        orientation: whether bits are "rows" or "columns"; "auto" where the layer tells.
        order: of the weights of a filter: "in-first" as in torch, "in-last" as in Keras.
        classes: number of classes, where the network or the centres do not tell it.
        target: the marked class of "deepsigns".
        centres: (classes, features) of "deepsigns", kept for its owner to see.
        output: index of the output that holds the scores of "adi".
        preprocessing: of trigger images.

    Raises:
        ConfigurationError: something is missing, too much, or does not fit the network.
        DatasetError: images that cannot be read.
    """
    from nnw_onnx.runs import foreign_keys

    given = {"matrix": matrix, "inputs": inputs, "labels": labels, "centres": centres}
    _check_arrays(method, [name for name, value in given.items() if value is not None])
    opened = arguments.opened(network)
    bits = None if payload is None else Payload.of(payload)
    if method == "adi":
        fed, told = _triggers(opened, inputs, labels, preprocessing)
        return foreign_keys.trigger_claim(
            opened, fed, told, classes=classes, output=output, fair=fair
        )
    if method == "uchida":
        return foreign_keys.projection_claim(
            opened, arguments.array_of(matrix), bits,
            layer=layer, orientation=orientation, order=order, fair=fair,
        )  # fmt: skip
    return _activation_claim(
        opened, matrix, inputs, centres, bits,
        layer=layer, classes=classes, target=target, orientation=orientation, fair=fair,
    )  # fmt: skip


def _triggers(
    network: OnnxNetwork, inputs: _Arrays, labels: _Labels, preprocessing: Preprocessing | None
) -> tuple[Array, tuple[int, ...]]:
    """Trigger inputs and the class of each, from arrays or files."""
    from nnw_onnx.runs import trigger_files

    fed, names = (
        trigger_files.read_inputs(Path(inputs), network, preprocessing)
        if isinstance(inputs, str | Path)
        else (arguments.array_of(inputs), ())
    )
    told = (
        trigger_files.read_labels(Path(labels), names)
        if isinstance(labels, str | Path)
        else tuple(labels or ())
    )
    return fed, told


def _activation_claim(
    network: OnnxNetwork,
    matrix: _Arrays,
    inputs: _Arrays,
    centres: _Arrays,
    payload: Payload | None,
    *,
    layer: str | None,
    classes: int | None,
    target: int,
    orientation: Orientation,
    fair: bool,
) -> Claim:
    """The claim of a mark in what a layer answers; raises `ConfigurationError` without a layer."""
    from nnw_onnx.runs import foreign_keys, suspect

    if layer is None:
        raise ConfigurationError(
            "deepsigns: expected the layer whose answers carry the mark, got none; name it"
        )
    return foreign_keys.activation_claim(
        network, arguments.array_of(matrix), arguments.array_of(inputs), payload,
        suspect.isolated(network),
        layer=layer, classes=classes, target=target, orientation=orientation, fair=fair,
        centres=None if centres is None else arguments.array_of(centres),
    )  # fmt: skip


def _check_arrays(method: str, given: Sequence[str]) -> None:
    needed = _FOREIGN.get(method)
    if needed is None:
        raise ConfigurationError(
            f"method: expected one whose keys can be imported: {', '.join(_FOREIGN)}; got "
            f"{method!r}{plugins.closest(method, _FOREIGN)}; put another mark in with inject"
        )
    missing = [name for name in needed if name not in (*given, "centres")]
    if missing or not set(given) <= set(needed):
        raise ConfigurationError(
            f"{method}: expected {' and '.join(n for n in needed if n != 'centres')}, got "
            f"{' and '.join(given) or 'nothing'}; give what its keys are made of"
        )
