"""Preprocessing against naive loops, the formula of torchvision and Pillow."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit.preprocessing import Preprocessing


def _images(n=3, height=4, width=5, channels=3, seed=0):
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.integers(0, 256, (n, height, width, channels), dtype=np.uint8)


def test_the_usual_case_equals_a_loop_over_pixels():
    images = _images()
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    made = Preprocessing(mean=mean, std=std).apply(images, ("n", 3, 4, 5))
    assert made.dtype == np.float32
    assert made.flags.c_contiguous
    for n, c, y, x in np.ndindex(3, 3, 4, 5):
        expected = (images[n, y, x, c] / 255 - mean[c]) / std[c]
        assert made[n, c, y, x] == pytest.approx(expected, abs=1e-5)


def test_scale_is_1_255_for_bytes_and_1_for_floats_and_a_number_where_given():
    image = np.full((1, 2, 2, 1), 51, np.uint8)
    shape = (1, 1, 2, 2)
    assert Preprocessing().apply(image, shape).max() == pytest.approx(0.2)
    assert Preprocessing().apply(image.astype(np.float32), shape).max() == 51
    digits = Preprocessing(scale=0.0625)
    assert digits.apply(np.full((1, 2, 2, 1), 16, np.float32), shape).max() == 1
    assert Preprocessing(scale=1, mean=(1.0,)).apply(image, shape).min() == 50


def test_the_input_is_left_as_it_was():
    images = _images().astype(np.float32)
    before = images.copy()
    Preprocessing(scale=2, mean=(3.0,), std=(4.0,)).apply(images, (None, 4, 5, 3))
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize(
    ("layout", "shape", "order"),
    [
        ("auto", (1, 3, 4, 5), "nchw"),
        ("auto", ("n", 4, 5, 3), "nhwc"),
        ("auto", (None, None, None, None), "nchw"),
        ("auto", ("n", 3, "h", "w"), "nchw"),
        ("auto", ("n", "h", "w", 3), "nhwc"),
        ("NHWC", (None, None, None, None), "nhwc"),
        ("auto", ("n", 60), "flat"),
        ("auto", ("n", "features"), "flat"),
        ("flat", (1, 60, 1), "flat"),
        ("auto", (1, 1, 1, 60), "flat"),
    ],
)
def test_layouts(layout, shape, order):
    images = _images()
    made = Preprocessing(scale=1, layout=layout).apply(images, shape)
    for n, c, y, x in np.ndindex(3, 3, 4, 5):
        flat = (c * 4 + y) * 5 + x
        found = {
            "nchw": lambda n=n, c=c, y=y, x=x: made[n, c, y, x],
            "nhwc": lambda n=n, c=c, y=y, x=x: made[n, y, x, c],
            "flat": lambda n=n, flat=flat: made[n].ravel()[flat],
        }[order]()
        assert found == images[n, y, x, c]
    assert made.ndim == len(shape)


def test_nchw_comes_first_where_both_fit():
    images = _images(1, 3, 3, 3)
    made = Preprocessing(scale=1).apply(images, (1, 3, 3, 3))
    np.testing.assert_array_equal(made, images.transpose(0, 3, 1, 2))


def test_gray_images_fit_an_input_without_channel_axis():
    images = _images(2, 4, 5, 1)
    made = Preprocessing(scale=1).apply(images, ("n", 4, 5))
    np.testing.assert_array_equal(made, images[..., 0])


@pytest.mark.parametrize("shape", [("n", 1, 4, 5), ("n", 4, 5, 1), ("n", 20), ("n", 4, 5)])
def test_colour_becomes_gray_for_a_network_of_one_channel(shape):
    images = _images()
    made = Preprocessing(scale=1).apply(images, shape).reshape(3, 4, 5)
    for n, y, x in np.ndindex(3, 4, 5):
        red, green, blue = map(float, images[n, y, x])
        expected = 0.299 * red + 0.587 * green + 0.114 * blue
        assert made[n, y, x] == pytest.approx(expected, abs=1e-3)
        pillow = Image.fromarray(images[n]).convert("L").getpixel((x, y))
        assert abs(made[n, y, x] - pillow) <= 1


def test_gray_is_repeated_for_a_network_of_three_channels():
    images = _images(2, 4, 5, 1)
    made = Preprocessing(scale=1).apply(images, ("n", 3, 4, 5))
    for channel in range(3):
        np.testing.assert_array_equal(made[:, channel], images[..., 0])


def test_bgr_is_the_other_way_round_and_mean_follows():
    images = _images()
    made = Preprocessing(scale=1, channels="BGR", mean=(1.0, 2.0, 3.0)).apply(
        images, ("n", 3, 4, 5)
    )
    np.testing.assert_array_equal(made[:, 0], images[..., 2] - np.float32(1))
    np.testing.assert_array_equal(made[:, 2], images[..., 0] - np.float32(3))


def test_gray_on_demand_and_rgb_leave_and_make_one_channel():
    images = _images()
    gray = Preprocessing(scale=1, channels="gray")
    assert gray.apply(images, ("n", None, 4, 5)).shape == (3, 1, 4, 5)
    assert gray.apply(images[..., :1], ("n", 1, 4, 5)).shape == (3, 1, 4, 5)
    rgb = Preprocessing(scale=1, channels="RGB").apply(images, ("n", 3, 4, 5))
    np.testing.assert_array_equal(rgb[:, 0], images[..., 0])


def test_enlarging_is_bilinear_between_pixel_centres():
    """Half-pixel centres, edges repeated: the formula of torch's align_corners=False."""
    rng = np.random.Generator(np.random.PCG64(1))
    images = rng.normal(size=(1, 4, 5, 2)).astype(np.float32)
    made = Preprocessing(scale=1, resize=(8, 15)).apply(images, ("n", "h", "w", 2))
    for y, x, c in np.ndindex(8, 15, 2):
        sy, sx = (y + 0.5) * 4 / 8 - 0.5, (x + 0.5) * 5 / 15 - 0.5
        y0, x0 = int(np.floor(sy)), int(np.floor(sx))
        value = 0.0
        for yy, wy in ((y0, 1 - (sy - y0)), (y0 + 1, sy - y0)):
            for xx, wx in ((x0, 1 - (sx - x0)), (x0 + 1, sx - x0)):
                value += wy * wx * images[0, min(max(yy, 0), 3), min(max(xx, 0), 4), c]
        assert made[0, y, x, c] == pytest.approx(value, abs=1e-4)


