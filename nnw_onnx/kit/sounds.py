"""Sounds: files decoded to one channel at one rate, and their energies in mel bands."""

from __future__ import annotations

import io
import math
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError, DatasetError
from nnw_onnx.kit import cache
from nnw_onnx.kit.sources import Source, check_size

Signal = NDArray[np.float32]

PLAIN = (".wav", ".wave")
PACKED = (".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".sph")
"""Suffixes of forms that take the package soundfile."""

MAX_RATE = 768_000
"""Highest sampling rate, in Hz."""

MAX_BANDS = 4096

_BROKEN = (
    ValueError,
    struct.error,
    EOFError,
    OSError,
    KeyError,
    IndexError,
    TypeError,
    ZeroDivisionError,
    OverflowError,
    MemoryError,
    RuntimeError,
    NameError,  # scipy, of a .wav file that ends before it says what form its samples have
)
_WHOLE = {"u1": (128.0, 128.0), "i2": (0.0, 2.0**15), "i4": (0.0, 2.0**31), "i8": (0.0, 2.0**63)}
"""Of integer samples: what stands for silence, and for the end of the range."""


def is_sound(name: str) -> bool:
    """Whether the name ends like that of a sound."""
    return name.lower().endswith(PLAIN + PACKED)


def decoded(title: str, content: bytes, rate: int) -> Signal:
    """One sound (t,) at this rate, from -1 to 1; several channels become their mean.

    Args:
        title: of the file, for messages; its suffix says what form it has.
        content: of the file.
        rate: samples a second.

    Raises:
        DatasetError: it is no sound, has no samples or values that are no numbers, or would be
            too large.
    """
    with _reported(title):
        reader = _read_plain if title.lower().endswith(PLAIN) else _read_packed
        own, values = reader(title, content)
    if not 1 <= own <= MAX_RATE or not values.size or not np.isfinite(values).all():
        raise DatasetError(
            f"{title}: expected a sound of finite samples at 1 to {MAX_RATE} Hz, got "
            f"{values.shape} samples at {own} Hz; remove the file or get it again"
        )
    return resampled(title, values.mean(axis=1), own, rate).astype(np.float32)


def resampled(title: str, signal: NDArray[Any], own: int, rate: int) -> NDArray[np.float64]:
    """A signal (t,) at another rate, through a polyphase low-pass filter (scipy's)."""
    from scipy.signal import resample_poly

    check_size(title, (math.ceil(len(signal) * rate / own),), 8)
    common = math.gcd(own, rate)
    if own == rate:
        return signal.astype(np.float64)
    values: NDArray[np.float64] = resample_poly(signal, rate // common, own // common)
    return values


def decoded_sounds(
    source: Source, names: Sequence[str], rate: int
) -> tuple[Signal, NDArray[np.int64]]:
    """Sounds one behind the other (total,), and where each begins, with the total (n + 1,).

    Args:
        source: where the files are.
        names: at least one, without repetition; sounds are in their order.
        rate: samples a second that each is brought to.

    Raises:
        DatasetError: see `decoded`; or all together would be larger than the limit.
    """
    stamp = source.stamp(names)
    what = f"sounds at {rate} Hz\n{stamp.words}"
    packed = cache.kept(what, (None,), np.float32, lambda: _packed(source, names, rate),
                        stamp.newest)  # fmt: skip
    lengths = packed[: 2 * len(names)].view(np.int64)
    return packed[2 * len(names) :], np.concatenate([[0], np.cumsum(lengths)])


def _packed(source: Source, names: Sequence[str], rate: int) -> Signal:
    """Lengths, two places each, and the sounds behind them: one array is what is kept."""
    place = {name: i for i, name in enumerate(names)}
    found: list[Signal] = [np.zeros(0, np.float32)] * len(names)
    total = 0
    for name, content in source.read(names):
        signal = decoded(f"{source.title}: {name}", content, rate)
        found[place[name]] = signal
        total += len(signal)
        check_size(source.title, (total,), 4)
    lengths = np.array([len(signal) for signal in found], np.int64).view(np.float32)
    return np.concatenate([lengths, *found])


def _read_plain(title: str, content: bytes) -> tuple[int, NDArray[np.float64]]:
    """Rate and samples (t, channels) of a .wav file."""
    from scipy.io import wavfile

    with warnings.catch_warnings():
        # scipy warns of chunks of text, which are as good as none.
        warnings.simplefilter("ignore")
        rate, values = wavfile.read(io.BytesIO(content))
    kind = values.dtype.str[1:]
    if values.dtype.kind != "f" and kind not in _WHOLE:
        raise DatasetError(
            f"{title}: expected samples of 8, 16, 24 or 32 bits, got {values.dtype}; save it so"
        )
    zero, peak = _WHOLE.get(kind, (0.0, 1.0))
    columns = values.reshape(len(values), -1).astype(np.float64)
    return int(rate), (columns - zero) / peak


def _read_packed(title: str, content: bytes) -> tuple[int, NDArray[np.float64]]:
    """Likewise of a form that soundfile knows."""
    try:
        import soundfile
    except ImportError as error:
        raise DatasetError(
            f"{title}: expected the package soundfile for sounds other than .wav, got none; pip "
            "install 'nnw-onnx[sounds]', or save them as .wav"
        ) from error
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        check_size(title, (file.frames, file.channels), 8)
        return int(file.samplerate), file.read(dtype="float64", always_2d=True)


@contextmanager
def _reported(title: str) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(
            f"{title}: expected a sound, got: {text[:200]}; remove the file or get it again"
        ) from error


@dataclass(frozen=True)
class LogMel:
    """How a sound becomes the logarithm of its energies in mel bands, (bands, frames).

    Attributes:
        bands: of the mel scale.
        transform: samples of a Fourier transform.
        window: samples of the Hann window in the middle of each; None: all of them.
        hop: samples from frame to frame.
        low: lower edge of the first band in Hz.
        high: upper edge of the last one; None: half the rate.
        scale: "htk" (2595 log10(1 + f / 700)) or "slaney" (linear up to 1,000 Hz).
        area: whether bands are divided by their width, so that each has the same area.
        power: 2 for energies, 1 for magnitudes.
        log: "natural", "log10" or "decibel" (10 log10 of energies, 20 of magnitudes).
        floor: smaller energies or magnitudes count as this one.
        centre: whether frames are around multiples of the hop, with the sound mirrored at its
            ends; else the first begins with the sound.
        emphasis: of high frequencies before all of it: x[t] - emphasis * x[t - 1].
    """

    # Read by pydantic where a configuration is validated: an unknown key is an error.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    bands: int = 80
    transform: int = 400
    window: int | None = None
    hop: int = 160
    low: float = 0.0
    high: float | None = None
    scale: Literal["htk", "slaney"] = "slaney"
    area: bool = True
    power: Literal[1, 2] = 2
    log: Literal["natural", "log10", "decibel"] = "natural"
    floor: float = 1e-10
    centre: bool = True
    emphasis: float = 0.0

    def __post_init__(self) -> None:
        window = self.window or self.transform
        sizes = (self.bands, self.transform, window, self.hop)
        high = math.inf if self.high is None else self.high
        fits = all(1 <= size <= 1 << 16 for size in sizes) and self.bands <= MAX_BANDS
        known = 0 <= self.low < high and 0 < self.floor < math.inf and 0 <= self.emphasis < 1
        if not fits or window > self.transform or not known:
            raise ConfigurationError(
                f"features: expected up to {MAX_BANDS} bands, a window and a hop of at most "
                f"{1 << 16} samples with window <= transform, 0 <= low < high, floor > 0 and "
                f"0 <= emphasis < 1; got {self}; correct them"
            )

    def frames(self, length: int) -> int:
        """Frames of a sound of so many samples; 0 where it is shorter than one."""
        whole = length if self.centre else length - self.transform
        return 1 + whole // self.hop if whole >= 0 else 0

    def samples(self, frames: int) -> int:
        """The fewest samples that make so many frames."""
        return (frames - 1) * self.hop + (0 if self.centre else self.transform)

    def apply(self, signals: NDArray[Any], rate: int) -> NDArray[np.float32]:
        """(n, bands, frames) of sounds (n, t)."""
        filters, logarithm = mel_filters(self, rate), self._logarithm
        # One by one: frames overlap, so all of them would take many times the sounds in memory.
        each = [logarithm(filters @ self._spectra(s) ** self.power) for s in signals]
        return np.stack(each)

    def _logarithm(self, energies: NDArray[np.float64]) -> NDArray[np.float32]:
        above = np.maximum(energies, self.floor)
        if self.log == "natural":
            return np.log(above).astype(np.float32)
        factor = 20 / self.power if self.log == "decibel" else 1.0
        return (factor * np.log10(above)).astype(np.float32)

    def _spectra(self, signal: NDArray[Any]) -> NDArray[np.float64]:
        """Magnitudes (transform / 2 + 1, frames)."""
        from scipy.fft import rfft
        from scipy.signal import get_window

        values = signal.astype(np.float64)
        if self.emphasis:
            values = values - self.emphasis * np.concatenate([[0], values[:-1]])
        if self.centre:
            values = np.pad(values, self.transform // 2, mode="reflect")
        width = self.window or self.transform
        before = (self.transform - width) // 2
        after = self.transform - width - before
        window = np.pad(get_window("hann", width, fftbins=True), (before, after))
        cut = np.lib.stride_tricks.sliding_window_view(values, self.transform)
        spectra: NDArray[np.float64] = np.abs(rfft(cut[:: self.hop] * window, axis=1))
        return spectra.T


def mel_filters(features: LogMel, rate: int) -> NDArray[np.float64]:
    """Triangles (bands, transform / 2 + 1) whose corners are evenly spaced on the mel scale.

    Raises:
        ConfigurationError: the last band ends above half the rate.
    """
    high = rate / 2 if features.high is None else features.high
    if not features.low < high <= rate / 2:
        raise ConfigurationError(
            f"features: expected bands between 0 and {rate / 2:g} Hz, half the rate, got "
            f"{features.low:g} to {high:g}; correct low and high"
        )
    low, top = (float(_to_mel(np.array(f), features.scale)) for f in (features.low, high))
    corners = _to_hertz(np.linspace(low, top, features.bands + 2), features.scale)
    places = np.arange(features.transform // 2 + 1) * (rate / features.transform)
    rising = (places - corners[:-2, np.newaxis]) / np.diff(corners)[:-1, np.newaxis]
    falling = (corners[2:, np.newaxis] - places) / np.diff(corners)[1:, np.newaxis]
    triangles: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    if features.area:
        triangles *= 2 / (corners[2:] - corners[:-2])[:, np.newaxis]
    return triangles


# Slaney, "Auditory Toolbox", 1998: 3 mel are 200 Hz up to 1,000 Hz, and 27 more a factor of 6.4.
_HERTZ_A_MEL = 200 / 3
_BREAK_HERTZ, _BREAK_MEL = 1000.0, 15.0
_LOG_STEP = math.log(6.4) / 27


def _to_mel(hertz: NDArray[np.float64], scale: str) -> NDArray[np.float64]:
    if scale == "htk":
        return np.asarray(2595 * np.log10(1 + hertz / 700))
    above = _BREAK_MEL + np.log(np.maximum(hertz, _BREAK_HERTZ) / _BREAK_HERTZ) / _LOG_STEP
    return np.where(hertz < _BREAK_HERTZ, hertz / _HERTZ_A_MEL, above)


def _to_hertz(mel: NDArray[np.float64], scale: str) -> NDArray[np.float64]:
    if scale == "htk":
        return np.asarray(700 * (10 ** (mel / 2595) - 1))
    above = _BREAK_HERTZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _HERTZ_A_MEL, above)
