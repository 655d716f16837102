"""Keys of others: read from their own arrays, and marks that plain numpy has put in are found."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import stats

import nnw_onnx as nnw
from nnw_onnx.errors import ConfigurationError, KeyFileError
from nnw_onnx.kit import foreign
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.runs.numpy_files import read_numbers
from nnw_onnx.runs.trigger_files import read_inputs, read_labels
from nnw_onnx.vocabulary import Payload

from .elsewhere import LAYER, MEAN, MODELS, bits, gaussian, marked

SIZE = 64
MATRIX, BITS = gaussian(SIZE), bits(SIZE)
PAYLOAD = Payload(tuple(BITS.tolist()))


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("foreign") / "marked.onnx"
    marked(MATRIX, BITS).save(path)
    return nnw.open(path)


@pytest.mark.parametrize("columns", [False, True], ids=["T x M", "M x T"])
def test_a_matrix_of_either_orientation_is_told_by_the_layer(network, tmp_path, columns):
    path = tmp_path / "W.npy"
    np.save(path, MATRIX.T if columns else MATRIX)
    claim = nnw.import_key(network, "uchida", matrix=path, payload=PAYLOAD)
    assert claim.key.layers == (LAYER,)
    assert claim.key.notes[1] == f"matrix of 64 bits, one a {'column' if columns else 'row'}"
    found = nnw.detect(network, claim)
    assert (found.statistic, found.log10_p) == (64, pytest.approx(-64 * np.log10(2)))
    assert found.null.name == "Bin(64, 1/2), if the matrix is older than the network"
    assert nnw.decode(network, claim.key).payload == PAYLOAD
    unmarked = nnw.verify(MODELS / "cnn-0.onnx", claim)
    matches = int(np.sum((MATRIX @ _mean() > 0) == (BITS == 1)))
    assert unmarked.detection.statistic == matches
    assert unmarked.detection.p_value == pytest.approx(stats.binom.sf(matches - 1, 64, 0.5))


def _mean() -> np.ndarray:
    weights = np.asarray(nnw.open(MODELS / "cnn-0.onnx").weights[LAYER], np.float64)
    return weights.mean(axis=0).reshape(-1)


def test_a_matrix_of_keras_has_the_inputs_last(tmp_path):
    path = tmp_path / "keras.onnx"
    marked(MATRIX, BITS, keras=True).save(path)
    claim = nnw.import_key(path, "uchida", matrix=MATRIX.T, payload=PAYLOAD, order="in-last")
    assert nnw.verify(path, claim).errors == 0
    wrong = nnw.import_key(path, "uchida", matrix=MATRIX.T, payload=PAYLOAD)
    assert not nnw.detect(path, wrong)


def test_an_imported_key_is_kept_in_a_file(network, tmp_path):
    claim = nnw.import_key(network, "uchida", matrix=MATRIX.astype(np.float32), payload=PAYLOAD)
    nnw.save_key(claim, tmp_path / "key.npz")
    again = nnw.load_key(tmp_path / "key.npz")
    assert again == claim
    assert np.array_equal(again.key.arrays[foreign.MATRIX], MATRIX.astype(np.float32))
    assert nnw.detect(network, again)
    with pytest.raises(ConfigurationError, match="commitment: expected 64 hexadecimal digits"):
        nnw.verify_commitment(again, MODELS / "cnn-0.onnx")


def test_a_matrix_of_zeros_and_ones_has_no_p_value(tmp_path):
    """MPAI's text admits such a matrix; all its bits then share the sign of the mean."""
    matrix = np.random.default_rng(5).integers(0, 2, (SIZE, MEAN))
    path = tmp_path / "binary.onnx"
    marked(matrix.astype(float), BITS).save(path)
    claim = nnw.import_key(path, "uchida", matrix=matrix, payload=PAYLOAD)
    verdict = nnw.verify(path, claim)
    assert (verdict.errors, verdict.detection.log10_p) == (0, None)
    assert verdict.detection.detected is None
    with pytest.raises(ConfigurationError, match="the entries of its matrix are not symmetric"):
        nnw.detect(path, claim)
    fair = nnw.import_key(path, "uchida", matrix=matrix, payload=PAYLOAD, fair=True)
    assert nnw.detect(path, fair).null.name.endswith("if the payload was drawn fairly, as declared")


