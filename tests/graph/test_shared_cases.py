"""Small files of the kinds that once were listed, marked or modified wrongly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import OnnxNetwork, open_network

from .handmade import run_path

pytestmark = pytest.mark.shared_data


@pytest.fixture
def cases(shared_data: Path) -> Path:
    folder = shared_data.parent / "cases"
    if not folder.is_dir():
        pytest.skip("no folder of cases beside the shared data")
    return folder


def _kernels(network: OnnxNetwork) -> dict[str, tuple[int, ...]]:
    return {layer.name: layer.shape for layer in network.layers if layer.in_all}


@pytest.mark.parametrize(
    ("name", "kernels"),
    [
        ("mask", {"c0.w": (32, 3, 3, 3), "c1.weight_orig": (32, 32, 3, 3)}),
        ("consts", {"c0.w": (32, 3, 3, 3), "c1.weight_orig": (32, 32, 3, 3)}),
        ("stylegan", {"conv.weight": (32, 16, 3, 3, 1)}),
        ("moe-gather", {"router": (4, 32), "experts.w": (4, 64, 32)}),
        ("manual-dq", {"W8": (16, 3, 3, 3)}),
        ("brackets", {"w1": (32, 32), "w[1]": (32, 32)}),
        ("decoder-merged", {"W1": (64, 16), "W2": (32, 64)}),
        ("einsum", {"W": (4, 16, 32)}),
        ("sparse-const", {"W2": (16, 64)}),
        ("order-fwd", {"a": (32, 3, 3, 3), **dict.fromkeys("bcd", (32, 32, 3, 3))}),
        ("order-rev", {"a": (32, 3, 3, 3), **dict.fromkeys("bcd", (32, 32, 3, 3))}),
        ("gi-act-order", {"W_Q4": (64, 256)}),
        ("gbq-uint4-False", {"Q": (32, 64)}),
    ],
)
def test_what_all_aims_at(name: str, kernels: dict[str, tuple[int, ...]], cases: Path) -> None:
    network = open_network(cases / f"{name}.onnx")
    assert _kernels(network) == kernels
    assert list(_kernels(network)) == list(kernels)


def test_two_values_of_one_name(cases: Path) -> None:
    with pytest.raises(ModelFileError, match="expected one value of each name"):
        open_network(cases / "clash.onnx")


def test_attributes_of_calls(cases: Path) -> None:
    reason = open_network(cases / "function-attr.onnx").no_weights_reason
    assert reason is not None
    assert "attributes where its own functions are called (Lin)" in reason


def test_sparse_values(cases: Path) -> None:
    warnings = open_network(cases / "sparse-const.onnx").warnings
    assert any("weights in sparse tensors" in line for line in warnings)


def test_constants_do_not_learn(cases: Path) -> None:
    network = open_network(cases / "consts.onnx")
    fixed = {layer.name for layer in network.layers if not layer.learns}
    assert fixed == {"mean", "std", "c1.weight_mask"}


def test_pruned_weights_stay_pruned(cases: Path, tmp_path: Path) -> None:
    network = open_network(cases / "mask.onnx")
    before = network.weights["c1.weight_orig"]
    changed = network.with_weights({"c1.weight_orig": before + np.float32(0.5)})
    after = changed.weights["c1.weight_orig"]
    np.testing.assert_array_equal(after == 0, before == 0)
    np.testing.assert_allclose(after[before != 0], before[before != 0] + 0.5, rtol=1e-6)


def test_integers_by_hand_are_what_the_runtime_computes_with(cases: Path, tmp_path: Path) -> None:
    """One pixel at a time goes in, so the weights come out."""
    network = open_network(cases / "manual-dq.onnx")
    weights = network.weights["W8"]
    model = onnx.load(network.path)
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name="w"))
    onnx.save(model, tmp_path / "w.onnx")
    (right,) = run_path(tmp_path / "w.onnx", {"x": np.zeros((1, 3, 8, 8), np.float32)})
    np.testing.assert_allclose(weights, right, rtol=1e-6)
    changed = network.with_weights({"W8": weights * np.float32(0.7)})
    step = np.max(np.diff(np.unique(right)))
    assert np.abs(changed.weights["W8"] - weights * 0.7).max() <= step


REASONS = {
    "gtcrn.onnx": {"constant", "other (Add)", "bias", "norm", "statistics"},
    "gtcrn_simple.onnx": {"constant", "other (Add)", "bias", "norm", "statistics"},
    "ultraface_RFB-640-masked_face-v2.onnx": {"constant", "other (Add)", "bias"},
    "ultraface_version-slim-320.onnx": {"constant", "other (Add)", "norm", "statistics", "bias"},
    "ngraph_cntk_FeedForward.onnx": {"dead"},
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": {"norm", "statistics", "bias"},
    "qlstm_10-4-6_T10_S1_delay1.onnx": {"other (Mul)"},
    "TFBertForQuestionAnswering_keras2onnx.onnx": {"bias", "other (Mul)"},
    "genai_whisper_dummy_decoder.onnx": {"an output itself"},
    "gpt2_past_tiny.onnx": {"constant", "bias", "other (Mul)"},
}
"""Models of which "all" reaches less than 95 %, and what the rest is: no kernel among it."""


def test_all_reaches_the_weights_of_every_model(shared_data: Path) -> None:
    low = {}
    for path in sorted((shared_data / "models").rglob("*.onnx")):
        try:
            network = open_network(path)
        except ModelFileError:
            continue
        found = network.coverage()
        assert found.reached + sum(found.left.values()) == found.total
        if found.share < 0.95:
            low[path.name] = {reason for reason in found.left if found.left[reason] > 8}
    assert low == {name: reasons for name, reasons in REASONS.items() if name in low}
    assert set(low) == set(REASONS)
