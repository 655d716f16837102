"""Sounds as networks take them: length, order of axes, lengths, levels."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit.hearing import SoundSamples
from nnw_onnx.kit.signals import to_feed, to_signal
from nnw_onnx.kit.sounds import LogMel
from nnw_onnx.vocabulary import TensorInfo

RATE = 1000
FEATURES = LogMel(bands=5, transform=64, hop=16, high=500)
LENGTHS = [100, 40, 160]


def _samples(**options):
    rng = np.random.Generator(np.random.PCG64(0))
    sounds = (0.1 * rng.normal(size=sum(LENGTHS))).astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(LENGTHS)])
    return SoundSamples(sounds, starts, np.arange(3), rate=RATE, **options), sounds


def _fed(samples, *ports):
    inputs = [TensorInfo(name, shape, dtype) for name, shape, dtype in ports]
    return samples.fitted(inputs).read(np.arange(3)).feeds


WAVE = ("sound", ("n", "t"), "float32")


def test_sounds_are_filled_up_to_the_longest_and_cut_to_what_is_asked_for():
    samples, sounds = _samples()
    fed = _fed(samples, WAVE)["sound"]
    assert fed.shape == (3, 160)
    np.testing.assert_array_equal(fed[1, :40], sounds[100:140])
    assert not fed[1, 40:].any()
    assert _fed(_samples(seconds=0.05)[0], WAVE)["sound"].shape == (3, 50)
    assert _fed(samples, ("x", ("n", 70), "float32"))["x"].shape == (3, 70)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [(("n", 1, "t"), (3, 1, 160)), (("n", "t", 1), (3, 160, 1)), (("t",), (3, 160))],
)
def test_waves_take_the_axes_of_the_network(shape, expected):
    assert _fed(_samples()[0], ("x", shape, "float32"))["x"].shape == expected


@pytest.mark.parametrize(
    ("shape", "layout", "order"),
    [
        (("n", 5, "t"), "auto", (0, 1, 2)),
        (("n", "t", 5), "auto", (0, 2, 1)),
        (("n", "a", "b"), "auto", (0, 1, 2)),
        (("n", "a", "b"), "frames-first", (0, 2, 1)),
        (("n", 1, 5, "t"), "auto", None),
        (("n", "t", 5, 1), "auto", None),
        ((5, "t"), "auto", (0, 1, 2)),
    ],
)
def test_bands_take_the_axes_of_the_network(shape, layout, order):
    samples, _ = _samples(features=FEATURES, layout=layout)
    plain = samples.read(np.arange(3)).feeds["sound"]
    assert plain.shape == (3, 5, 11)
    found = _fed(samples, ("x", shape, "float32"))["x"]
    wanted = plain.transpose(order or (0, 1, 2))
    if order is None:
        wanted = plain[:, np.newaxis] if shape[1] == 1 else plain.swapaxes(1, 2)[..., np.newaxis]
    np.testing.assert_array_equal(found, wanted)


def test_frames_that_a_network_fixes_set_the_length():
    samples, _ = _samples(features=FEATURES)
    assert _fed(samples, ("x", ("n", 5, 6), "float32"))["x"].shape == (3, 5, 6)
    bare = LogMel(bands=5, transform=64, hop=16, high=500, centre=False)
    assert _fed(_samples(features=bare)[0], ("x", (1, 6, 5), "float32"))["x"].shape == (3, 6, 5)


def test_networks_are_told_how_much_is_sound():
    lengths = ("length", ("n",), "int64")
    assert _fed(_samples()[0], WAVE, lengths)["length"].tolist() == LENGTHS
    fed = _fed(_samples(features=FEATURES, seconds=0.1)[0], lengths, ("x", ("n", 5, "t"), "float"))
    assert fed["length"].tolist() == [7, 3, 7]  # 1 + samples // 16, of at most 100 samples
    assert _fed(_samples()[0], WAVE, ("l", ("n", 1), "int32"))["l"].shape == (3, 1)


def test_levels():
    fed = _fed(_samples(normalise="sound")[0], WAVE)["sound"]
    assert fed[1, :40].mean() == pytest.approx(0, abs=1e-6)
    assert fed[1, :40].std() == pytest.approx(1, rel=1e-5)
    bands = _fed(_samples(features=FEATURES, normalise="bands")[0], ("x", ("n", 5, "t"), "float"))
    np.testing.assert_allclose(bands["x"][1, :, :3].mean(axis=1), 0, atol=1e-5)
    assert not bands["x"][1, :, 3:].any()
    silent = SoundSamples(np.ones(9, np.float32), np.array([0, 9]), np.zeros(1), rate=RATE,
                          normalise="sound")  # fmt: skip
    assert not silent.read(np.arange(1)).feeds["sound"].any()


def test_sounds_stand_at_the_end_where_that_is_asked_for():
    samples, sounds = _samples(stand="end", seconds=0.09)
    fed = _fed(samples, WAVE)["sound"]
    np.testing.assert_array_equal(fed[0], sounds[10:100])
    np.testing.assert_array_equal(fed[1, 50:], sounds[100:140])
    assert not fed[1, :50].any()
    samples, _ = _samples(features=FEATURES, normalise="bands", stand="end")
    bands = _fed(samples, ("x", ("n", 5, "t"), "float"))["x"]
    np.testing.assert_allclose(bands[1, :, -3:].mean(axis=1), 0, atol=1e-5)
    assert not bands[1, :, :-3].any()


def test_no_answer_depends_on_the_others():
    samples, _ = _samples(features=FEATURES, normalise="bands")
    fitted = samples.fitted([TensorInfo("x", ("n", 5, "t"), "float32")])
    together = fitted.read(np.array([2, 0, 2])).feeds["x"]
    for place, index in enumerate((2, 0, 2)):
        alone = samples.fitted([TensorInfo("x", ("n", 5, "t"), "float32")])
        np.testing.assert_array_equal(alone.read(np.array([index])).feeds["x"][0], together[place])


def test_a_wave_can_be_seen_as_a_signal():
    samples, _ = _samples()
    fitted = samples.fitted([TensorInfo(*WAVE)])
    feed = fitted.read(np.arange(3)).feeds["sound"]
    signal = to_signal(feed, fitted.scale)
    assert 0 <= signal.min() < signal.max() <= 1
    np.testing.assert_allclose(to_feed(signal, fitted.scale, feed.shape[1:]), feed, atol=1e-6)
    loud = _samples(peak=32768)[0].fitted([TensorInfo(*WAVE)])
    np.testing.assert_allclose(loud.read(np.arange(3)).feeds["sound"], 32768 * feed, rtol=1e-6)
    np.testing.assert_array_equal(to_signal(32768 * feed, loud.scale), signal)
    assert _samples(features=FEATURES)[0].scale is None
    assert _samples(normalise="sound")[0].scale is None


def test_digests_are_of_sounds_and_targets():
    samples, sounds = _samples()
    assert samples.digest == _samples(features=FEATURES)[0].digest
    starts = np.concatenate([[0], np.cumsum(LENGTHS)])
    other = SoundSamples(sounds, starts, [np.arange(2)] * 3, rate=RATE)
    assert other.digest != samples.digest
    assert other.fitted([TensorInfo(*WAVE)]).digest == other.digest


@pytest.mark.parametrize(
    ("options", "ports", "message"),
    [
        ({}, [("x", ("n", 3, "t"), "float32")], r"input that takes \(n, t\), got x \(n, 3, t\); "),
        ({"features": FEATURES}, [("x", ("n", 4, 7), "float32")], r"takes \(n, 5, t\), got x"),
        (
            {},
            [("ids", ("n", "t"), "int64")],
            r"one input of floats, .* got ids int64 \(n, t\); set",
        ),
        ({}, [WAVE, ("a", ("n",), "int64"), ("b", ("n",), "int64")], r"perhaps one of lengths"),
    ],
)
def test_networks_that_hear_nothing_are_refused(options, ports, message):
    with pytest.raises(ConfigurationError, match=message):
        _fed(_samples(**options)[0], *ports)


def test_bands_of_a_wave_are_refused():
    with pytest.raises(ConfigurationError, match=r"table features for normalise = 'bands', got no"):
        _samples(normalise="bands")
