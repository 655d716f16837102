"""Networks, their layers and weights, and what one is told of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
"""An array of any element type."""

Weights: TypeAlias = Mapping[str, Array]
"""Layer name -> weights in canonical layout (out, in, *kernel); read-only, loaded lazily."""

Feeds: TypeAlias = Mapping[str, Array]
"""Graph input -> values (n, ...) in their own element type.

Where no name of the feeds is an input of the network, they are matched by their place.
"""

Values: TypeAlias = Mapping[str, Array]
"""Graph output, or layer -> what it answers; outputs in the order of the graph."""

Ask: TypeAlias = Callable[[Feeds], Values]
Around: TypeAlias = Callable[[Feeds, Ask], Values]
"""What stands between who asks and the network: changes questions or answers, or asks again."""

ON_THE_CPU = "nodes on the CPU"
"""Name of the fact that tells which nodes a device has left to the CPU."""
SESSION_WEIGHTS = "weights of the session"
"""Name of the fact that tells how a session on a device is given a network's weights."""


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a network.

    Attributes:
        name: its name.
        shape: sizes; a name or None where a size is free; empty where nothing is known.
        dtype: numpy name of the element type, or the runtime's own word for what is no tensor.
    """

    name: str
    shape: tuple[int | str | None, ...]
    dtype: str


WEIGHT_ROLES = ("kernel", "recurrent", "embedding")
"""Roles of the standard's Weights: factors on the connections between two nodes."""


@dataclass(frozen=True)
class Layer:
    """The weights that one operator computes with, named after the tensor that stores them.

    Attributes:
        name: name of the (main) tensor in the file; the key of `Network.weights`.
        operator: type of the consuming operator, such as "Conv" (the first, if shared).
        role: "kernel", "bias", "embedding", "norm", "recurrent" or "other"; those of
            `WEIGHT_ROLES` are "Weights" in the sense of the standard's Modifications.
        shape: canonical shape; (out, in, *kernel) for a kernel whose axes are known.
        axes: for each canonical axis the axis of the stored tensor, or of what arrives where
            arithmetic leaves nothing of its layout; None where the layout is kept because the
            output axis is unknown.
        stored_shape: shape of the tensor in the file.
        dtype: numpy name of the stored type, such as "float32" or "bfloat16".
        node: name of the consuming node, possibly empty.
        group: number of groups of a grouped convolution, otherwise 1.
        consumers: "operator:node:input index" of every use; more than one means shared.
        storage: "initializer", "constant", "subgraph", "function" or "quantized".
        quantization: how integer weights are stored ("DequantizeLinear", "QLinearConv",
            "MatMulNBits", ...), or None. New values of such a layer land on its grid.
        position: place of the consuming node in the order in which the network computes.
        live: whether a value computed with it can reach an output of the network, as far as the
            graph tells.
        learns: whether a training may change it; not so for masks, statistics and constants.
        parts: other stored tensors that make the weights which arrive at the operator, such as a
            mask, the gains of weight normalisation or the factors of a low-rank sum.
        arithmetic: types of the operators between stored tensor and consumer that compute.
        obstacle: why `Network.with_weights` takes no new values for it, or None where it does.
        public: where anybody can get these weights, as the end of "is ...", or None where nothing
            is known; whoever writes them back has removed a watermark.
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
    live: bool = True
    learns: bool = True
    parts: tuple[str, ...] = ()
    arithmetic: tuple[str, ...] = ()
    obstacle: str | None = None
    public: str | None = None

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
        return self.obstacle is None

    @property
    def in_all(self) -> bool:
        """Whether "all" layers include it: Weights that reach an output and take new values."""
        return self.role in WEIGHT_ROLES and self.live and self.replaceable


@dataclass(frozen=True)
class Coverage:
    """Which part of a network's floating-point weights a choice of layers reaches.

    Attributes:
        reached: number of weights in the chosen layers, quantized ones included.
        total: number of weights of the network, whatever they are used for.
        left: why the others are not reached -> how many, the most first.
    """

    reached: int
    total: int
    left: Mapping[str, int]

    @property
    def share(self) -> float:
        """Part that is reached (0 to 1); 1 for a network without weights."""
        return self.reached / self.total if self.total else 1.0


@dataclass(frozen=True)
class Strand:
    """Where the channels of a hidden axis lie in the weights of one layer.

    Along `axis` the entries from `start` on are `repeat` times (channel 0, channel 1, ...), each
    channel being `block` entries next to each other, such as the pixels behind a Flatten.

    Attributes:
        layer: name of the layer.
        axis: of its canonical weights.
        direction: "out" for the output axis of a kernel or embedding, "in" for the input axis of a
            kernel, "along" for what is per channel in between: bias, normalisation, slopes,
            constants, depthwise kernels.
        start: first entry of the axis.
        repeat: how many times all channels follow each other.
        block: entries of one channel.
    """

    layer: str
    axis: int
    direction: Literal["out", "in", "along"]
    start: int = 0
    repeat: int = 1
    block: int = 1


@dataclass(frozen=True)
class HiddenAxis:
    """Channels between layers whose order no output depends on.

    Where the entries of every strand are put into another order of the channels, the same in all,
    every output stays as it is but for rounding. So it does where the weights of channel c in
    strand k are multiplied by f_c ** scalings[j][k], for any scaling j and any factors f > 0; or by
    s_c ** signs[j][k], for any factors s of 1 and -1; or where the channels of strand k are mixed:
    by any invertible matrix A where mixings[k] is 1, by its inverse transposed where it is -1.

    Attributes:
        size: number of channels.
        strands: where they lie, in the order in which the network computes.
        scalings: each is the power of the factor by strand; empty where no scaling is known to
            leave the outputs.
        signs: each is 0 or 1 by strand; empty likewise.
        mixings: 1, -1 or 0 by strand, or empty where mixing channels is not known to leave the
            outputs.
        resizable: whether channels may be added or left out: `Network.with_resized`.
    """

    size: int
    strands: tuple[Strand, ...]
    scalings: tuple[tuple[int, ...], ...] = ()
    signs: tuple[tuple[int, ...], ...] = ()
    mixings: tuple[int, ...] = ()
    resizable: bool = False

    @property
    def name(self) -> str:
        """Name of the first layer that makes these channels."""
        return next((s.layer for s in self.strands if s.direction == "out"), self.layers[0])

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, each once."""
        return tuple(dict.fromkeys(s.layer for s in self.strands))


