"""Token ids against hand-worked examples and the tokenizer of the transformers package."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pytest

from nnw_onnx.errors import ConfigurationError, DatasetError
from nnw_onnx.kit.tokens import ByteTokens, TextSamples, WordPiece
from nnw_onnx.vocabulary import TensorInfo

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
VOCABULARY = [
    *SPECIAL,
    "un",
    "##aff",
    "##able",
    "want",
    "##want",
    "##ed",
    "runn",
    "##ing",
    ",",
    "!",
]


def _ids(tokens, vocabulary=VOCABULARY):
    return [vocabulary.index(t) for t in tokens]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("UNwantéd,running!", ["un", "##want", "##ed", ",", "runn", "##ing", "!"]),
        ("unaffable", ["un", "##aff", "##able"]),
        ("unwantedX running", ["[UNK]", "runn", "##ing"]),
        ("  \t\n ", []),
        ("want\u00a0\u200bed\0", ["want", "[UNK]"]),
        ("want\u4e2dwant", ["want", "[UNK]", "want"]),
        ("a" * 101, ["[UNK]"]),
    ],
)
def test_words_become_the_longest_pieces(text, tokens):
    assert WordPiece(VOCABULARY).pieces(text) == _ids(tokens)


def test_case_and_accents_may_stay():
    vocabulary = [*SPECIAL, "Où", "ou"]
    assert WordPiece(vocabulary, lowercase=False).pieces("Où ou") == [4, 5]
    assert WordPiece(vocabulary).pieces("Où ou") == [5, 5]


def test_ids_are_framed_cut_and_filled_up():
    tokenizer = WordPiece(VOCABULARY)
    ids, own = tokenizer.encode(b"want want", 6)
    assert ids.tolist() == _ids(["[CLS]", "want", "want", "[SEP]", "[PAD]", "[PAD]"])
    assert own.tolist() == [True] * 4 + [False] * 2
    ids, own = tokenizer.encode(b"want want want", 3)
    assert (ids.tolist(), own.all()) == (_ids(["[CLS]", "want", "[SEP]"]), True)
    assert tokenizer.encode(b"want", 1)[0].tolist() == _ids(["[CLS]"])
    assert tokenizer.encode(b"\xff want", 4)[0].tolist() == _ids(
        ["[CLS]", "want", "[SEP]", "[PAD]"]
    )


def test_a_vocabulary_without_its_special_tokens_is_refused():
    message = r"vocab.txt: expected one token a line, .* got none of \[UNK\], \[SEP\]; give the"
    with pytest.raises(DatasetError, match=message):
        WordPiece(["[PAD]", "[CLS]"], title="vocab.txt")


@pytest.mark.parametrize("lowercase", [True, False])
def test_pieces_are_those_of_the_reference(tmp_path, lowercase):
    tokenizers = pytest.importorskip("tokenizers")
    letters = [chr(c) for c in range(33, 127)] + [*"éàüßñçøı中文日本語İΣσς’“”–…€½²"]
    words = ["the", "film", "##ing", "##s", "un", "##able", "love", "##ly", "don", "won", "n't"]
    vocabulary = [*SPECIAL, *dict.fromkeys([*letters, *(f"##{c}" for c in letters), *words])]
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(vocabulary), encoding="utf-8")
    reference = tokenizers.BertWordPieceTokenizer(str(path), lowercase=lowercase)
    rng = np.random.Generator(np.random.PCG64(1))
    signs = [*letters, " ", " ", "\t", "\n", "\u00a0", "\u3000", "\u0301", "\u200d", "\x07", "x"]
    texts = ["".join(rng.choice(signs, 40)) for _ in range(200)]
    texts += ["The films' lovely... don't UNABLE", "filming\u2009the Film", "", "ıİßẞ"]
    ours = WordPiece(vocabulary, lowercase=lowercase)
    for text in texts:
        expected = reference.encode(text).ids
        ids, own = ours.encode(text.encode(), 200)
        assert ids[own].tolist() == expected, repr(text)


def test_bytes_are_ids():
    ids, own = ByteTokens(offset=3, pad=0).encode("é!".encode(), 5)
    assert ids.tolist() == [0xC3 + 3, 0xA9 + 3, 0x21 + 3, 0, 0]
    assert own.tolist() == [True, True, True, False, False]
    assert ByteTokens().encode(b"abcdef", 3)[0].tolist() == [97, 98, 99]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"abcdefgh", [97, 98, 99, 102, 103, 104]),
        (b"ab", [97, 98, 256, 256, 97, 98]),
        (b"abcd", [97, 98, 99, 98, 99, 100]),
        (b"", [256] * 6),
    ],
)
def test_both_ends_of_a_text_fill_a_half_each(text, expected):
    ids, own = ByteTokens(pad=256, keep="ends").encode(text, 6)
    assert ids.tolist() == expected
    assert own.tolist() == [i != 256 for i in expected]


def _samples(**options):
    texts, labels = [b"ab", b"abcdef", b""], np.array([1, 0, 1])
    return TextSamples(texts, labels, ByteTokens(), {"classes": ["no", "yes"]}, **options)


def _port(name, *shape, dtype="int64"):
    return TensorInfo(name, shape, dtype)


def test_texts_take_the_length_and_type_of_the_network():
    samples = _samples(length=4)
    batch = samples.read(np.array([1, 0]))
    assert {n: v.shape for n, v in batch.feeds.items()} == dict.fromkeys(
        ("input_ids", "attention_mask", "token_type_ids"), (2, 4)
    )
    assert batch.feeds["attention_mask"].tolist() == [[1] * 4, [1, 1, 0, 0]]
    assert batch.targets.tolist() == [0, 1]
    fitted = samples.fitted([_port("bytes", "n", 7, dtype="int32")])
    ids = fitted.read(np.array([1])).feeds["bytes"]
    assert (ids.dtype, ids.tolist()) == (np.int32, [[97, 98, 99, 100, 101, 102, 0]])
    free = samples.fitted([_port("input_ids", "n", "t"), _port("token_type_ids", "n", "t")])
    assert list(free.read(np.arange(1)).feeds) == ["input_ids", "token_type_ids"]
    assert free.read(np.arange(3)).feeds["input_ids"].shape == (3, 4)
    assert (fitted.facts, len(fitted), fitted.scale) == (samples.facts, 3, None)


def test_inputs_have_the_names_that_are_given():
    samples = _samples(names=("words", "present"))
    fitted = samples.fitted([_port("present", "n", 3), _port("words", "n", 3)])
    assert fitted.read(np.arange(1)).feeds["present"].tolist() == [[1, 1, 0]]
    with pytest.raises(ConfigurationError, match=r"expected values for the input 'more'"):
        samples.fitted([_port("words", "n", 3), _port("more", "n", 3)])


def test_the_digest_is_of_texts_and_labels_and_not_of_ids():
    labels = np.array([1, 0, 1])
    head = b"<i8 (3,);" + labels.tobytes()
    expected = hashlib.sha256(hashlib.sha256(head).hexdigest().encode())
    for text in (b"ab", b"abcdef", b""):
        expected.update(len(text).to_bytes(8, "little") + text)
    assert _samples(length=4).digest == _samples(length=9).digest == expected.hexdigest()


def test_ids_are_limited_before_they_are_made(monkeypatch):
    monkeypatch.setattr("nnw_onnx.kit.sources.MAX_BYTES", 1000)
    with pytest.raises(DatasetError, match=r"texts: expected at most .* GiB"):
        _samples(length=100).read(np.arange(1))


def test_a_tokenizer_can_be_sent_to_a_worker():
    tokenizer = WordPiece(VOCABULARY)
    tokenizer.pieces("unwanted")
    assert pickle.loads(pickle.dumps(tokenizer)).pieces("want") == _ids(["want"])
