"""The onnx package's own cases for backends: what is not in the tables below must come out."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch")

from nnw_onnx_torch.graph.module import OnnxModule, supported_operators  # noqa: E402 - needs torch

from .backend_cases import Case, Outcome, node_cases, run_case, stored_cases  # noqa: E402

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("cases of onnx")]
PASSED = 1902
"""Of 2024 cases of onnx 1.23."""

CANNOT_APPLY = {
    r"test_(training_dropout_default|training_dropout|bernoulli)(_double|_seed|_mask)*(_expanded)?":
        "random: the case holds numpy's draw",
    r"test_(cast|castlike|quantizelinear|dequantizelinear)_.*(FLOAT4E2M1|float4e2m1).*":
        "torch has no float4",
    r"test_cast_e8m0_FLOAT(16)?_to_FLOAT8E8M0": "torch rounds exponents to nearest, the case up",
    r"test_castlike_FLOAT(16)?_to_U?INT[24](_expanded)?":
        "torch has no type below a byte, so the type of a tensor does not tell",
    r"test_equal_string(_broadcast)?": "torch has no text",
}  # fmt: skip
ROUNDED = {
    r"test_attention_.*_bf16(_expanded)?": (2**-6, 1e-3),
    r"test_attention_.*_fp16(_expanded)?": (2**-8, 1e-4),
    r"test_linear_attention_fp16": (2**-8, 1e-3),
    r"test_dft_inverse(_opset19)?": (1e-3, 1e-6),
}
"""Cases right only to (relative, absolute) within a step or two of the type that they compute in:
they ask for more than that type holds."""
AS_ONNXRUNTIME = frozenset(
    {
        "test_resize_downsample_scales_linear_align_corners",
        "test_resize_downsample_scales_cubic_align_corners",
    }
)
"""Where onnxruntime departs from the case, the module does what onnxruntime does."""
NOT_TRAINED = frozenset(
    {
        "StringNormalizer", "StringSplit", "StringConcat", "RegexFullMatch", "TfIdfVectorizer",
        "ImageDecoder", "ai.onnx.ml.LabelEncoder", "ai.onnx.ml.TreeEnsemble",
        "ai.onnx.preview.FlexAttention", "ai.onnx.preview.training.Adagrad",
        "ai.onnx.preview.training.Adam", "ai.onnx.preview.training.Gradient",
        "ai.onnx.preview.training.Momentum",
    }
)  # fmt: skip
"""Text, files of images, trees, optimizers that are operators, and a preview."""


def listed(name: str, table: dict) -> str | None:
    """The pattern of a table that a case's name matches."""
    return next((pattern for pattern in table if re.fullmatch(pattern, name)), None)


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    return {case.name: case for case in [*node_cases(), *stored_cases()]}


@pytest.fixture(scope="module")
def outcomes(cases, tmp_path_factory) -> dict[str, Outcome]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("backend")
    return {name: run_case(case, folder) for name, case in cases.items()}


def unsupported(outcomes: dict[str, Outcome]) -> Counter[str]:
    """Operators that cases need and the table lacks, and how many cases need each."""
    return Counter(name for outcome in outcomes.values() for name in outcome.missing)


def test_every_case_whose_operators_are_there_comes_out_as_stored(outcomes):
    failed = {
        name: outcome.reason
        for name, outcome in outcomes.items()
        if outcome.kind == "failed"
        and not listed(name, CANNOT_APPLY)
        and not listed(name, ROUNDED)
        and name not in AS_ONNXRUNTIME
    }
    assert failed == {}
    assert sum(outcome.kind == "passed" for outcome in outcomes.values()) >= PASSED


def test_what_is_refused_lacks_an_operator_that_is_known_to_be_missing(outcomes):
    refused = {n: o.reason for n, o in outcomes.items() if o.kind == "refused" and not o.missing}
    assert refused == {}
    assert set(unsupported(outcomes)) <= NOT_TRAINED
    assert not NOT_TRAINED & {f"{d}.{n}" if d else n for d, n in supported_operators()}


@pytest.mark.parametrize("pattern", CANNOT_APPLY)
def test_what_cannot_apply_is_no_longer_listed_than_it_fails(outcomes, pattern):
    kinds = {o.kind for name, o in outcomes.items() if re.fullmatch(pattern, name)}
    assert "failed" in kinds


def test_rounded_cases_are_within_the_steps_of_their_type(cases, tmp_path):
    tried = 0
    for name, case in cases.items():
        pattern = listed(name, ROUNDED)
        if pattern is not None:
            rtol, atol = ROUNDED[pattern]
            outcome = run_case(replace(case, rtol=rtol, atol=atol), tmp_path)
            assert outcome.kind == "passed", (name, outcome)
            tried += 1
    assert tried > 20


@pytest.mark.parametrize("name", sorted(AS_ONNXRUNTIME))
def test_departures_are_those_of_onnxruntime(cases, tmp_path, name):
    import nnw_onnx

    case = cases[name]
    path = tmp_path / "case.onnx"
    path.write_bytes(case.model.SerializeToString())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [v.name for v in case.model.graph.input]
    given = dict(zip(names, case.data[0][0], strict=True))
    wanted = session.run(None, given)[0]
    tensors = {k: torch.from_numpy(v) for k, v in given.items()}
    found = OnnxModule(nnw_onnx.open(path)).compute(tensors)
    np.testing.assert_allclose(next(iter(found.values())).numpy(), wanted, rtol=1e-5)
    assert np.abs(wanted - case.data[0][1][0]).max() > 0.01
