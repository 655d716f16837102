"""Tables and folders of texts as token ids, broken ones among them."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from nnw_onnx import plugins
from nnw_onnx.datasets.text_tokens import TextTokens
from nnw_onnx.errors import ConfigurationError, DatasetError
from nnw_onnx.vocabulary import Dataset, Spec, TensorInfo

from .conftest import write_files

ROWS = [("good film", "1"), ('not "good"', "0"), ("é", "1")]


def _texts(samples):
    batch = samples.read(np.arange(len(samples)))
    ids, mask = batch.feeds["input_ids"], batch.feeds["attention_mask"]
    found = [bytes(i[m == 1].astype(np.uint8)).decode() for i, m in zip(ids, mask, strict=True)]
    return found, batch.targets.tolist(), samples.facts["classes"]


def _table(rows, separator="\t", header=""):
    return (header + "".join(separator.join(row) + "\n" for row in rows)).encode()


@pytest.mark.parametrize(
    ("files", "options"),
    [
        ({"test.tsv": _table(ROWS), "train.tsv": b"x\t0\n"}, {}),
        ({"a/dev.tsv": b"\xef\xbb\xbf" + _table(ROWS), "b/c/dev.tsv": b"x\t0\n"}, {}),
        ({"test.tsv": _table(ROWS).replace(b"\n", b"\r\n\r\n")}, {}),
        (
            {"val.tsv": _table([(b, "id", a) for a, b in ROWS], header="label\tn\tsentence\n")},
            {"text": "sentence", "label": "label"},
        ),
        (
            {"test.csv": b'good film,1\n"not ""good""",0\n"\xc3\xa9",1\n'},
            {},
        ),
    ],
)
def test_tables_are_read(tmp_path, files, options):
    found = TextTokens(write_files(tmp_path, files), **options).load("test")
    assert _texts(found) == ([text for text, _ in ROWS], [1, 0, 1], ["0", "1"])


def test_one_table_serves_for_each_split_or_for_one(tmp_path):
    path = write_files(tmp_path, {"all.tsv": _table(ROWS)}) / "all.tsv"
    assert _texts(TextTokens(path).load("train"))[1] == [1, 0, 1]
    assert _texts(TextTokens(path, only_split="test", limit=2).load("test"))[1] == [1, 0]
    with pytest.raises(DatasetError, match=r"all.tsv: expected texts of the split 'train' .*none"):
        TextTokens(path, only_split="test").load("train")


def test_folders_of_files_and_archives_are_read(tmp_path):
    path = tmp_path / "d.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("test/pos/1.txt", "test/pos/0.txt", "test/neg/9.txt", "train/mid/0.txt"):
            archive.writestr(name, name)
    found = _texts(TextTokens(path).load("test"))
    names = ["test/neg/9.txt", "test/pos/0.txt", "test/pos/1.txt"]
    assert found == (names, [1, 2, 2], ["mid", "neg", "pos"])


def test_classes_are_in_the_order_of_numbers_or_as_they_are_given(tmp_path):
    rows = [("a", "10"), ("b", "9"), ("c", "1")]
    path = write_files(tmp_path, {"all.tsv": _table(rows)}) / "all.tsv"
    assert _texts(TextTokens(path).load("test"))[1:] == ([2, 1, 0], ["1", "9", "10"])
    given = TextTokens(path, classes=("9", "10", "x", "1")).load("test")
    assert _texts(given)[1:] == ([1, 0, 3], ["9", "10", "x", "1"])
    with pytest.raises(DatasetError, match=r"labels among 9, 1, got '10'; correct the options"):
        TextTokens(path, classes=("9", "1")).load("test")


