"""A torch model seen as a Network: its layers by the names of its state_dict."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import nn

from nnw_onnx.errors import CarrierNotFoundError, InferenceError, ModelFileError, TrainingError
from nnw_onnx.plugins import closest
from nnw_onnx.vocabulary import Array, Feeds, HiddenAxis, Layer, TensorInfo, Values, Weights
from nnw_onnx_torch.graph.computed import settled
from nnw_onnx_torch.graph.dtypes import to_numpy, to_tensor
from nnw_onnx_torch.graph.layouts import canonical_array, stored_tensor
from nnw_onnx_torch.graph.modules import Found, describe, unwrapped

_BATCH = 256
_GIVEN = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class TorchNetwork:
    """A view of a model; kernels in canonical layout (out, in, *kernel), whatever torch stores.

    It follows the model: `weights` are those of the moment that they are asked for. It is a
    `Network`, and serves as a `Suspect` that shows everything.

    Attributes:
        model: the model, without the wrappers of DataParallel and torch.compile.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = unwrapped(model)

    def __repr__(self) -> str:
        return f"TorchNetwork({type(self.model).__name__}, {len(self.layers)} layers)"

    @cached_property
    def layers(self) -> Sequence[Layer]:
        """Every floating-point parameter and buffer, in the order of definition."""
        return tuple(found.layer for found in self._found.values())

    @property
    def hidden_axes(self) -> Sequence[HiddenAxis]:
        """A model does not tell its graph: none are known."""
        return ()

    @property
    def weights(self) -> Weights:
        """Snapshots by layer name, canonical layout, read-only."""
        return _Snapshots(self)

    @cached_property
    def inputs(self) -> Sequence[TensorInfo]:
        """The arguments that forward must be given, or its first; their shapes are not known."""
        given = [p for p in self._parameters if p.kind in _GIVEN]
        wanted = [p.name for p in given if p.default is p.empty] or [p.name for p in given[:1]]
        return tuple(TensorInfo(name, (), "float32") for name in wanted or ["input"])

    @property
    def producer(self) -> str:
        """Name and version of the framework."""
        return f"torch {torch.__version__}"

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the names, layouts and values of all layers.

        A model does not tell its graph: two that compute differently with equal layers have one
        digest.
        """
        digest = hashlib.sha256(type(self.model).__qualname__.encode())
        for name, values in self.weights.items():
            digest.update(repr((name, values.dtype.str, values.shape)).encode())
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def tensor(self, name: str) -> torch.Tensor:
        """The parameter or buffer of a layer as the model has it now.

        Raises:
            ModelFileError: no layer has this name.
            TrainingError: it is sharded.
        """
        return _whole(name, self._at(name).tensor)

    def arriving(self, name: str) -> torch.Tensor:
        """The weights of a layer as its module computes with them now, in torch's own layout.

        That is the parameter itself, or what a normalisation or a mask makes of it, through which
        gradients flow. Raises as `tensor` does.
        """
        return _whole(name, self._at(name).arriving)

    def assign(self, name: str, values: Array) -> None:
        """Have these weights, canonical, arrive at the module of a layer, as nearly as may be.

        Raises:
            TrainingError: a parametrization without an inverse.
        """
        found, like = self._at(name), self.tensor(name)
        stored = stored_tensor(found.layer, values, like)
        if found.computed is not None:
            found.computed.solve(stored)
            return
        with torch.no_grad():
            like.copy_(stored)

    def named(self, words: str) -> str:
        """The layer that is meant by the name of a weight as its module uses it.

        "conv.weight" is a name of its own where it is a parameter, and names what it is computed of
        where a normalisation or a mask stands before it; what names no layer comes back as it is.
        """
        for name, found in self._found.items():
            made = found.computed
            if made is not None and words == f"{found.layer.node}.{made.attribute}".lstrip("."):
                return name
        return words

    def owner(self, name: str) -> nn.Module:
        """The module that computes with a layer."""
        return self._at(name).owner

    def parameter_name(self, name: str) -> str:
        """The name of a layer in the `state_dict` of the model."""
        return self._at(name).parameter_name

    def with_resized(self, axis: HiddenAxis, resized: Weights) -> Self:
        """No hidden axis of a model is known, so that none is resized: raises `ModelFileError`."""
        raise ModelFileError(
            f"channels: expected one of the hidden axes, got {axis.name!a} of a model that has "
            "none; export it, and resize the network of the file"
        )

    def with_weights(self, replaced: Weights) -> Self:
        """A copy of the model with some weights replaced, given in canonical layout.

        Raises:
            ModelFileError: an unknown name, a wrong shape, or a value that is not finite.
        """
        settled(self.model)
        made = type(self)(copy.deepcopy(self.model))
        by_name = {layer.name: layer for layer in self.layers}
        for name, values in replaced.items():
            tensor = made.tensor(name)
            if values.shape != by_name[name].shape:
                raise ModelFileError(
                    f"layer {name!r}: expected weights of shape {by_name[name].shape}, got "
                    f"{values.shape}; keep the shape (out, in, *kernel)"
                )
            stored = stored_tensor(by_name[name], values, tensor)
            if not torch.isfinite(stored).all():
                raise ModelFileError(
                    f"layer {name!r}: expected finite weights that fit {by_name[name].dtype}, got "
                    "others; correct the values"
                )
            made.assign(name, values)
        return made

    def run(self, feeds: Feeds, layers: Sequence[str] = ()) -> Values:
        """Every output, then what the module of each of these layers answers.

        The model is in evaluation mode, without gradients. Feeds whose names are arguments of
        forward are given by name, others by place; floating numbers in the type of the model's
        first parameter. Outputs are named "output", or "output0", ... where there are several.

        Raises:
            CarrierNotFoundError: there is no such layer.
            InferenceError: the model does not run on these feeds.
        """
        for name in layers:
            if name not in self._found:
                raise CarrierNotFoundError(
                    f"layer {name!r}: expected a layer of the model, got another"
                    f"{closest(name, list(self._found))}; use the key of this model"
                )
        samples = {name: to_tensor(np.asarray(values)) for name, values in feeds.items()}
        pieces = []
        with evaluating(self.model), torch.no_grad(), self.listening(layers) as heard:
            for piece in _pieces(samples):
                outputs = [to_numpy(t) for t in self.answers(piece)]
                pieces.append([*outputs, *(to_numpy(heard[name]) for name in layers)])
        joined = [np.concatenate(parts) for parts in zip(*pieces, strict=True)]
        count = len(joined) - len(layers)
        names = ["output"] if count == 1 else [f"output{k}" for k in range(count)]
        return dict(zip([*names, *layers], joined, strict=True))

    @contextlib.contextmanager
    def listening(self, layers: Sequence[str]) -> Iterator[Mapping[str, torch.Tensor]]:
        """What the modules of these layers answered last, by layer."""
        heard: dict[str, torch.Tensor] = {}
        with contextlib.ExitStack() as stack:
            for name in layers:
                handle = self.owner(name).register_forward_hook(_keeper(heard, name))
                stack.callback(handle.remove)
            yield heard

    def answers(self, samples: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        """Every output, in the mode that the model is in; see `run`."""
        first = next(self.model.parameters(), torch.zeros(()))
        given = {
            name: values.to(first.device, first.dtype if values.is_floating_point() else None)
            for name, values in samples.items()
        }
        by_name = given.keys() <= {p.name for p in self._parameters if p.kind in _NAMED}
        try:
            told = self.model(**given) if by_name else self.model(*given.values())
        except (RuntimeError, TypeError, ValueError) as error:
            words = " ".join(str(error).split())[:300]
            raise InferenceError(
                f"model: expected to run on {', '.join(samples)}, got an error of torch ({words}); "
                "give inputs as forward takes them"
            ) from error
        return tensors_in(told)

    def _at(self, name: str) -> Found:
        found = self._found.get(name)
        if found is None:
            raise ModelFileError(
                f"weights: expected the name of a layer of the model, got {name!r}"
                f"{closest(name, list(self._found))}; see TorchNetwork(model).layers"
            )
        return found

    @cached_property
    def _parameters(self) -> Sequence[inspect.Parameter]:
        return tuple(inspect.signature(self.model.forward).parameters.values())

    @cached_property
    def _found(self) -> dict[str, Found]:
        return {found.layer.name: found for found in describe(self.model)}


class _Snapshots(Mapping[str, Array]):
    """Copies of weights, made when they are asked for."""

    def __init__(self, network: TorchNetwork) -> None:
        self._network = network
        self._layers = {layer.name: layer for layer in network.layers}

    def __getitem__(self, name: str) -> Array:
        layer = self._layers[name]
        return canonical_array(layer, self._network.arriving(name).detach().clone())

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


def _whole(name: str, tensor: torch.Tensor) -> torch.Tensor:
    if type(tensor) not in {torch.Tensor, nn.Parameter}:
        raise TrainingError(
            f"layer {name!r}: expected a whole tensor, got a {type(tensor).__name__}; put the "
            "watermark in without sharding, or shard another layer"
        )
    return tensor


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a time; afterwards every module is in its own mode again."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def tensors_in(output: object) -> list[torch.Tensor]:
    """The tensors of what a model returns: one, a sequence, a mapping, or a data class of them."""
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, Mapping):
        return [t for value in output.values() for t in tensors_in(value)]
    if isinstance(output, list | tuple):
        return [t for value in output for t in tensors_in(value)]
    if dataclasses.is_dataclass(output):
        held = vars(output)
        return [t for f in dataclasses.fields(output) for t in tensors_in(held[f.name])]
    return []


def _keeper(heard: dict[str, torch.Tensor], name: str) -> Callable[..., None]:
    """A forward hook that keeps the first tensor of what a module answers."""

    def keep(module: nn.Module, given: object, answer: object) -> None:
        found = tensors_in(answer)
        if found:
            heard[name] = found[0]

    return keep


def _pieces(samples: Mapping[str, torch.Tensor]) -> Iterator[Mapping[str, torch.Tensor]]:
    """The samples in pieces that fit into memory."""
    splits = [torch.split(values, _BATCH) for values in samples.values()]
    for parts in zip(*splits, strict=True):
        yield dict(zip(samples, parts, strict=True))
