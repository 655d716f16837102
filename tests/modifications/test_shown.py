"""Smoothing, filters, mirroring and squeezing of what a network is shown, by other means."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from nnw_onnx import plugins
from nnw_onnx.errors import NotApplicableError
from nnw_onnx.vocabulary import Modification, Scale, Spec

SCALE = Scale((0.2, 0.25, 0.3), (0.5, 0.4, 0.3), "chw")
SOUND = Scale((0.5,), (0.25,), "t")
OPTIONS = {
    "input-smoothing": {"deviation": 0.6},
    "input-filter": {"size": 3},
    "input-flip": {},
    "input-squeezing": {"levels": 4},
}


def make(name: str, **options):
    return plugins.create(Modification, Spec(name, options or OPTIONS[name]))


def fed(image: np.ndarray) -> np.ndarray:
    factor, offset = (np.array(x).reshape(3, 1, 1) for x in (SCALE.factor, SCALE.offset))
    return ((image.transpose(2, 0, 1) - offset) / factor).astype(np.float32)


def seen(feed: np.ndarray) -> np.ndarray:
    factor, offset = (np.array(x).reshape(3, 1, 1) for x in (SCALE.factor, SCALE.offset))
    return (feed * factor + offset).transpose(1, 2, 0)


def shown(modification, image: np.ndarray, rng) -> np.ndarray:
    sample = {"x": fed(image), "other": np.arange(2)}
    found = modification.transform(sample, SCALE, rng)
    assert list(found) == ["x", "other"]
    assert (found["x"].shape, found["x"].dtype) == (sample["x"].shape, np.float32)
    return seen(found["x"])


@pytest.fixture
def image(rng):
    return rng.random((12, 9, 3))


def test_smoothing_is_a_convolution_of_each_channel_with_a_gaussian(image, rng):
    places = np.arange(-4, 5)
    bell = np.exp(-(places**2) / (2 * 0.6**2))
    kernel = np.outer(bell, bell) / bell.sum() ** 2
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="symmetric")
    expected = np.stack(
        [np.einsum("ijkl,kl->ij", np.lib.stride_tricks.sliding_window_view(padded[..., c], (9, 9)),
                   kernel) for c in range(3)], axis=-1,
    )  # fmt: skip
    # scipy cuts the bell off at four deviations, which is less than 1e-4 of it.
    np.testing.assert_allclose(shown(make("input-smoothing"), image, rng), expected, atol=1e-3)


@pytest.mark.parametrize(("rule", "of"), [("mean", np.mean), ("median", np.median)])
def test_a_filter_is_the_mean_or_median_of_the_pixels_around(image, rng, rule, of):
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
    found = shown(make("input-filter", size=3, rule=rule), image, rng)
    np.testing.assert_allclose(found, of(windows, axis=(-2, -1)), atol=1e-5)


def test_an_image_is_mirrored_from_left_to_right(image, rng):
    np.testing.assert_allclose(shown(make("input-flip"), image, rng), image[:, ::-1], atol=1e-6)


@pytest.mark.parametrize("levels", [2, 10, 16])
def test_squeezing_leaves_so_many_values_each_the_nearest(image, rng, levels):
    found = shown(make("input-squeezing", levels=levels), image, rng)
    allowed = np.linspace(0, 1, levels)
    nearest = allowed[np.abs(image[..., None] - allowed).argmin(axis=-1)]
    np.testing.assert_allclose(found, nearest, atol=1e-5)


def test_squeezing_stays_within_the_range(rng):
    found = make("input-squeezing", levels=4).transform({"x": np.array([-9.0, 9])}, SOUND, rng)["x"]
    np.testing.assert_allclose(found, [-0.5, 1.5])


def test_a_sound_is_smoothed_and_filtered_along_its_time(rng):
    sound = rng.random((2, 40)).astype(np.float32)
    smooth = make("input-smoothing", deviation=2).transform({"x": sound}, SOUND, rng)["x"]
    expected = ndimage.gaussian_filter1d(sound, 2, axis=-1, mode="reflect")
    np.testing.assert_allclose(smooth, expected, atol=1e-5)
    middle = make("input-filter", size=5).transform({"x": sound}, SOUND, rng)["x"]
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(sound, ((0, 0), (2, 2)), mode="symmetric"), 5, axis=-1
    )
    np.testing.assert_allclose(middle, np.median(windows, axis=-1), atol=1e-5)


@pytest.mark.parametrize("name", ["input-smoothing", "input-filter", "input-squeezing"])
def test_what_is_no_signal_is_refused(rng, name):
    with pytest.raises(NotApplicableError, match=f"^{name}: expected images or signals whose pre"):
        make(name).transform({"ids": np.arange(4)}, None, rng)


@pytest.mark.parametrize("scale", [None, SOUND])
def test_only_an_image_has_a_left_and_a_right(rng, scale):
    with pytest.raises(NotApplicableError, match=r"^input-flip: expected images whose preprocess"):
        make("input-flip").transform({"x": np.ones(4, np.float32)}, scale, rng)
