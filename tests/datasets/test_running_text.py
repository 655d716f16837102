"""Texts and token ids as windows, broken ones among them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nnw_onnx.datasets.running_text import RunningText
from nnw_onnx.errors import DatasetError
from nnw_onnx.testing import check_dataset

from .conftest import write_files, write_tar


def _texts(samples, offset=0):
    batch = samples.read(np.arange(len(samples)))
    ids, mask = batch.feeds["input_ids"] - offset, batch.feeds["attention_mask"]
    return [bytes(i[m == 1].astype(np.uint8)).decode() for i, m in zip(ids, mask, strict=True)]


FORMS = {
    "files named as splits": {"train.txt": b"tra", "a/test.raw": b"tests", "b/c/test.raw": b"no"},
    "the usual other names": {"train.txt": b"tra", "valid.txt": b"tests"},
    "folders": {"train/a.txt": b"tra", "test/b/x": b"te", "test/a": b"tests", "test/c": b"e"},
    "a table": {"test.tsv": b"tests\t1\n", "train.tsv": b'a "b"\t0\n'},
}


@pytest.mark.parametrize("form", FORMS)
def test_splits_are_found(tmp_path, form):
    found = _texts(RunningText(write_files(tmp_path, FORMS[form])).load("test"))
    assert found == (["tests", "te"] if form == "folders" else ["tests"])


def test_archives_and_single_files_are_read(tmp_path):
    path = write_tar(tmp_path / "d.tar.gz", FORMS["folders"])
    assert _texts(RunningText(path).load("test")) == ["tests", "te"]
    one = write_files(tmp_path, {"all.txt": b"abcdef"}) / "all.txt"
    assert _texts(RunningText(one, length=4).load("test")) == ["abcd", "def"]
    with pytest.raises(DatasetError, match=r"expected files in a folder 'train', got none among 1"):
        RunningText(one, only_split="test").load("train")


def test_bytes_are_shifted_and_begun(tmp_path):
    one = write_files(tmp_path, {"all.csv": b'n,text\n1,"ab"\n2,c\n'}) / "all.csv"
    samples = RunningText(one, text="text", byte_offset=3, begin=1, pad=0, length=4).load("test")
    batch = samples.read(np.arange(2))
    assert batch.feeds["input_ids"].tolist() == [[1, 100, 101, 0], [1, 102, 0, 0]]
    assert batch.targets.tolist() == [[1, 100, 101, -1], [1, 102, -1, -1]]


@pytest.mark.parametrize(("tokens", "dtype"), [("uint16", "<u2"), ("uint32", "<u4")])
def test_ids_are_read_as_they_are_written(tmp_path, tokens, dtype):
    ids = np.array([5, 60_000, 7], dtype)
    one = write_files(tmp_path, {"all.bin": ids.tobytes()}) / "all.bin"
    batch = RunningText(one, tokens=tokens, length=3).load("test").read(np.arange(1))
    assert batch.targets.tolist() == [[5, 60_000, 7]]
    one.write_bytes(b"abc")
    with pytest.raises(DatasetError, match=r"all.bin: expected ids of . bytes each, got 3 bytes"):
        RunningText(one, tokens=tokens).load("test")


def test_pieces_come_from_the_tokenizer_of_the_network(tmp_path):
    pytest.importorskip("tokenizers")
    made = {
        "version": "1.0",
        "truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 0,
                       "direction": "Right"},
        "padding": None, "added_tokens": [], "normalizer": None, "post_processor": None,
        "decoder": None, "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1, "film": 2, "good": 3},
                  "unk_token": "[UNK]"},
    }  # fmt: skip
    files = {"test.txt": b"a good odd film", "tokenizer.json": json.dumps(made).encode()}
    folder = write_files(tmp_path, files)
    options = {"tokens": "tokenizer", "length": 8, "pad": 9}
    chosen = RunningText(folder, tokenizer=folder / "tokenizer.json", **options)
    ids = chosen.load("test").read(np.arange(1)).feeds["input_ids"]
    assert ids.tolist() == [[1, 3, 0, 2, 9, 9, 9, 9]]
    with pytest.raises(DatasetError, match=r"expected a file for the tokens 'tokenizer', got none"):
        RunningText(folder, **options).load("test")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"tokenizer.json: expected a tokenizer as the package"):
        chosen.load("test")
    (folder / "test.txt").write_bytes(b"\xff")
    (folder / "tokenizer.json").write_text(json.dumps(made))
    with pytest.raises(DatasetError, match=r"test.txt: expected a text in UTF-8, got byte 0 of"):
        chosen.load("test")


def test_without_the_package_the_cure_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    folder = write_files(tmp_path, {"test.txt": b"abc", "tokenizer.json": b"{}"})
    chosen = RunningText(folder, tokens="tokenizer", tokenizer=folder / "tokenizer.json")
    with pytest.raises(DatasetError, match=r"pip install 'nnw-onnx\[tokenizers\]', or write the"):
        chosen.load("test")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"a", {}, r"expected a text of at least two tokens, got none in 1 files; correct the"),
        (b"a,b\n", {"text": "words"}, r"a column 'words', got a, b; correct the option text \(n"),
        (b"a\n", {"text": "2"}, r"at least 3 columns, got 1 in line 1; correct the file, or the o"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path, content, options, message):
    one = write_files(tmp_path, {"all.csv": content}) / "all.csv"
    with pytest.raises(DatasetError, match=message):
        RunningText(one, **options).load("test")


def test_missing_files_are_told(tmp_path):
    with pytest.raises(DatasetError, match=r"expected a folder or an archive, got nothing"):
        RunningText(tmp_path / "no").load("test")
    folder = write_files(tmp_path, {"x.txt": b"abc"})
    with pytest.raises(DatasetError, match=r"expected files in a folder 'test', got none among 1"):
        RunningText(folder).load("test")


def test_the_contract_holds(tmp_path):
    files = {"train.txt": b"xyz" * 9, "test.txt": b"abcdef" * 9}
    for check in check_dataset(RunningText(write_files(tmp_path, files), length=8)):
        check()
