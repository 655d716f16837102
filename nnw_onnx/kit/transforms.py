"""Public constants among the kernels of a network: bases and filters that are no one's secret.

A network for sound often begins with a Fourier transform and a mel filter bank, one for images with
a blur or a wavelet, and exporters keep them as the kernels of ordinary operators. Whoever writes
the formula back has removed a watermark from such a kernel without a trace.

They are recognised by their shape as functions, so that neither a factor, nor the order of rows,
nor transposing, nor noise of a tenth of them hides one. Only some rows are looked at: a kernel that
is learnt costs milliseconds, however large.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.vocabulary import Array

Rows = NDArray[np.float64]

_FIRST, _MOST = 8, 64
"""Rows that have to agree before more are looked at, and rows that are looked at in all."""
_LONGEST = 8192
_FEWEST = 4
_NEAR, _CLOSE = 0.99, 0.97
"""Correlation with a known filter, and with a known row of at least eight numbers, which noise of a
seventh or of a quarter of it leaves."""
_SHORTEST = 8
_NARROW = 2
"""Bins on each side of a peak that a window of usual form spreads a line of a spectrum over."""
_LARGEST_FILTER = 16


def recognised(weights: Array) -> str | None:
    """Name of the public constant that a kernel (out, in, *kernel) holds; None for one that learns.

    Args:
        weights: in canonical layout, of any real type.
    """
    values = np.asarray(weights)
    if values.ndim < 2 or not values.size or (values == values.flat[0]).all():
        return None
    lines = values.reshape([n for n in values.shape if n != 1] or [1])
    if lines.ndim == 2:
        found = _among(lines, _LINES) or _among(lines.T, _LINES)
        if found:
            return found
    return _filters(values) if values.ndim > 2 else None


def _among(matrix: Array, tests: dict[str, Callable[[Rows], bool]]) -> str | None:
    """Name of the first test that the first rows pass, and then all that are looked at."""
    rows, length = matrix.shape
    if rows < _FEWEST or length < _FEWEST:
        return None
    few, many = _sample(matrix, _FIRST), _sample(matrix, _MOST)
    if len(few) < _FEWEST:
        return None
    return next((name for name, test in tests.items() if test(few) and test(many)), None)


def _sample(matrix: Array, most: int) -> Rows:
    """Some rows, evenly spaced, that are not zero, each of norm 1."""
    places = np.unique(np.linspace(0, len(matrix) - 1, most).astype(np.int64))
    rows = np.asarray(matrix[places, :_LONGEST], np.float64)
    norms = np.linalg.norm(rows, axis=1)
    kept = (norms > 0) & np.isfinite(norms)
    found: Rows = rows[kept] / norms[kept, None]
    return found


def _is_fourier(rows: Rows) -> bool:
    """Whether each row is a wave, windowed or not, and their frequencies differ."""
    found = [line for row in rows if (line := _spectral_line(_support(row))) is not None]
    # The sine of frequency 0 is no wave: where a network was trained on, it is noise.
    if len(rows) < _FEWEST or len(found) < 0.85 * len(rows):
        return False
    return len({round(frequency, 3) for frequency in found}) >= 0.4 * len(found)


def _support(row: Rows) -> Rows:
    """The part of a row that is not zero: a window may be shorter than the transform."""
    places = np.flatnonzero(np.abs(row) > 1e-3 * np.abs(row).max())
    return row[places[0] : places[-1] + 1]


def _spectral_line(row: Rows) -> float | None:
    """Frequency (cycles a sample) of a row that is one wave; None of any other."""
    length = len(row)
    if length < 32:
        return None
    power = np.square(np.abs(np.fft.rfft(row)))
    peak = int(power.argmax())
    near = power[max(0, peak - _NARROW) : peak + _NARROW + 1].sum()
    # Of white noise a twentieth of the power is near the peak of 256 numbers, half of it of 32.
    needed = 0.7 if length >= 64 else 0.9
    return peak / length if near >= needed * power.sum() else None


def _is_cosine(rows: Rows) -> bool:
    """Whether each row is a row of a discrete cosine, sine or Fourier transform of its length."""
    length = rows.shape[1]
    if not _SHORTEST <= length <= 256:
        return False
    return bool((np.abs(rows @ _waves(length).T).max(axis=1) >= _CLOSE).all()) and _differ(rows)


@lru_cache(maxsize=8)
def _waves(length: int) -> Rows:
    """Waves (n, length) of norm 1: DCT-II, its transpose DCT-III, DCT-IV, sines, Fourier."""
    n, k = np.arange(length), np.arange(length)[:, None]
    half = np.pi / length
    found = np.concatenate(
        [
            np.cos(half * (n + 0.5) * k),
            np.cos(half * n * (k + 0.5)),
            np.cos(half * (n + 0.5) * (k + 0.5)),
            np.sin(half * (n + 0.5) * (k + 1)),
            np.cos(2 * half * n * k),
            np.sin(2 * half * n * k),
        ]
    )
    norms = np.linalg.norm(found, axis=1)
    kept: Rows = found[norms > 1e-6] / norms[norms > 1e-6, None]
    return kept


def _is_walsh(rows: Rows) -> bool:
    """Whether each row is a row of a Hadamard matrix (Sylvester's, in any order)."""
    length = rows.shape[1]
    if length < _SHORTEST or length & (length - 1):
        return False
    spectrum, step = rows.copy(), 1
    while step < length:
        pairs = spectrum.reshape(len(rows), -1, 2, step)
        spectrum = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], 2)
        spectrum, step = spectrum.reshape(len(rows), length), 2 * step
    return bool((np.abs(spectrum).max(axis=1) >= _CLOSE * np.sqrt(length)).all()) and _differ(rows)


