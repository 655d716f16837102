"""Which blocks were changed and which are named: against brute force, and wherever layers are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, save

import nnw_onnx as nnw
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.runs.blocks import Block, Vouched, compared, vouched
from nnw_onnx.runs.suspect import isolated, suspects
from nnw_onnx.runs.verify import verify
from nnw_onnx.vocabulary import Claim, Payload

MODEL = Path(__file__).resolve().parents[2] / "models" / "digits" / "cnn-0.onnx"
METHODS = ("fragile", "recoverable", "reversible")


def looked_at(network: OnnxNetwork, claim: Claim, before: Vouched | None = None) -> Vouched:
    (verdict,) = verify(suspects(network, isolated(network)), [claim], 1e-6)
    return vouched(network, verdict, () if before is None else before.evidence)


def marked(method: str, source: Path = MODEL) -> tuple[OnnxNetwork, Claim]:
    made = nnw.inject(source, Payload(), method=method, seed=3)
    return made.network, Claim(made.key, Payload())


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.0, 8.0, None])), max_size=12))
def test_counts_are_those_of_each_block(told: list[tuple[int, float | None]]) -> None:
    """Content 0 is the old one; no evidence is a place that is not there any more."""
    blocks: list[Block] = [("w", 8 * k, 8 * k + 8) for k in range(len(told))]
    before = Vouched(dict.fromkeys(blocks, 8.0), dict.fromkeys(blocks, b"0"))
    contents = {
        b: b"%d" % now if now < 2 else None for b, (now, _) in zip(blocks, told, strict=True)
    }
    evidence = {b: sure for b, (_, sure) in zip(blocks, told, strict=True) if sure is not None}
    found = compared(before, Vouched(evidence, contents))
    changed, named = [now != 0 for now, _ in told], [sure != 8.0 for _, sure in told]
    both = sum(c and n for c, n in zip(changed, named, strict=True))
    wanted = (len(told), sum(changed), sum(named), both)
    assert (found.blocks, found.changed, found.named, found.right) == wanted


@pytest.mark.parametrize("method", METHODS)
def test_single_bits_are_changed_and_named_blocks(method: str) -> None:
    network, claim = marked(method)
    before = looked_at(network, claim)
    rng = np.random.Generator(np.random.Philox(11))
    for count in (1, 2, 5):
        hurt: set[Block] = set()
        weights = {name: np.array(network.weights[name]) for name in claim.key.layers}
        for _ in range(count):
            name = str(rng.choice(claim.key.layers))
            place = int(rng.integers(weights[name].size))
            weights[name].reshape(-1).view(np.uint32)[place] ^= np.uint32(1 << rng.integers(23))
            hurt |= {b for b in before.evidence if b[0] == name and b[1] <= place < b[2]}
        found = compared(before, looked_at(network.with_weights(weights), claim, before))
        wanted = (len(before.evidence), len(hurt), len(hurt), len(hurt))
        assert (found.blocks, found.changed, found.named, found.right) == wanted


def test_a_detector_that_overlooks_a_change_is_told() -> None:
    """Evidence as before and other weights: changed, and not named."""
    network, claim = marked("fragile")
    before = looked_at(network, claim)
    other = network.with_weights({"conv2.weight": network.weights["conv2.weight"] * np.float32(2)})
    after = looked_at(other, claim, before)
    found = compared(before, Vouched(before.evidence, after.contents))
    assert (found.changed, found.named, found.right) == (4, 0, 0)
    found = compared(before, Vouched(after.evidence, before.contents))
    assert (found.changed, found.named, found.right) == (0, 4, 0)


def gemm(path: Path, weights: np.ndarray, name: str, *, turned: bool) -> Path:
    """A network of one product, its weights stored as they are or transposed."""
    value = helper.make_tensor_value_info
    rows, columns = weights.shape
    stored = numpy_helper.from_array(np.ascontiguousarray(weights.T if turned else weights), name)
    node = helper.make_node("Gemm", ["x", name], ["y"], transB=int(not turned))
    inputs = [value("x", TensorProto.FLOAT, [None, columns])]
    outputs = [value("y", TensorProto.FLOAT, [None, rows])]
    graph = helper.make_graph([node], "g", inputs, outputs, [stored])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def test_weights_are_compared_where_and_as_the_detector_reads_them(tmp_path: Path) -> None:
    """Under another name and stored the other way round, every block is as it was."""
    rng = np.random.Generator(np.random.Philox(5))
    weights = rng.standard_normal((64, 48), np.float32)
    network, claim = marked("fragile", gemm(tmp_path / "a.onnx", weights, "w", turned=False))
    before = looked_at(network, claim)
    (name,) = claim.key.layers
    values = np.array(network.weights[name])
    moved = nnw.open(gemm(tmp_path / "b.onnx", values, "other", turned=True))
    found = compared(before, looked_at(moved, claim, before))
    assert (found.blocks, found.changed, found.named) == (3, 0, 0)
    values[40, 3] *= 1.5
    moved = nnw.open(gemm(tmp_path / "c.onnx", values, "other", turned=True))
    found = compared(before, looked_at(moved, claim, before))
    assert (found.changed, found.named, found.right) == (1, 1, 1)


def test_of_a_network_without_the_layers_all_is_changed_and_named(tmp_path: Path) -> None:
    network, claim = marked("fragile")
    before = looked_at(network, claim)
    other = nnw.open(gemm(tmp_path / "a.onnx", np.ones((3, 2), np.float32), "w", turned=False))
    found = compared(before, looked_at(other, claim, before))
    assert (found.blocks, found.changed, found.named, found.right) == (24, 24, 24, 24)
