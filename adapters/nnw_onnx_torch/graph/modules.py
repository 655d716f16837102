"""What the parameters of torch's modules are: which operator computes with them, and how."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Layer
from nnw_onnx_torch.graph.computed import Computed, computed

_OPERATORS: dict[type[nn.Module], str] = {
    nn.Conv1d: "Conv",
    nn.Conv2d: "Conv",
    nn.Conv3d: "Conv",
    nn.ConvTranspose1d: "ConvTranspose",
    nn.ConvTranspose2d: "ConvTranspose",
    nn.ConvTranspose3d: "ConvTranspose",
    nn.Linear: "Gemm",
    nn.MultiheadAttention: "MatMul",
    nn.Embedding: "Gather",
    nn.EmbeddingBag: "Gather",
    nn.modules.batchnorm._NormBase: "BatchNormalization",
    nn.LayerNorm: "LayerNormalization",
    nn.GroupNorm: "GroupNormalization",
    nn.RMSNorm: "RMSNormalization",
    nn.LSTM: "LSTM",
    nn.GRU: "GRU",
    nn.RNN: "RNN",
}
_RECURRENT = ("LSTM", "GRU", "RNN")
_ROLES = {"Gather": "embedding"}
_COMPILED = "_orig_mod"
_WRAPPERS = (
    nn.DataParallel,
    nn.parallel.DistributedDataParallel,
    torch.optim.swa_utils.AveragedModel,
)
_ORIGINAL = "_original_forward"
"""Where accelerate keeps the forward that it has put autocast around."""


@dataclass(frozen=True)
class Found:
    """A layer with the module that has it.

    Attributes:
        layer: the layer.
        owner: the module that computes with it.
        home: the module that stores it, which is another one for a parametrization.
        attribute: under which that module has it.
        path: of `home` in the module that was described, with the wrappers of torch.compile.
        computed: how the owner makes its weights of it and other tensors, or None.
    """

    layer: Layer
    owner: nn.Module
    home: nn.Module
    attribute: str
    path: str
    computed: Computed | None = None

    @property
    def tensor(self) -> torch.Tensor:
        """The parameter or buffer as the module has it now."""
        return _own_tensors(self.home)[self.attribute]

    @property
    def arriving(self) -> torch.Tensor:
        """The weights as the owner computes with them now; gradients flow to what stores them."""
        return self.tensor if self.computed is None else self.computed.compute()

    @property
    def parameter_name(self) -> str:
        """The name of the parameter or buffer in the module that was described."""
        return f"{self.path}.{self.attribute}" if self.path else self.attribute


@dataclass(frozen=True)
class _Use:
    """Operator, role, and order of the stored axes in canonical layout."""

    operator: str
    role: str
    axes: tuple[int, ...] | None = None
    group: int = 1


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside DataParallel, DistributedDataParallel, AveragedModel and torch.compile."""
    inside = model
    while True:
        if isinstance(inside, _WRAPPERS):
            inside = inside.module
        elif _COMPILED in (own := dict(inside.named_children())):
            inside = own[_COMPILED]
        else:
            return inside


@contextlib.contextmanager
def plain_forward(model: nn.Module) -> Iterator[None]:
    """The model as its class computes, for a time: without mixed precision, and not compiled.

    Accelerate, and with it the Trainer of transformers, leaves autocast around `forward` after a
    training with bf16 or fp16; `nn.Module.compile` leaves a compiled call.
    """
    with contextlib.ExitStack() as stack:
        for module in model.modules():
            stack.enter_context(_without(module, "_compiled_call_impl", None))
            original = vars(module).get(_ORIGINAL)
            if original is not None and "forward" in vars(module):
                stack.enter_context(_without(module, "forward", original))
        kind = next((p.device.type for p in model.parameters()), "cpu")
        stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextlib.contextmanager
def _without(module: nn.Module, attribute: str, instead: object) -> Iterator[None]:
    """Another attribute of the module itself, for a time, where it has one."""
    own = vars(module)
    if attribute not in own:
        yield
        return
    before = own[attribute]
    own[attribute] = instead
    try:
        yield
    finally:
        own[attribute] = before


