"""Keras: watermarks in a training of your own.

Keras 3 on TensorFlow or on torch. Public names are loaded when they are first used, so that
importing the package imports no framework.

Example:
    >>> mark = Watermark(model, Payload.from_text("mine"))
    >>> model.fit(x, y, callbacks=[mark.callback()])
    >>> assert mark.symbol_error_rate() == 0  # before the export, and of this very object
    >>> exported = export(model, x[:4], "model.onnx")
    >>> save_key(rekey(mark.claim, exported), "key.npz")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnw_onnx_tensorflow.exporting import Exported as Exported
    from nnw_onnx_tensorflow.exporting import export as export
    from nnw_onnx_tensorflow.exporting import rekey as rekey
    from nnw_onnx_tensorflow.network import KerasNetwork as KerasNetwork
    from nnw_onnx_tensorflow.watermark import Watermark as Watermark

_PUBLIC = {
    "Exported": "exporting",
    "KerasNetwork": "network",
    "Watermark": "watermark",
    "export": "exporting",
    "rekey": "exporting",
}

__all__ = ["Exported", "KerasNetwork", "Watermark", "export", "rekey"]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = vars(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"))[name]
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