def test_wrong_matrices_are_found_as_often_as_the_null_says(network):
    """Shuffles of the key on the marked network, against Bin(64, 1/2)."""
    claim = nnw.import_key(network, "uchida", matrix=MATRIX, payload=PAYLOAD)
    from nnw_onnx.runs.suspect import isolated, suspects
    from nnw_onnx.runs.verify import verify

    wrong = foreign.wrong(claim, range(400))
    found = [v.detection for v in verify(suspects(network, isolated(network)), wrong, 1e-6)]
    counts = np.array([d.statistic for d in found])
    assert counts.mean() == pytest.approx(32, abs=4 * 4 / 20)
    assert counts.var() == pytest.approx(16, rel=0.35)
    assert not any(found)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"matrix": np.ones((4, 77))}, "expected as many rows or columns as a filter has weights"),
        ({"matrix": np.ones((MEAN, MEAN))}, "say whether bits are rows or columns"),
        ({"matrix": np.ones(MEAN)}, "expected a table of finite numbers"),
        ({"matrix": np.full((4, MEAN), np.nan)}, "expected a table of finite numbers"),
        ({"matrix": MATRIX, "payload": Payload((1, 0))}, "expected the 64 bits of the matrix"),
        ({"matrix": MATRIX, "labels": [1]}, "uchida: expected matrix, got matrix and labels"),
        ({}, "uchida: expected matrix, got nothing"),
    ],
)
def test_what_does_not_fit_is_refused(given, message):
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        nnw.import_key(MODELS / "cnn-0.onnx", "uchida", **given)


def test_a_matrix_that_fits_several_layers_wants_a_name():
    path = MODELS.parent / "cifar10" / "fast-0.onnx"
    with pytest.raises(
        ConfigurationError, match=r"one layer that 16 x 864 fits .*; name the layer"
    ):
        nnw.import_key(path, "uchida", matrix=np.ones((16, 864)))


def test_other_methods_have_no_such_keys():
    with pytest.raises(ConfigurationError, match=r"uchida, deepsigns, adi; got 'uchid' \(did you"):
        nnw.import_key(MODELS / "cnn-0.onnx", "uchid", matrix=MATRIX)


def test_a_matrix_of_answers_is_one_of_deepsigns():
    """The mean answer of a layer is known from running it: its signs are what is decoded."""
    from nnw_onnx.runs.suspect import isolated

    network = nnw.open(MODELS / "cnn-0.onnx")
    inputs = np.random.default_rng(1).random((12, 1, 8, 8)).astype(np.float32)
    answers = isolated(network)({"input": inputs}, [LAYER])[LAYER]
    mean = answers.mean(axis=(0, 2, 3)).astype(np.float64)
    matrix = np.random.default_rng(2).standard_normal((24, len(mean)))
    told = Payload(tuple((matrix @ mean > 0).astype(int).tolist()))
    claim = nnw.import_key(
        network, "deepsigns", matrix=matrix.T, inputs=inputs, layer=LAYER, payload=told,
        centres=np.zeros((10, 64), np.float32), target=4,
    )  # fmt: skip
    assert dict(claim.key.facts)["pooled"] is True
    assert dict(claim.key.facts)["classes"] == 10
    assert nnw.verify(network, claim).errors == 0
    assert nnw.detect(network, claim).log10_p == pytest.approx(-24 * np.log10(2))
    other = nnw.verify(MODELS / "cnn-1.onnx", claim)
    assert 4 <= other.errors <= 20


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layer": None}, "expected the layer whose answers carry the mark, got none"),
        ({"centres": np.zeros((10, 63))}, "centres: expected 64 numbers a class"),
        ({"classes": 3, "target": 3}, "expected a number above the marked class 3, got 3"),
        ({"matrix": np.ones((9, 65))}, "numbers a bit, as the layer answers, got 9 x 65"),
        ({"inputs": np.zeros((0, 1, 8, 8))}, "expected finite numbers for the one input"),
    ],
)
def test_what_does_not_fit_the_answers_is_refused(given, message):
    asked = {
        "matrix": np.ones((9, 64)), "layer": LAYER, "classes": 10,
        "inputs": np.zeros((1, 1, 8, 8), np.float32), **given,
    }  # fmt: skip
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        nnw.import_key(MODELS / "cnn-0.onnx", "deepsigns", **asked)


@pytest.fixture
def triggers(tmp_path):
    """Ten images named 1.png to 10.png, whose only pixel value is 20 times their number."""
    from PIL import Image

    folder = tmp_path / "triggers"
    folder.mkdir()
    for number in range(1, 11):
        Image.new("L", (8, 8), 20 * number).save(folder / f"{number}.png")
    return folder


