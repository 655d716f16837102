"""Boxes and noise on trigger inputs, whatever the order of their axes."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx.kit import stamps
from nnw_onnx.kit.samples import ArraySamples

SECRET = bytes(range(32))


@pytest.fixture(params=["chw", "hwc", "hw", "flat"])
def given(request, rng):
    """(40, ...) inputs of three channels with ranges of their own (one for hw and flat)."""
    image = rng.uniform(0, 1, (40, 3, 12, 20)) * np.array([1, 5, 9])[:, None, None] - 2
    made = {
        "chw": image,
        "hwc": np.moveaxis(image, 1, -1),
        "hw": image[:, 0],
        "flat": image[:, 0].reshape(40, -1),
    }[request.param].astype(np.float32)
    return request.param, made, ArraySamples({"x": made}, np.zeros(40, np.int64))


def test_the_box_is_the_same_for_all_and_covers_its_share(given):
    layout, inputs, training = given
    found = stamps.box(inputs, training, SECRET, "test", 0.3)
    changed = (found != inputs).any(axis=0)
    assert found.dtype == np.float32
    if layout == "flat":
        runs = np.flatnonzero(changed)
        assert (len(runs), runs[-1] - runs[0]) == (72, 71)  # 0.3 of 240
        assert set(found[:, runs].reshape(-1)) == {inputs.max()}
        return
    spatial = {"chw": changed[0], "hwc": changed[..., 0], "hw": changed}[layout]
    rows, columns = (np.flatnonzero(spatial.any(axis=a)) for a in (1, 0))
    assert (len(rows), len(columns), spatial.sum()) == (4, 6, 24)  # 3.6 and 6 of 12 and 20
    channels = {"chw": found, "hwc": np.moveaxis(found, -1, 1), "hw": found[:, None]}[layout]
    plain = {"chw": inputs, "hwc": np.moveaxis(inputs, -1, 1), "hw": inputs[:, None]}[layout]
    for told, original in zip(channels.swapaxes(0, 1), plain.swapaxes(0, 1), strict=True):
        assert set(told[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].reshape(-1)) == {
            original.max()
        }


def test_the_place_of_the_box_is_keyed(given):
    _, inputs, training = given
    places = {
        tuple(np.flatnonzero(stamps.box(inputs, training, bytes([n] * 32), "test", 0.2) != inputs))
        for n in range(20)
    }
    assert len(places) > 10


def test_the_noise_is_the_same_for_all_and_stays_in_the_range(given):
    layout, _, training = given
    middle = np.zeros((2, *training.read(np.arange(1)).feeds["x"].shape[1:]), np.float32)
    middle += 0.0
    found = stamps.noise(middle, training, SECRET, "test", 0.05)
    assert np.array_equal(found[0], found[1])
    values = training.read(np.arange(40)).feeds["x"]
    first = {"chw": found[0, 0], "hwc": found[0, ..., 0], "hw": found[0], "flat": found[0]}[layout]
    own = {"chw": values[:, 0], "hwc": values[..., 0], "hw": values, "flat": values}[layout]
    reach = own.max() - own.min()
    assert first.max() <= own.max()
    # Values start at -2 and 0 is above the range of the first channel: cut to its largest value.
    assert np.unique(first).size > 1 or first.flat[0] == own.max()
    inside = np.full_like(middle, own.min() + reach / 2)
    noisy = stamps.noise(inside, training, SECRET, "test", 0.05)
    told = {"chw": noisy[0, 0], "hwc": noisy[0, ..., 0], "hw": noisy[0], "flat": noisy[0]}[layout]
    assert np.std(told) == pytest.approx(0.05 * reach, rel=0.15)
