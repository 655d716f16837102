"""Networks, their layers and weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Weights = Mapping[str, NDArray[Any]]
"""Layer name -> weights in canonical layout (out, in, *kernel); read-only, loaded lazily."""


@dataclass(frozen=True)
class Layer:
    """One tensor of trainable weights and the operator that consumes it.

    Attributes:
        name: name of the tensor in the file; the key of `Network.weights`.
        operator: type of the consuming operator, such as "Conv" (the first, if shared).
        role: "kernel", "bias", "embedding", "norm", "recurrent" or "other". Only kernels are
            "Weights" in the sense of the standard's Modifications.
        shape: canonical shape; (out, in, *kernel) for a kernel whose axes are known.
        axes: for each canonical axis the axis of the stored tensor, or None where the stored
            layout is kept because the output axis is unknown.
        stored_shape: shape of the tensor in the file.
        dtype: numpy name of the stored type, such as "float32" or "bfloat16".
        node: name of the consuming node, possibly empty.
        group: number of groups of a grouped convolution, otherwise 1.
        consumers: "operator:node:input index" of every use; more than one means shared.
        storage: "initializer", "constant", "subgraph", "function" or "quantized".
        quantization: how integer weights are stored ("DequantizeLinear", "QLinearConv",
            "MatMulNBits", ...), or None. Quantized weights can be read but not replaced.
        position: place of the consuming node among those of its graph: layers are computed in the
            order of their positions.
    """

    name: str
    operator: str
    role: str
    shape: tuple[int, ...]
    axes: tuple[int, ...] | None
    stored_shape: tuple[int, ...]
    dtype: str
    node: str = ""
    group: int = 1
    consumers: tuple[str, ...] = ()
    storage: str = "initializer"
    quantization: str | None = None
    position: int = 0

    @property
    def size(self) -> int:
        """Number of weights."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def shared(self) -> bool:
        """Whether more than one operator uses this tensor."""
        return len(self.consumers) > 1

    @property
    def replaceable(self) -> bool:
        """Whether `Network.with_weights` accepts new values for it."""
        return self.quantization is None


class Network(Protocol):
    """A network whose weights can be read and replaced, whatever it is stored in."""

    @property
    def layers(self) -> Sequence[Layer]:
        """Every layer, in the order of the file."""
        ...

    @property
    def weights(self) -> Weights:
        """Weights by layer name, canonical layout, stored dtype, read-only."""
        ...

    def with_weights(self, replaced: Weights) -> Self:
        """The same network with some weights replaced; nothing else is copied.

        Values are given in canonical layout in any float dtype and are stored in the layer's own
        dtype. Raises `ModelFileError` for an unknown name, a wrong shape, a value that is not
        finite (also after the cast), or a layer that is not replaceable.
        """
        ...
