"""Windows of running text: each token told once, in the form that networks take."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx.errors import ConfigurationError, DatasetError
from nnw_onnx.kit import sources
from nnw_onnx.kit.windows import NOT_COUNTED, TokenWindows
from nnw_onnx.vocabulary import TensorInfo


def _read(windows):
    return windows.read(np.arange(len(windows)))


def test_windows_worked_by_hand():
    windows = TokenWindows([np.arange(10, 17), np.array([5]), np.array([7, 8])], length=4, pad=99)
    batch = _read(windows)
    assert list(batch.feeds) == ["input_ids", "attention_mask", "position_ids"]
    assert batch.feeds["input_ids"].tolist() == [
        [10, 11, 12, 13],
        [13, 14, 15, 16],
        [7, 8, 99, 99],
    ]
    assert batch.feeds["attention_mask"].tolist() == [[1] * 4, [1] * 4, [1, 1, 0, 0]]
    assert batch.feeds["position_ids"].tolist() == [[0, 1, 2, 3]] * 3
    assert batch.targets.tolist() == [[10, 11, 12, 13], [-1, 14, 15, 16], [7, 8, -1, -1]]


@pytest.mark.parametrize("overlap", [1, 2, 5])
@pytest.mark.parametrize("tokens", range(2, 30, 3))
def test_every_token_but_the_first_is_told_once(tokens, overlap):
    """By counting places: a window tells what follows its first token and is not in the overlap."""
    documents = [np.arange(tokens), np.arange(100, 100 + tokens)]
    batch = _read(TokenWindows(documents, length=6, overlap=overlap))
    told = batch.targets[:, 1:]
    expected = [*range(1, tokens), *range(101, 100 + tokens)]
    assert sorted(told[told != NOT_COUNTED].tolist()) == expected
    ids, seen = batch.feeds["input_ids"], batch.feeds["attention_mask"] == 1
    for row, own in zip(ids, seen, strict=True):
        np.testing.assert_array_equal(row[own], np.arange(row[0], row[0] + own.sum()))


def test_a_limit_takes_evenly_spaced_windows():
    every = TokenWindows([np.arange(50)], length=5)
    some = TokenWindows([np.arange(50)], length=5, limit=3)
    places = [i * len(every) // 3 for i in range(3)]
    np.testing.assert_array_equal(_read(some).targets, every.read(np.array(places)).targets)
    assert len({every.digest, some.digest, TokenWindows([np.arange(50)], length=6).digest}) == 3
    assert every.digest == TokenWindows([np.arange(50)], length=5).digest


def test_networks_get_what_they_have_inputs_for():
    windows = TokenWindows([np.arange(9)], length=4)
    ports = [TensorInfo("tokens", ("n", "t"), "int32")]
    fed = windows.fitted(ports).read(np.arange(1)).feeds
    assert {name: (v.dtype, v.tolist()) for name, v in fed.items()} == {
        "tokens": (np.dtype(np.int32), [[0, 1, 2, 3]])
    }
    ports = [TensorInfo(n, ("n", 4), "int64") for n in ("position_ids", "input_ids")]
    assert set(windows.fitted(ports).read(np.arange(2)).feeds) == {"position_ids", "input_ids"}
    assert windows.fitted(ports).digest == windows.digest


def test_keys_and_values_of_earlier_tokens_are_empty():
    """Those with the samples on a later axis are fed one by one, as sessions do with such."""
    windows = TokenWindows([np.arange(9)], length=4)
    ports = [
        TensorInfo("input_ids", ("n", "t"), "int64"),
        TensorInfo("past_key_values.0.key", ("n", 4, "past", 8), "float32"),
        TensorInfo("past_0", (2, "n", 4, "past", 8), "float16"),
    ]
    fed = windows.fitted(ports).read(np.arange(2)).feeds
    assert fed["past_key_values.0.key"].shape == (2, 4, 0, 8)
    assert fed["past_0"].shape == (2, 2, 1, 4, 0, 8)
    assert fed["past_0"].dtype == np.float16
    fixed = TensorInfo("past_0", (2, 1, 4, 8), "float32")
    with pytest.raises(ConfigurationError, match=r"'past_0' that takes any number of earlier tok"):
        windows.fitted([ports[0], fixed])


def test_what_cannot_be_is_refused(monkeypatch):
    with pytest.raises(ConfigurationError, match=r"windows: expected an overlap from 1 to 3 .* 4;"):
        TokenWindows([np.arange(9)], length=4, overlap=4)
    windows = TokenWindows([np.arange(9)], length=4)
    with pytest.raises(ConfigurationError, match=r"windows of 8 tokens, .* got 4; set the option "):
        windows.fitted([TensorInfo("ids", ("n", 8), "int64")])
    with pytest.raises(ConfigurationError, match=r"expected values for the input 'image'"):
        windows.fitted([TensorInfo(n, ("n", 4), "int64") for n in ("input_ids", "image")])
    monkeypatch.setattr(sources, "MAX_BYTES", 100)
    with pytest.raises(DatasetError, match=r"windows: expected at most .* GiB"):
        TokenWindows([np.arange(90)], length=4)
