"""Sounds: files of every depth, broken ones, rates, and mel bands against librosa."""

from __future__ import annotations

import contextlib
import io
import struct

import numpy as np
import pytest
from scipy.io import wavfile

from nnw_onnx.errors import ConfigurationError, DatasetError
from nnw_onnx.kit.sounds import LogMel, decoded, decoded_sounds, is_sound, mel_filters
from nnw_onnx.kit.sources import open_source

RATE = 16_000


def wave(values: np.ndarray, rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    wavfile.write(buffer, rate, values)
    return buffer.getvalue()


def _tone(count: int = 1600, rate: int = RATE, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(count) / rate)


@pytest.mark.parametrize(
    ("made", "tolerance"),
    [
        (lambda x: np.rint(x * 127 + 128).astype(np.uint8), 1 / 100),
        (lambda x: np.rint(x * 32767).astype(np.int16), 1e-4),
        (lambda x: np.rint(x * 2147483647).astype(np.int32), 1e-6),
        (lambda x: x.astype(np.float32), 1e-6),
        (lambda x: x, 1e-6),
        (lambda x: np.stack([x + 0.1, x - 0.1], axis=1), 1e-6),
    ],
)
def test_every_depth_is_the_same_sound(made, tolerance):
    tone = _tone()
    found = decoded("a.wav", wave(made(tone)), RATE)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, tone, atol=tolerance)


def test_24_bits_are_read():
    values = np.array([0, 1 << 22, -(1 << 22)], np.int32)
    data = b"".join(int(v).to_bytes(3, "little", signed=True) for v in values)
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, 1,
                       RATE, RATE * 3, 3, 24, b"data", len(data))  # fmt: skip
    np.testing.assert_allclose(decoded("a.wav", head + data, RATE), [0, 0.5, -0.5], atol=1e-6)


def test_other_rates_are_brought_to_one():
    """A tone stays that tone, but for the ends of the filter."""
    found = decoded("a.wav", wave(_tone(4410, 44_100), 44_100), RATE)
    assert len(found) == 1600
    np.testing.assert_allclose(found[100:-100], _tone()[100:-100], atol=2e-3)


@pytest.mark.parametrize(
    ("title", "content", "message"),
    [
        ("a.wav", b"", r"a.wav: expected a sound, got: .*; remove the file or get it again"),
        ("a.wav", b"RIFF" + bytes(40), r"a.wav: expected a sound, got: "),
        ("a.wav", wave(np.zeros(0, np.int16)), r"a.wav: expected a sound"),
        ("a.wav", wave(np.array([np.nan], np.float32)), r"a sound of finite samples .* \(1, 1\)"),
        ("a.wav", wave(np.zeros(4, np.int16), 0), r"expected a sound.*got"),
    ],
)
def test_what_is_no_sound_is_refused(title, content, message):
    with pytest.raises(DatasetError, match=message):
        decoded(title, content, RATE)


def test_any_damage_is_an_error_of_the_data_set():
    rng = np.random.Generator(np.random.PCG64(0))
    whole = wave((_tone(64) * 32767).astype(np.int16))
    for _ in range(500):
        broken = bytearray(whole[: rng.integers(1, len(whole) + 1)])
        for place in rng.integers(0, min(len(broken), 44), 2):
            broken[place] = rng.integers(0, 256)
        with contextlib.suppress(DatasetError):
            decoded("a.wav", bytes(broken), RATE)


def test_other_forms_take_soundfile(monkeypatch):
    assert is_sound("a/B.FLAC")
    assert not is_sound("a.txt")
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(DatasetError, match=r"a.flac: expected the package soundfile .*\[sounds\]'"):
        decoded("a.flac", b"", RATE)


def test_flac_is_read():
    soundfile = pytest.importorskip("soundfile")
    buffer = io.BytesIO()
    soundfile.write(buffer, _tone(), RATE, format="FLAC")
    np.testing.assert_allclose(decoded("a.flac", buffer.getvalue(), RATE), _tone(), atol=1e-4)
    with pytest.raises(DatasetError, match=r"a.flac: expected a sound, got: "):
        decoded("a.flac", b"fLaC" + bytes(50), RATE)