def test_word_pieces_come_from_the_vocabulary_of_the_network(tmp_path):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "film", "not", '"', "\u2028", "e"]
    files = {"test.tsv": _table(ROWS), "vocab.txt": "\n".join(vocabulary).encode() + b"\n"}
    folder = write_files(tmp_path, files)
    options = {"path": str(folder), "tokenizer": "wordpiece", "length": 6}
    chosen = Spec("text-tokens", {**options, "vocabulary": str(folder / "vocab.txt")})
    found = plugins.create(Dataset, chosen).load("test")
    feeds = found.fitted([TensorInfo("ids", ("n", None), "int32")]).read(np.arange(3)).feeds
    assert feeds["ids"].dtype == np.int32
    assert feeds["ids"].tolist() == [[2, 4, 5, 3, 0, 0], [2, 6, 7, 4, 7, 3], [2, 9, 3, 0, 0, 0]]
    with pytest.raises(DatasetError, match=r"expected a vocabulary for the tokenizer 'wordpiece'"):
        plugins.create(Dataset, Spec("text-tokens", options)).load("test")
    (folder / "vocab.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match=r"vocab.txt: expected a text in UTF-8, got byte 0 of"):
        plugins.create(Dataset, chosen).load("test")
    (folder / "vocab.txt").unlink()
    with pytest.raises(DatasetError, match=r"vocab.txt: expected a file, got nothing"):
        plugins.create(Dataset, chosen).load("test")


def test_bytes_take_their_options(tmp_path):
    path = write_files(tmp_path, {"all.tsv": b"abcdefgh\t0\nab\t1\n"}) / "all.tsv"
    samples = TextTokens(path, pad=256, byte_offset=1, keep="ends", length=4).load("test")
    ids = samples.read(np.arange(2)).feeds["input_ids"]
    assert ids.tolist() == [[98, 99, 104, 105], [98, 99, 98, 99]]
    named = TextTokens(path, inputs=("a", "b"), length=2).load("test").read(np.arange(1)).feeds
    assert {n: v.tolist() for n, v in named.items()} == {"a": [[97, 98]], "b": [[1, 1]]}


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"a\t1\nb\n", {}, r"all.tsv: all.tsv: expected at least 2 columns, got 1 in line 2"),
        (b"a\t1\n", {"label": "2"}, r"expected at least 3 columns, got 2 in line 1"),
        (b"text\tclass\na\t1\n", {"text": "words"}, r"a column 'words', got text, class; correct"),
        (b"", {"text": "words"}, r"a column 'words', got none"),
        (b"\xff\t1\n", {}, r"expected a text in UTF-8, got byte 0 of another encoding; save"),
        (b"x" * 200_000 + b"\t1\n", {}, r"expected a whole table, got: field larger than .* line"),
        (b"", {}, r"expected texts of the split 'test' .* got none"),
    ],
)
def test_broken_tables_are_one_line(tmp_path, content, options, message):
    path = write_files(tmp_path, {"all.tsv": content}) / "all.tsv"
    with pytest.raises(DatasetError, match=message) as caught:
        TextTokens(path, **options).load("test")
    assert "\n" not in str(caught.value)


def test_a_broken_quotation_is_said(tmp_path):
    path = write_files(tmp_path, {"all.csv": b'"a,1\nb,0\n'}) / "all.csv"
    with pytest.raises(DatasetError, match=r"expected a whole table, got: unexpected end of data"):
        TextTokens(path).load("test")


def test_missing_files_and_options_out_of_range_are_said(tmp_path):
    with pytest.raises(DatasetError, match=r"x.tsv: expected a folder or an archive, got nothing"):
        TextTokens(tmp_path / "x.tsv").load("test")
    with pytest.raises(DatasetError, match=r"expected texts of the split 'test'"):
        TextTokens(tmp_path).load("test")
    for option, value in (("length", 0), ("inputs", []), ("inputs", list("abcd")), ("pad", -1)):
        with pytest.raises(ConfigurationError, match=rf"option {option}"):
            plugins.create(Dataset, Spec("text-tokens", {"path": "x", option: value}))


@pytest.mark.parametrize("option", ["pad", "byte_offset"])
def test_ids_that_no_input_can_hold_are_refused(option, tmp_path):
    spec = Spec("text-tokens", {"path": str(tmp_path), option: 2**70})
    with pytest.raises(ConfigurationError, match=f"text-tokens: option {option}: "):
        plugins.create(Dataset, spec)