def _is_bank(rows: Rows) -> bool:
    """Whether each row is one hump (a triangle, a bell, a box) without a sign, each elsewhere."""
    if len(rows) < _FEWEST:
        return False
    signs = np.sign(rows.sum(axis=1))
    humps = rows * signs[:, None]
    tops = humps.max(axis=1, keepdims=True)
    inside = humps > 0.1 * tops
    outside = np.where(inside, 0.0, humps)
    if not (np.square(outside).sum(axis=1) < 0.02).all() or inside.mean() > 0.5:
        return False
    return all(_one_hump(hump[on], on) for hump, on in zip(humps, inside, strict=True)) and (
        len(set(humps.argmax(axis=1).tolist())) >= 0.4 * len(rows)
    )


def _one_hump(values: Rows, inside: NDArray[np.bool_]) -> bool:
    """Whether values without a gap rise to one top and fall after it, but for noise."""
    places = np.flatnonzero(inside)
    if places[-1] - places[0] + 1 > 1.2 * len(places) + 1:
        return False
    top, steps = int(values.argmax()), np.diff(values)
    slack = 0.1 * values.max()
    return bool((steps[:top] > -slack).all() and (steps[top:] < slack).all())


def _is_selection(rows: Rows) -> bool:
    """Whether each row takes one number, or the mean of some: identity, one-hot, averaging."""
    sizes = np.abs(rows)
    inside = sizes > 0.2 * sizes.max(axis=1, keepdims=True)
    counts = inside.sum(axis=1)
    alike = np.where(inside, rows, 0.0).sum(axis=1) / np.sqrt(counts)
    return bool((np.abs(alike) >= _CLOSE).all()) and len(rows) >= _FEWEST


def _differ(rows: Rows) -> bool:
    """Whether rows are mostly different ones."""
    gram = np.abs(rows @ rows.T) - np.eye(len(rows))
    return len(rows) >= _FEWEST and float((gram.max(axis=1) < _NEAR).mean()) >= 0.5


_LINES: dict[str, Callable[[Rows], bool]] = {
    "one-hot or averaging rows": _is_selection,
    "a Hadamard transform": _is_walsh,
    "a cosine transform": _is_cosine,
    "a Fourier transform": _is_fourier,
    "a filter bank": _is_bank,
}


def _filters(values: Array) -> str | None:
    """Name of the known small filters that all parts (kernel,) of a kernel are, or None."""
    kernel = tuple(n for n in values.shape[2:] if n != 1)
    if not kernel or max(kernel) > _LARGEST_FILTER or len(kernel) > 2:
        return None
    parts = _parts(values, int(np.prod(kernel)))
    enough = len(parts) >= _FEWEST or (len(parts) >= 1 and parts.shape[1] >= 9)
    if not enough or parts.shape[1] < 3:
        return None
    for name, known in _known(kernel):
        if (np.abs(parts @ known.T).max(axis=1) >= _NEAR).all():
            return name
    return None


