"""Arrays of .npy files from elsewhere, read as untrusted input: sizes first, and never a pickle."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit.sources import check_size
from nnw_onnx.vocabulary import Array

_MOST_HEADER = 10_000
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_BROKEN = (ValueError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError, EOFError)


def read_numbers(path: Path) -> Array:
    """The array of a .npy file: real numbers or truth values.

    Raises:
        ConfigurationError: it is absent, no whole .npy file, too large, or holds what is no number.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            # numpy warns of headers that Python 2 wrote, which are as good as any.
            warnings.simplefilter("ignore")
            version = np.lib.format.read_magic(file)
            shape, _, dtype = _READERS[version](file, max_header_size=_MOST_HEADER)
            _check(path, dtype)
            check_size(path.name, shape, max(dtype.itemsize, 1))
            rest = path.stat().st_size - file.tell()
            if rest < math.prod(shape) * dtype.itemsize:
                raise ValueError(f"{rest} bytes for an array of shape {shape}")
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False, max_header_size=_MOST_HEADER)
    except KeyError as error:
        raise _unread(path, "another version of that form") from error
    except OSError as error:
        raise _unread(path, error.strerror or str(error)) from error
    except _BROKEN as error:
        raise _unread(path, " ".join(str(error).split())[:120]) from error


def _check(path: Path, dtype: np.dtype[np.generic]) -> None:
    if dtype.hasobject or dtype.kind not in "biuf":
        got = "Python objects, which are never read" if dtype.hasobject else str(dtype)
        raise ConfigurationError(
            f"{path.name}: expected an array of real numbers, got {got}; save it with numpy.save "
            "as plain numbers"
        )


def _unread(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path.name}: expected a whole .npy file, got: {why}; save it with numpy.save"
    )
