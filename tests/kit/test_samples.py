"""Samples: lazy reading, fitting to a network, draws, digests, what is kept."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import samples as module
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.kit.samples import (
    ArraySamples,
    Drawn,
    ImagePairs,
    ImageSamples,
    batches,
    evenly,
    fingerprint,
    limited,
    only_feed,
)
from nnw_onnx.kit.signals import to_signal
from nnw_onnx.vocabulary import Scale, TensorInfo


def _port(*shape, name="x", dtype="float32"):
    return TensorInfo(name, shape, dtype)


def _images(n=6, channels=3, seed=0):
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.integers(0, 256, (n, 4, 5, channels), dtype=np.uint8)


class Counted:
    """Rows that say what was read of them."""

    def __init__(self, array):
        self.array, self.read = array, []
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, indices):
        self.read += indices.tolist()
        return self.array[indices]


def test_images_are_raw_before_and_preprocessed_after_they_are_fitted():
    images, labels = _images(), np.arange(6)
    preprocessing = Preprocessing(mean=(0.1, 0.2, 0.3), std=(0.5,))
    samples = ImageSamples(images, labels, preprocessing, {"classes": list("abcdef")})
    places = np.array([4, 0, 4])
    np.testing.assert_array_equal(only_feed(samples.read(places).feeds), images[places])
    fitted = samples.fitted([_port("n", 3, 4, 5)])
    batch = fitted.read(places)
    expected = (images[places] / 255 - [0.1, 0.2, 0.3]) / 0.5
    np.testing.assert_allclose(batch.feeds["x"], expected.transpose(0, 3, 1, 2), atol=1e-5)
    assert batch.targets.tolist() == [4, 0, 4]
    assert (len(fitted), fitted.digest, fitted.facts) == (6, samples.digest, samples.facts)


def test_the_digest_is_that_of_the_stored_arrays():
    images, labels = _images(), np.arange(6)
    plain = b"|u1 (6, 4, 5, 3);" + images.tobytes() + b"<i8 (6,);" + labels.tobytes()
    expected = hashlib.sha256(plain).hexdigest()
    assert ImageSamples(images, labels, Preprocessing(scale=3)).digest == expected
    assert fingerprint(images, labels) == expected
    assert ImageSamples(images, labels[::-1]).digest != expected


def test_only_what_is_asked_for_is_preprocessed_and_only_once(monkeypatch):
    rows = Counted(_images())
    samples = ImageSamples(rows, np.arange(6), digest="d")
    first = samples.fitted([_port("n", 3, 4, 5)])
    rows.read.clear()
    first.read(np.array([2, 3]))
    samples.fitted([_port(1, 3, 4, 5, name="other")]).read(np.array([3, 2, 5]))
    assert rows.read == [2, 3, 5]
    monkeypatch.setattr(module, "CACHED_BYTES", 10)
    large = ImageSamples(rows, np.arange(6), digest="d").fitted([_port("n", 3, 4, 5)])
    rows.read.clear()
    large.read(np.array([2]))
    large.read(np.array([2]))
    assert rows.read == [2, 2]


def test_what_is_kept_is_right_for_every_shape():
    images = _images()
    samples = ImageSamples(images, np.arange(6))
    places = np.array([5, 1])
    for _ in range(2):
        for shape in [("n", 3, 4, 5), ("n", 4, 5, 3), ("n", 60), ("n", 1, 4, 5)]:
            made = samples.fitted([_port(*shape)]).read(places).feeds["x"]
            expected = Preprocessing().apply(images[places], shape)
            np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        (("n", 3, 4, 5), "chw"),
        (("n", 4, 5, 3), "hwc"),
        (("n", 1, 4, 5), "chw"),
        (("n", 4, 5), "hw"),
        (("n", 60), "flat"),
    ],
)
def test_the_scale_leads_back_to_the_image(shape, layout):
    images = _images()
    gray = shape in (("n", 1, 4, 5), ("n", 4, 5))
    mean, std = ((0.1,), (0.3,)) if gray else ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    samples = ImageSamples(images, np.arange(6), Preprocessing(mean=mean, std=std))
    fitted = samples.fitted([_port(*shape)])
    assert fitted.scale.layout == layout
    made = to_signal(fitted.read(np.arange(6)).feeds["x"], fitted.scale)
    expected = images @ np.array([[0.299], [0.587], [0.114]]) if gray else images
    np.testing.assert_allclose(made, expected / 255, atol=1e-6)


def test_the_scale_of_floats_is_the_declared_one():
    digits = np.full((1, 2, 2, 1), 8, np.float32)
    samples = ImageSamples(digits, np.zeros(1), Preprocessing(scale=0.0625, mean=(0.5,)))
    assert samples.scale == Scale((0.0625,), (0.0,), "hwc")
    assert samples.fitted([_port("n", 1, 2, 2)]).scale == Scale((1.0,), (0.5,), "chw")


def test_features_have_no_scale():
    samples = ImageSamples(np.zeros((2, 3), np.float32), np.zeros(2))
    assert samples.scale is None
    assert samples.fitted([_port("n", 3)]).scale is None


@pytest.mark.parametrize("ports", [[], [_port("n", 3, 4, 5), _port("n", 2, name="y")]])
def test_images_need_a_network_of_one_input(ports):
    with pytest.raises(ConfigurationError, match=rf"network of one input .* got {len(ports)} \("):
        ImageSamples(_images(), np.arange(6)).fitted(ports)


def test_images_that_do_not_fit_are_refused_at_once():
    with pytest.raises(ConfigurationError, match=r"got 4 x 5 pixels .*set resize = \[8, 8\]"):
        ImageSamples(_images(), np.arange(6)).fitted([_port("n", 3, 8, 8)])


def test_arrays_are_matched_by_name_and_typed():
    ids, mask = np.arange(6, dtype=np.int32).reshape(3, 2), np.ones((3, 2), np.uint8)
    samples = ArraySamples({"ids": ids, "mask": mask}, np.arange(3))
    ports = [_port("n", "t", name="mask", dtype="int64"), _port("n", 2, name="ids", dtype="int64")]
    feeds = samples.fitted(ports).read(np.array([2, 1])).feeds
    assert {name: values.dtype for name, values in feeds.items()} == dict.fromkeys(
        ("ids", "mask"), np.dtype("int64")
    )
    np.testing.assert_array_equal(feeds["ids"], ids[[2, 1]])
    only_ids = samples.fitted(ports[1:]).read(np.arange(1)).feeds
    assert list(only_ids) == ["ids"]


def test_arrays_are_matched_by_place_where_no_name_fits():
    arrays = {"a": np.zeros((3, 2), np.float64), "b": np.ones((3, 4))}
    samples = ArraySamples(arrays, np.arange(3))
    feeds = samples.fitted([_port("n", 2), _port("n", 4, name="y")]).read(np.arange(3)).feeds
    assert (feeds["x"].dtype, feeds["x"].max(), feeds["y"].min()) == (np.float32, 0, 1)


@pytest.mark.parametrize(
    ("ports", "message"),
    [
        (
            [_port("n", 2, name="a"), _port("n", 2, name="z")],
            r"for the input 'z' \(n, 2\) .* of a,",
        ),
        ([_port("n", 2), _port("n", 4), _port("n", 1, name="third")], r"for the input 'third'"),
        ([_port("n", 3, name="a")], r"shape \(n, 3\) for the input 'a', got \(3, 2\); choose data"),
    ],
)
def test_inputs_without_values_are_named(ports, message):
    samples = ArraySamples({"a": np.zeros((3, 2)), "b": np.ones((3, 4))}, np.arange(3))
    with pytest.raises(ConfigurationError, match=message):
        samples.fitted(ports)


@pytest.mark.parametrize("feeds", [{}, {"a": np.zeros((2, 1))}, {"a": np.zeros(3), "b": [1]}])
def test_arrays_are_as_many_as_targets(feeds):
    with pytest.raises(ConfigurationError, match=r"expected 3 values of at least one input"):
        ArraySamples(feeds, np.arange(3))


def test_the_digest_of_arrays_knows_names_values_and_targets():
    a, b, y = np.zeros((3, 2)), np.ones((3, 2)), np.arange(3)
    digests = {
        ArraySamples(feeds, targets).digest
        for feeds, targets in [
            ({"a": a, "b": b}, y),
            ({"b": a, "a": b}, y),
            ({"a": a, "b": a}, y),
            ({"a": a, "b": b}, y[::-1]),
            ({"a": a, "b": b}, [np.zeros(1), np.zeros(2), np.zeros(1)]),
        ]
    }
    assert len(digests) == 5


def test_the_scale_stays_with_the_first_array():
    scale = Scale((2.0,), (0.0,), "t")
    samples = ArraySamples(
        {"sound": np.zeros((3, 8)), "rate": np.ones(3)}, np.arange(3), scale=scale
    )
    ports = [_port("n", name="rate"), _port("n", 8, name="sound")]
    fitted = samples.fitted(ports)
    assert fitted.scale == scale
    assert list(fitted.read(np.arange(1)).feeds) == ["sound", "rate"]
    assert samples.fitted(ports[:1]).scale is None


def test_a_draw_is_lazy_repeats_and_takes_other_targets():
    rows = Counted(_images())
    whole = ImageSamples(rows, np.arange(6) * 10, digest="d")
    drawn = Drawn(whole, np.array([5, 5, 0]))
    assert rows.read == []
    batch = drawn.read(np.array([2, 1]))
    assert (batch.targets.tolist(), rows.read) == ([0, 50], [0, 5])
    soft = Drawn(whole, np.array([5, 0]), np.eye(2))
    np.testing.assert_array_equal(soft.read(np.array([1])).targets, [[0, 1]])
    fitted = soft.fitted([_port("n", 3, 4, 5)])
    assert fitted.read(np.array([0])).feeds["x"].shape == (1, 3, 4, 5)
    assert (fitted.digest, fitted.scale.layout, len(fitted)) == (soft.digest, "chw", 2)
    digests = {s.digest for s in (whole, drawn, soft, Drawn(whole, np.array([5, 0])))}
    assert len(digests) == 4
    with pytest.raises(ConfigurationError, match=r"expected 2 targets, one for each .* got 3"):
        Drawn(whole, np.array([5, 0]), np.zeros(3))


@pytest.mark.parametrize(
    ("total", "limit", "expected"),
    [(5, None, [0, 1, 2, 3, 4]), (10, 3, [0, 3, 6]), (2, 5, [0, 1]), (0, 3, []), (7, 1, [0])],
)
def test_even_places(total, limit, expected):
    assert evenly(total, limit).tolist() == expected


def test_a_limit_is_even_and_none_leaves_all():
    samples = ImageSamples(_images(), np.arange(6))
    assert limited(samples, 3).read(np.arange(3)).targets.tolist() == [0, 2, 4]
    assert limited(samples, None) is limited(samples, 6) is samples


def test_batches_are_consecutive():
    samples = ArraySamples({"a": np.arange(5)}, [np.full(i, i) for i in range(5)])
    found = list(batches(samples, 2))
    assert [len(b) for b in found] == [2, 2, 1]
    assert [t.tolist() for t in found[1].targets] == [[2, 2], [3, 3, 3]]
    assert found[2].feeds["a"].tolist() == [4]


@pytest.mark.parametrize(
    ("shape", "target_shape", "gray"),
    [
        (("n", 3, 4, 5), (2, 3, 8, 10), False),
        (("n", 4, 5, 3), (2, 8, 10, 3), False),
        (("n", 1, 4, 5), (2, 1, 8, 10), True),
        (("n", 4, 5), (2, 8, 10), True),
        (("n", 20), (2, 80), True),
    ],
)
def test_pairs_lay_targets_out_as_inputs(shape, target_shape, gray):
    images, wanted = _images(2), np.repeat(np.repeat(_images(2), 2, 1), 2, 2)
    pairs = ImagePairs(images, wanted, Preprocessing(mean=(0.5,), std=(0.25,)))
    batch = pairs.fitted([_port(*shape)]).read(np.arange(2))
    assert batch.targets.shape == target_shape
    expected = wanted @ np.array([[0.299], [0.587], [0.114]]) if gray else wanted
    if len(target_shape) == 4 and shape[1] != 4:
        expected = expected.transpose(0, 3, 1, 2)
    made = batch.targets * 0.25 + 0.5
    np.testing.assert_allclose(made, expected.reshape(target_shape) / 255, atol=1e-6)


def test_pairs_tell_the_numbers_of_their_targets():
    images = _images(2)
    wanted = Preprocessing(scale=1)
    pairs = ImagePairs(images, images, target_preprocessing=wanted)
    fitted = pairs.fitted([_port("n", 3, 4, 5)])
    assert fitted.facts == {"target_scale": {"factor": [1 / 255], "offset": [0.0]}}
    np.testing.assert_array_equal(
        fitted.read(np.arange(2)).targets, images.transpose(0, 3, 1, 2).astype(np.float32)
    )
    assert ImagePairs(images, images).fitted([_port("n", 3, 4, 5)]).facts == {}
    assert ImagePairs(images, images[:, :2, :2]).digest != pairs.digest == fitted.digest
    with pytest.raises(ConfigurationError, match=r"expected as many target images .* got \(1, 4"):
        ImagePairs(images, images[:1])
