"""The way back from an input to the image, and images of one's own as inputs."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.kit.samples import ArraySamples, ImageSamples
from nnw_onnx.kit.signals import as_feed, image_size, to_feed, to_signal
from nnw_onnx.vocabulary import Scale, TensorInfo

SHAPES = [("n", 3, 4, 5), ("n", 4, 5, 3), ("n", 60), (1, 1, 60), ("n", 1, 4, 5), ("n", 4, 5)]


def _fitted(shape, images, **options):
    samples = ImageSamples(images, np.zeros(len(images)), Preprocessing(**options))
    return samples.fitted([TensorInfo("x", shape, "float32")])


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
def test_there_and_back_is_the_same_input(shape, images):
    samples = _fitted(shape, images, mean=(0.4,), std=(0.3,))
    feed = samples.read(np.arange(3)).feeds["x"]
    signal = to_signal(feed, samples.scale)
    assert signal.shape == (3, 4, 5, 3 if shape in SHAPES[:4] else 1)
    assert signal.min() >= -1e-6
    assert signal.max() <= 1 + 1e-6
    back = to_feed(signal, samples.scale, feed.shape[1:])
    np.testing.assert_allclose(back, feed, atol=1e-5)
    assert image_size(samples) == (4, 5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", [{}, {"scale": 1 / 255, "mean": (0.4,), "std": (0.25,)}])
def test_own_images_become_the_very_bits_of_the_preprocessing(shape, options, images):
    samples = _fitted(shape, images, **options)
    np.testing.assert_array_equal(as_feed(images, samples), samples.read(np.arange(3)).feeds["x"])


def test_a_sound_is_scaled_and_nothing_else():
    scale = Scale((0.5,), (0.25,), "t")
    signal = to_signal(np.array([[0.0, 1.0]]), scale)
    np.testing.assert_array_equal(signal, [[0.25, 0.75]])
    np.testing.assert_array_equal(to_feed(signal, scale, (2,)), [[0, 1]])


def test_images_need_samples_that_are_images_of_their_size(images):
    with pytest.raises(ConfigurationError, match=r"images of 4 x 5 pixels, got \(4, 4\); give"):
        as_feed(images, _fitted(("n", 3, 4, 4), images[:, :, :4]))
    plain = ArraySamples({"ids": np.zeros((2, 3))}, np.zeros(2))
    with pytest.raises(ConfigurationError, match=r"4 x 5 pixels, got no images; give"):
        as_feed(images, plain)
    assert image_size(plain) is None
    four = np.zeros((1, 4, 5, 4), np.uint8)
    with pytest.raises(ConfigurationError, match=r"fed 1 or 3 channels, got 4; use images"):
        as_feed(images, _fitted(("n", 4, 4, 5), four))
