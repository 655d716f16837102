"""An ONNX network as a module of torch: the same weights under the same names, with gradients."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Literal, NamedTuple, Self, cast

import numpy as np
import torch

from nnw_onnx.errors import CarrierNotFoundError, InferenceError, TrainingError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.vocabulary import Array, Feeds, HiddenAxis, Layer, TensorInfo, Values, Weights
from nnw_onnx_torch.graph import parsing
from nnw_onnx_torch.graph.compiler import Bound, Compiler
from nnw_onnx_torch.graph.dtypes import to_numpy, to_tensor, torch_dtype
from nnw_onnx_torch.graph.ends import SIGMOID, SOFTMAX, End, consumers, find_ends
from nnw_onnx_torch.graph.feeds import arranged
from nnw_onnx_torch.graph.layouts import stored_tensor
from nnw_onnx_torch.graph.operators import OPERATORS
from nnw_onnx_torch.graph.operators._table import Value
from nnw_onnx_torch.graph.program import Address, Run

_STATISTICS = ("BatchNormalization:3", "BatchNormalization:4")
_TRAINABLE = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_STORED, _CONSTANTS = "stored", "constants"


class Holder(torch.nn.Module):
    """Parameters and buffers by key."""

    def at(self, key: str) -> torch.Tensor:
        """The tensor as it is now: moving a module, or calling it with others, replaces it."""
        found: torch.Tensor | None = self._parameters.get(key)
        return cast(torch.Tensor, self._buffers[key]) if found is None else found

    def free(self, name: str) -> str:
        """A key for a name, since those of torch have no dots; no tensor has it yet."""
        key = name.replace(".", "/")
        while key in self._parameters or key in self._buffers or key in dir(self):
            key += "'"
        return key


class OnnxModule(torch.nn.Module):
    """A network of an ONNX file that torch runs and trains.

    Every layer of floating-point numbers that learns is a parameter in the layout and type of the
    file; masks, running statistics and other constants are buffers (see `Layer.learns`).
    `state_dict` has them as "stored." and the name of the layer with "/" for ".". Weights that
    arrive at their operator through arithmetic are computed by the graph, as in the file: a mask
    stays a mask, and of weight normalisation both factors learn. The module is itself a `Network`,
    and serves as a `Suspect` that shows everything (`layers`, `weights`, `inputs`, `run`).

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
        self._ends: Mapping[int, End] = find_ends(model)
        self._by_name = {layer.name: layer for layer in network.layers}
        self._consumers: Mapping[str, Address] = consumers(model, network)
        self.stored, self.constants = Holder(), Holder()
        self._keys: dict[str, str] = {}
        self._sources = [self._keep(k, bound) for k, bound in enumerate(compiler.bound)]
        self._captures: dict[Address, tuple[str, ...]] = {}
        self._captured: dict[str, torch.Tensor] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> OnnxModule:
        # The network is a value, and holds a mapped file that cannot be copied.
        memo[id(self._network)] = self._network
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied

    def _keep(self, number: int, bound: Bound) -> _Source:
        """Register a weight or constant; where it is found, or the value itself."""
        layer = self._by_name.get(bound.layer) if bound.layer is not None else None
        value = bound.value
        if not isinstance(value, torch.Tensor):
            return _Source(None, "", value)
        if layer is None or layer.quantization is not None or not value.is_floating_point():
            self.constants.register_buffer(f"c{number}", value, persistent=False)
            return _Source(_CONSTANTS, f"c{number}")
        key = self.stored.free(layer.name)
        self._keys[layer.name] = key
        statistic = any(_is_statistic(use) for use in layer.consumers)
        if value.dtype in _TRAINABLE and layer.learns and not statistic:
            self.stored.register_parameter(key, torch.nn.Parameter(value))
        else:
            self.stored.register_buffer(key, value)
        return _Source(_STORED, key)

    @property
    def layers(self) -> Sequence[Layer]:
        """Every layer of the network, in the order of the file."""
        return self._network.layers

    @property
    def hidden_axes(self) -> Sequence[HiddenAxis]:
        """Channels that may be put into another order, as far as the graph proves it."""
        return self._network.hidden_axes

    @property
    def inputs(self) -> Sequence[TensorInfo]:
        """Inputs that must be fed."""
        return self._network.inputs

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return len(self._outputs)

    @property
    def producer(self) -> str:
        """Name and version of the program that wrote the file, possibly empty."""
        return self._network.producer

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the network with the weights as they are now."""
        return self.network().digest

    @property
    def tensors(self) -> Mapping[str, torch.Tensor]:
        """Layer name -> parameter or buffer in stored layout; integers are not in it."""
        return MappingProxyType({name: self.stored.at(key) for name, key in self._keys.items()})

    @property
    def weights(self) -> Weights:
        """Weights by layer name in canonical layout, as they are now; read-only copies."""
        found: dict[str, Array] = {}
        for layer in self.layers:
            if layer.name in self._keys:
                with torch.no_grad():
                    found[layer.name] = to_numpy(self.canonical(layer.name))
            else:
                found[layer.name] = self._network.weights[layer.name]
            found[layer.name].setflags(write=False)
        return MappingProxyType(found)

    def parameter(self, name: str) -> torch.Tensor:
        """The parameter or buffer of a layer, in stored layout.

        Raises `TrainingError` for a name that no layer has, or whose weights are quantized.
        """
        return self.stored.at(self._key(name))

    def parameter_name(self, name: str) -> str:
        """The name of a layer's parameter or buffer in `state_dict`; see `parameter`."""
        return f"{_STORED}.{self._key(name)}"

    def _key(self, name: str) -> str:
        if name not in self._keys:
            raise TrainingError(
                f"layer {name!a}: expected the name of a layer of floating-point weights, got "
                "another; list the layers with `nnw layers`"
            )
        return self._keys[name]

    def arriving(self, name: str) -> torch.Tensor:
        """The weights of a layer as its operator gets them, in the layout of `Layer.axes`.

        That is the parameter itself, or what arithmetic makes of it, through which gradients flow.
        Raises `TrainingError` where they are computed inside a subgraph or function.
        """
        stored = self.parameter(name)
        reading = self._network.reading(name)
        if reading is None:
            return stored
        slot = self._program.names.get(reading.value)
        if slot is None:
            raise TrainingError(
                f"layer {name!a}: expected weights that the main graph computes, got some computed "
                "inside a subgraph or function; choose another layer"
            )
        (value,) = _tensors(self._asked_for((slot,)))
        return value.reshape(reading.sizes).permute(reading.order).reshape(reading.shape)

    def assign(self, name: str, values: Array) -> None:
        """Have these weights, canonical, arrive at the operator of a layer, as nearly as may be."""
        if self._network.reading(name) is not None:
            self.load(self.network().with_weights({name: values}))
            return
        tensor = self.parameter(name)
        with torch.no_grad():
            tensor.copy_(stored_tensor(self._by_name[name], values, tensor))

    def canonical(self, name: str) -> torch.Tensor:
        """The weights of a layer in canonical layout, through which gradients flow."""
        tensor = self.arriving(name)
        axes = self._by_name[name].axes
        return tensor if axes is None else tensor.permute(axes)

    def network(self) -> OnnxNetwork:
        """The network with the weights as they are now.

        Raises `ModelFileError` where a weight is not finite.
        """
        return self._network.with_stored({n: to_numpy(t) for n, t in self.tensors.items()})

    def with_weights(self, replaced: Weights) -> Self:
        """A copy of the module with some weights replaced, given in canonical layout.

        Raises `ModelFileError` for an unknown name, a wrong shape, a value that is not finite, or a
        layer that is not replaceable.
        """
        changed = self.network().with_weights(replaced)
        if set(replaced) <= set(self._keys):
            made = copy.deepcopy(self)
            made.load(changed)
            return made
        made = type(self)(changed, batch_norm=self.batch_norm)
        return made.to(self.device).train(self.training)

    def with_resized(self, axis: HiddenAxis, resized: Weights) -> Self:
        """A module of the same network with another number of channels along a hidden axis.

        Raises `ModelFileError` as `OnnxNetwork.with_resized` does.
        """
        made = type(self)(self.network().with_resized(axis, resized), batch_norm=self.batch_norm)
        return made.to(self.device).train(self.training)

    def load(self, network: OnnxNetwork) -> None:
        """Take the weights of another variant of the same network."""
        stored = network.stored
        with torch.no_grad():
            for name, tensor in self.tensors.items():
                tensor.copy_(to_tensor(stored[name]))

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """The outputs for inputs in the order of the network's: a list, or the only one itself."""
        results = _tensors(self._execute(inputs, self._outputs))
        return results[0] if len(results) == 1 else results

    def compute(
        self, inputs: Mapping[str, torch.Tensor], wanted: Sequence[str] | None = None
    ) -> dict[str, Value]:
        """Values by name: the outputs, or any values of the main graph that are wanted."""
        names = self._outputs if wanted is None else tuple(wanted)
        return dict(zip(names, self._execute(inputs, names), strict=True))

    def run(self, feeds: Feeds, layers: Sequence[str] = ()) -> Values:
        """Every output, then what the operator of each of these layers answers, in evaluation mode.

        Feeds are matched with the inputs by name, or by place where no name fits.

        Raises:
            CarrierNotFoundError: there is no such layer, no single operator computes with it, or
                the network takes inputs of another number or shape.
            InferenceError: the network does not run.
        """
        unknown = [name for name in layers if name not in self._consumers]
        if unknown:
            raise CarrierNotFoundError(
                f"layer {unknown[0]!a}: expected a layer that an operator of the network computes "
                "with, got another; use the key of this network"
            )
        try:
            given = self._asked(feeds)
            with torch.no_grad(), self.capturing_nothing(), self._capturing(layers) as captured:
                results = _tensors(self._execute(given, self._outputs, evaluate=True))
                inner = {name: to_numpy(captured[name]) for name in layers}
                outputs = {n: to_numpy(r) for n, r in zip(self._outputs, results, strict=True)}
        except TrainingError as error:
            raise InferenceError(str(error)) from error
        except torch.OutOfMemoryError as error:
            raise InferenceError(
                f"model: expected memory for its inputs, got: {str(error).partition('. ')[0]}; ask "
                "it for fewer samples at a time"
            ) from error
        return outputs | inner

    def _asked(self, feeds: Feeds) -> list[torch.Tensor]:
        """The feeds in the order of the inputs; raises `CarrierNotFoundError` where others fit."""
        try:
            names = arranged(feeds, self._inputs)
        except TrainingError as error:
            raise CarrierNotFoundError(str(error)) from error
        given = []
        for name, info in zip(names, self.inputs, strict=True):
            values = np.asarray(feeds[name])
            sizes = zip(info.shape[1:], values.shape[1:], strict=False)
            fits = not info.shape or len(info.shape) == values.ndim
            if not fits or any(isinstance(want, int) and want != got for want, got in sizes):
                raise CarrierNotFoundError(
                    f"input {info.name!a}: expected samples of shape {info.shape[1:]}, got "
                    f"{values.shape[1:]}; use the key of this network"
                )
            given.append(to_tensor(values).to(self.device, torch_dtype(info.dtype)))
        return given

    def scores(
        self, *inputs: torch.Tensor, output: int = 0, without: frozenset[str] = SOFTMAX
    ) -> torch.Tensor:
        """An output, or, if it is made by one of these operators at the end, what it is made of.

        Args:
            *inputs: in the order of the network's.
            output: index of the output.
            without: `ends.SOFTMAX`, `ends.SIGMOID`, or nothing.
        """
        end = self._ends.get(output)
        skipped = frozenset[Address]()
        if end is not None and end.operator in without:
            skipped = frozenset([end.address])
        found = self._execute(inputs, (self._outputs[output],), skipped=skipped)
        return _tensors(found)[0]

    def ends_in_softmax(self, output: int = 0) -> bool:
        """Whether an output holds probabilities, or their logarithms, made by Softmax."""
        return output in self._ends and self._ends[output].operator in SOFTMAX

    def ends_in_sigmoid(self, output: int = 0) -> bool:
        """Whether an output holds probabilities that Sigmoid made, each of its own."""
        return output in self._ends and self._ends[output].operator in SIGMOID

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
        with self._capturing(names) as captured:
            yield captured

    @contextmanager
    def _capturing(self, names: Sequence[str]) -> Iterator[Mapping[str, torch.Tensor]]:
        before = self._captures
        self._captures = _merged(before, {name: self._consumers[name] for name in names})
        try:
            yield self._captured
        finally:
            self._captures = before
            if not before:
                self._captured = {}

    @contextmanager
    def capturing_nothing(self) -> Iterator[None]:
        """Forwards of which those who capture hear nothing."""
        before, heard = self._captures, self._captured
        self._captures, self._captured = {}, {}
        try:
            yield
        finally:
            self._captures, self._captured = before, heard

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        for tensor in (*self.stored.parameters(), *self.buffers()):
            return tensor.device
        return torch.device("cpu")

    def _execute(
        self,
        inputs: Sequence[torch.Tensor] | Mapping[str, torch.Tensor],
        wanted: Sequence[str],
        *,
        evaluate: bool = False,
        skipped: frozenset[Address] = frozenset(),
    ) -> list[Value]:
        training = self.training and not evaluate
        mode = 0 if not training else (2 if self.batch_norm == "update" else 1)
        given, bound = self._given(inputs), self._bound()
        # A network without weights is where its inputs are.
        device = _device_of(bound) or _device_of(given.values()) or self.device
        run = Run(mode, bound, device, self._captures, self._captured, skipped)
        values = self._program.frame(run)
        for name, value in given.items():
            values[self._program.names[name]] = value
        slots = tuple(self._slot(name) for name in wanted)
        return self._program.block.execute(run, values, (), slots)

    def _bound(self) -> list[Value]:
        holders = {_STORED: self.stored, _CONSTANTS: self.constants}
        return [
            source.value if source.holder is None else holders[source.holder].at(source.key)
            for source in self._sources
        ]

    def _asked_for(self, slots: tuple[int, ...]) -> list[Value]:
        """Values that the graph computes from its constants alone."""
        run = Run(0, self._bound(), self.device)
        return self._program.block.execute(run, self._program.frame(run), (), slots)

    def _given(
        self, inputs: Sequence[torch.Tensor] | Mapping[str, torch.Tensor]
    ) -> Mapping[str, torch.Tensor]:
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


class _Source(NamedTuple):
    """Where a weight or constant is found: a holder and key, or the value itself."""

    holder: str | None
    key: str
    value: Value = None


def _device_of(values: Iterable[Value]) -> torch.device | None:
    """Where the first tensor is, if there is one."""
    return next((v.device for v in values if isinstance(v, torch.Tensor)), None)


def supported_operators() -> tuple[tuple[str, str], ...]:
    """Domain and name of every operator of the table, sorted."""
    return tuple(sorted(OPERATORS))


def _tensors(values: Sequence[Value]) -> list[torch.Tensor]:
    """The values as tensors, which is what a network that is trained answers."""
    return cast("list[torch.Tensor]", list(values))


def _is_statistic(use: str) -> bool:
    kind, _, rest = use.partition(":")
    return f"{kind}:{rest.rpartition(':')[2]}" in _STATISTICS


def _merged(
    before: Mapping[Address, tuple[str, ...]], more: Mapping[str, Address]
) -> dict[Address, tuple[str, ...]]:
    merged = dict(before)
    for name, address in more.items():
        merged[address] = (*merged.get(address, ()), name)
    return merged
