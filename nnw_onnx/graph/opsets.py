"""Operator sets: from one to another, and which of them a runtime may be asked for."""

from __future__ import annotations

from pathlib import Path

from onnx import TensorProto, defs, helper

from nnw_onnx.graph.editing import converted, write_model
from nnw_onnx.graph.files import Limits, open_file
from nnw_onnx.graph.runnable import whole


def convert_opset(source: Path, target: Path, opset: int) -> None:
    """Write the model with the standard operators of another operator set.

    The file gets the smallest IR version that this set may be used with, or keeps a later one.

    Args:
        source: an ONNX file, which stays as it is.
        target: where the converted one is written.
        opset: version of the standard operator set.

    Raises:
        ModelFileError: onnx cannot convert it, or a file cannot be read or written.
    """
    model = converted(whole(open_file(source, Limits())), opset)
    least = helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True)
    model.ir_version = max(model.ir_version, least)
    write_model(model, target)


def newest_known() -> int:
    """The newest standard operator set that the installed package onnx knows."""
    return int(defs.onnx_opset_version())


def smallest_model(opset: int) -> bytes:
    """A model of one operator, to ask a runtime whether it takes an operator set."""
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("given", "told")
    ]
    node = helper.make_node("Identity", ["given"], ["told"])
    sets = [helper.make_opsetid("", opset)]
    graph = helper.make_graph([node], "smallest", ports[:1], ports[1:])
    version = helper.find_min_ir_version_for(sets)
    data: bytes = helper.make_model(
        graph, opset_imports=sets, ir_version=version
    ).SerializeToString()
    return data
