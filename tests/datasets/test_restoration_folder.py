"""Clean images and what is made of them: smaller, noisy, or a file beside."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.stats import kstest

from nnw_onnx import plugins
from nnw_onnx.datasets.restoration_folder import RestorationFolder
from nnw_onnx.errors import DatasetError
from nnw_onnx.vocabulary import Dataset, Spec, TensorInfo

from .conftest import png, raw, write_files


@pytest.fixture
def clean(rng):
    return {f"test/{n}.png": rng.integers(0, 256, (13, 17, 3), dtype=np.uint8) for n in "abcd"}


def _written(folder, images):
    return write_files(folder, {name: png(image) for name, image in images.items()})


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_images_are_made_smaller_by_bicubic_and_cut_to_a_multiple(tmp_path, clean, factor):
    found = RestorationFolder(_written(tmp_path, clean), downscale=factor).load("test")
    low, wanted, _ = raw(found)
    height, width = 13 // factor, 17 // factor
    assert low.shape == (4, height, width, 3)
    for i, image in enumerate(clean.values()):
        cut = image[: height * factor, : width * factor]
        np.testing.assert_array_equal(wanted[i], cut)
        pillow = Image.fromarray(cut).resize((width, height), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(low[i], np.asarray(pillow))


def test_noise_is_gaussian_and_follows_from_name_and_seed(tmp_path):
    gray = {f"test/{n}.png": np.full((64, 64, 3), 128, np.uint8) for n in "abcd"}
    folder = _written(tmp_path, gray)
    noisy, wanted, _ = raw(RestorationFolder(folder, noise=20).load("test"))
    assert (noisy.dtype, wanted.min(), wanted.max()) == (np.uint8, 128, 128)
    errors = (noisy[0].astype(float) - 128).ravel()
    # Rounding to levels moves each value by at most half of one.
    jitter = np.random.Generator(np.random.PCG64(0)).uniform(-0.5, 0.5, errors.size)
    assert kstest((errors + jitter) / np.hypot(20, 12**-0.5), "norm").pvalue > 1e-3
    assert not np.array_equal(noisy[0], noisy[1])
    two = raw(RestorationFolder(folder, noise=20, limit=2).load("test"))[0]
    np.testing.assert_array_equal(two, noisy[[0, 2]])
    other = raw(RestorationFolder(folder, noise=20, noise_seed=1).load("test"))[0]
    assert not np.array_equal(other, noisy)


def test_pairs_of_files_are_found_by_their_names(tmp_path, clean):
    low = {n.replace("test/", "test/low/"): i[::-1] for n, i in clean.items()}
    both = {n.replace("test/", "test/high/"): i for n, i in clean.items()} | low
    folder = _written(tmp_path / "both", both)
    for found in (
        RestorationFolder(folder, clean="high", degraded="low").load("test"),
        RestorationFolder(_written(tmp_path / "in", clean | low), degraded="low").load("test"),
    ):
        made, wanted, _ = raw(found)
        np.testing.assert_array_equal(made, wanted[:, ::-1])
        np.testing.assert_array_equal(wanted, np.stack(list(clean.values())))
    (folder / "test/low/b.png").unlink()
    with pytest.raises(
        DatasetError, match=r"in a folder 'low', got none for test/high/b.png; corr"
    ):
        RestorationFolder(folder, clean="high", degraded="low").load("test")


def test_names_may_end_otherwise_and_folders_have_the_split_as_a_word(tmp_path, clean):
    """As DIV2K and Cityscapes name their files."""
    names = [n.rpartition("/")[2][:-4] for n in clean]
    whole = list(clean.values())
    files = {f"X_valid_HR/{n}.png": image for n, image in zip(names, whole, strict=True)}
    files |= {
        f"low/X_valid_{part}/{n}x2_{part}.png": image[::-1]
        for part in ("LR", "other")
        for n, image in zip(names, whole, strict=True)
    }
    folder = _written(tmp_path / "a", files)
    made, wanted, _ = raw(RestorationFolder(folder, clean="*_HR").load("test"))
    np.testing.assert_array_equal(made, np.stack(whole))
    both = {n.replace("low/X_valid_LR/", "LR/val/"): i for n, i in files.items()}
    both = {n.replace("X_valid_HR/", "HR/val/"): i for n, i in both.items()}
    both["HR/test/none.png"] = whole[0]
    options = {"clean": "HR", "degraded": "LR", "degraded_ending": "x2_LR", "test_folder": "val"}
    found = RestorationFolder(_written(tmp_path / "b", both), **options).load("test")
    made, wanted, _ = raw(found)
    np.testing.assert_array_equal(made, wanted[:, ::-1])
    with pytest.raises(DatasetError, match=r"in a folder 'LR', got none for HR/test/none.png"):
        RestorationFolder(tmp_path / "b", **{**options, "test_folder": ""}).load("test")


def test_the_middle_of_images_of_any_size_can_be_used(tmp_path):
    rng = np.random.Generator(np.random.PCG64(0))
    sizes = {"a": (12, 20), "b": (16, 13)}
    files = {f"test/{n}.png": rng.integers(0, 256, (*s, 3), np.uint8) for n, s in sizes.items()}
    folder = _written(tmp_path, files)
    _, wanted, _ = raw(RestorationFolder(folder, crop=(12, 12)).load("test"))
    np.testing.assert_array_equal(wanted[0], files["test/a.png"][:, 4:16])
    np.testing.assert_array_equal(wanted[1], files["test/b.png"][2:14, :12])
    with pytest.raises(DatasetError, match=r"at least 12 x 14 pixels, got 16 x 13; lower the opt"):
        RestorationFolder(folder, crop=(12, 14)).load("test")


def test_options_come_from_a_configuration_and_fit_a_network(tmp_path, clean):
    options = {
        "path": str(_written(tmp_path, clean)),
        "size": [12, 18],
        "downscale": 3,
        "target_preprocessing": {"scale": 1},
    }
    found = plugins.create(Dataset, Spec("restoration-folder", options)).load("test")
    fitted = found.fitted([TensorInfo("x", ("n", 1, 4, 6), "float32")])
    batch = fitted.read(np.arange(2))
    assert (batch.feeds["x"].shape, batch.targets.shape) == ((2, 1, 4, 6), (2, 1, 12, 18))
    assert batch.feeds["x"].max() <= 1 < batch.targets.max() <= 255
    assert fitted.facts["target_scale"] == {"factor": [1 / 255], "offset": [0.0]}


def test_what_does_not_fit_is_said(tmp_path, clean):
    folder = _written(tmp_path, clean)
    with pytest.raises(DatasetError, match=r"at least 16 pixels a side, got 13 x 17; lower"):
        RestorationFolder(folder, downscale=16).load("test")
    with pytest.raises(DatasetError, match=r"in a folder 'train', got none among 4 files"):
        RestorationFolder(folder).load("train")
    with pytest.raises(DatasetError, match=r"expected images, got none"):
        RestorationFolder(folder, clean="none").load("test")