def _parts(values: Array, size: int) -> Rows:
    """Some parts (n, size) of norm 1, of those that are not zero beside the largest ones."""
    flat = values.reshape(-1, size)
    filters, inputs = values.shape[:2]
    # Between as many channels as filters only the diagonal may be other than zero.
    places = np.linspace(0, len(flat) - 1, 4 * _MOST).astype(np.int64)
    diagonal = np.arange(min(filters, inputs)) * (inputs + 1)
    some = np.unique(np.concatenate([places, diagonal[:: max(1, len(diagonal) // _MOST)]]))
    parts = np.asarray(flat[some], np.float64)
    norms = np.linalg.norm(parts, axis=1)
    kept = norms > 0.02 * norms.max(initial=0.0)
    # A filter for each channel leaves most parts zero where channels meet all channels.
    dense = inputs > 1 and len(flat) > _FIRST and kept.mean() > 0.5
    if dense or not np.isfinite(norms).all():
        return parts[:0]
    found: Rows = parts[kept] / norms[kept, None]
    return found


def _known(kernel: tuple[int, ...]) -> Iterator[tuple[str, Rows]]:
    """Name of each family of filters of this size with its members (n, size) of norm 1."""
    names = ("a smoothing or interpolation filter", "an edge or wavelet filter",
             "a cosine transform")  # fmt: skip
    families = [_smooth(kernel[0]), _edges(kernel[0]), _waves(kernel[0])]
    if len(kernel) == 2:
        across = [_smooth(kernel[1]), _edges(kernel[1]), _waves(kernel[1])]
        mixed = [
            _products(families[0], across[0]),
            np.concatenate([_products(families[1], across[0]), _products(families[0], across[1]),
                            _products(families[1], across[1]), _plane_edges(kernel)]),
            _products(families[2], across[2]),
        ]  # fmt: skip
        families = mixed
    return zip(names, families, strict=True)


def _products(down: Rows, across: Rows) -> Rows:
    found: Rows = np.einsum("ai,bj->abij", down, across).reshape(len(down) * len(across), -1)
    return found


@lru_cache(maxsize=32)
def _smooth(length: int) -> Rows:
    """Smoothing lines (n, length): impulses, boxes, triangles, binomials and bells of any width."""
    at = np.arange(length)
    centre = (length - 1) / 2
    found = [np.eye(length), np.ones((1, length))]
    found += [
        np.maximum(0.0, 1 - np.abs(at - c) / width)[None]
        for c in (centre, length // 2)
        for width in np.arange(1.0, length + 1, 0.5)
    ]
    found += [
        np.exp(-0.5 * np.square((at - centre) / width))[None]
        for width in np.geomspace(0.3, length, 24)
    ]
    return _normed(np.concatenate(found))


@lru_cache(maxsize=32)
def _edges(length: int) -> Rows:
    """Differences (n, length) of first and second order: Haar, Sobel, Laplace."""
    at = np.arange(length) - (length - 1) / 2
    second = np.convolve([1.0, -2.0, 1.0], np.ones(max(1, length - 2)))[:length]
    found = [at, np.sign(at), second]
    for width in np.geomspace(0.4, length, 12):
        bell = np.exp(-0.5 * np.square(at / width))
        found += [at * bell, (np.square(at / width) - 1) * bell]
    if length > 2:
        found += [np.array([0.0] * ((length - 3) // 2) + [1, -2, 1] + [0.0] * ((length - 2) // 2))]
    return _normed(np.stack([np.resize(line, length) for line in found]))


def _plane_edges(kernel: tuple[int, ...]) -> Rows:
    """Filters (n, size) of a plane that are no products: Laplace, Roberts, sharpening."""
    down, across = kernel
    found = [np.zeros(kernel)]
    if kernel == (2, 2):
        found += [np.array([[1.0, 0], [0, -1]]), np.array([[0, 1.0], [-1, 0]])]
    if down == across and down % 2 and down > 1:
        middle = down // 2
        cross = np.zeros(kernel)
        cross[middle, :] = cross[:, middle] = 1.0
        for around in (cross, np.ones(kernel)):
            for weight in (around.sum() - 1, around.sum()):
                one = -around
                one[middle, middle] = weight
                found.append(one)
    return _normed(np.stack(found).reshape(len(found), -1))


def _normed(rows: Rows) -> Rows:
    norms = np.linalg.norm(rows, axis=1)
    kept: Rows = rows[norms > 1e-9] / norms[norms > 1e-9, None]
    return kept
