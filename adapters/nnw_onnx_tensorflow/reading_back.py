"""Whether a model that is exported holds the watermarks that were made on it."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import nnw_onnx
from nnw_onnx.errors import CarrierNotFoundError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.vocabulary import Claim, Method, Suspect
from nnw_onnx_tensorflow.network import KerasNetwork

Rekeyed = Callable[[Claim], Claim]
"""The claim of a model as one on the exported file; see `exporting.rekey`."""


class Mark(Protocol):
    """What is asked of a `Watermark`."""

    @property
    def model(self) -> Any:
        """The model that it was made on."""
        ...

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
_MADE: weakref.WeakSet[Mark] = weakref.WeakSet()


def made(mark: Mark) -> None:
    """Remember, for as long as it lives, that a mark was made on its model."""
    _MADE.add(mark)


def check(model: Any, network: OnnxNetwork, rekeyed: Rekeyed) -> None:
    """Warn where a model, or the file that was made of it, does not hold a mark made on it.

    A mark counts that was made on the model, on one around it or on a part of it; else one that was
    made on a model of the same layers, such as the one that was saved and loaded again.
    """
    alive = list(_MADE)
    marks = [mark for mark in alive if _nested(mark.model, model)]
    for mark in marks:
        if mark.check() is None and mark.model is model:
            words = _lost_in(mark, network, rekeyed)
            if words is not None:
                warnings.warn(words, stacklevel=3)
    if not marks:
        _check_copies([mark for mark in alive if _alike(mark.model, model)], model)


def _check_copies(marks: Sequence[Mark], model: Any) -> None:
    """One model may have several copies with a mark each: one that is there is enough.

    A mark that is not in its own model either tells nothing of another one.
    """
    marks = [mark for mark in marks if mark.reads_symbols and not mark.symbol_error_rate()]
    wrong = [mark.wrong_in(KerasNetwork(model)) for mark in marks]
    if wrong and all(wrong):
        warnings.warn(
            "watermark: expected the object on which a mark was made, got another model of its "
            f"kind, of which {min(wrong)} symbols are read wrongly; export the object of the mark, "
            "if this one is to hold it",
            stacklevel=4,
        )


def _lost_in(mark: Mark, network: OnnxNetwork, rekeyed: Rekeyed) -> str | None:
    """What is wrong with the mark in a file; one that the file must be asked for is not looked for.

    To ask a network takes another process, which would run the script of the training again.
    """
    if mark.method.access != "weights":
        return None
    try:
        verdict = nnw_onnx.verify(network, rekeyed(mark.claim))
    except CarrierNotFoundError as error:
        return str(error)
    if verdict.reason is not None:
        return verdict.reason
    if not verdict.errors:
        return None
    return (
        f"watermark: expected every symbol to be read from {network.path.name!r}, got "
        f"{verdict.errors} wrong ones; see that the model computes with the weights of the key"
    )


def _nested(one: Any, other: Any) -> bool:
    """Whether one is the other, or a layer in it; a model counts among its own layers."""
    pairs = ((one, other), (other, one))
    return any(layer is a for a, b in pairs for layer in b._flatten_layers())


def _alike(one: Any, other: Any) -> bool:
    return _layers(one) == _layers(other)


def _layers(model: Any) -> Sequence[tuple[str, tuple[int, ...]]]:
    return [(layer.name, layer.shape) for layer in KerasNetwork(model).layers]
