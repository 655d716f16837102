"""The usual ways to feed an image, as alternatives to a configured one."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.kit.usual import others

COLOURS, GRAY = (100, 8, 8, 3), (100, 8, 8, 1)
WANTED = (None, 3, 8, 8)
BYTES, FLOATS = np.dtype(np.uint8), np.dtype(np.float32)


def _feeds(ways, shape, dtype, wanted):
    rng = np.random.Generator(np.random.PCG64(0))
    images = rng.integers(0, 256, (2, *shape[1:]))
    images = (images if dtype == np.uint8 else images / 255).astype(dtype)
    return {name: made.apply(images, wanted) for name, made in ways.items()}, images


def test_the_ways_are_what_their_names_say():
    feeds, images = _feeds(others(Preprocessing(mean=(0.1,)), COLOURS, BYTES, WANTED), COLOURS,
                           BYTES, WANTED)  # fmt: skip
    plain = images.transpose(0, 3, 1, 2) / 255
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = {
        "0 to 1": plain,
        "0 to 255": plain * 255,
        "-1 to 1": plain * 2 - 1,
        "-128 to 127": plain * 255 - 128,
        "1 to 0 (inverted)": 1 - plain,
        "0 to 1, BGR": plain[:, ::-1],
        "mean and std of ImageNet": (plain - mean[:, None, None]) / std[:, None, None],
        "mean and std of ImageNet, BGR": ((plain - mean[:, None, None]) / std[:, None, None])[
            :, ::-1
        ],
        "as configured, BGR": plain[:, ::-1] - 0.1,
    }
    for name, values in expected.items():
        np.testing.assert_allclose(feeds[name], values, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("channels", ["auto", "RGB", "BGR"])
@pytest.mark.parametrize("mean", [(), (0.485, 0.456, 0.406)])
@pytest.mark.parametrize("dtype", [BYTES, FLOATS])
def test_no_two_are_alike_and_none_is_the_configured_one(channels, mean, dtype):
    configured = Preprocessing(channels=channels, mean=mean, std=(0.2,) if mean else ())
    ways = others(configured, COLOURS, dtype, WANTED)
    feeds, _ = _feeds({"": configured, **ways}, COLOURS, dtype, WANTED)
    values = list(feeds.values())
    for i, one in enumerate(values):
        assert not any(np.allclose(one, other, atol=1e-3) for other in values[:i])
    assert len(ways) > 15


def test_floats_run_up_to_what_their_scale_says():
    """Digits of scikit-learn: 16 is white."""
    configured = Preprocessing(scale=1 / 16)
    ways = others(configured, GRAY, FLOATS, (None, 1, 8, 8))
    white = np.full((1, 8, 8, 1), 16, np.float32)
    fed = {name: float(made.apply(white, (None, 1, 8, 8)).max()) for name, made in ways.items()}
    assert fed["0 to 255"] == pytest.approx(255)
    assert fed["-1 to 1"] == pytest.approx(1)
    assert fed["mean and std of MNIST"] == pytest.approx((1 - 0.1307) / 0.3081)
    assert not any("BGR" in name or "ImageNet" in name for name in ways)


def test_both_layouts_are_tried_only_where_both_fit():
    fixed = others(Preprocessing(), COLOURS, BYTES, WANTED)
    free = others(Preprocessing(), COLOURS, BYTES, (None, None, None, None))
    assert not any("NHWC" in name for name in fixed)
    assert {"as configured, NHWC", "0 to 255, BGR, NHWC"} <= set(free)


def test_what_is_configured_beside_the_range_stays():
    configured = Preprocessing(resize=(4, 4), layout="NCHW")
    for made in others(configured, COLOURS, BYTES, (None, 3, 4, 4)).values():
        assert (made.resize, made.layout) == ((4, 4), "NCHW")
