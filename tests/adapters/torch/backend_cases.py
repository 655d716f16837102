"""The cases of the onnx package for backends, run through OnnxModule."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

import nnw_onnx
from nnw_onnx_torch.graph.dtypes import to_numpy, to_tensor
from nnw_onnx_torch.graph.module import OnnxModule

STORED = Path(onnx.__file__).parent / "backend" / "test" / "data"
KINDS = ("simple", "pytorch-converted", "pytorch-operator")
CANNOT = "expected operators that can be trained, got "


@dataclass(frozen=True)
class Case:
    """A model with inputs and what must come out; tolerances as the case gives them."""

    name: str
    model: onnx.ModelProto
    data: list[tuple[list[Any], list[Any]]]
    rtol: float
    atol: float


@dataclass(frozen=True)
class Outcome:
    """What became of a case: "passed", "refused" (no module can be made) or "failed", and why."""

    kind: str
    reason: str = ""

    @property
    def missing(self) -> list[str]:
        """Operators that the table lacks."""
        if CANNOT not in self.reason:
            return []
        return self.reason.partition(CANNOT)[2].partition(", which cannot")[0].split(", ")


def node_cases() -> list[Case]:
    """The cases of single operators, which the package makes when it is asked."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    return [Case(c.name, c.model, c.data_sets, c.rtol, c.atol) for c in found]


def stored_cases() -> list[Case]:
    """The cases that lie in files: small models, and operators and networks from torch."""
    return [case for kind in KINDS for case in _stored(STORED / kind)]


def _stored(folder: Path) -> Iterator[Case]:
    for place in sorted(folder.iterdir()):
        if not (place / "model.onnx").exists():
            continue
        model = onnx.load(place / "model.onnx")
        sets = []
        for data in sorted(place.glob("test_data_set_*")):
            inputs = [_read(data / f"input_{k}.pb", v) for k, v in enumerate(model.graph.input)
                      if (data / f"input_{k}.pb").exists()]  # fmt: skip
            outputs = [_read(data / f"output_{k}.pb", v) for k, v in enumerate(model.graph.output)]
            sets.append((inputs, outputs))
        yield Case(place.name, model, sets, 1e-3, 1e-7)


def _read(path: Path, value: Any) -> Any:
    kind = value.type.WhichOneof("value")
    message = {
        "tensor_type": onnx.TensorProto, "sequence_type": onnx.SequenceProto,
        "optional_type": onnx.OptionalProto,
    }[kind]()  # fmt: skip
    message.ParseFromString(path.read_bytes())
    if kind == "tensor_type":
        return numpy_helper.to_array(message)
    if kind == "sequence_type":
        return numpy_helper.to_list(message)
    return numpy_helper.to_optional(message)


def run_case(case: Case, folder: Path, device: torch.device | None = None) -> Outcome:
    """What becomes of a case; those of BatchNormalization in training mode are trained."""
    training = case.name.startswith("test_batchnorm") and "training_mode" in case.name
    path = folder / "case.onnx"
    path.write_bytes(case.model.SerializeToString())
    try:
        network = nnw_onnx.open(path)
        module = OnnxModule(network).train(training).to(device)
    except nnw_onnx.NnwError as error:
        return Outcome("refused", str(error))
    # A case may give the outputs of earlier ones, so each data set is compared by itself.
    for inputs, expected in case.data:
        try:
            names = [v.name for v in case.model.graph.input]
            given = {n: _to_torch(v, device) for n, v in zip(names, inputs, strict=False)}
            with torch.no_grad():
                found = module.compute(given)
            for (name, value), wanted in zip(found.items(), expected, strict=True):
                _compare(name, value, wanted, case)
        except (nnw_onnx.NnwError, AssertionError, TypeError, ValueError) as error:
            return Outcome("failed", " ".join(str(error).split())[:300])
    return Outcome("passed")


def _to_torch(value: Any, device: torch.device | None) -> Any:
    if value is None:
        return None
    if isinstance(value, list):
        return [_to_torch(v, device) for v in value]
    return to_tensor(_array(value)).to(device)


def _array(value: Any) -> Any:
    """Some cases give messages instead of arrays."""
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value)


def _compare(name: str, value: Any, wanted: Any, case: Case) -> None:
    if wanted is None or isinstance(wanted, list):
        assert type(value) is type(wanted), f"{name}: {type(value)}"
        for one, other in zip(value or [], wanted or [], strict=True):
            _compare(name, one, other, case)
        return
    wanted = _array(wanted)
    array = to_numpy(value)
    if wanted.dtype.name in ("int4", "int2", "uint4", "uint2"):
        wanted = wanted.astype(np.int8 if wanted.dtype.name.startswith("i") else np.uint8)
    assert array.dtype == wanted.dtype, f"{name}: {array.dtype}, not {wanted.dtype}"
    assert array.shape == wanted.shape, f"{name}: {array.shape}, not {wanted.shape}"
    if wanted.dtype.kind not in "biufc":
        array, wanted = array.astype(np.float32), wanted.astype(np.float32)
    np.testing.assert_allclose(array, wanted, rtol=case.rtol, atol=case.atol)