def describe(model: nn.Module) -> Iterator[Found]:
    """Every floating-point parameter and buffer; a shared one once, with all its consumers.

    Weights that a module computes are named after the tensor that has a number for each of them;
    the others that take part are layers without a role.

    Raises:
        TrainingError: a lazy layer that has no weights yet.
    """
    found: dict[int, Found] = {}
    made = {
        _joined(path, weight.main): (path, module, weight)
        for path, module in model.named_modules()
        for weight in computed(module).values()
    }
    parts = {_joined(path, part) for path, _, weight in made.values() for part in weight.parts}
    for position, (path, module) in enumerate(model.named_modules()):
        for attribute, tensor in _own_tensors(module).items():
            whole = _joined(path, attribute)
            name = _clean(whole)
            if nn.parameter.is_lazy(tensor):
                raise TrainingError(
                    f"layer {_clean(path) or attribute!r}: expected weights, got a lazy layer that "
                    "has none yet; run the model on a batch first"
                )
            if not tensor.is_floating_point() or not tensor.numel():
                continue
            if whole in made:
                home, owner, weight = made[whole]
                layer = _computed_layer(name, _clean(home), owner, weight, tensor, position)
                one = Found(layer, owner, module, attribute, path, weight)
            else:
                layer = _layer(name, _clean(path), module, attribute, tensor, position)
                if whole in parts:
                    layer = replace(layer, role="other", axes=None, shape=layer.stored_shape)
                one = Found(layer, module, module, attribute, path)
            known = found.get(id(tensor))
            found[id(tensor)] = one if known is None else _shared(known, one)
    yield from found.values()


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _clean(path: str) -> str:
    """A path without the wrappers of torch.compile."""
    return ".".join(part for part in path.split(".") if part and part != _COMPILED)


def _own_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers of a module itself, by attribute."""
    return {
        **dict(module.named_parameters(recurse=False, remove_duplicate=False)),
        **dict(module.named_buffers(recurse=False, remove_duplicate=False)),
    }


def _shared(known: Found, again: Found) -> Found:
    consumers = (*known.layer.consumers, *again.layer.consumers)
    return replace(known, layer=replace(known.layer, consumers=consumers))


def _layer(
    name: str, path: str, module: nn.Module, attribute: str, tensor: torch.Tensor, position: int
) -> Layer:
    use = _use(module, attribute, tensor)
    stored = tuple(tensor.shape)
    return Layer(
        name=name,
        operator=use.operator,
        role=use.role,
        shape=stored if use.axes is None else tuple(stored[k] for k in use.axes),
        axes=use.axes,
        stored_shape=stored,
        dtype=str(tensor.dtype).removeprefix("torch."),
        node=path,
        group=use.group,
        consumers=(f"{use.operator}:{path}:{attribute}",),
        position=position,
        learns=tensor.requires_grad,
    )


def _computed_layer(
    name: str, path: str, owner: nn.Module, weight: Computed, tensor: torch.Tensor, position: int
) -> Layer:
    """The weights that a module computes, under the name of their main tensor."""
    with torch.no_grad():
        arriving = weight.compute()
    layer = _layer(name, path, owner, weight.attribute, arriving, position)
    return replace(
        layer,
        stored_shape=tuple(tensor.shape),
        learns=tensor.requires_grad,
        parts=tuple(_joined(path, part) for part in weight.parts),
        arithmetic=(weight.kind,),
    )


def _use(module: nn.Module, attribute: str, tensor: torch.Tensor) -> _Use:
    kind = _operator(module)
    if kind is None or tensor.ndim == 0:
        return _Use(type(module).__name__, "other")
    role = _role(kind, attribute)
    if role in {"other", "norm", "bias"}:
        return _Use(kind, role)
    order = tuple(range(tensor.ndim))
    if kind == "ConvTranspose" or _is_transformers_conv1d(module):
        order = (1, 0, *order[2:])
    groups = module.groups if isinstance(module, nn.modules.conv._ConvNd) else 1
    return _Use(kind, role, order, groups)


def _role(kind: str, attribute: str) -> str:
    if attribute in {"running_mean", "running_var"}:
        return "other"
    if kind.endswith("Normalization"):
        return "norm"
    if "bias" in attribute:
        return "bias"
    if kind in _RECURRENT:
        return "recurrent"
    known = attribute == "weight" or attribute.endswith("proj_weight")
    return _ROLES.get(kind, "kernel") if known else "other"


def _operator(module: nn.Module) -> str | None:
    """The operator that an ONNX file has for a module, or None for one that is not known."""
    if _is_transformers_conv1d(module):
        return "Gemm"
    found = (operator for known, operator in _OPERATORS.items() if isinstance(module, known))
    return next(found, None)


def _is_transformers_conv1d(module: nn.Module) -> bool:
    """Whether it is GPT-2's linear layer, which has an unusual name and layout (in, out)."""
    return type(module).__name__ == "Conv1D" and "nf" in vars(module)
