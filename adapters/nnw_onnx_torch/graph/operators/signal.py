"""Fourier transforms, windows and the mel scale."""

from __future__ import annotations

import torch
from torch import Tensor

from nnw_onnx_torch.graph.dtypes import TORCH_TYPES
from nnw_onnx_torch.graph.operators._table import Call, operator


def _complex(x: Tensor) -> Tensor:
    """A signal (..., 1) or (..., 2) as numbers that torch.fft takes."""
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    return wide.squeeze(-1) if x.shape[-1] == 1 else torch.view_as_complex(wide.contiguous())


@operator("DFT")
def dft(
    call: Call, x: Tensor, length: Tensor | None = None, axis_input: Tensor | None = None
) -> Tensor:
    """The discrete Fourier transform of an axis, or its inverse; (..., 2), or (..., 1) if real."""
    default = call.get("axis", 1) if call.opset < 20 else -2
    axis: int = (default if axis_input is None else int(axis_input)) % x.dim()
    signal = _complex(x)
    n = None if length is None else int(length)
    onesided = bool(call.get("onesided", 0))
    if call.get("inverse", 0):
        if onesided:
            real: Tensor = torch.fft.irfft(signal, n, axis)
            return real.unsqueeze(-1).to(x.dtype)
        spectrum = torch.fft.ifft(signal, n, axis)
    elif onesided:
        spectrum = torch.fft.rfft(signal, n, axis)
    else:
        spectrum = torch.fft.fft(signal, n, axis)
    return torch.view_as_real(spectrum).to(x.dtype)


@operator("STFT")
def stft(
    call: Call,
    x: Tensor,
    step: Tensor,
    window: Tensor | None = None,
    length: Tensor | None = None,
) -> Tensor:
    """Fourier transforms (n, frames, bins, 2) of windowed frames of a signal (n, t, 1 or 2)."""
    signal = _complex(x) if x.dim() == 3 else x
    if length is not None:
        size = int(length)
    else:
        size = signal.shape[1] if window is None else window.shape[0]
    frames = signal.unfold(1, size, int(step))
    if window is not None:
        frames = frames * window
    onesided = call.get("onesided", 1) and not frames.is_complex()
    spectrum = torch.fft.rfft(frames) if onesided else torch.fft.fft(frames)
    return torch.view_as_real(spectrum).to(x.dtype)


def _cosines(call: Call, size: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """A sum of cosines over `size` samples, periodic or symmetric."""
    n = int(size)
    period = n if call.get("periodic", 1) else max(n - 1, 1)
    angles = 2 * torch.pi * torch.arange(n, dtype=torch.float64, device=size.device) / period
    window = torch.zeros_like(angles)
    for order, coefficient in enumerate(coefficients):
        window = window + coefficient * torch.cos(order * angles)
    return window.to(TORCH_TYPES[call.get("output_datatype", 1)])


@operator("HannWindow")
def hann_window(call: Call, size: Tensor) -> Tensor:
    """The window of Hann."""
    return _cosines(call, size, (0.5, -0.5))


@operator("HammingWindow")
def hamming_window(call: Call, size: Tensor) -> Tensor:
    """The window of Hamming, with 25/46 for his rounded 0.54."""
    return _cosines(call, size, (25 / 46, -21 / 46))


@operator("BlackmanWindow")
def blackman_window(call: Call, size: Tensor) -> Tensor:
    """The window of Blackman."""
    return _cosines(call, size, (0.42, -0.5, 0.08))


def _mel(frequency: Tensor) -> Tensor:
    return 2595 * torch.log10(1 + frequency / 700)


@operator("MelWeightMatrix")
def mel_weight_matrix(
    call: Call, bands: Tensor, length: Tensor, rate: Tensor, low: Tensor, high: Tensor
) -> Tensor:
    """Triangles (bins, bands) of height 1 that are evenly spaced on the mel scale.

    Their corners are rounded down to bins, as the standard's reference does.
    """
    count, size = int(bands), int(length)
    edges = torch.stack([_mel(edge.double().reshape(())) for edge in (low, high)]).tolist()
    marks = edges[0] + torch.arange(count + 2, dtype=torch.float64) * (
        (edges[1] - edges[0]) / (count + 2)
    )
    hertz = 700 * (10 ** (marks / 2595) - 1)
    corners = torch.floor((size + 1) * hertz / int(rate)).to(torch.int64)
    bins = torch.arange(size // 2 + 1)[:, None]
    start, peak, end = corners[:-2], corners[1:-1], corners[2:]
    rising = (bins - start) / (peak - start).clamp(min=1)
    falling = (end - bins) / (end - peak).clamp(min=1)
    up = torch.where((bins >= start) & (bins < peak), rising, torch.zeros_like(rising))
    down = torch.where((bins >= peak) & (bins < end), falling, torch.zeros_like(falling))
    triangles = torch.where(bins == peak, torch.ones_like(up), up + down)
    return triangles.to(bands.device, TORCH_TYPES[call.get("output_datatype", 1)])
