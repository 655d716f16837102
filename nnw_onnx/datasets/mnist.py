"""Data set `mnist`: the four idx files of MNIST, or of a data set of the same form."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from nnw_onnx.datasets._samples import LIMIT_HELP, PREPROCESSING_HELP, labelled
from nnw_onnx.datasets._splits import check_split
from nnw_onnx.errors import DatasetError
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.kit.samples import evenly
from nnw_onnx.kit.sources import check_size
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Dataset, Samples

_PREFIX = {"train": "train", "test": "t10k"}
_UNSIGNED_BYTE = 8


@dataclass(frozen=True)
class Mnist(Dataset):
    """MNIST in idx files, compressed with gzip or not; uint8 (n, 28, 28, 1).

    The folder holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same with `t10k`,
    each with or without `.gz`. Fashion-MNIST and the like have the same form.
    """

    name: ClassVar[str] = "mnist"
    summary: ClassVar[str] = "MNIST and its kin: a folder of idx files, gzipped or not"

    path: Path = option(help="folder of the idx files")
    limit: Annotated[int, Ge(1)] | None = option(None, help=LIMIT_HELP)
    preprocessing: Preprocessing = option(Preprocessing(), help=PREPROCESSING_HELP)

    def load(self, split: str) -> Samples:
        """Samples of "train" or "test".

        Raises:
            DatasetError: a file is missing or is no idx file, or another split.
        """
        check_split(self.name, split)
        images = read_idx(self._file(split, "images-idx3-ubyte"), 3)
        labels = read_idx(self._file(split, "labels-idx1-ubyte"), 1)
        if len(images) != len(labels):
            raise DatasetError(
                f"{self.path.name}: expected as many labels as images, got {len(labels)} and "
                f"{len(images)}; get the files again"
            )
        some = evenly(len(labels), self.limit)
        digits = [str(d) for d in range(10)]
        found = images[some, :, :, np.newaxis]
        return labelled(found, labels[some], digits, self.path.name, self.preprocessing)

    def _file(self, split: str, kind: str) -> Path:
        name = f"{_PREFIX[split]}-{kind}"
        variants = (name, name.replace("-idx", ".idx"))
        for candidate in (self.path / (v + suffix) for v in variants for suffix in ("", ".gz")):
            if candidate.is_file():
                return candidate
        raise DatasetError(
            f"{self.path.absolute()}: expected a file {name} or {name}.gz, got none; give the "
            "folder of MNIST's four files as path"
        )


def read_idx(path: Path, rank: int) -> NDArray[np.uint8]:
    """The unsigned bytes of an idx file with `rank` axes.

    The size is taken from the header and checked, before and after reading.

    Raises:
        DatasetError: the header is none, or the content is shorter or longer than it says.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file: Any = gzip.GzipFile(fileobj=raw) if zipped else raw
            header = file.read(4 + 4 * rank)
            shape = _shape(path.name, header, rank)
            content = file.read(math.prod(shape) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(
            f"{path.name}: expected a whole idx file, got: {error}; get it again"
        ) from error
    if len(content) != math.prod(shape):
        raise DatasetError(
            f"{path.name}: expected {math.prod(shape)} bytes as its header says, got "
            f"{'more' if len(content) > math.prod(shape) else len(content)}; get it again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _shape(name: str, header: bytes, rank: int) -> tuple[int, ...]:
    magic = bytes((0, 0, _UNSIGNED_BYTE, rank))
    if header[:4] != magic or len(header) != 4 + 4 * rank:
        raise DatasetError(
            f"{name}: expected an idx file of unsigned bytes with {rank} axes (magic "
            f"{magic.hex()}), got {header[:4].hex() or 'an empty file'}; get it again"
        )
    shape: tuple[int, ...] = struct.unpack(f">{rank}I", header[4:])
    check_size(name, shape)
    return shape
