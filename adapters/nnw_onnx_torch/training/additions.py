"""`Additions` at work on the tensors of a network in torch, whoever runs the loop.

Nothing here knows a method: what it adds is a function of arrays, and its own arrays go in and come
out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Additions, Array, Layer, Moment, Penalty, Targets, Weights
from nnw_onnx_torch.graph.layouts import (
    as_array,
    canonical_array,
    canonical_tensor,
    stored_tensor,
    tensor_like,
)

Tensors = Callable[[str], torch.Tensor]
"""Name of a layer -> its weights as they arrive at their operator, in stored layout."""
Parameters = Sequence[torch.Tensor]


_MOST_CONSTANTS = 16
"""Arrays of a method that are kept on a device."""


class Held(Protocol):
    """A network in torch, whose weights a method reads and sets."""

    def arriving(self, name: str) -> torch.Tensor:
        """The weights of a layer as its operator gets them, in the layout of `Layer.axes`.

        The parameter itself, or what is computed of it and others, through which gradients flow.
        """
        ...

    def assign(self, name: str, values: Array) -> None:
        """Have these weights, canonical, arrive there, as nearly as may be."""
        ...


class Seen(NamedTuple):
    """What a step is about.

    Attributes:
        activations: layer -> output of its operator (n, ...), through which gradients flow.
        targets: of the samples (n, ...), or None where they are not known.
        own: how many samples at the end are the method's own.
        task_gradient: see `vocabulary.Moment`.
    """

    activations: Mapping[str, torch.Tensor]
    targets: Targets | None
    own: int
    task_gradient: Callable[[Weights], Weights]


class Gradient(NamedTuple):
    """A tensor, and the derivative of a term by it (same shape, type and device)."""

    tensor: torch.Tensor
    values: torch.Tensor


class Addition:
    """What a method adds to a training, with its own arrays as they are now.

    Attributes:
        additions: what the method gave.
        state: its own arrays after the last step.
        step: number of the next step, 0, 1, ...
    """

    def __init__(self, additions: Additions, layers: Mapping[str, Layer], held: Held) -> None:
        self.additions, self._layers, self._held = additions, layers, held
        self._tensor: Tensors = held.arriving
        self.state: dict[str, Array] = dict(additions.state)
        self.step = 0
        self._kept: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self._moved: dict[tuple[int, torch.device], tuple[Array, torch.Tensor]] = {}
        wanted = (*additions.carriers, *additions.activations, *additions.start, *additions.fixed)
        for name in wanted:
            _check_layer(name, layers)
        if additions.penalty is not None:
            for name in additions.carriers:
                _check_learns(name, held.arriving(name))

    @property
    def has_penalty(self) -> bool:
        """Whether a term is added to the loss."""
        return self.additions.penalty is not None

    @property
    def stays_there(self) -> bool:
        """Whether the term is computed where the weights are, on a device that nobody waits for.

        On the CPU numpy computes it, as it does for every other trainer.
        """
        made = self.additions
        if made.penalty is None or not made.anywhere or made.activations:
            return False
        return all(self._tensor(name).device.type != "cpu" for name in made.carriers)

    @property
    def holds_weights(self) -> bool:
        """Whether some weights have to be put back after each step."""
        return bool(self.additions.fixed)

    def begin(self) -> None:
        """Set the weights that training starts from; what is fixed is fixed as it is now."""
        for name, values in self.additions.start.items():
            self._fill(name, values)
        for name, mask in self.additions.fixed.items():
            tensor, layer = self._tensor(name), self._layers[name]
            _check_shape(name, mask.shape, layer.shape)
            place = stored_tensor(layer, np.asarray(mask, bool), tensor)
            self._kept[name] = place, tensor.detach().clone()

    def enforce(self) -> None:
        """Put the fixed weights back, after a step."""
        for name, (place, values) in self._kept.items():
            with torch.enable_grad():  # without it everything looks like a parameter
                tensor = self._tensor(name)
            put_back = torch.where(place, values, tensor.detach())
            if tensor.grad_fn is None:
                with torch.no_grad():
                    tensor.copy_(put_back)
            else:
                self._held.assign(name, canonical_array(self._layers[name], put_back))

    def penalty(self, seen: Seen) -> Penalty:
        """The term of this step; the method's own arrays go on by one step.

        Its value is a scalar of the device where the term is computed there, and nobody looks then
        whether it is a number.

        Raises:
            TrainingError: its value is no number, or a gradient is not of the shape of its layer.
        """
        if self.additions.penalty is None:
            return Penalty(0.0)
        there = self.stays_there
        found = self.additions.penalty(self._there(seen) if there else self._moment(seen))
        if not there and not np.isfinite(found.value):
            raise TrainingError(
                f"watermark: expected a penalty that is a number, got {found.value}; choose a "
                "smaller learning rate or a smaller strength"
            )
        self.state |= {name: np.array(values) for name, values in found.state.items()}
        self.step += 1
        return found

    def gradients(self, found: Penalty, seen: Seen) -> list[Gradient]:
        """The derivatives of a term by tensors of weights, then by those of activations."""
        pairs = []
        for name, values in found.weights.items():
            _check_known(name, self.additions.carriers, "weights")
            tensor, layer = self._tensor(name), self._layers[name]
            _check_shape(name, np.shape(values), layer.shape)
            given = values if isinstance(values, torch.Tensor) else np.asarray(values)
            pairs.append(Gradient(tensor, stored_tensor(layer, given, tensor)))
        for name, values in found.activations.items():
            _check_known(name, self.additions.activations, "activations")
            answers = seen.activations[name]
            _check_shape(name, np.shape(values), tuple(answers.shape))
            pairs.append(Gradient(answers, tensor_like(np.asarray(values), answers)))
        return pairs

    def term(self, seen: Seen) -> torch.Tensor | None:
        """The scalar to add to the loss, or None where nothing is added."""
        if self.additions.penalty is None:
            return None
        found = self.penalty(seen)
        return given(found.value, self.gradients(found, seen))

    def _moment(self, seen: Seen) -> Moment:
        activations = {name: as_array(t) for name, t in seen.activations.items()}
        for values in activations.values():
            values.flags.writeable = False
        count = self._samples(seen)
        own: NDArray[np.bool_] = np.arange(count) >= count - seen.own
        return Moment(
            weights={n: canonical_array(self._layers[n], self._tensor(n))
                     for n in self.additions.carriers},
            activations=activations,
            targets=seen.targets,
            own=own,
            state=dict(self.state),
            step=self.step,
            task_gradient=seen.task_gradient,
        )  # fmt: skip

    def _there(self, seen: Seen) -> Moment:
        """The moment of a term that needs weights alone, where they are."""
        weights: dict[str, Any] = {
            n: canonical_tensor(self._layers[n], self._tensor(n)) for n in self.additions.carriers
        }
        place = next((t.device for t in weights.values()), torch.device("cpu"))
        return Moment(
            weights, {}, None, np.zeros(0, np.bool_), {}, self.step, seen.task_gradient,
            torch, partial(self._constant, place),
        )  # fmt: skip

    def _constant(self, place: torch.device, array: Array) -> torch.Tensor:
        """An array of the method on a device, moved once."""
        key = id(array), place
        if key not in self._moved:
            if len(self._moved) >= _MOST_CONSTANTS:
                self._moved.clear()
            # The array is held, so that its place cannot become that of another.
            self._moved[key] = array, torch.from_numpy(np.array(array)).to(place)
        return self._moved[key][1]

    def _samples(self, seen: Seen) -> int:
        """Number of samples of the batch, as far as it is known."""
        answers = next(iter(seen.activations.values()), None)
        if seen.targets is not None:
            return len(seen.targets)
        return seen.own if answers is None else len(answers)

    def _fill(self, name: str, values: Array) -> None:
        _check_shape(name, np.shape(values), self._layers[name].shape)
        self._held.assign(name, np.asarray(values))


def parameters_of(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The parameters of which a tensor is computed; itself where it is one."""
    if tensor.grad_fn is None:
        return [tensor]
    found: dict[int, torch.Tensor] = {}
    waiting, entered = [tensor.grad_fn], {tensor.grad_fn}
    while waiting:
        node = waiting.pop()
        if type(node).__name__ == "AccumulateGrad":
            leaf: torch.Tensor = node.variable  # type: ignore[attr-defined]  # torch's types lack it
            found[id(leaf)] = leaf
        for before, _ in node.next_functions:
            if before is not None and before not in entered:
                entered.add(before)
                waiting.append(before)
    return list(found.values())


