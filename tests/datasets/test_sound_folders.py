"""Folders of sounds with classes and with transcripts, broken ones among them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from scipy.io import wavfile

from nnw_onnx import plugins
from nnw_onnx.datasets.sound_folder import SoundFolder
from nnw_onnx.datasets.speech_folder import SpeechFolder
from nnw_onnx.errors import ConfigurationError, DatasetError
from nnw_onnx.testing import check_dataset
from nnw_onnx.vocabulary import Dataset, Spec, TensorInfo

from .conftest import write_files, write_tar


def _wave(number: int) -> bytes:
    buffer = io.BytesIO()
    wavfile.write(buffer, 16_000, np.full(10 + number, number, np.int16))
    return buffer.getvalue()


CLASSES = {
    "train/no/1.wav": _wave(1),
    "train/yes/2.wav": _wave(2),
    "test/yes/3.wav": _wave(3),
    "test/no/5.wav": _wave(5),
    "test/no/4.WAV": _wave(4),
    "test/no/notes.txt": b"",
}


def _numbers(samples):
    """Which sounds they are, by their first sample, and the targets."""
    batch = samples.read(np.arange(len(samples)))
    return np.rint(batch.feeds["sound"][:, 0] * 32768).astype(int).tolist(), batch.targets


def test_class_folders_are_read(tmp_path):
    for path in (write_files(tmp_path / "d", CLASSES), write_tar(tmp_path / "d.tar", CLASSES)):
        numbers, targets = _numbers(samples := SoundFolder(path=path).load("test"))
        assert (numbers, targets.tolist()) == ([4, 5, 3], [0, 0, 1])
        assert samples.facts["classes"] == ["no", "yes"]
    chosen = SoundFolder(path=tmp_path / "d", classes=("yes", "no"), limit=2).load("test")
    assert (chosen.facts["classes"], len(chosen)) == (["yes", "no"], 2)
    only = SoundFolder(path=tmp_path / "d" / "test", only_split="test").load("test")
    assert len(only) == 3


def test_a_configuration_says_how_sounds_are_heard(tmp_path):
    options = {
        "path": str(write_files(tmp_path, CLASSES)),
        "seconds": 0.1,
        "features": {"bands": 8, "transform": 64, "hop": 32},
        "normalise": "bands",
    }
    samples = plugins.create(Dataset, Spec("sound-folder", options)).load("test")
    fed = samples.fitted([TensorInfo("x", (None, 8, None), "float32")]).read(np.arange(2)).feeds
    assert fed["x"].shape == (2, 8, 51)
    for wrong in ({"seconds": 0}, {"features": {"band": 8}}, {"rate": 0}, {"inputs": ["a"]}):
        with pytest.raises(ConfigurationError):
            plugins.create(Dataset, Spec("sound-folder", {**options, **wrong}))


LISTED = {"LS/84/1/84-1.trans.txt": b"84-1-0 HELLO\n84-1-1 GOOD DAY\n"}
TABLE = b"client\tpath\tsentence\n7\ta.wav\tHello\n7\tclips/b.wav\tGood day\n"
FORMS = {
    "a table": {"test.tsv": TABLE, "clips/a.wav": _wave(1), "clips/b.wav": _wave(2)},
    "lists": {
        f"test/{n}": content
        for n, content in {
            **LISTED, "LS/84/1/84-1-0.wav": _wave(1), "LS/84/1/84-1-1.wav": _wave(2),
            "LS/84/1/84-1-2.wav": _wave(3),
        }.items()
    },
    "texts beside": {
        "test/a.wav": _wave(1), "test/a.txt": b"Hello", "test/b.wav": _wave(2),
        "test/b.txt": b"Good day\n", "train/c.wav": _wave(3), "train/c.txt": b"x",
    },
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_transcripts_are_found(tmp_path, form):
    samples = SpeechFolder(path=write_files(tmp_path, FORMS[form])).load("test")
    numbers, targets = _numbers(samples)
    texts = ["".join(map(chr, target)) for target in targets]
    assert numbers == [1, 2]
    assert [text.lower() for text in texts] == ["hello", "good day"]


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({"test/a.wav": _wave(1)}, {}, r"beside it, got no test/a.txt; add it"),
        ({"test/a.wav": _wave(1), "test/a.txt": b"\xff"}, {}, r"a text in UTF-8, got byte 0"),
        ({"test.tsv": TABLE, "a.wav": _wave(1)}, {}, r"a sound 'clips/b.wav', got none of this na"),
        ({"test.tsv": TABLE}, {"text": "said"}, r"expected a column 'said', got client, path, sen"),
        ({"a.wav": _wave(1)}, {}, r"expected files in a folder 'test', got none among 1 files"),
        ({"test.tsv": b"path\tsentence\n"}, {}, r"expected sounds, got none; correct the path"),
        ({"test/a.wav": b"", "test/a.txt": b"a"}, {}, r"test/a.wav: expected a sound, got"),
    ],
)
def test_what_is_missing_or_broken_is_told(tmp_path, files, options, message):
    with pytest.raises(DatasetError, match=message):
        SpeechFolder(path=write_files(tmp_path, files), **options).load("test")


def test_folders_without_sounds_are_told(tmp_path):
    folder = write_files(tmp_path, {"test/yes/a.txt": b""})
    with pytest.raises(DatasetError, match=r"expected sounds as test/<class>/<sound>, got none am"):
        SoundFolder(path=folder).load("test")


@pytest.mark.parametrize("kind", [SoundFolder, SpeechFolder])
def test_the_contract_holds(tmp_path, kind):
    beside = {f"{n.rpartition('.')[0]}.txt": n.encode() for n in CLASSES if "wav" in n.lower()}
    for check in check_dataset(kind(path=write_files(tmp_path, {**CLASSES, **beside}))):
        check()
