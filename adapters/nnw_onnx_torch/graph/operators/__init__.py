"""The operators that can be computed and trained; importing this fills the table."""

import importlib
import pkgutil

from nnw_onnx_torch.graph.operators._table import OPERATORS, Call, numbers, operator

for _module in pkgutil.iter_modules(__path__):
    if not _module.name.startswith("_"):
        importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["OPERATORS", "Call", "numbers", "operator"]
