"""Modifications of what a network is shown, against what the preprocessing says of pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.vocabulary import Modification, Scale, Spec

MEAN, STD = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.25, 0.3])


def make(name: str, **options):
    return plugins.create(Modification, Spec(name, options))


def picture(rng: np.random.Generator, channels: int = 3) -> np.ndarray:
    """A smooth image (24, 32, channels) of 8 bits."""
    rows, columns = np.mgrid[:24, :32]
    waves = [
        np.sin(rows / (3 + c) + columns / (5 + c) + rng.uniform(0, 3)) for c in range(channels)
    ]
    return np.rint(127.5 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)


def through_pillow(pixels: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    gray = pixels.shape[-1] == 1
    image = Image.fromarray(pixels[..., 0] if gray else pixels, "L" if gray else "RGB")
    image.save(stream, format="JPEG", quality=quality)
    return np.asarray(Image.open(stream)).reshape(pixels.shape)


FORMS = {
    "chw": (3, lambda v: v.transpose(2, 0, 1), lambda f: f.transpose(1, 2, 0)),
    "hwc": (3, lambda v: v, lambda f: f),
    "hw": (1, lambda v: v[..., 0], lambda f: f[..., None]),
    "flat": (1, lambda v: v.reshape(-1), lambda f: f.reshape(24, 32, 1)),
}


@pytest.mark.parametrize("layout", FORMS)
@pytest.mark.parametrize("quality", [5, 90])
def test_jpeg_is_that_of_the_pixels_behind_the_preprocessing(rng, layout, quality):
    channels, there, back = FORMS[layout]
    pixels = picture(rng, channels)
    mean, std = MEAN[:channels], STD[:channels]
    feed = there(((pixels / 255 - mean) / std).astype(np.float32))
    shape = (1, 24, 32) if layout == "flat" else ()
    scale = Scale(tuple(std), tuple(mean), layout, shape)
    sample = {"x": feed, "other": np.arange(3)}
    found = make("jpeg", quality=quality).transform(sample, scale, rng)
    assert list(found) == ["x", "other"]
    assert (found["x"].shape, found["x"].dtype) == (feed.shape, feed.dtype)
    expected = through_pillow(pixels, quality)
    np.testing.assert_allclose((back(found["x"]) * std + mean) * 255, expected, atol=1e-3)
    assert not np.array_equal(expected, pixels)


def test_a_lower_quality_changes_more(rng):
    feed = {"x": (picture(rng) / 255).astype(np.float32)}
    scale = Scale((1.0,), (0.0,), "hwc")
    changes = [
        np.abs(make("jpeg", quality=q).transform(feed, scale, rng)["x"] - feed["x"]).mean()
        for q in (90, 50, 10)
    ]
    assert changes == sorted(changes)
    parameter = plugins.load(Modification, "jpeg").parameter
    assert (parameter.stronger, parameter.option) == ("down", "quality")


@pytest.mark.parametrize(
    ("scale", "feed", "got"),
    [
        (None, np.zeros((3, 8, 8), np.float32), "inputs that are no images, or whose preproc"),
        (Scale((1.0,), (0.0,), "t"), np.zeros(8, np.float32), "inputs that are no images"),
        (Scale((1.0,), (0.0,), "chw"), np.zeros((4, 8, 8), np.float32), "images of 4; leave"),
    ],
)
def test_what_is_no_image_is_refused(rng, scale, feed, got):
    with pytest.raises(ConfigurationError, match=f"^jpeg: expected images of one or three .*{got}"):
        make("jpeg", quality=50).transform({"x": feed}, scale, rng)


@pytest.mark.parametrize("quality", [0, 96, 49.5])
def test_qualities_that_jpeg_does_not_have_are_refused(quality):
    with pytest.raises(ConfigurationError, match=r"^jpeg: option quality: "):
        make("jpeg", quality=quality)


def test_noise_has_the_deviation_asked_for_in_the_range_of_the_signal(rng):
    scale = Scale(tuple(STD), tuple(MEAN), "chw")
    feed = ((np.full((3, 64, 64), 0.5) - MEAN[:, None, None]) / STD[:, None, None]).astype(
        np.float32
    )
    found = make("input-noise", intensity=0.05).transform({"x": feed}, scale, rng)["x"]
    noise = (found - feed) * STD[:, None, None] / 0.05
    assert (found.shape, found.dtype) == (feed.shape, feed.dtype)
    assert stats.kstest(noise.reshape(-1), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.1


def test_noise_stays_within_the_range_of_the_signal(rng):
    scale = Scale((0.5,), (0.5,), "t")
    found = make("input-noise", intensity=3).transform({"x": np.ones(500, np.float32)}, scale, rng)
    assert found["x"].min() == -1
    assert found["x"].max() == 1


def test_noise_on_what_is_no_signal_is_refused(rng):
    with pytest.raises(ConfigurationError, match=r"^input-noise: expected images or signals whose"):
        make("input-noise", intensity=1).transform({"ids": np.arange(4)}, None, rng)


@pytest.mark.parametrize("name", ["jpeg", "input-noise"])
def test_the_scale_of_the_data_is_needed(name):
    assert plugins.load(Modification, name).needs == ("scale",)