def on_parameters(gradient: Gradient) -> list[Gradient]:
    """A derivative by a tensor as the derivatives by the parameters of which it is computed."""
    if gradient.tensor.grad_fn is None:
        return [gradient]
    leaves = parameters_of(gradient.tensor)
    found = torch.autograd.grad(gradient.tensor, leaves, gradient.values)
    return [Gradient(leaf, slopes) for leaf, slopes in zip(leaves, found, strict=True)]


class _Context(Protocol):
    """What autograd keeps between forward and backward."""

    gradients: Sequence[torch.Tensor]


class _Given(torch.autograd.Function):
    """A number whose derivatives by some tensors are given."""

    @staticmethod
    def forward(
        ctx: _Context,
        value: float | torch.Tensor,
        gradients: Sequence[torch.Tensor],
        *tensors: torch.Tensor,
    ) -> torch.Tensor:
        """The value as a scalar of the first tensor's type."""
        ctx.gradients = gradients
        kind = torch.float64 if tensors[0].dtype == torch.float64 else torch.float32
        if isinstance(value, torch.Tensor):
            return value.to(tensors[0].device, kind)
        return torch.tensor(value, dtype=kind, device=tensors[0].device)

    @staticmethod
    def backward(ctx: _Context, *incoming: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The given derivatives, times the one that comes in."""
        scaled = ((incoming[0] * g.to(incoming[0].dtype)).to(g.dtype) for g in ctx.gradients)
        return (None, None, *scaled)


def given(value: float | torch.Tensor, gradients: Sequence[Gradient]) -> torch.Tensor:
    """A scalar of this value with these derivatives.

    Half precision would round a small penalty away: the scalar is float32, or float64 where the
    first tensor is.
    """
    if not gradients:
        return torch.as_tensor(value)
    values, tensors = tuple(g.values for g in gradients), [g.tensor for g in gradients]
    found: torch.Tensor = _Given.apply(value, values, *tensors)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return found


class _Task(torch.nn.Module):
    """The loss of a model on a batch, as a module without inputs."""

    def __init__(self, model: torch.nn.Module, loss: Callable[[], torch.Tensor]) -> None:
        super().__init__()
        self.model, self._loss = model, loss

    def forward(self) -> torch.Tensor:
        """The loss."""
        return self._loss()


def gradient_elsewhere(
    model: torch.nn.Module, replaced: Mapping[str, torch.Tensor], loss: Callable[[], torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Gradient of the loss by these tensors of a model, were they its own.

    Neither the tensors of the model nor its running statistics nor the random state of torch are
    changed.

    Args:
        model: whose loss it is.
        replaced: name of a parameter or buffer -> other values.
        loss: runs the model.
    """
    leaves = {name: t.detach().requires_grad_() for name, t in replaced.items()}
    statistics = {n: b.clone() for n, b in model.named_buffers() if n not in replaced}
    given_names = {f"model.{n}": t for n, t in (statistics | leaves).items()}
    devices = sorted({t.device.index or 0 for t in leaves.values() if t.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        value = torch.func.functional_call(_Task(model, loss), given_names, ())
        found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    return {
        name: torch.zeros_like(t) if g is None else g
        for (name, t), g in zip(leaves.items(), found, strict=True)
    }


def task_gradient_of(
    model: torch.nn.Module,
    layers: Mapping[str, Layer],
    key: Callable[[str], str],
    tensor: Tensors,
    loss: Callable[[], torch.Tensor],
) -> Callable[[Weights], Weights]:
    """`Moment.task_gradient` of a batch.

    Args:
        model: that runs.
        layers: by name.
        key: name of a layer -> name of its parameter in the model.
        tensor: name of a layer -> its tensor.
        loss: runs the model on the batch.
    """

    def task_gradient(weights: Weights) -> Weights:
        for name in weights:
            _check_layer(name, layers)
            _check_stored(name, tensor(name))
        replaced = {
            key(name): stored_tensor(layers[name], np.asarray(values), tensor(name))
            for name, values in weights.items()
        }
        found = gradient_elsewhere(model, replaced, loss)
        return {name: canonical_array(layers[name], found[key(name)]) for name in weights}

    return task_gradient


def _check_layer(name: str, layers: Mapping[str, Layer]) -> None:
    if name not in layers:
        raise TrainingError(
            f"watermark: expected a network with the layer {name!r} of the key, got one without; "
            "make a key for this network"
        )


def _check_stored(name: str, tensor: torch.Tensor) -> None:
    if tensor.grad_fn is not None:
        raise TrainingError(
            f"watermark: expected layer {name!r} to be stored as it is used, since the method asks "
            "for the gradient of the task elsewhere, got weights that are computed of others; "
            "choose another layer"
        )


def _check_learns(name: str, tensor: torch.Tensor) -> None:
    if not tensor.requires_grad:
        raise TrainingError(
            f"watermark: expected layer {name!r} to learn, got one that is frozen; let it learn "
            "or choose another layer for the key"
        )


def _check_known(name: str, names: Sequence[str], what: str) -> None:
    if name not in names:
        raise TrainingError(
            f"watermark: expected gradients of the {what} that the method asked for, got one of "
            f"{name!r}; name the layer in Additions"
        )


def _check_shape(name: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if tuple(found) != tuple(wanted):
        raise TrainingError(
            f"watermark: expected an array {tuple(wanted)} for layer {name!r}, got one "
            f"{tuple(found)}; keep the canonical shape"
        )