def test_shrinking_is_antialiased_like_pillow():
    images = _images(2, 9, 12, 3)
    made = Preprocessing(scale=1, resize=(3, 4)).apply(images, ("n", 3, 3, 4))
    for n in range(2):
        size = (4, 3)
        pillow = np.asarray(Image.fromarray(images[n]).resize(size, Image.Resampling.BILINEAR))
        assert np.abs(made[n].transpose(1, 2, 0) - pillow).max() <= 1


def test_resize_to_the_size_at_hand_changes_nothing():
    images = _images()
    made = Preprocessing(resize=(4, 5)).apply(images, ("n", 4, 5, 3))
    np.testing.assert_array_equal(made, Preprocessing().apply(images, ("n", 4, 5, 3)))


def test_features_are_scaled_and_shaped():
    samples = np.arange(6, dtype=np.float32).reshape(2, 3)
    preprocessing = Preprocessing(mean=(1.0, 2.0, 3.0), std=(2.0,))
    made = preprocessing.apply(samples, (1, 3, 1))
    np.testing.assert_allclose(made[:, :, 0], (samples - [1, 2, 3]) / 2)
    assert preprocessing.apply(samples, ("n", "k")).shape == (2, 3)
    planes = np.zeros((2, 4, 5), np.float32)
    assert Preprocessing().apply(planes, ("n", 1, 4, 5)).shape == (2, 1, 4, 5)