def test_images_are_in_the_order_of_their_numbers(triggers):
    network = nnw.open(MODELS / "cnn-0.onnx")
    fed, names = read_inputs(triggers, network, None)
    assert names[:2] == ("1.png", "2.png")
    assert names[-1] == "10.png"
    assert fed.shape == (10, 1, 8, 8)
    assert fed[:, 0, 0, 0] == pytest.approx(np.arange(1, 11) * 20 / 255, abs=1e-6)
    halved, _ = read_inputs(triggers, network, Preprocessing(mean=(0.5,)))
    assert halved == pytest.approx(fed - 0.5, abs=1e-6)


def test_triggers_are_claimed_with_their_labels(triggers, tmp_path):
    """Labels that the network itself answers, so all match; and one of them wrong."""
    network = nnw.open(MODELS / "cnn-0.onnx")
    from nnw_onnx.runs.suspect import isolated

    fed, names = read_inputs(triggers, network, None)
    answers = isolated(network)({"input": fed}, ())["logits"].argmax(axis=1)
    answers[3] = (answers[3] + 1) % 10
    plain, named = tmp_path / "labels.txt", tmp_path / "labels.csv"
    plain.write_text("\n".join(map(str, answers)) + "\n")
    named.write_text(
        "".join(f"{n},{a}\n" for n, a in reversed(list(zip(names, answers, strict=True))))
    )
    for labels in (plain, named, answers.tolist()):
        claim = nnw.import_key(network, "adi", inputs=triggers if labels is not answers else fed,
                               labels=labels)  # fmt: skip
        verdict = nnw.verify(network, claim)
        assert (verdict.errors, claim.key.size, claim.payload.alphabet) == (1, 10, 10)
        assert verdict.detection.log10_p is None
        assert "answers were not drawn from a secret" in verdict.detection.null.name
    fair = nnw.import_key(network, "adi", inputs=fed, labels=answers.tolist(), fair=True)
    found = nnw.detect(network, fair)
    assert found.p_value == pytest.approx(stats.binom.sf(8, 10, 0.1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat\n", "expected a class in each line, got 'cat'"),
        ("", "expected a class in each line, got 'none'"),
        ("1.png,3\n", "expected a class for each of 2 triggers, got 1 and none for '2.png'"),
        ("1.png,3\n2.png,4\n3.png,4\n", "expected a class for each of 2 triggers, got 3"),
    ],
)
def test_labels_that_do_not_fit(tmp_path, text, message):
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        read_labels(path, ("1.png", "2.png"))


def test_labels_beyond_the_classes(tmp_path):
    fed = np.zeros((2, 1, 8, 8), np.float32)
    with pytest.raises(ConfigurationError, match="expected classes from 0 to 9, got 0 to 10"):
        nnw.import_key(MODELS / "cnn-0.onnx", "adi", inputs=fed, labels=[0, 10])
    with pytest.raises(ConfigurationError, match="expected a class for each of 2 triggers"):
        nnw.import_key(MODELS / "cnn-0.onnx", "adi", inputs=fed, labels=[0])


def test_arrays_are_read_without_unpickling(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ConfigurationError, match="got Python objects, which are never read"):
        read_numbers(tmp_path / "objects.npy")
    np.save(tmp_path / "words.npy", np.array(["a"]))
    with pytest.raises(ConfigurationError, match="expected an array of real numbers, got <U1"):
        read_numbers(tmp_path / "words.npy")
    np.save(tmp_path / "whole.npy", MATRIX)
    data = (tmp_path / "whole.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(data[:-1])
    for name in ("cut.npy", "none.npy"):
        with pytest.raises(ConfigurationError, match=r"expected a whole \.npy file, got: "):
            read_numbers(tmp_path / name)
    (tmp_path / "no.npy").write_bytes(b"no numpy at all")
    with pytest.raises(ConfigurationError, match=r"no\.npy: expected a whole \.npy file"):
        read_numbers(tmp_path / "no.npy")
    assert np.array_equal(read_numbers(tmp_path / "whole.npy"), MATRIX)


def test_a_torn_matrix_in_a_key_file_is_refused(network, tmp_path):
    claim = nnw.import_key(network, "uchida", matrix=MATRIX, payload=PAYLOAD)
    nnw.save_key(claim, tmp_path / "key.npz")
    data = (tmp_path / "key.npz").read_bytes()
    (tmp_path / "key.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(KeyFileError):
        nnw.load_key(tmp_path / "key.npz")
