"""An ONNX network as a module of torch: the same weights under the same names, with gradients."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from nnw_onnx.errors import TrainingError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.vocabulary import Layer
from nnw_onnx_torch import _parsing as parsing
from nnw_onnx_torch._compiler import Bound, Compiler
from nnw_onnx_torch._dtypes import to_numpy, to_tensor
from nnw_onnx_torch._ends import Ends, consumers, softmax_ends
from nnw_onnx_torch._program import Address, Run
from nnw_onnx_torch.operators import OPERATORS

_STATISTICS = ("BatchNormalization:3", "BatchNormalization:4")
_TRAINABLE = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class OnnxModule(torch.nn.Module):
    """A network of an ONNX file that torch runs and trains.

    Every layer that can be replaced is a parameter in the layout and type of the file;
    running statistics of BatchNormalization are buffers. `state_dict` has them as
    "stored." and the name of the layer with "/" for ".". The module is itself a network
    (`layers`, `weights`, `infer`).

    In training mode BatchNormalization uses and updates statistics of the batch (unless
    `batch_norm` is "freeze"), with torch's momentum 1 - that of the file, and Dropout drops. In
    evaluation mode neither does, even in a graph that was exported with `training_mode`. Where the
    graph fixes the size of the batch, as Reshape to constant sizes does, batches must have it.
    """

    def __init__(
        self, network: OnnxNetwork, *, batch_norm: Literal["update", "freeze"] = "update"
    ) -> None:
        """Make the module.

        Raises:
            TrainingError: operators that are missing, all of them named; data files too large to
                be held in memory.
        """
        super().__init__()
        self.batch_norm = batch_norm
        self._network = network
        runnable = network.runnable()
        if runnable.folder is not None:
            raise TrainingError(
                f"{network.path.name}: expected a model whose constants fit in memory, got data "
                "files that stay outside; store its weights as initializers of the main graph"
            )
        model = parsing.parse(runnable.model)
        names = {address: name for name, address in network.addresses.items()}
        compiler = Compiler(model, runnable.initializers, names)
        self._program = compiler.compile()
        self._inputs = tuple(info.name for info in network.inputs)
        self._outputs = tuple(info.name for info in network.outputs)
        self._ends: Mapping[int, Ends] = softmax_ends(model)
        self._by_name = {layer.name: layer for layer in network.layers}
        self._consumers: Mapping[str, Address] = consumers(model, network)
        self.stored, self.constants = torch.nn.Module(), torch.nn.Module()
        self._keys: dict[str, str] = {}
        self._sources = [self._keep(k, bound) for k, bound in enumerate(compiler.bound)]
        self._captures: dict[Address, tuple[str, ...]] = {}
        self._captured: dict[str, torch.Tensor] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxModule:
        # The network is a value, and holds a mapped file that cannot be copied.
        memo[id(self._network)] = self._network
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied

    def _keep(self, number: int, bound: Bound) -> tuple[str, str] | Any:
        """Register a weight or constant: the container and key under which it is found."""
        layer = self._by_name.get(bound.layer) if bound.layer is not None else None
        value = bound.value
        if layer is None or not layer.replaceable:
            if not isinstance(value, torch.Tensor):
                return value
            self.constants.register_buffer(f"c{number}", value, persistent=False)
            return "constants", f"c{number}"
        key = _key(layer.name, self.stored)
        self._keys[layer.name] = key
        if value.dtype in _TRAINABLE and not any(_is_statistic(use) for use in layer.consumers):
            self.stored.register_parameter(key, torch.nn.Parameter(value))
        else:
            self.stored.register_buffer(key, value)
        return "stored", key

    @property
    def layers(self) -> Sequence[Layer]:
        """Every layer of the network, in the order of the file."""
        return self._network.layers

    @property
    def tensors(self) -> Mapping[str, torch.Tensor]:
        """Layer name -> parameter or buffer in stored layout; quantized layers are not in it."""
        return MappingProxyType(
            {name: getattr(self.stored, key) for name, key in self._keys.items()}
        )

    @property
    def weights(self) -> Mapping[str, NDArray[Any]]:
        """Weights by layer name in canonical layout, as they are now; read-only copies."""
        found: dict[str, NDArray[Any]] = {}
        for layer in self.layers:
            if layer.name in self._keys:
                found[layer.name] = to_numpy(self.canonical(layer.name))
            else:
                found[layer.name] = self._network.weights[layer.name]
            found[layer.name].setflags(write=False)
        return MappingProxyType(found)

    def parameter(self, name: str) -> torch.Tensor:
        """The parameter or buffer of a layer, in stored layout.

        Raises `TrainingError` for a name that no layer has, or whose weights are quantized.
        """
        if name not in self._keys:
            raise TrainingError(
                f"layer {name!a}: expected the name of a layer of floating-point weights, got "
                "another; list the layers with `nnw layers`"
            )
        found: torch.Tensor = getattr(self.stored, self._keys[name])
        return found

    def canonical(self, name: str) -> torch.Tensor:
        """A view of a layer in canonical layout, through which gradients flow."""
        axes = self._by_name[name].axes if name in self._by_name else None
        tensor = self.parameter(name)
        return tensor if axes is None else tensor.permute(axes)

    def network(self) -> OnnxNetwork:
        """The network with the weights as they are now.

        Raises `ModelFileError` where a weight is not finite.
        """
        return self._network.with_weights(
            {name: to_numpy(self.canonical(name)) for name in self._keys}
        )

    def load(self, network: OnnxNetwork) -> None:
        """Take the weights of another variant of the same network."""
        with torch.no_grad():
            for name in self._keys:
                self.canonical(name).copy_(to_tensor(network.weights[name]))

    def forward(self, *inputs: torch.Tensor) -> Any:
        """The outputs for inputs in the order of the network's: a list, or the only one itself."""
        results = self._execute(inputs, self._outputs)
        return results[0] if len(results) == 1 else results

    def run(
        self, inputs: Mapping[str, torch.Tensor], wanted: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Values by name: the outputs, or any values of the main graph that are wanted."""
        names = self._outputs if wanted is None else tuple(wanted)
        return dict(zip(names, self._execute(inputs, names), strict=True))

    def infer(self, inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Every output (n, ...) for inputs (n, ...) of the only input, in evaluation mode."""
        given = to_tensor(np.asarray(inputs)).to(self.device)
        with torch.no_grad():
            results = self._execute((given,), self._outputs, evaluate=True)
        return [to_numpy(result) for result in results]

    def logits(self, *inputs: torch.Tensor, output: int = 0) -> torch.Tensor:
        """An output, or, if it is made by Softmax or LogSoftmax, the scores before that."""
        end = self._ends.get(output)
        skipped = frozenset([end.address]) if end is not None else frozenset()
        found: torch.Tensor = self._execute(inputs, (self._outputs[output],), skipped=skipped)[0]
        return found

    def ends_in_softmax(self, output: int = 0) -> bool:
        """Whether an output holds probabilities, or their logarithms, made by Softmax."""
        return output in self._ends

    @contextmanager
    def capturing(self, *names: str) -> Iterator[Mapping[str, torch.Tensor]]:
        """What the nodes that compute with these layers answer, by layer, after each forward.

        Raises `TrainingError` for a layer that no single node computes with.
        """
        for name in names:
            self.parameter(name)
            if name not in self._consumers:
                raise TrainingError(
                    f"layer {name!a}: expected a layer that a node of the graph computes "
                    "with, got one whose node is not found; choose another layer"
                )
        before = self._captures
        self._captures = _merged(before, {name: self._consumers[name] for name in names})
        try:
            yield self._captured
        finally:
            self._captures = before
            if not before:
                self._captured = {}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        for tensor in (*self.stored.parameters(), *self.buffers()):
            return tensor.device
        return torch.device("cpu")

    def _execute(
        self,
        inputs: Sequence[Any] | Mapping[str, Any],
        wanted: Sequence[str],
        *,
        evaluate: bool = False,
        skipped: frozenset[Address] = frozenset(),
    ) -> list[Any]:
        training = self.training and not evaluate
        mode = 0 if not training else (2 if self.batch_norm == "update" else 1)
        run = Run(mode, self._bound(), self.device, self._captures, self._captured, skipped)
        values = self._program.frame(run)
        for name, value in self._given(inputs).items():
            values[self._program.names[name]] = value
        slots = tuple(self._slot(name) for name in wanted)
        return self._program.block.execute(run, values, (), slots)

    def _bound(self) -> list[Any]:
        holders = {"stored": self.stored, "constants": self.constants}
        return [
            getattr(holders[source[0]], source[1]) if source.__class__ is tuple else source
            for source in self._sources
        ]

    def _given(self, inputs: Sequence[Any] | Mapping[str, Any]) -> Mapping[str, Any]:
        """Inputs by name; raises `TrainingError` where one is missing or too many."""
        if not isinstance(inputs, Mapping):
            if len(inputs) == len(self._inputs):
                return dict(zip(self._inputs, inputs, strict=True))
            raise TrainingError(
                f"inputs: expected {len(self._inputs)} ({', '.join(self._inputs)}), got "
                f"{len(inputs)}; give one tensor for each input of the network"
            )
        missing = [name for name in self._inputs if name not in inputs]
        unknown = [name for name in inputs if name not in self._program.names]
        if missing or unknown:
            raise TrainingError(
                f"inputs: expected {', '.join(self._inputs)}, got {', '.join(inputs)}; give one "
                "tensor for each input of the network"
            )
        return inputs

    def _slot(self, name: str) -> int:
        slot = self._program.names.get(name)
        if slot is None:
            raise TrainingError(
                f"value {name!a}: expected the name of a value of the main graph, got "
                "another; see the names of inputs and outputs with `nnw layers`"
            )
        return slot


def supported_operators() -> tuple[tuple[str, str], ...]:
    """Domain and name of every operator of the table, sorted."""
    return tuple(sorted(OPERATORS))


def _is_statistic(use: str) -> bool:
    kind, _, rest = use.partition(":")
    return f"{kind}:{rest.rpartition(':')[2]}" in _STATISTICS


def _key(name: str, holder: torch.nn.Module) -> str:
    """A name for a module of torch, which takes no dots; unique in its holder."""
    key = name.replace(".", "/")
    while hasattr(holder, key):
        key += "'"
    return key


def _merged(
    before: Mapping[Address, tuple[str, ...]], more: Mapping[str, Address]
) -> dict[Address, tuple[str, ...]]:
    merged = dict(before)
    for name, address in more.items():
        merged[address] = (*merged.get(address, ()), name)
    return merged
