"""Language models on real texts: a closed form, and a network with inputs for earlier tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nnw_onnx import plugins
from nnw_onnx.graph import open_network
from nnw_onnx.inference import Session
from nnw_onnx.kit.samples import batches
from nnw_onnx.vocabulary import Dataset, Quality, Samples, Spec, Task

pytestmark = pytest.mark.shared_data

GPT2 = "models/transformer/genai_tiny-random-gpt2-fp32.onnx"


def _quality(model: Path, **options: object) -> tuple[Quality, Samples]:
    session = Session(open_network(model).runnable())
    samples = plugins.create(Dataset, Spec("running-text", options)).load("test")
    samples = samples.fitted(session.inputs)
    meter = plugins.create(Task, Spec("language-modelling")).meter(samples)
    for part in batches(samples, 16):
        meter.add(session.predict(part.feeds, 16), part.targets)
    return meter.result(), samples


def _bigrams(counts: np.ndarray) -> onnx.ModelProto:
    """Scores (n, t, 256) of what follows each byte: logarithms of counts."""
    node = helper.make_node("Gather", ["table", "ids"], ["scores"], axis=0)
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "t"])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", "t", 256])
    table = numpy_helper.from_array(np.log(counts).astype(np.float32), "table")
    graph = helper.make_graph([node], "bigrams", [ids], [scores], [table])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _sentences(path: Path) -> list[np.ndarray]:
    rows = path.read_bytes().decode().splitlines()
    return [np.frombuffer(row.split("\t")[0].encode(), np.uint8) for row in rows]


def test_bigrams_of_films_have_the_perplexity_of_their_counts(tmp_path, shared_data):
    """Knowing one byte before: about 10, where each byte by itself is 18 and 256 know nothing."""
    folder = shared_data / "text" / "sst2"
    counts = np.ones((256, 256))
    for text in _sentences(folder / "train.tsv"):
        np.add.at(counts, (text[:-1], text[1:]), 1)
    onnx.save(_bigrams(counts), tmp_path / "bigrams.onnx")
    quality, samples = _quality(tmp_path / "bigrams.onnx", path=str(folder), length=64)
    tests = [text for text in _sentences(folder / "test.tsv") if len(text) > 1]
    shares = counts / counts.sum(axis=1, keepdims=True)
    told = np.concatenate([shares[text[:-1], text[1:]] for text in tests])
    assert quality.values["perplexity"] == pytest.approx(np.exp(-np.log(told).mean()), rel=1e-5)
    assert quality.weights.sum() == len(told)
    assert 2**quality.chance > quality.values["perplexity"]
    assert len(samples) > len(tests)


def test_a_transformer_of_random_weights_knows_nothing(shared_data):
    """Its vocabulary is 1,000 tokens; it takes empty keys and values, one sample at a time."""
    folder = shared_data / "text" / "sst2"
    quality, _ = _quality(shared_data / GPT2, path=str(folder), length=32, limit=100)
    assert quality.values["perplexity"] == pytest.approx(1000, rel=0.02)
