"""Data sets of the model scripts: scikit-learn's digits and CIFAR-10 as class folders of JPEG."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)
CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
CIFAR10_IMAGES = {"train": 50_000, "test": 10_000}
# "<split>/<class>/<image>.jpg" is the tail of every image's name.
IMAGE_NAME_PARTS = 3


class DataError(Exception):
    """A data set is absent, incomplete or not what its name says."""


@dataclass(frozen=True)
class Split:
    """Images of one split and their labels, in a fixed order."""

    images: NDArray[np.generic]
    labels: NDArray[np.int64]


def digits_split(split: str) -> Split:
    """Return scikit-learn's 8x8 digits, divided by index and hence without randomness.

    Args:
        split: "train" (even indices, 899 images) or "test" (odd indices, 898 images).

    Returns:
        Images of shape (count, 1, 8, 8), float32, pixel / 16 in [0, 1], and labels.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    first = {"train": 0, "test": 1}[split]
    images = (bunch.images[first::2, np.newaxis] / 16.0).astype(np.float32)
    return Split(images, bunch.target[first::2].astype(np.int64))


def cifar10_split(source: Path, split: str) -> Split:
    """Read one split of CIFAR-10 from class folders of JPEG.

    Images are ordered by class and file name, so that the order does not depend on the archive.

    Args:
        source: a tar archive, or an extracted folder, with `<split>/<class>/<image>.jpg` inside.
        split: "train" (50,000 images) or "test" (10,000 images).

    Returns:
        Images of shape (count, 32, 32, 3), uint8, and labels.

    Raises:
        DataError: the source is absent or does not hold exactly the images expected.
    """
    expected = CIFAR10_IMAGES[split]
    decoded: dict[tuple[str, str], NDArray[np.uint8]] = {}
    progress = tqdm(
        _jpeg_files(source, split), total=expected, desc=f"reading {split}", unit="image"
    )
    for class_name, image_name, content in progress:
        with Image.open(io.BytesIO(content)) as image:
            decoded[class_name, image_name] = np.asarray(image.convert("RGB"), dtype=np.uint8)
    if len(decoded) != expected:
        message = (
            f"expected {expected} images in split {split!r} of {source.name}, got {len(decoded)}"
        )
        raise DataError(message)
    unknown = sorted({class_name for class_name, _ in decoded} - set(CIFAR10_CLASSES))
    if unknown:
        message = f"expected the ten classes of CIFAR-10 in {source.name}, got also {unknown}"
        raise DataError(message)
    keys = sorted(decoded)
    labels = np.array([CIFAR10_CLASSES.index(class_name) for class_name, _ in keys], np.int64)
    return Split(np.stack([decoded[key] for key in keys]), labels)


def cifar10_lossless_test(source: Path) -> Split:
    """Return the test images of a lossless subset of CIFAR-10.

    Args:
        source: an .npz file with `x_test` (count, 32, 32, 3), uint8, and `y_test`.

    Returns:
        Images as they are stored, and labels.
    """
    with np.load(source, allow_pickle=False) as arrays:
        return Split(arrays["x_test"], arrays["y_test"].astype(np.int64).ravel())


def normalise_cifar10(images: NDArray[np.generic]) -> NDArray[np.float32]:
    """Turn uint8 images (count, 32, 32, 3) into the networks' input (count, 3, 32, 32)."""
    mean = np.array(CIFAR10_MEAN, np.float32)
    std = np.array(CIFAR10_STD, np.float32)
    scaled = (images.astype(np.float32) / np.float32(255.0) - mean) / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def _jpeg_files(source: Path, split: str) -> Iterator[tuple[str, str, bytes]]:
    """Yield (class, file name, content) of every JPEG file of a split."""
    if source.is_dir():
        for path in sorted((source / split).glob("*/*.jpg")):
            yield path.parent.name, path.name, path.read_bytes()
        return
    if not source.is_file():
        message = f"expected a tar archive or a folder, got nothing at {source}"
        raise DataError(message)
    with tarfile.open(source) as archive:
        for member in archive:
            parts = member.name.split("/")[-IMAGE_NAME_PARTS:]
            wanted = member.isfile() and len(parts) == IMAGE_NAME_PARTS and parts[0] == split
            content = archive.extractfile(member) if wanted else None
            if content is not None and parts[2].endswith(".jpg"):
                yield parts[1], parts[2], content.read()
