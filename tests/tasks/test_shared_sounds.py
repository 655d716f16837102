"""A real wake word network behind the networks that make its features; sounds are synthesised.

No sounds are among the shared data, so a speech synthesiser makes them where one is installed.
"""

from __future__ import annotations

import io
import multiprocessing
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy.io import wavfile

from nnw_onnx import plugins
from nnw_onnx.graph import open_network
from nnw_onnx.inference import SessionSettings
from nnw_onnx.kit.meters import chance_check
from nnw_onnx.runs import composed
from nnw_onnx.runs.quality import measure, task_for
from nnw_onnx.runs.suspect import Running
from nnw_onnx.vocabulary import Dataset, Spec

pytestmark = pytest.mark.shared_data

AUDIO = "models/audio"
VOICES = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-us+f2", "en-gb+f3", "en-us+m3")
OTHERS = (
    "alexander went home", "a lecture on tea", "what time is it", "play some music",
    "turn on the light", "electra and elena", "hello there", "the weather is fine",
)  # fmt: skip
FRAMES, WINDOW, STEP, WINDOWS = 196, 76, 8, 16


def _spoken(text: str, number: int) -> bytes:
    """A .wav file that ends with its last sound, as a network that wakes hears it."""
    voice, speed = VOICES[number % len(VOICES)], str(120 + 7 * (number % 8))
    command = ["espeak-ng", "--stdout", "-v", voice, "-s", speed, text]
    made = subprocess.run(command, capture_output=True, check=True).stdout
    rate, values = wavfile.read(io.BytesIO(made))
    last = np.flatnonzero(np.abs(values) > 300)[-1] + rate // 10
    buffer = io.BytesIO()
    wavfile.write(buffer, rate, values[:last])
    return buffer.getvalue()


def _words(folder: Path, each: int) -> Path:
    for name, texts in (("alexa", ("alexa",)), ("other", OTHERS)):
        (folder / "test" / name).mkdir(parents=True)
        for i in range(each):
            path = folder / "test" / name / f"{i:02}.wav"
            path.write_bytes(_spoken(texts[i % len(texts)], i))
    return folder


def _network(path: Path, nodes, ports, arrays) -> Path:
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in ports]
    weights = [numpy_helper.from_array(np.asarray(a), n) for n, a in arrays.items()]
    graph = helper.make_graph(nodes, path.stem, infos[:1], infos[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def _windows(path: Path) -> Path:
    """The last frames of a mel spectrogram, scaled as the embedding takes them, in windows."""
    places = np.arange(WINDOWS)[:, None] * STEP + np.arange(WINDOW)
    nodes = [
        helper.make_node("Mul", ["mel", "tenth"], ["a"]),
        helper.make_node("Add", ["a", "two"], ["b"]),
        helper.make_node("Reshape", ["b", "bands"], ["c"]),
        helper.make_node("Slice", ["c", "start", "end"], ["d"]),
        helper.make_node("Gather", ["d", "places"], ["e"]),
        helper.make_node("Unsqueeze", ["e", "last"], ["windows"]),
    ]
    arrays = {
        "tenth": np.float32(0.1), "two": np.float32(2), "bands": [-1, 32], "start": [-FRAMES],
        "end": [1 << 40], "places": places, "last": [3],
    }  # fmt: skip
    ports = [("mel", ["t", 1, "x", 32]), ("windows", [WINDOWS, WINDOW, 32, 1])]
    return _network(path, nodes, ports, arrays)


def _stacked(path: Path) -> Path:
    nodes = [helper.make_node("Reshape", ["each", "whole"], ["stacked"])]
    ports = [("each", [WINDOWS, 1, 1, 96]), ("stacked", [1, WINDOWS, 96])]
    return _network(path, nodes, ports, {"whole": [1, WINDOWS, 96]})


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_a_wake_word_is_known_behind_its_features(tmp_path, shared_data, monkeypatch):
    """The word in seven voices, and phrases without it; nine in ten are told at the least."""
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: "somebody")
    options = {
        "path": str(_words(tmp_path / "words", 14)),
        "classes": ["other", "alexa"],
        "seconds": 2.5,
        "peak": 32768,
        "stand": "end",
    }
    folder = shared_data / AUDIO
    before = [
        folder / "oww_melspectrogram.onnx",
        _windows(tmp_path / "windows.onnx"),
        folder / "oww_embedding_model.onnx",
        _stacked(tmp_path / "stack.onnx"),
    ]
    network = open_network(folder / "oww_alexa_v0.1.onnx")
    task = task_for(Spec("audio-classification"), network)
    given = plugins.create(Dataset, Spec("sound-folder", options)).load("test")
    chain = composed.chain_of(before, SessionSettings(), 8)
    samples = composed.ComposedSamples(given, chain).fitted(network.inputs)
    run = Running(network, SessionSettings(), 8)
    quality = measure(composed.asking(run, task, composed.NOTHING), task, samples, 8)
    assert quality.values["top-1 accuracy"] >= 0.9
    assert chance_check(quality, task.measures[0]) is None
