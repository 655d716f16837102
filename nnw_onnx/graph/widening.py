"""A classifier with more classes, or fewer: rows of the last linear operator, the output's width.

The scores there were stay what they were. Each new one is their mean, so that it is never the
largest before a training makes it so, and a training has a gradient to begin with. Of those that
are cut off the last ones go.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, ValueInfoProto

from nnw_onnx.errors import InjectionError
from nnw_onnx.graph.editing import Constants, rewrite_file, uses
from nnw_onnx.graph.scopes import number
from nnw_onnx.vocabulary import Array

_PASSED = ("Identity", "Cast", "Softmax", "LogSoftmax")
_SCALED = ("Mul", "Div")
_SHIFTED = ("Add", "Sub")


def widen_classifier(source: Path, target: Path, output: int, classes: int) -> None:
    """Write a network whose output tells the scores of so many classes, at least.

    The scores come from a Gemm, or from a MatMul with or without the Add of a bias, with constant
    weights (in, classes); between it and the output may be a softmax, a cast or the product with a
    constant. What a softmax makes of the scores there were changes, their order does not.

    Args:
        source: an ONNX file, which stays as it is.
        target: where the wider one is written.
        output: index of the output that tells the scores.
        classes: scores that there shall be; one that has as many, or more, keeps its own.

    Raises:
        InjectionError: there is no such output, or its scores come from something else.
        ModelFileError: a file cannot be read or written.
    """
    rewrite_file(source, target, lambda model: _Scores(model, output).widen(classes))


def narrow_classifier(source: Path, target: Path, output: int, classes: int) -> int:
    """Write a network without the scores beyond the first `classes`; the number there were.

    The scores come from what `widen_classifier` says. One that has as many, or fewer, keeps its
    own.

    Args:
        source: an ONNX file, which stays as it is.
        target: where the narrower one is written.
        output: index of the output that tells the scores.
        classes: scores that there shall be, at least 1.

    Raises:
        InjectionError: there is no such output, or its scores come from something else.
        ModelFileError: a file cannot be read or written.
    """
    told: list[int] = []
    rewrite_file(source, target, lambda model: told.append(_Scores(model, output).narrow(classes)))
    return told[0]


@dataclass(frozen=True)
class _Place:
    """A constant that has a number for each class along one of its axes."""

    name: str
    axis: int


class _Scores:
    def __init__(self, model: ModelProto, output: int) -> None:
        self._graph, self._constants, self._uses = model.graph, Constants(model), uses(model.graph)
        self._makers: dict[str, NodeProto] = {
            name: node for node in self._graph.node for name in node.output if name
        }
        if output >= len(self._graph.output):
            raise InjectionError(
                f"output: expected one below {len(self._graph.output)}, got {output}; correct the "
                "option output"
            )
        self._output: ValueInfoProto = self._graph.output[output]

    def widen(self, classes: int) -> None:
        """Append classes to the model."""
        passed, places, now = self._found()
        if classes <= now:
            return
        for place in places:
            self._append(place, classes - now)
        self._retell(passed, classes - now)

    def narrow(self, classes: int) -> int:
        """Cut the last classes off the model; how many it had."""
        passed, places, now = self._found()
        if classes < now:
            for place in places:
                self._put(place, self._constants[place.name].take(range(classes), place.axis))
            self._retell(passed, classes - now)
        return now

    def _found(self) -> tuple[list[str], list[_Place], int]:
        """The values from the output to the scores, where their numbers are, how many classes."""
        shifts: list[str] = []
        passed = [self._output.name]
        node = self._maker(passed[-1])
        while node.op_type in (*_PASSED, *_SCALED, *_SHIFTED):
            passed.append(self._before(node, shifts))
            node = self._maker(passed[-1])
        kernel, biases = self._linear(node, shifts)
        return passed, [kernel, *biases], self._constants[kernel.name].shape[kernel.axis]

    def _maker(self, name: str) -> NodeProto:
        node = self._makers.get(name)
        if node is None or self._uses[name] != 1:
            raise _refusal("a value that is used elsewhere too, or computed by no operator")
        return node

    def _before(self, node: NodeProto, shifts: list[str]) -> str:
        """The value that a node behind the linear operator takes; the biases it adds are kept."""
        if node.op_type in _PASSED:
            return str(node.input[0])
        first = next((k for k in (0, 1) if node.input[k] in self._constants), None)
        if first is None or (first == 0 and node.op_type in ("Div", "Sub")):
            raise _refusal(f"{node.op_type} of two values")
        if node.op_type in _SHIFTED:
            shifts.append(str(node.input[first]))
        elif self._constants[node.input[first]].size != 1:
            raise _refusal(f"{node.op_type} with a number for each class")
        return str(node.input[1 - first])

    def _linear(self, node: NodeProto, shifts: list[str]) -> tuple[_Place, list[_Place]]:
        """Where the weights and the biases of the classes are."""
        standard = node.domain in ("", "ai.onnx") and node.op_type in ("Gemm", "MatMul")
        if not standard or node.input[1] not in self._constants:
            raise _refusal(f"{node.op_type}" if not standard else "weights that are computed")
        kernel = str(node.input[1])
        axis = 0 if node.op_type == "Gemm" and number(node, "transB", 0) else 1
        if self._constants[kernel].ndim != 2:
            raise _refusal("weights of other than two axes")
        classes = self._constants[kernel].shape[axis]
        if node.op_type == "Gemm" and len(node.input) > 2 and node.input[2]:
            shifts = [*shifts, str(node.input[2])]
        biases = [self._bias(name, classes) for name in shifts]
        places = [_Place(kernel, axis), *(bias for bias in biases if bias is not None)]
        if any(self._uses[place.name] != 1 for place in places):
            raise _refusal("weights that another operator has too")
        return places[0], places[1:]

    def _bias(self, name: str, classes: int) -> _Place | None:
        """None for a single number, which is the same for every class."""
        shape = self._constants[name].shape if name in self._constants else (0,)
        if shape and shape[-1] == classes == np.prod(shape):
            return _Place(name, len(shape) - 1)
        if np.prod(shape) == 1:
            return None
        raise _refusal("a bias that is computed, or that differs by sample")

    def _append(self, place: _Place, more: int) -> None:
        values = self._constants[place.name]
        mean = values.astype(np.float64).mean(axis=place.axis, keepdims=True).astype(values.dtype)
        self._put(place, np.concatenate([values, *[mean] * more], axis=place.axis))

    def _put(self, place: _Place, values: Array) -> None:
        self._constants.put(place.name, values)
        for value in self._graph.input:  # old files list their initializers here
            if value.name == place.name:
                size = values.shape[place.axis]
                value.type.tensor_type.shape.dim[place.axis].dim_value = size

    def _retell(self, passed: list[str], more: int) -> None:
        """Correct the shapes that the graph tells of the scores."""
        for value in (self._output, *self._graph.value_info):
            dims = value.type.tensor_type.shape.dim
            if value.name in passed and dims and dims[-1].dim_value:
                dims[-1].dim_value += more


def _refusal(got: str) -> InjectionError:
    return InjectionError(
        "network: expected scores from a Gemm or MatMul with constant weights of its own, whose "
        f"classes can be changed, got {got}; export it without folding the last layer, or use "
        "another method"
    )
