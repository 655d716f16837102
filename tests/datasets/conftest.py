"""Small data sets in their official forms, made by the tests."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnw_onnx.kit.samples import only_feed
from nnw_onnx.vocabulary import Samples

CLASSES = ("cat", "dog")
COUNTS = {"train": 3, "test": 2}


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def image_files(seed: int = 0, size: tuple[int, int] = (4, 5)) -> dict[str, np.ndarray]:
    """Name -> image of train/<class>/<image>.png and test/<class>/<image>.png."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return {
        f"{split}/{name}/{i}.png": rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        for split, count in COUNTS.items()
        for name in CLASSES
        for i in range(count)
    }


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    mode = "w:gz" if path.name.endswith("gz") else "w"
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def idx(array: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def raw(samples: Samples) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Stored inputs, targets and names of classes of all samples."""
    batch = samples.read(np.arange(len(samples)))
    return only_feed(batch.feeds), batch.targets, samples.facts.get("classes")


@pytest.fixture
def images() -> dict[str, np.ndarray]:
    return image_files()


@pytest.fixture
def mnist_folder(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes MNIST-like files and returns their folder."""

    def make(*, zipped: bool = False, separator: str = "-") -> Path:
        rng = np.random.Generator(np.random.PCG64(5))
        for prefix, count in (("train", 6), ("t10k", 4)):
            arrays = {
                f"{prefix}-images{separator}idx3-ubyte": rng.integers(
                    0, 256, (count, 3, 2), dtype=np.uint8
                ),
                f"{prefix}-labels{separator}idx1-ubyte": np.arange(count, dtype=np.uint8),
            }
            for name, array in arrays.items():
                content = idx(array)
                path = tmp_path / (name + (".gz" if zipped else ""))
                path.write_bytes(gzip.compress(content) if zipped else content)
        return tmp_path

    return make
