"""Evaluations of a language model and of a recogniser of speech, from files to a report."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy.io import wavfile

from nnw_onnx.kit.sounds import LogMel, mel_filters
from nnw_onnx.tasks.speech_recognition import ENGLISH

from .test_kinds import Run

RATE = 16_000
LABELS = ("", " ", *ENGLISH)
BANDS = 32
FEATURES = LogMel(bands=BANDS, transform=512, hop=160, low=100)
TONE, PAUSE = 1280, 640
SAID = {
    "train": ("the first", "another one"),
    "test": ("a watermark", "is not heard", "all letters", "it's there", "common noon"),
}
COMMON = """
title = "{title}"
networks = ["{network}"]
payloads = 1
payload_sizes = [24]
{rest}
[[methods]]
name = "block-spread"
[[modifications]]
name = "quantizing"
intensities = [8]
[control]
wrong_keys = 0
[cost]
cells = 0
"""
SPEECH = """
[dataset]
name = "speech-folder"
path = "said"
features = {{ bands = {bands}, transform = 512, hop = 160, low = 100 }}
[task]
name = "speech-recognition"
"""
TEXT = """
[dataset]
name = "running-text"
path = "{path}"
length = 32
limit = 60
[session]
batch_size = 16
[task]
name = "language-modelling"
"""


def _spoken(text: str) -> bytes:
    """Each character as the tone in the middle of a band of its own, with a pause behind it."""
    filters = mel_filters(FEATURES, RATE)
    hertz = filters.argmax(axis=1) * RATE / FEATURES.transform
    times = np.arange(TONE) / RATE
    parts = []
    for char in text:
        wave = 0.5 * np.sin(2 * np.pi * hertz[LABELS.index(char)] * times)
        parts += [wave * np.hanning(TONE), np.zeros(PAUSE)]
    buffer = io.BytesIO()
    wavfile.write(buffer, RATE, (32767 * np.concatenate(parts)).astype(np.int16))
    return buffer.getvalue()


def _recogniser(path: Path) -> None:
    """Scores of labels: the energy of each band, and a constant for the blank."""
    weights = np.zeros((BANDS, len(LABELS)), np.float32)
    weights[range(1, len(LABELS)), range(1, len(LABELS))] = 1
    bias = np.zeros(len(LABELS), np.float32)
    bias[0] = -4
    nodes = [
        helper.make_node("Transpose", ["bands"], ["times"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["times", "weights"], ["each"]),
        helper.make_node("Add", ["each", "bias"], ["scores"]),
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("bands", ["n", BANDS, "t"]), ("scores", ["n", "t", len(LABELS)]))
    ]
    arrays = [numpy_helper.from_array(a, n) for n, a in (("weights", weights), ("bias", bias))]
    graph = helper.make_graph(nodes, "recogniser", ports[:1], ports[1:], arrays)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)


def test_speech_is_evaluated(tmp_path):
    for split, texts in SAID.items():
        (tmp_path / "said" / split).mkdir(parents=True)
        for i, text in enumerate(texts):
            (tmp_path / "said" / split / f"{i}.wav").write_bytes(_spoken(text))
            (tmp_path / "said" / split / f"{i}.txt").write_text(text.upper() + ".")
    _recogniser(tmp_path / "tones.onnx")
    rest = SPEECH.format(bands=BANDS)
    made = Run(tmp_path, COMMON.format(title="Speech", network="tones.onnx", rest=rest))
    assert {t.status for t in made.trials} == {"done"}
    assert made.report.headline.name == "word error rate"
    assert (made.report.base[0].quality.value, made.report.base[0].chance) == (0, 1)
    assert made.plan.dataset.entries == len(SAID["test"])
    assert all(v.detected for v in made.verdicts("block-spread", "quantizing"))


@pytest.mark.shared_data
def test_a_language_model_is_evaluated(tmp_path, shared_data):
    """One of random weights, which tells nothing; its past is empty for each window."""
    network = shared_data / "models/transformer/genai_tiny-random-gpt2-fp32.onnx"
    rest = TEXT.format(path=shared_data / "text" / "sst2")
    made = Run(tmp_path, COMMON.format(title="Text", network=network, rest=rest))
    assert {t.status for t in made.trials} == {"done"}
    plain = next(t for t in made.trials if t.setting is None and t.injection is None)
    assert plain.quality["perplexity"] == pytest.approx(1000, rel=0.02)
    assert plain.quality["cross-entropy"] == pytest.approx(np.log2(plain.quality["perplexity"]))
    assert all(v.detected for v in made.verdicts("block-spread", ""))
