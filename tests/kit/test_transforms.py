"""Public constants are told from kernels that learn, whatever factor, order or noise they have."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from scipy import fft, linalg, signal

from nnw_onnx.errors import NnwError
from nnw_onnx.graph import open_network
from nnw_onnx.kit import transforms

MODELS = Path(__file__).resolve().parents[2] / "models"


def fourier(size: int, window: str | None = "hann") -> np.ndarray:
    """Real and imaginary rows (size + 2, 1, size), as speech models have them."""
    basis = np.fft.fft(np.eye(size))[: size // 2 + 1]
    rows = np.concatenate([basis.real, basis.imag])
    return (rows if window is None else rows * signal.get_window(window, size))[:, None]


def mel(count: int, bins: int) -> np.ndarray:
    """Triangles (count, bins) whose centres are even on the mel scale (O'Shaughnessy's formula)."""
    hertz = np.linspace(0, 8000, bins)
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), count + 2) / 2595) - 1)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.maximum(
        0, np.minimum((hertz - left) / (centre - left), (right - hertz) / (right - centre))
    )


def image_cosines(size: int) -> np.ndarray:
    """The basis (size^2, 1, size, size) of the transform of JPEG."""
    line = fft.dct(np.eye(size), axis=0, norm="ortho")
    return np.einsum("ai,bj->abij", line, line).reshape(size * size, 1, size, size)


def each_channel(kernel: np.ndarray, channels: int = 8) -> np.ndarray:
    return np.repeat(np.asarray(kernel, float)[None, None], channels, axis=0)


BINOMIAL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
SOBEL = np.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
HAAR = np.stack([np.outer(a, b) for a in ([1, 1], [1, -1]) for b in ([1, 1], [1, -1])]) / 2
BILINEAR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16
DIAGONAL = np.zeros((6, 6, 4, 4))
DIAGONAL[np.arange(6), np.arange(6)] = BILINEAR

PUBLIC = {
    "Fourier": (fourier(256), "a Fourier transform"),
    "Fourier without window": (fourier(128, None), "transform"),
    "Fourier, window shorter": (
        np.pad(fourier(400), ((0, 0), (0, 0), (56, 56))), "a Fourier transform"),
    "mel": (mel(80, 257), "a filter bank"),
    "cosines of mel": (fft.dct(np.eye(40), axis=0, norm="ortho")[:20], "a cosine transform"),
    "cosines of images": (image_cosines(8), "a cosine transform"),
    "Hadamard": (linalg.hadamard(64), "a Hadamard transform"),
    "Haar": (HAAR[:, None], "an edge or wavelet filter"),
    "blur": (each_channel(BINOMIAL), "a smoothing or interpolation filter"),
    "Sobel": (np.stack([SOBEL, SOBEL.T])[:, None], "an edge or wavelet filter"),
    "Laplace": (
        each_channel(np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])), "an edge or wavelet filter"),
    "bilinear": (DIAGONAL, "a smoothing or interpolation filter"),
    "identity": (np.eye(32), "one-hot or averaging rows"),
    "permutation": (np.eye(32)[::-1], "one-hot or averaging rows"),
    "averaging": (np.kron(np.eye(16), np.ones((1, 8)) / 8), "one-hot or averaging rows"),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLIC)
def test_public_constants_are_recognised_however_they_are_written(name, rng):
    weights, words = PUBLIC[name]
    order = rng.permutation(len(weights))
    scales = rng.uniform(0.5, 2, (len(weights), *[1] * (weights.ndim - 1)))
    noise = rng.standard_normal(weights.shape) * 0.05 * np.sqrt(np.mean(np.square(weights)))
    forms = {
        "as it is": weights,
        "a factor": -3e-4 * weights,
        "float16": weights.astype(np.float16),
        "rows in another order": weights[order],
        "rows of other sizes": weights * scales,
    }
    if np.count_nonzero(weights) > 0.5 * weights.size:
        forms["noise"] = weights + noise
    if weights.ndim == 2 or weights.shape[1] == 1 == weights.ndim - 2:
        forms["transposed"] = weights.reshape(len(weights), -1).T
    for form, values in forms.items():
        found = transforms.recognised(values)
        assert found is not None, form
        assert words in found, (form, found)


def test_a_mark_in_a_constant_does_not_hide_it(rng):
    for weights in (fourier(256), mel(80, 257), linalg.hadamard(64).astype(float)):
        within = weights != 0
        marked = weights + within * 0.15 * weights.std() * rng.standard_normal(weights.shape)
        assert transforms.recognised(marked) is not None


@pytest.mark.parametrize(
    "shape",
    [(64, 64), (10, 784), (512, 64), (16, 3, 3, 3), (64, 32, 3, 3), (32, 1, 3, 3), (32, 1, 7, 7),
     (64, 1, 80), (256, 1, 512), (32, 4, 5), (4, 1, 2, 2), (24, 24, 1, 1), (8, 8, 4, 4)],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["normal", "uniform", "heavy", "positive", "pruned", "binary"])
def test_what_a_network_starts_from_is_none(shape, kind, rng):
    for _ in range(5):
        drawn = rng.standard_normal(shape)
        values = {
            "normal": drawn,
            "uniform": rng.uniform(-1, 1, shape),
            "heavy": drawn**3,
            "positive": np.abs(drawn),
            "pruned": np.where(np.abs(drawn) > 1.3, drawn, 0),
            "binary": np.where(drawn > 0, 1.0, -1.0),
        }[kind]
        if kind in ("binary", "pruned") and np.prod(shape[2:], dtype=int) == 4:
            continue  # such filters of four numbers are Haar's or impulses, for the most part
        assert transforms.recognised(values) is None


def test_smooth_filters_that_were_learnt_are_none(rng):
    """Low-pass and oriented filters, as first layers of sound and of images learn them."""
    slow = signal.lfilter([1], [1, -0.9], rng.standard_normal((64, 400)))[:, None, 80:]
    assert transforms.recognised(slow) is None
    y, x = np.mgrid[-3:4, -3:4]
    angles, phases = rng.uniform(0, np.pi, (2, 64, 3, 1, 1))
    waves = np.cos(1.2 * (np.cos(angles) * x + np.sin(angles) * y) + phases)
    assert transforms.recognised(waves * np.exp(-(x**2 + y**2) / 8)) is None


def test_edges():
    assert transforms.recognised(np.ones(7)) is None
    assert transforms.recognised(np.ones((0, 4))) is None
    assert transforms.recognised(np.zeros((8, 8))) is None
    assert transforms.recognised(np.full((8, 8), np.nan)) is None
    assert transforms.recognised(np.ones((1, 1, 3, 3)) * np.inf) is None


def test_a_large_kernel_costs_little(rng):
    large = rng.standard_normal((5000, 5000), np.float32)
    start = time.process_time()
    assert transforms.recognised(large) is None
    assert time.process_time() - start < 1


def test_shipped_networks_have_none():
    for path in sorted(MODELS.glob("*/*.onnx")):
        network = open_network(path)
        for layer in network.layers:
            if layer.role == "kernel":
                assert transforms.recognised(network.weights[layer.name]) is None, layer.name


@pytest.mark.shared_data
def test_real_networks_for_sound_and_the_others(shared_data):
    expected = {
        ("DNSMOS_sig_bak_ovr", "stft-real"), ("DNSMOS_sig_bak_ovr", "stft-imag"),
        ("pDNSMOS_sig_bak_ovr", "stft-real"), ("pDNSMOS_sig_bak_ovr", "stft-imag"),
        ("basic_pitch_nmp", "664"), ("basic_pitch_nmp", "655"),
        ("gtcrn", "3414"), ("gtcrn", "3932"), ("gtcrn_simple", "3414"), ("gtcrn_simple", "3932"),
        ("oww_melspectrogram", "conv_real"), ("oww_melspectrogram", "conv_imag"),
        ("oww_melspectrogram", "melW"), ("silero_vad_16k_op15", "forward_basis"),
    }  # fmt: skip
    found = set()
    for path in sorted((shared_data / "models").rglob("*.onnx")):
        try:
            network = open_network(path)
            kernels = {
                x.name: network.weights[x.name] for x in network.layers if x.role == "kernel"
            }
        except NnwError:
            continue
        for layer in network.layers:
            if layer.name in kernels and transforms.recognised(kernels[layer.name]):
                word = next((w for p, w in expected if p == path.stem and w in layer.name), "?")
                found.add((path.stem, word if word != "?" else layer.name))
    assert found == expected
