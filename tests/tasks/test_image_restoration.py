"""Image restoration: PSNR by hand, SSIM against a naive loop and scikit-image, NCC of scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, InferenceError
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.kit.samples import ImagePairs
from nnw_onnx.tasks.image_restoration import PSNR_LIMIT, ImageRestoration, ncc, psnr, ssim
from nnw_onnx.vocabulary import Scale, Spec, Task, TensorInfo

from .conftest import measured, samples_of

PLAIN = Scale((1.0,), (0.0,), "chw")


def _pair(shape=(2, 3, 16, 18), seed=0):
    rng = np.random.Generator(np.random.PCG64(seed))
    wanted = rng.random(shape)
    return np.clip(wanted + 0.05 * rng.normal(size=shape), 0, 1), wanted


def _quality(made, wanted, scale=PLAIN, batch=None, **options):
    facts = options.pop("facts", {})
    task = ImageRestoration(**options)
    return measured(task, samples_of(scale=scale, **facts), {"y": made}, wanted, batch)


def test_psnr_worked_by_hand():
    wanted = np.zeros((2, 1, 12, 12))
    made = wanted + np.array([0.1, 0.01]).reshape(2, 1, 1, 1)
    quality = _quality(made, wanted)
    np.testing.assert_allclose(quality.scores, [20, 40], atol=1e-5)
    assert quality.values["PSNR"] == pytest.approx(30)
    assert list(quality.values) == [m.name for m in ImageRestoration.measures]
    assert quality.chance == PSNR_LIMIT  # these targets are one flat colour


def test_equal_images_have_a_finite_psnr():
    _, wanted = _pair()
    quality = _quality(wanted, wanted)
    ones = dict.fromkeys(("SSIM", "NCC"), pytest.approx(1))
    assert quality.values == {"PSNR": PSNR_LIMIT, **ones}


def test_ncc_is_the_correlation_of_pixels():
    made, wanted = _pair()
    each = [pearsonr(m.ravel(), w.ravel()).statistic for m, w in zip(made, wanted, strict=True)]
    assert _quality(made, wanted).values["NCC"] == pytest.approx(np.mean(each), abs=1e-7)
    image = wanted[0].transpose(1, 2, 0)
    assert ncc(1 - image, image) == pytest.approx(-1)
    assert ncc(0.2 + 0.3 * image, image) == pytest.approx(1)


def test_ncc_of_flat_images_is_a_number():
    flat = np.full((12, 13, 1), 0.3)
    assert ncc(flat, flat) == 1
    assert ncc(flat, flat + 0.1) == 0
    assert ncc(flat, _pair((1, 12, 13, 1))[1][0]) == pytest.approx(0, abs=1e-9)


def _naive_ssim(x, y):
    """Mean over every place of the window and every channel, one at a time."""
    along = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(along, along) / along.sum() ** 2
    values = []
    for c in range(x.shape[2]):
        for i in range(x.shape[0] - 10):
            for j in range(x.shape[1] - 10):
                a, b = x[i : i + 11, j : j + 11, c], y[i : i + 11, j : j + 11, c]
                ma, mb = (window * a).sum(), (window * b).sum()
                va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
                cov = (window * (a - ma) * (b - mb)).sum()
                values.append(
                    ((2 * ma * mb + 1e-4) * (2 * cov + 9e-4))
                    / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))
                )
    return np.mean(values)


def test_ssim_is_that_of_a_naive_loop():
    made, wanted = (images[0].transpose(1, 2, 0) for images in _pair())
    assert ssim(made, wanted) == pytest.approx(_naive_ssim(made, wanted), abs=1e-10)


def test_ssim_and_psnr_are_those_of_scikit_image():
    """Values of scikit-image 0.26: gaussian_weights, sigma 1.5, no sample covariance, range 1."""
    rng = np.random.Generator(np.random.PCG64(3))
    wanted = rng.random((24, 31, 3))
    made = np.clip(wanted + 0.1 * rng.normal(size=wanted.shape), 0, 1)
    assert ssim(made, wanted) == pytest.approx(0.9494423447641607, abs=1e-12)
    assert psnr(made, wanted) == pytest.approx(20.419777800815453, abs=1e-10)
    slope = np.add.outer(np.arange(40), np.arange(40) * 2)[..., None] / 120
    assert ssim(slope**1.3, slope) == pytest.approx(0.9641693997126483, abs=1e-12)


def test_the_scale_leads_back_to_the_range():
    made, wanted = _pair()
    scale = Scale((0.2, 0.25, 0.5), (0.4, 0.5, 0.45), "chw")

    def fed(images):
        return (images - np.reshape(scale.offset, (3, 1, 1))) / np.reshape(scale.factor, (3, 1, 1))

    plain, scaled = _quality(made, wanted), _quality(fed(made), fed(wanted), scale)
    assert scaled.values == pytest.approx(plain.values, abs=1e-4)


def test_targets_may_have_other_numbers_than_the_feeds():
    made, wanted = _pair()
    told = {"target_scale": {"factor": [1 / 255], "offset": [0.0]}}
    other = Scale((7.0,), (-3.0,), "chw")
    quality = _quality(made * 255, wanted * 255, other, facts=told)
    assert quality.values == pytest.approx(_quality(made, wanted).values, abs=1e-4)


@pytest.mark.parametrize("move", [lambda a: np.moveaxis(a, 1, 3), lambda a: a])
def test_channels_may_be_at_the_other_end(move):
    made, wanted = _pair()
    expected = _quality(made, wanted).values
    assert _quality(move(made), wanted).values == expected
    last = Scale((1.0,), (0.0,), "hwc")
    moved = np.moveaxis(wanted, 1, 3)
    assert _quality(move(made), moved, last).values == pytest.approx(expected)


def test_a_channel_axis_may_be_missing():
    made, wanted = _pair((2, 1, 16, 18))
    gray = Scale((1.0,), (0.0,), "hw")
    expected = _quality(made, wanted).values
    assert _quality(made[:, 0], wanted).values == expected
    assert _quality(made, wanted[:, 0], gray).values == pytest.approx(expected)


def test_the_border_does_not_count():
    made, wanted = _pair()
    spoilt = made.copy()
    spoilt[:, :, :2], spoilt[:, :, :, -2:] = 0, 1
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    expected = _quality(made[inner], wanted[inner]).values
    assert _quality(spoilt, wanted, border=2).values == pytest.approx(expected)


def test_luma_is_y_of_bt_601():
    made, wanted = _pair()
    weights = np.reshape([65.481, 128.553, 24.966], (1, 3, 1, 1)) / 255
    gray = [(weights * images).sum(1, keepdims=True) + 16 / 255 for images in (made, wanted)]
    expected = _quality(*gray).values
    assert _quality(made, wanted, channels="luma").values == pytest.approx(expected, abs=1e-4)


def test_answers_are_clipped_and_what_is_no_number_is_the_worst():
    wanted = np.full((1, 1, 12, 12), 0.75)
    assert _quality(wanted + 9, wanted).values["PSNR"] == pytest.approx(-20 * np.log10(0.25))
    made = wanted.copy()
    made[0, 0, 0, 0] = np.nan
    error = 0.75**2 / 144
    assert _quality(made, wanted).values["PSNR"] == pytest.approx(-10 * np.log10(error), abs=1e-4)


def test_what_does_not_fit_is_said():
    made, wanted = _pair()
    task = plugins.create(Task, Spec("image-restoration", {}))
    for scale in (None, Scale((1.0,), (0.0,), "t")):
        with pytest.raises(ConfigurationError, match=r"data that are images with a known range"):
            task.meter(samples_of(scale=scale))
    with pytest.raises(ConfigurationError, match=r"shape \(3, 16, 18\), as the targets have, got"):
        _quality(made[:, :, :8], wanted)
    with pytest.raises(ConfigurationError, match=r"at least 11 pixels a side .* got 8 x 10; use"):
        _quality(made, wanted, border=4)
    with pytest.raises(InferenceError, match=r"expected at least one answer, got none"):
        task.meter(samples_of(scale=PLAIN)).result()
    with pytest.raises(InferenceError, match=r"expected 2 answers, one for each .* \(1, 3, 16, 18"):
        _quality(made[:1], wanted)


@pytest.mark.parametrize("shape", [("n", 3, 12, 14), ("n", 12, 14, 3), ("n", 1, 12, 14)])
def test_a_network_that_does_nothing_has_the_psnr_of_its_input(shape):
    rng = np.random.Generator(np.random.PCG64(5))
    clean = rng.integers(0, 256, (2, 12, 14, 3), dtype=np.uint8)
    noisy = rng.integers(0, 256, (2, 12, 14, 3), dtype=np.uint8)
    pairs = ImagePairs(noisy, clean, Preprocessing(mean=(0.5,), std=(0.5,)))
    fitted = pairs.fitted([TensorInfo("x", shape, "float32")])
    batch = fitted.read(np.arange(2))
    quality = measured(ImageRestoration(), fitted, {"y": batch.feeds["x"]}, batch.targets)
    luma = np.array([[0.299], [0.587], [0.114]])
    signals = [i @ luma if shape[1] == 1 else i.astype(float) for i in (clean / 255, noisy / 255)]
    errors = ((signals[0] - signals[1]) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(quality.scores, -10 * np.log10(errors), atol=1e-4)


@pytest.mark.parametrize("batch", [1, 5])
def test_guessing_is_the_mean_colour_of_all_targets(batch):
    """Reference: the quality of that answer."""
    rng = np.random.Generator(np.random.PCG64(3))
    wanted = rng.random((5, 3, 14, 15)) * rng.random((5, 3, 1, 1))
    flat = np.broadcast_to(wanted.mean(axis=(0, 2, 3))[:, None, None], wanted.shape)
    guessed = _quality(flat, wanted, batch=batch)
    assert guessed.chance == pytest.approx(guessed.values["PSNR"], abs=1e-5)
    better = _quality(0.5 * flat + 0.5 * wanted, wanted, batch=batch)
    assert better.values["PSNR"] > better.chance == pytest.approx(guessed.chance)


def test_a_collapse_to_the_mean_of_faint_images_is_caught_by_the_guard():
    """Half a decibel of PSNR is all that it costs, and nearly all structure."""
    rng = np.random.Generator(np.random.PCG64(3))
    structure = 0.03 * rng.normal(size=(4, 1, 32, 32))
    wanted = 0.5 + structure
    good = _quality(wanted + 0.03 * rng.normal(size=wanted.shape), wanted)
    flat = _quality(np.full_like(wanted, 0.5), wanted)
    headline, guard, _ = ImageRestoration.measures
    assert (guard.name, ImageRestoration.guard) == ("SSIM", "SSIM")
    assert headline.loss(good.values["PSNR"], flat.values["PSNR"]) < headline.usable_loss
    assert guard.loss(good.values["SSIM"], flat.values["SSIM"]) > guard.usable_loss
