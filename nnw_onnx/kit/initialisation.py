"""Fresh weights for a layer: what a network has before any training, as its framework draws them.

PyTorch: `reset_parameters` of torch.nn (Linear and convolutions: `kaiming_uniform_` with a =
sqrt(5), which is U(-1/sqrt(fan_in), 1/sqrt(fan_in)), and biases likewise; recurrent layers
U(-1/sqrt(hidden), 1/sqrt(hidden)); embeddings N(0, 1)). Keras: kernels by Glorot and Bengio,
"Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010 (uniform),
orthogonal recurrent kernels, biases zero but those of an LSTM's forget gate, which are 1
(Jozefowicz et al., ICML 2015), embeddings U(-0.05, 0.05). Normalisations are neutral in both.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.vocabulary import Array, Layer, Network

Framework = Literal["torch", "keras"]

_OF_KERAS = ("keras", "tf2onnx", "tensorflow", "tflite")
"""Words in the producer of a file whose model Keras has drawn."""
_SCALE_AND_SHIFT = {1: 1.0, 2: 0.0}
_NEUTRAL: Mapping[str, Mapping[int, float]] = {
    "BatchNormalization": {**_SCALE_AND_SHIFT, 3: 0.0, 4: 1.0},
    **dict.fromkeys(
        ("LayerNormalization", "GroupNormalization", "GroupNorm", "InstanceNormalization",
         "RMSNormalization", "SimplifiedLayerNormalization"),
        _SCALE_AND_SHIFT,
    ),
    "SkipLayerNormalization": {2: 1.0, 3: 0.0},
    "SkipSimplifiedLayerNormalization": {2: 1.0},
    "EmbedLayerNormalization": {5: 1.0, 6: 0.0},
}  # fmt: skip
"""Normalisation -> input -> value: scale, shift, running mean, running variance."""
_SLOPE: Mapping[Framework, float] = {"torch": 0.25, "keras": 0.0}
"""Of a PRelu."""
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_FORGET = 2
"""Place of the forget gate in ONNX's LSTM, whose gates are i, o, f, c."""
_CONVOLUTIONS = ("Conv", "FusedConv", "ConvTranspose", "DeformConv")


def framework_of(producer: str) -> Framework:
    """Who has drawn the first weights of a network, by the program that wrote its file.

    Files of unknown programs count as PyTorch's. So do those of Keras on torch, which name torch.
    """
    words = producer.lower()
    return "keras" if any(word in words for word in _OF_KERAS) else "torch"


def fresh(
    network: Network,
    names: Iterable[str],
    rng: np.random.Generator,
    framework: Framework | None = None,
) -> dict[str, Array]:
    """Fresh weights, canonical, of the named layers, drawn in the order of the network.

    A layer of another role, such as a table of positions or a mask, keeps its values, since
    everybody draws those in a way of his own.

    Args:
        network: whose layers they are.
        names: of layers; those that cannot be replaced are left out.
        rng: draws them.
        framework: whose habits; by the producer of the network if None, see `framework_of`.
    """
    wanted = set(names)
    chosen = framework or framework_of(network.producer)
    draw = (_Torch if chosen == "torch" else _Keras)(network, rng)
    return {
        layer.name: draw.weights(layer)
        for layer in network.layers
        if layer.name in wanted and layer.replaceable
    }


def last_layer(network: Network) -> tuple[str, ...]:
    """Names of the kernel that is computed last and of the biases behind it; empty without one."""
    kernels = [x for x in network.layers if x.role == "kernel" and x.replaceable and x.live]
    if not kernels:
        return ()
    last = max(kernels, key=lambda layer: layer.position)
    biases = [x.name for x in network.layers if x.role == "bias" and x.position >= last.position]
    return (last.name, *biases)