@pytest.mark.parametrize(
    ("shape", "advice"),
    [
        ((1, 3, 32, 32), r"set resize = \[32, 32\]"),
        (("n", 32, 16, 3), r"set resize = \[32, 16\]"),
        (("n", 61), "set layout, resize and channels"),
        (("n", 4, 4, 5), "set layout, resize and channels"),
        ((), "set layout, resize and channels"),
    ],
)
def test_what_does_not_fit_is_said_with_the_cure(shape, advice):
    message = rf"network's input \(.*\), got 4 x 5 pixels with 3 channels.*; {advice}"
    with pytest.raises(ConfigurationError, match=message):
        Preprocessing().apply(_images(), shape)


def test_a_layout_that_is_forced_must_fit():
    with pytest.raises(ConfigurationError, match=r"4 x 5 pixels with 3 channels for layout 'NHWC'"):
        Preprocessing(layout="NHWC").apply(_images(), (1, 3, 4, 5))


@pytest.mark.parametrize("shape", [("n", 4), ("n", "a", "b", 2), ("n", 0)])
def test_features_that_do_not_fit_are_refused(shape):
    with pytest.raises(ConfigurationError, match=r"got 3 values in shape \(2, 3\); choose the dat"):
        Preprocessing().apply(np.zeros((2, 3)), shape)


def test_options_of_images_are_refused_for_features():
    with pytest.raises(ConfigurationError, match=r"expected images \(n, height, width, channels\)"):
        Preprocessing(resize=(2, 2)).apply(np.zeros((2, 3)), ("n", 3))


def test_numbers_for_another_count_of_channels_are_refused():
    with pytest.raises(ConfigurationError, match=r"mean to have 1 or 3 numbers.*got 2; correct"):
        Preprocessing(mean=(1.0, 2.0)).apply(_images(), (1, 3, 4, 5))


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_colour_orders_need_three_channels(channels):
    with pytest.raises(ConfigurationError, match=r"expected images of 3 channels for channels = "):
        Preprocessing(channels=channels).apply(_images(channels=1), (1, 1, 4, 5))


def test_gray_needs_one_or_three_channels():
    with pytest.raises(ConfigurationError, match=r"expected images of 1 or 3 channels .* got 4"):
        Preprocessing(channels="gray").apply(_images(channels=4), (1, 1, 4, 5))


@pytest.mark.parametrize(
    "options",
    [{"std": (0.0,)}, {"mean": (float("nan"),)}, {"scale": float("inf")}, {"std": (-1.0,)}],
)
def test_numbers_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigurationError, match=r"expected finite numbers and std above 0, got"):
        Preprocessing(**options)


@pytest.mark.parametrize(
    "options", [{"scale": 0.0}, {"resize": (0, 3)}, {"resize": (3, 4097)}, {"resize": (10**9, 1)}]
)
def test_sizes_that_make_no_sense_are_refused(options):
    message = r"a scale other than 0 and sizes from 1 to 4096 pixels, got scale .*; correct them"
    with pytest.raises(ConfigurationError, match=message):
        Preprocessing(**options)


def test_resized_images_are_limited_before_they_are_made():
    images = np.broadcast_to(np.zeros((1, 1, 1, 1), np.uint8), (129, 1, 1, 1))
    message = (
        r"expected at most 8 GiB of resized images, got 8.06 GiB; lower resize or the data set's l"
    )
    with pytest.raises(ConfigurationError, match=message):
        Preprocessing(resize=(4096, 4096)).apply(images, ("n", 1, 4096, 4096))


def test_a_configuration_with_an_unknown_key_is_refused():
    adapter = TypeAdapter(Preprocessing)
    table = {"mean": [0.5], "resize": [4, 5]}
    assert adapter.validate_python(table) == Preprocessing(mean=(0.5,), resize=(4, 5))
    with pytest.raises(ValidationError, match=r"means"):
        adapter.validate_python({"means": [0.5]})
