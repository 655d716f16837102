"""Activations that an operator names in an attribute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

Function = Callable[[Tensor], Tensor]


def _affine(x: Tensor, alpha: float, beta: float) -> Tensor:
    return alpha * x + beta


def _leaky_relu(x: Tensor, alpha: float, beta: float) -> Tensor:
    return functional.leaky_relu(x, alpha)


def _thresholded_relu(x: Tensor, alpha: float, beta: float) -> Tensor:
    return torch.where(x > alpha, x, torch.zeros_like(x))


def _scaled_tanh(x: Tensor, alpha: float, beta: float) -> Tensor:
    return alpha * torch.tanh(beta * x)


def _hard_sigmoid(x: Tensor, alpha: float, beta: float) -> Tensor:
    return (alpha * x + beta).clamp(0, 1)


def _elu(x: Tensor, alpha: float, beta: float) -> Tensor:
    return functional.elu(x, alpha)


_PLAIN: dict[str, Function] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softsign": functional.softsign,
    "softplus": functional.softplus,
}

# Function, default alpha and default beta; None takes no number from the attribute.
_SHAPED: dict[str, tuple[Callable[..., Tensor], float, float | None]] = {
    "affine": (_affine, 1.0, 0.0),
    "leakyrelu": (_leaky_relu, 0.01, None),
    "thresholdedrelu": (_thresholded_relu, 1.0, None),
    "scaledtanh": (_scaled_tanh, 1.0, 1.0),
    "hardsigmoid": (_hard_sigmoid, 0.2, 0.5),
    "elu": (_elu, 1.0, None),
}


def activation(name: str, alphas: Iterator[float], betas: Iterator[float]) -> Function:
    """The activation of a name; its numbers are taken from what is left, or are its defaults."""
    name = name.lower()
    if name in _PLAIN:
        return _PLAIN[name]
    function, alpha, beta = _SHAPED[name]
    alpha = next(alphas, alpha)
    return partial(function, alpha=alpha, beta=beta if beta is None else next(betas, beta))