class _Drawing(ABC):
    """What both frameworks share: which rule a layer falls under."""

    slope: float

    def __init__(self, network: Network, rng: np.random.Generator) -> None:
        self._network, self._rng = network, rng
        self._kernels = [x for x in network.layers if x.role == "kernel" and len(x.shape) > 1]

    def weights(self, layer: Layer) -> Array:
        """Fresh weights of a layer, or those that it has."""
        neutral = self._neutral(layer)
        if neutral is not None:
            return np.full(layer.shape, neutral)
        rules = {
            "kernel": self.kernel,
            "recurrent": self.recurrent,
            "embedding": self.embedding,
            "bias": self.bias,
        }
        rule = rules.get(layer.role)
        if rule is None or not layer.learns:
            return np.array(self._network.weights[layer.name])
        return rule(layer)

    def _neutral(self, layer: Layer) -> float | None:
        operator, place = _use(layer)
        if operator == "PRelu" and place == 1:
            return self.slope
        return _NEUTRAL.get(operator, {}).get(place)

    @abstractmethod
    def kernel(self, layer: Layer) -> Array: ...

    @abstractmethod
    def recurrent(self, layer: Layer) -> Array: ...

    @abstractmethod
    def embedding(self, layer: Layer) -> Array: ...

    @abstractmethod
    def bias(self, layer: Layer) -> Array: ...

    def uniform(self, bound: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Numbers from -bound to bound."""
        return self._rng.uniform(-bound, bound, shape)


class _Torch(_Drawing):
    slope = _SLOPE["torch"]

    def kernel(self, layer: Layer) -> Array:
        if layer.name.endswith("in_proj_weight"):  # MultiheadAttention alone draws by Glorot
            return self.uniform(math.sqrt(6 / sum(layer.shape)), layer.shape)
        return self.uniform(1 / math.sqrt(_torch_inputs(layer)), layer.shape)

    def recurrent(self, layer: Layer) -> Array:
        return self.uniform(1 / math.sqrt(_hidden(layer)), layer.shape)

    def embedding(self, layer: Layer) -> Array:
        return self._rng.normal(0.0, 1.0, layer.shape)

    def bias(self, layer: Layer) -> Array:
        if layer.operator in _GATES:
            return self.recurrent(layer)
        owner = self._owner(layer)
        if owner is None or layer.name.endswith(("in_proj_bias", "out_proj.bias")):
            return np.zeros(layer.shape)
        return self.uniform(1 / math.sqrt(_torch_inputs(owner)), layer.shape)

    def _owner(self, bias: Layer) -> Layer | None:
        """The kernel whose bias it is: of the same node, else the last one before of as many."""
        before = [
            kernel
            for kernel in self._kernels
            if kernel.position <= bias.position and bias.size in _outputs(kernel)
        ]
        return max(before, key=lambda kernel: kernel.position, default=None)


class _Keras(_Drawing):
    slope = _SLOPE["keras"]

    def kernel(self, layer: Layer) -> Array:
        return self._glorot(_keras_fans(layer), layer.shape)

    def recurrent(self, layer: Layer) -> Array:
        if len(layer.shape) < 2:
            return np.zeros(layer.shape)
        if not (_use(layer)[1] == 2 or layer.name.endswith("recurrent_kernel")):
            return self._glorot(layer.shape[0] + layer.shape[1], layer.shape)
        directions = int(np.prod(layer.shape[2:], dtype=np.int64))
        drawn = [self._orthogonal(*layer.shape[:2]) for _ in range(directions)]
        return np.stack(drawn, axis=-1).reshape(layer.shape)

    def embedding(self, layer: Layer) -> Array:
        return self.uniform(0.05, layer.shape)

    def bias(self, layer: Layer) -> Array:
        values = np.zeros(layer.shape)
        if layer.operator == "LSTM":
            hidden = _hidden(layer)
            values[..., _FORGET * hidden : (_FORGET + 1) * hidden] = 1.0
        return values

    def _glorot(self, fans: int, shape: tuple[int, ...]) -> Array:
        return self.uniform(math.sqrt(6 / max(1, fans)), shape)

    def _orthogonal(self, rows: int, columns: int) -> NDArray[np.float64]:
        """Orthonormal columns (rows, columns), or rows where these are fewer, uniform by Haar."""
        tall = self._rng.normal(size=(max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(tall)
        # Without the signs the directions would depend on the algorithm (Mezzadri 2007).
        q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
        return q if rows >= columns else q.T


def _use(layer: Layer) -> tuple[str, int]:
    """Operator and input of the first consumer."""
    operator, _, rest = (layer.consumers[0] if layer.consumers else "").partition(":")
    index = rest.rpartition(":")[2]
    return operator, int(index) if index.isdigit() else 0


def _torch_inputs(kernel: Layer) -> int:
    """The fan_in of torch, which of a transposed convolution counts output channels."""
    if len(kernel.shape) < 2:
        return 1
    channels = kernel.shape[0] if kernel.operator == "ConvTranspose" else kernel.shape[1]
    return max(1, channels * _field(kernel))


def _keras_fans(kernel: Layer) -> int:
    """The sum of fan_in and fan_out of Keras, whose depthwise kernel is (*field, in, multiplier).

    A convolution of one input channel a group counts as depthwise: tf2onnx writes no grouped one.
    """
    if len(kernel.shape) < 2:
        return sum(kernel.shape)
    out, inputs = kernel.shape[:2]
    if kernel.group > 1 and inputs == 1:
        out, inputs = out // kernel.group, kernel.group
    return (out + inputs) * _field(kernel)


def _field(kernel: Layer) -> int:
    """Weights of a pair of channels; 1 for what is no convolution."""
    if kernel.operator not in _CONVOLUTIONS:
        return 1
    return int(np.prod(kernel.shape[2:], dtype=np.int64))


def _outputs(kernel: Layer) -> tuple[int, ...]:
    """How many outputs a kernel may have: those of one group, and of all."""
    return kernel.shape[0], kernel.shape[0] * kernel.group


def _hidden(layer: Layer) -> int:
    """Hidden units of a recurrent layer, from the shape of any of its tensors."""
    gates = _GATES.get(layer.operator, 1)
    if layer.role == "bias":  # (directions, those of the input, then those of the recurrence)
        return max(1, layer.shape[-1] // (2 * gates))
    if len(layer.shape) < 3 and _use(layer)[1] == 7:  # peepholes of the three sigmoids
        return max(1, layer.shape[-1] // 3)
    return max(1, layer.shape[0] // gates)
