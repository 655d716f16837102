"""Weights that a module of torch computes from other parameters before it uses them.

`torch.nn.utils.parametrize` (weight and spectral normalisation, and parametrizations of one's own),
the older hooks of `weight_norm` and `spectral_norm`, and the masks of `torch.nn.utils.prune`.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it is deprecated, and still in models
    from torch.nn.utils.weight_norm import WeightNorm

from nnw_onnx.errors import TrainingError


@dataclass(frozen=True)
class Computed:
    """A weight of a module that is computed.

    Attributes:
        attribute: under which the module uses it, such as "weight".
        main: name in the module's `state_dict` of the tensor that has a number for each weight.
        parts: the other tensors that take part, likewise.
        kind: what computes it, such as "WeightNorm".
        compute: what it is now; gradients flow to its tensors, and no statistics go on.
        solve: gives its tensors values with which this weight is computed, as nearly as may be.
    """

    attribute: str
    main: str
    parts: tuple[str, ...]
    kind: str
    compute: Callable[[], torch.Tensor]
    solve: Callable[[torch.Tensor], None]


def computed(module: nn.Module) -> Mapping[str, Computed]:
    """Attribute -> how a module computes it, for those that it does compute."""
    found = {c.attribute: c for c in _by_hooks(module)}
    if isinstance(module, nn.Module) and parametrize.is_parametrized(module):
        lists = vars(module)["_modules"]["parametrizations"]
        found |= {str(name): _parametrized(str(name), made) for name, made in lists.items()}
    return found


def settled(model: nn.Module) -> None:
    """Leave no weight with a history of gradients in the model, which could not be copied."""
    for module in model.modules():
        for made in _by_hooks(module):
            with torch.no_grad():
                vars(module)[made.attribute] = made.compute()


def _parametrized(name: str, made: parametrize.ParametrizationList) -> Computed:
    home = f"parametrizations.{name}."
    tensors = dict(made.named_parameters()) | dict(made.named_buffers())
    originals = [n for n in tensors if n.startswith("original")]
    # Of weight normalisation the second is the direction, and has the shape of the weight.
    main = max(originals, key=lambda n: (tensors[n].numel(), n))

    def compute() -> torch.Tensor:
        with _still(made):
            weight: torch.Tensor = made()
        return weight

    def solve(weight: torch.Tensor) -> None:
        try:
            made.right_inverse(weight)
        except (NotImplementedError, RuntimeError) as error:  # torch's for a missing inverse
            raise TrainingError(
                f"weight: expected a parametrization that can be inverted, got {kinds}; choose "
                "another layer"
            ) from error

    kinds = "+".join(type(step).__name__.lstrip("_") for step in made)
    parts = tuple(home + n for n in tensors if n != main)
    return Computed(name, home + main, parts, kinds, compute, solve)


@contextlib.contextmanager
def _still(made: parametrize.ParametrizationList) -> Iterator[None]:
    """No power iteration of a spectral norm, which in training mode goes on at each call."""
    modes = {module: module.training for module in made.modules()}
    made.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _by_hooks(module: nn.Module) -> Iterator[Computed]:
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            yield _weight_norm(module, hook)
        elif isinstance(hook, SpectralNorm):
            yield _spectral_norm(module, hook)
        elif isinstance(hook, prune.BasePruningMethod):
            yield _pruned(module, hook)


def _weight_norm(module: nn.Module, hook: WeightNorm) -> Computed:
    gain, direction = f"{hook.name}_g", f"{hook.name}_v"

    def solve(weight: torch.Tensor) -> None:
        with torch.no_grad():
            module.get_parameter(gain).copy_(torch.norm_except_dim(weight, 2, hook.dim))
            module.get_parameter(direction).copy_(weight)

    return Computed(
        hook.name, direction, (gain,), "WeightNorm", lambda: hook.compute_weight(module), solve
    )


def _spectral_norm(module: nn.Module, hook: SpectralNorm) -> Computed:
    main, left, right = f"{hook.name}_orig", f"{hook.name}_u", f"{hook.name}_v"

    def compute() -> torch.Tensor:
        # Copies, since the next forward of a training changes the vectors where they are.
        u, v = module.get_buffer(left).clone(), module.get_buffer(right).clone()
        weight = module.get_parameter(main)
        norm = torch.dot(u, torch.mv(hook.reshape_weight_to_matrix(weight), v))
        return weight / norm

    return Computed(hook.name, main, (left, right), "SpectralNorm", compute, _copying(module, main))


def _pruned(module: nn.Module, hook: prune.BasePruningMethod) -> Computed:
    name = str(hook._tensor_name)
    main, mask = f"{name}_orig", f"{name}_mask"

    def compute() -> torch.Tensor:
        return module.get_parameter(main) * module.get_buffer(mask)

    return Computed(name, main, (mask,), "Mask", compute, _copying(module, main))


def _copying(module: nn.Module, name: str) -> Callable[[torch.Tensor], None]:
    """Give a parameter the values themselves: what a mask or a norm takes of them is taken."""

    def solve(weight: torch.Tensor) -> None:
        with torch.no_grad():
            module.get_parameter(name).copy_(weight)

    return solve
