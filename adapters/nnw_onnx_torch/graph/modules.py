"""What the parameters of torch's modules are: which operator computes with them, and how."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Layer

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


@dataclass(frozen=True)
class Found:
    """A layer with the module that has it.

    Attributes:
        layer: the layer.
        owner: the module.
        attribute: under which the module has it.
        path: of the module in the one that was described, with the wrappers of torch.compile.
    """

    layer: Layer
    owner: nn.Module
    attribute: str
    path: str

    @property
    def tensor(self) -> torch.Tensor:
        """The parameter or buffer as the module has it now."""
        return _own_tensors(self.owner)[self.attribute]

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
    """The model inside DataParallel, DistributedDataParallel and torch.compile."""
    inside = model
    while True:
        if isinstance(inside, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inside = inside.module
        elif _COMPILED in (own := dict(inside.named_children())):
            inside = own[_COMPILED]
        else:
            return inside


def describe(model: nn.Module) -> Iterator[Found]:
    """Every floating-point parameter and buffer; a shared one once, with all its consumers.

    Raises:
        TrainingError: a lazy layer that has no weights yet.
    """
    found: dict[int, Found] = {}
    for position, (path, module) in enumerate(model.named_modules()):
        clean = ".".join(part for part in path.split(".") if part and part != _COMPILED)
        for attribute, tensor in _own_tensors(module).items():
            if nn.parameter.is_lazy(tensor):
                raise TrainingError(
                    f"layer {clean or attribute!r}: expected weights, got a lazy layer that has "
                    "none yet; run the model on a batch first"
                )
            if not tensor.is_floating_point() or not tensor.numel():
                continue
            name = f"{clean}.{attribute}" if clean else attribute
            layer = _layer(name, clean, module, attribute, position)
            made = Found(layer, module, attribute, path)
            known = found.get(id(tensor))
            found[id(tensor)] = made if known is None else _shared(known, made)
    yield from found.values()


def _own_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers of a module itself, by attribute."""
    return {
        **dict(module.named_parameters(recurse=False, remove_duplicate=False)),
        **dict(module.named_buffers(recurse=False, remove_duplicate=False)),
    }


def _shared(known: Found, again: Found) -> Found:
    consumers = (*known.layer.consumers, *again.layer.consumers)
    return replace(known, layer=replace(known.layer, consumers=consumers))


def _layer(name: str, path: str, module: nn.Module, attribute: str, position: int) -> Layer:
    tensor = _own_tensors(module)[attribute]
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
