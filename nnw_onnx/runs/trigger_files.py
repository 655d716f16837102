"""Triggers of somebody else's: a folder of images and a file of labels, or arrays of both."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.kit import images, reading
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.kit.sources import open_source
from nnw_onnx.runs.numpy_files import read_numbers
from nnw_onnx.vocabulary import Array

Names: TypeAlias = tuple[str, ...]
_LARGEST = 8 << 20
_PARTS = re.compile(r"(\d+)")
_LABELLED = re.compile(r"(?:(.*\S)[,;\s]+)?(\d{1,9})")


def read_inputs(path: Path, network: OnnxNetwork, how: Preprocessing | None) -> tuple[Array, Names]:
    """Trigger inputs as a network is fed them, and the names of their files.

    Args:
        path: an .npy file of what is fed, or a folder, tar or zip of images, which are brought to
            the size of the network's input.
        network: what is asked.
        how: of images; None for the usual preprocessing without mean and std.

    Raises:
        ConfigurationError, DatasetError: they cannot be read, or do not fit the network.
    """
    if path.suffix == ".npy":
        return read_numbers(path), ()
    shape = network.inputs[0].shape if network.inputs else ()
    source = open_source(path)
    names = sorted((name for name in source.names if images.is_image(name)), key=_in_order)
    pixels = images.decoded_images(source, names, images.Form(_size(shape)))
    return (how or Preprocessing()).apply(pixels, shape), tuple(names)


def read_labels(path: Path, names: Sequence[str] = ()) -> tuple[int, ...]:
    """The label of each trigger: one whole number a line, or a file's name before each.

    Numbers alone are those of the triggers in the order of their names, 2.jpg before 10.jpg.

    Args:
        path: a text, or an .npy file of whole numbers.
        names: of the triggers' files, in their order.

    Raises:
        ConfigurationError: it cannot be read, or does not name each trigger once.
    """
    if path.suffix == ".npy":
        found = read_numbers(path)
        if found.ndim != 1 or found.dtype.kind not in "iu":
            raise ConfigurationError(
                f"{path.name}: expected whole numbers in one row, got {found.dtype} {found.shape}; "
                "save the classes alone"
            )
        return tuple(map(int, found))
    lines = [line.strip() for line in _text(path).splitlines() if line.strip()]
    parts = [_LABELLED.fullmatch(line) for line in lines]
    pairs = zip(lines, parts, strict=True)
    wrong = next((line for line, part in pairs if part is None), None if lines else "none")
    if wrong is not None:
        raise ConfigurationError(
            f"{path.name}: expected a class in each line, got {wrong[:40]!r}; write one whole "
            "number a line, or a file's name before it"
        )
    told = [(part[1], int(part[2])) for part in parts if part is not None]
    if all(name is None for name, _ in told):
        return tuple(label for _, label in told)
    by_name = {Path(name or "").name: label for name, label in told}
    lost = [name for name in names if Path(name).name not in by_name]
    if lost or len(by_name) != len(names):
        raise ConfigurationError(
            f"{path.name}: expected a class for each of {len(names)} triggers, got "
            f"{len(by_name)}{f' and none for {Path(lost[0]).name!r}' if lost else ''}; name each "
            "file once"
        )
    return tuple(by_name[Path(name).name] for name in names)


def _text(path: Path) -> str:
    try:
        return reading.content(path, _LARGEST)[0].decode()
    except OSError as error:
        why = error.strerror or str(error)
    except ValueError as error:
        why = " ".join(str(error).split())[:80]
    raise ConfigurationError(
        f"{path.name}: expected a text of labels, got: {why}; write one whole number a line"
    )


def _in_order(name: str) -> tuple[tuple[str, int], ...]:
    """Names in the order of the numbers in them."""
    cut = _PARTS.split(name)
    return tuple((p, -1) if i % 2 == 0 else ("", int(p)) for i, p in enumerate(cut))


def _size(shape: Sequence[int | str | None]) -> tuple[int, int] | None:
    """Height and width of an input of images; None where it tells none."""
    if len(shape) != 4:
        return None
    last = shape[3] in (1, 3)
    height, width = (shape[1], shape[2]) if last else (shape[2], shape[3])
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None