class Weighted(Protocol):
    """Whatever has weights that can be read."""

    @property
    def layers(self) -> Sequence[Layer]:
        """Every layer, in the order in which the network computes."""
        ...

    @property
    def weights(self) -> Weights:
        """Weights by layer name as they arrive at their operator; canonical layout, read-only."""
        ...


class Network(Weighted, Protocol):
    """A network in the hands of its owner or of an attacker, whatever it is stored in."""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) that changes with the graph and with every weight."""
        ...

    @property
    def producer(self) -> str:
        """Name and version of the program that made it, possibly empty."""
        ...

    @property
    def inputs(self) -> Sequence[TensorInfo]:
        """Inputs that must be fed."""
        ...

    @property
    def hidden_axes(self) -> Sequence[HiddenAxis]:
        """Channels that may be put into another order, as far as the graph proves it.

        What is not proved is not listed, so that it may be empty. See `kit.channels` for what
        puts them into another order, or scales them.
        """
        ...

    def with_weights(self, replaced: Weights) -> Self:
        """The same network with some weights replaced; nothing else is copied.

        Values are given in canonical layout in any float dtype, and are those that shall arrive at
        the operator: they are stored in the layer's own dtype or on its grid, and masked ones stay
        masked, so that what `weights` then tells may differ from them. Raises `ModelFileError` for
        an unknown name, a wrong shape, a value that is not finite (also after the cast), or a layer
        that is not replaceable.
        """
        ...

    def with_resized(self, axis: HiddenAxis, resized: Weights) -> Self:
        """The same network with another number of channels along a hidden axis.

        Args:
            axis: one of `hidden_axes`, which is `resizable`.
            resized: new weights of every layer of the axis (canonical layout), all with the same
                other number of channels; see `kit.channels` for what makes them.

        Raises:
            ModelFileError: an axis that is not resizable, a layer that is missing, or shapes that
                do not fit together.
        """
        ...


class Suspect(Weighted, Protocol):
    """A network under examination: all that Decoder and Detector get.

    A method sees what its `access` says and no more: reading `weights` with access "answers", or
    asking for inner layers without access "activations", raises `PluginError`.
    """

    @property
    def inputs(self) -> Sequence[TensorInfo]:
        """Inputs that must be fed."""
        ...

    def run(self, feeds: Feeds, layers: Sequence[str] = ()) -> Values:
        """Every graph output, then the output of the operator of each of these layers.

        One session serves all claims on a network, and equal questions are inferred once.

        Raises:
            CarrierNotFoundError: the network takes inputs of another number or shape, or has no
                such layer.
            InferenceError: the network does not run.
        """
        ...


class WholeSuspect(Suspect, Protocol):
    """A suspect whose graph is shown too, to a method that `Embeds` by itself."""

    @property
    def network(self) -> Network:
        """The network, as its file has it.

        Raises:
            InferenceError: something stands before the network that no file can hold.
        """
        ...
