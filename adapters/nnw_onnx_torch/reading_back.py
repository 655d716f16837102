"""Whether a model that is exported holds the watermarks that were made on it."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Sequence
from typing import Protocol

from torch import nn

import nnw_onnx
from nnw_onnx.errors import CarrierNotFoundError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.vocabulary import Claim, Method, Suspect
from nnw_onnx_torch.graph.torch_network import TorchNetwork


class Mark(Protocol):
    """What is asked of a `Watermark`."""

    @property
    def claim(self) -> Claim:
        """Key and Symbols."""
        ...

    @property
    def method(self) -> Method:
        """The plug-in."""
        ...

    @property
    def reads_symbols(self) -> bool:
        """Whether there is something to read back."""
        ...

    def symbol_error_rate(self) -> float:
        """Share of the Symbols that are read wrongly from its own model."""
        ...

    def wrong_in(self, network: Suspect) -> int:
        """Symbols that are read wrongly from a network with the layers of the model."""
        ...

    def check(self) -> str | None:
        """Warn where the model does not hold it."""
        ...


# Whoever exports gives a model and no mark, and has the more reason to be told.
_MADE: weakref.WeakKeyDictionary[Mark, weakref.ref[nn.Module]] = weakref.WeakKeyDictionary()


def made(mark: Mark, model: nn.Module) -> None:
    """Remember, for as long as both live, that a mark was made on a model."""
    _MADE[mark] = weakref.ref(model)


def check(model: nn.Module, network: OnnxNetwork) -> None:
    """Warn where a model, or the file that was made of it, does not hold a mark made on it.

    A mark counts that was made on the model, on one around it or on a part of it; else one that was
    made on a model of the same kind and layers, such as the one that a checkpoint was made of.
    """
    marks = [mark for mark, root in _alive() if _nested(root, model)]
    for mark in marks:
        if mark.check() is None:
            _check_file(mark, network)
    if not marks:
        _check_copies([mark for mark, root in _alive() if _alike(root, model)], model)


def _check_file(mark: Mark, network: OnnxNetwork) -> None:
    words = _lost_in(mark, network)
    if words is not None:
        warnings.warn(words, stacklevel=4)


def _check_copies(marks: Sequence[Mark], model: nn.Module) -> None:
    """One model may have several copies with a mark each: one that is there is enough.

    A mark that is not in its own model either tells nothing of another one.
    """
    marks = [mark for mark in marks if mark.reads_symbols and not mark.symbol_error_rate()]
    wrong = [mark.wrong_in(TorchNetwork(model)) for mark in marks]
    if wrong and all(wrong):
        warnings.warn(
            "watermark: expected the object on which a mark was made, got another model of its "
            f"kind, of which {min(wrong)} symbols are read wrongly; export the object of the mark, "
            "if this one is to hold it",
            stacklevel=4,
        )


def _lost_in(mark: Mark, network: OnnxNetwork) -> str | None:
    """What is wrong with the mark in a file; one that the file must be asked for is not looked for.

    To ask a network takes another process, which would run the script of the training again.
    """
    if mark.method.access != "weights":
        return None
    try:
        verdict = nnw_onnx.verify(network, mark.claim)
    except CarrierNotFoundError as error:
        return str(error)
    if verdict.reason is not None:
        return verdict.reason
    if not verdict.errors:
        return None
    return (
        f"watermark: expected every symbol to be read from {network.path.name!r}, got "
        f"{verdict.errors} wrong ones; see that forward computes with the weights of the key"
    )


def _alive() -> Sequence[tuple[Mark, nn.Module]]:
    pairs = ((mark, root()) for mark, root in list(_MADE.items()))
    return [(mark, root) for mark, root in pairs if root is not None]


def _nested(one: nn.Module, other: nn.Module) -> bool:
    return any(m is one for m in other.modules()) or any(m is other for m in one.modules())


def _alike(one: nn.Module, other: nn.Module) -> bool:
    return type(one) is type(other) and _layers(one) == _layers(other)


def _layers(model: nn.Module) -> Sequence[tuple[str, tuple[int, ...]]]:
    return [(layer.name, layer.shape) for layer in TorchNetwork(model).layers]
