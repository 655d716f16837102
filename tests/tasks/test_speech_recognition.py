"""Speech recognition: error rates of jiwer, greedy CTC by hand, labels of several forms."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nnw_onnx import plugins
from nnw_onnx.datasets.speech_folder import points
from nnw_onnx.errors import ConfigurationError, DatasetError, InferenceError
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.tasks.speech_recognition import ENGLISH, SpeechRecognition
from nnw_onnx.testing import check_task
from nnw_onnx.vocabulary import Spec, Task

from .conftest import measured, samples_of

LABELS = ("", " ", *ENGLISH)
PAIRS = [
    ("the cat sat on the mat", "the cat sit on mat"),
    ("hello world", "hello world"),
    ("one two three", "one three four five"),
    ("a b c", ""),
    ("it's a test", "its a test please"),
]


def _path(text: str, times: int = 60) -> list[int]:
    """Labels of each time whose reading is this text: two of each, a blank between equal ones."""
    path: list[int] = []
    for char in text:
        label = LABELS.index(char)
        path += [*([0] if path and path[-1] == label else []), label, label]
    assert len(path) <= times
    return path + [0] * (times - len(path))


def _scores(texts, times=60):
    return np.stack([np.eye(len(LABELS), dtype=np.float32)[_path(t, times)] for t in texts])


def _quality(outputs, said, batch=None, **options):
    named = outputs if isinstance(outputs, dict) else {"y": outputs}
    targets = [points(text) for text in said]
    return measured(SpeechRecognition(**options), samples_of(), named, targets, batch)


def test_rates_are_those_of_jiwer():
    """Values of jiwer 4: 4 substitutions, 4 deletions and 2 insertions in 17 words."""
    quality = _quality(_scores([heard for _, heard in PAIRS]), [said for said, _ in PAIRS], 2)
    assert list(quality.values) == [m.name for m in SpeechRecognition.measures]
    assert quality.values["word error rate"] == pytest.approx(0.5882352941176471)
    assert quality.values["character error rate"] == pytest.approx(0.46774193548387094)
    assert quality.values["sentence error rate"] == pytest.approx(4 / 5)
    assert quality.scores.sum() / quality.weights.sum() == quality.values["word error rate"]
    assert quality.weights.tolist() == [6, 2, 3, 3, 3]


def test_repetitions_are_one_label_and_blanks_part_them():
    path = [0, 0, 10, 10, 0, 10, 7, 7, 0, 0]  # i i - i f f
    scores = np.eye(len(LABELS), dtype=np.float32)[[path]]
    assert _quality(scores, ["iif"]).values["character error rate"] == 0
    assert _quality(np.array([path]), ["iif"]).values["character error rate"] == 0
    kept = _quality(np.array([path]), ["iiiff"], decoding="labels")
    assert kept.values["character error rate"] == 0


def test_axes_may_be_the_other_way_round():
    scores = _scores(["hello world"])
    for form in (scores.swapaxes(1, 2), scores[:, :, np.newaxis], scores[:, np.newaxis]):
        assert _quality(form, ["hello world"]).values["word error rate"] == 0


def test_lengths_cut_what_is_heard():
    outputs = {"y": _scores(["good day", "good day"]), "n": np.array([8, 60])}
    quality = _quality(outputs, ["good", "good day"], lengths=1)
    assert quality.values["word error rate"] == 0
    assert SpeechRecognition(lengths=1).reads() == (0, 1)
    with pytest.raises(ConfigurationError, match=r"expected lengths \(2,\) as integers, got float"):
        _quality({**outputs, "n": np.zeros(2)}, ["a", "b"], lengths=1)


@pytest.mark.parametrize(
    ("plain", "rate"), [(True, 0), (False, 1)], ids=["plain", "as it is written"]
)
def test_capitals_and_punctuation_count_where_they_shall(plain, rate):
    quality = _quality(_scores(["hello it's me"]), ["HELLO! It's, me."], plain=plain)
    assert quality.values["word error rate"] == rate


def test_labels_come_from_files(tmp_path):
    lines, table = tmp_path / "labels.txt", tmp_path / "vocab.json"
    lines.write_text("<pad>\n \na\nb\n")
    table.write_text(json.dumps({"a": 2, "|": 1, "b": 3, "<pad>": 0}))
    scores = np.eye(4, dtype=np.float32)[[[2, 1, 3, 0, 3]]]
    for file in (lines, table):
        assert _quality(scores, ["a bb"], vocabulary=file).values["word error rate"] == 0
    given = plugins.create(
        Task, Spec("speech-recognition", {"labels": ["\u2581a", "\u2581bb", "<blk>"], "blank": 2})
    )
    quality = measured(given, samples_of(), {"y": np.array([[0, 2, 1]])}, [points("a bb")])
    assert quality.values["word error rate"] == 0
    for content in ('{"a": 5}', "[1]", "{", "[" * 100_000):
        table.write_text(content)
        with pytest.raises(ConfigurationError, match=r"vocab.json: expected .* give the"):
            _quality(scores, ["a"], vocabulary=table)
    with pytest.raises(DatasetError, match=r"expected a file, got nothing of this name"):
        _quality(scores, ["a"], vocabulary=tmp_path / "no")


def test_silence_and_nonsense_are_errors():
    silent = _quality(_scores([""]), ["one two"])
    assert (silent.values["word error rate"], silent.chance) == (1, 1)
    broken = np.full((1, 9, len(LABELS)), np.nan, np.float32)
    assert _quality(broken, ["one two"]).values["word error rate"] == 1
    much = _quality(_scores(["a b c"]), ["x"])
    assert much.values["word error rate"] == 3


@pytest.mark.parametrize(
    ("outputs", "said", "options", "message"),
    [
        (np.zeros((1, 9, 5)), ["a"], {}, r"scores \(n, times, 29\) of the labels, .* got float64"),
        (np.zeros((1, 9, 29), object), ["a"], {}, r"expected a tensor"),
        (_scores(["a"]), ["a"], {"blank": 29}, r"expected a blank below 29, .* got 29; correct"),
        (_scores(["a"]), ["a"], {"output": 1}, r"expected an output below 1, got 1"),
    ],
)
def test_what_does_not_fit_is_refused(outputs, said, options, message):
    with pytest.raises(ConfigurationError, match=message):
        _quality(outputs, said, **options)


def test_other_targets_are_refused():
    task = SpeechRecognition()
    with pytest.raises(ConfigurationError, match=r"targets are texts, got int64 \(\); choose the"):
        measured(task, samples_of(), {"y": _scores(["a"])}, np.array([3]))
    with pytest.raises(InferenceError, match=r"at least one word that is said, got none; add data"):
        _quality(_scores(["a"]), ["..."])


def _case():
    said = ["one two", "three", "four five six", "seven", "eight nine"]
    targets = [points(text) for text in said]
    samples = ArraySamples({"x": np.zeros((5, 2))}, targets)
    return check_task(SpeechRecognition(), samples, {"y": _scores(said)})


@pytest.mark.parametrize("check", _case(), ids=str)
def test_the_contract_holds(check):
    check()
