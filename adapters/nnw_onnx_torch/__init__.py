"""PyTorch: an ONNX graph as a trainable module, and watermarks in a training loop of your own.

Public names are loaded when they are first used: importing the package imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

_PUBLIC = {
    "OnnxModule": "graph.module",
    "TorchTrainer": "training.trainer",
    "TorchNetwork": "graph.torch_network",
    "Watermark": "watermark",
    "WatermarkCallback": "lightning",
    "HuggingFaceCallback": "transformers",
    "export": "exporting",
    "Exported": "exporting",
    "rekey": "rekeying",
}

if TYPE_CHECKING:
    from nnw_onnx_torch.exporting import Exported as Exported
    from nnw_onnx_torch.exporting import export as export
    from nnw_onnx_torch.graph.module import OnnxModule as OnnxModule
    from nnw_onnx_torch.graph.torch_network import TorchNetwork as TorchNetwork
    from nnw_onnx_torch.lightning import WatermarkCallback as WatermarkCallback
    from nnw_onnx_torch.rekeying import rekey as rekey
    from nnw_onnx_torch.training.trainer import TorchTrainer as TorchTrainer
    from nnw_onnx_torch.transformers import HuggingFaceCallback as HuggingFaceCallback
    from nnw_onnx_torch.watermark import Watermark as Watermark

__all__ = sorted(_PUBLIC)  # noqa: PLE0605 - the names of the table above


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'nnw_onnx_torch' has no attribute {name!r}")
    value: object = vars(importlib.import_module(f"nnw_onnx_torch.{_PUBLIC[name]}"))[name]
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
