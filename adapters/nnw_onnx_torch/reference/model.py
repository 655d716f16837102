"""The network of an ONNX file as PyTorch users know one: modules and weights by their own names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import torch
from torch import nn

from nnw_onnx.vocabulary import Array, Layer
from nnw_onnx_torch.graph.dtypes import to_numpy
from nnw_onnx_torch.graph.module import OnnxModule

Answer: TypeAlias = torch.Tensor | list[torch.Tensor]
Asked: TypeAlias = Callable[[OnnxModule, Sequence[torch.Tensor]], Answer]
"""What of the graph is answered."""

_CONVOLUTIONS = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
_NORM = "BatchNormalization"


def scores(module: OnnxModule, inputs: Sequence[torch.Tensor]) -> Answer:
    """The scores of a network with one output, without a Softmax; all outputs of another."""
    return module.scores(*inputs) if module.outputs == 1 else module(*inputs)


class NamedModel(nn.Module):
    """A module whose parameters and buffers have the names of the file's initializers.

    "conv1.weight" is the attribute `weight` of the module `conv1`, which is a Conv2d or Linear
    where the file stores it as PyTorch does, so that both its name and its class lead to it. Only
    the whole is computed: forward runs the graph of the file, whatever the modules are. Forward
    hooks of modules hear what their layer answers; what they return is not used.

    Attributes:
        forwards: how often it was run.
    """

    def __init__(self, module: OnnxModule, asked: Asked = scores) -> None:
        """The same tensors in other places; they are not copied."""
        super().__init__()
        # Not as a module of this one: every weight would be there twice, under two names.
        self.__dict__["_onnx"] = module
        self.forwards, self._asked = 0, asked
        layers = {layer.name: layer for layer in module.layers}
        self._places: dict[str, tuple[str, str]] = {}
        for name, tensor in module.tensors.items():
            self._places[name] = _placed(self, name, tensor, layers)
        self.train(module.training)

    def train(self, mode: bool = True) -> NamedModel:
        """See `torch.nn.Module`."""
        self._module.train(mode)
        return super().train(mode)

    def forward(self, *inputs: torch.Tensor) -> Answer:
        """The scores, without a Softmax at the end; all outputs where there are several."""
        self.forwards += 1
        self._prepare()
        heard = [name for name in self._places if self._owner(name)._forward_hooks]
        with self._module.capturing(*heard) as captured:
            told = self._asked(self._module, inputs)
            for name in heard:
                _tell(self._owner(name), inputs, captured[name])
        return told

    def stored(self) -> dict[str, Array]:
        """Layer name -> values in the layout of the file, as they are now."""
        self._prepare()
        return {n: to_numpy(t.detach()) for n, t in self._module.tensors.items()}

    @property
    def _module(self) -> OnnxModule:
        return cast(OnnxModule, self.__dict__["_onnx"])

    def _owner(self, name: str) -> nn.Module:
        return self.get_submodule(self._places[name][0])

    def _prepare(self) -> None:
        """Have the graph compute with what the modules hold by now: attributes may be replaced."""
        holder = self._module.stored
        for name, (path, attribute) in self._places.items():
            owner = self.get_submodule(path)
            for hook in tuple(owner._forward_pre_hooks.values()):
                with contextlib.suppress(TypeError, IndexError):
                    hook(owner, ())  # pruning of torch.nn.utils makes its weights here
            held = getattr(owner, attribute)
            if self._module.parameter(name) is held:
                continue
            key = self._module.parameter_name(name).partition(".")[2]
            holder._parameters.pop(key, None)
            holder._buffers.pop(key, None)
            parameters: dict[str, Any] = holder._parameters
            (parameters if isinstance(held, nn.Parameter) else holder._buffers)[key] = held


def _placed(
    root: nn.Module, name: str, tensor: torch.Tensor, layers: Mapping[str, Layer]
) -> tuple[str, str]:
    """Register a tensor at the module and attribute of its name; where that is."""
    *way, attribute = name.split(".")
    owner, path = root, list[str]()
    for depth, part in enumerate(way, start=1):
        prefix = ".".join(name.split(".")[:depth])
        free = _free(owner, part, owner._modules)
        if free not in owner._modules:
            owner.add_module(free, _shell(layers.get(f"{prefix}.weight")))
        owner = owner.get_submodule(free)
        path.append(free)
    free = _free(owner, attribute, {})
    if isinstance(tensor, nn.Parameter):
        owner.register_parameter(free, tensor)
    else:
        owner.register_buffer(free, tensor)
    return ".".join(path), free


def _free(owner: nn.Module, part: str, own: Mapping[str, object]) -> str:
    """A name for a part that is nothing else of a module; torch has none that are empty."""
    part = part or "_"
    while part not in own and getattr(owner, part, None) is not None:
        part += "_"
    return part


def _shell(weight: Layer | None) -> nn.Module:
    """An empty module of the class that has such a weight in PyTorch."""
    if weight is None or weight.axes != tuple(range(len(weight.stored_shape))):
        return nn.Module()
    shape = weight.stored_shape
    if weight.operator == "Conv" and len(shape) in _CONVOLUTIONS:
        out, inside, *kernel = shape
        return _bare(
            _CONVOLUTIONS[len(shape)],
            in_channels=inside * weight.group,
            out_channels=out,
            kernel_size=tuple(kernel),
            groups=weight.group,
        )
    if weight.operator in ("Gemm", "MatMul") and len(shape) == 2:
        return _bare(nn.Linear, in_features=shape[1], out_features=shape[0])
    if weight.operator == _NORM and len(shape) == 1:
        return _bare(nn.BatchNorm2d, num_features=shape[0])
    return nn.Module()


def _bare(kind: type[nn.Module], **facts: object) -> nn.Module:
    """A module that was not initialised: it has no weights yet, and is not run."""
    made: nn.Module = kind.__new__(kind)
    nn.Module.__init__(made)
    for name, value in facts.items():
        setattr(made, name, value)
    made.register_parameter("weight", None)
    made.register_parameter("bias", None)
    made.extra_repr = lambda: ""  # type: ignore[method-assign]  # it would ask for more facts
    return made


def _tell(owner: nn.Module, inputs: tuple[torch.Tensor, ...], answer: torch.Tensor) -> None:
    hooks: Mapping[int, Callable[..., object]] = owner._forward_hooks
    for hook in tuple(hooks.values()):
        hook(owner, inputs, answer)