def test_sounds_are_kept_one_behind_the_other(tmp_path):
    lengths = {"b.wav": 30, "a.wav": 1000, "c.wav": 7}
    for name, count in lengths.items():
        (tmp_path / name).write_bytes(wave(np.full(count, 0.1 * (ord(name[0]) - 96), np.float32)))
    for _ in range(2):
        sounds, starts = decoded_sounds(open_source(tmp_path), list(lengths), RATE)
        assert starts.tolist() == [0, 30, 1030, 1037]
        np.testing.assert_allclose(sounds[[0, 30, 1030]], [0.2, 0.1, 0.3])


CASES = [
    ({}, [-16.068355681921616, 7.707833066365221, 5.129181448167564, -1.72342523345385,
          -13.465814632804788]),
    ({"bands": 40, "transform": 512, "window": 400, "scale": "htk", "area": False, "low": 20,
      "high": 7600}, [-10.639224224373557, 8.698493133493875, 9.165305343638884,
                      -2.1076994357571683, -7.01633023316126]),
    ({"bands": 64, "transform": 1024, "hop": 320, "power": 1, "centre": False, "low": 50,
      "high": 8000}, [-12.481383781610598, 4.413950614604771, 1.326313516844593,
                      -6.9994789557134975, -18.567777877605806]),
]  # fmt: skip
"""Options, and mean, deviation and three values of librosa 0.11 (ends are reflected)."""


def _chirp() -> np.ndarray:
    places = np.arange(4000)
    return np.sin(places * 0.05) + 0.3 * np.cos(places**2 * 1e-5)


@pytest.mark.parametrize(("options", "expected"), CASES)
def test_mel_bands_are_those_of_librosa(options, expected):
    features = LogMel(**options)
    (found,) = features.apply(_chirp()[np.newaxis], RATE)
    assert found.shape == (features.bands, features.frames(4000))
    values = [found.mean(), found.std(), found[0, 0], found[5, 3], found[-1, -1]]
    np.testing.assert_allclose(values, expected, rtol=2e-5)


def test_decibels_and_emphasis_are_those_of_librosa():
    """`power_to_db` and `effects.preemphasis(coef=0.97, zi=[0])` of librosa 0.11."""
    decibels = LogMel(bands=20, log="decibel").apply(_chirp()[np.newaxis], RATE)
    assert decibels.mean() == pytest.approx(-69.01593311401304, rel=1e-5)
    emphasised = LogMel(bands=20, log="log10", emphasis=0.97)
    expected = pytest.approx(-8.067701474996461, rel=1e-5)
    assert emphasised.apply(_chirp()[np.newaxis], RATE).mean() == expected


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_filters_are_those_of_transformers(scale):
    audio = pytest.importorskip("transformers.audio_utils")
    features = LogMel(bands=23, transform=256, scale=scale, low=60, high=7000)
    wanted = audio.mel_filter_bank(129, 23, 60, 7000, RATE, norm="slaney", mel_scale=scale)
    np.testing.assert_allclose(mel_filters(features, RATE), wanted.T, atol=1e-9)


def test_frames_are_counted_there_and_back():
    for features in (LogMel(), LogMel(centre=False)):
        for frames in (1, 2, 9):
            length = features.samples(frames)
            assert features.frames(length) == frames
            assert features.apply(np.zeros((1, max(length, 1))), RATE).shape[2] == frames
    assert LogMel(centre=False).frames(399) == 0


@pytest.mark.parametrize(
    "options",
    [{"bands": 0}, {"window": 500}, {"hop": 0}, {"low": 9, "high": 9}, {"floor": 0},
     {"emphasis": 1}, {"transform": 1 << 17}],
)  # fmt: skip
def test_features_that_cannot_be_are_refused(options):
    with pytest.raises(ConfigurationError, match=r"features: expected up to 4096 bands, .*correct"):
        LogMel(**options)


def test_bands_above_half_the_rate_are_refused():
    with pytest.raises(ConfigurationError, match=r"between 0 and 8000 Hz, .* got 0 to 9000; corr"):
        LogMel(high=9000).apply(np.zeros((1, 800)), RATE)
