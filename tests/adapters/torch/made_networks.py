"""Networks made of ONNX's text form, for tests."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

import nnw_onnx
from nnw_onnx.inference import Session

HEAD = '<ir_version: 10, opset_import: ["" : 17, "mine" : 1]>\n'
FLOAT = TensorProto.FLOAT


def opened(tmp_path, text_or_model, **weights):
    """A network from ONNX's text form, with initializers of these values."""
    if isinstance(text_or_model, str):
        model = onnx.parser.parse_model(text_or_model)
        for name, values in weights.items():
            tensor = numpy_helper.from_array(np.asarray(values), name)
            model.graph.initializer.append(tensor)
    else:
        model = text_or_model
    path = tmp_path / "made.onnx"
    onnx.save(model, path)
    return nnw_onnx.open(path)


def by_runtime(network, *inputs):
    """What onnxruntime answers."""
    names = [info.name for info in network.inputs]
    return Session(network.runnable()).run(dict(zip(names, inputs, strict=True)))


def told(module, *inputs):
    """The first output of a module that is asked as a Suspect."""
    names = [info.name for info in module.inputs]
    return next(iter(module.run(dict(zip(names, inputs, strict=True))).values()))
