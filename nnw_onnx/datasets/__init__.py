"""One file = one plug-in; see `nnw_onnx.plugins`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def trigger_images(path: str | Path, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """All images (n, height, width, 3) of a folder, tar or zip, in the order of their names.

    Args:
        path: where they are, at any depth.
        size: (height, width) that each is brought to, or None where all have one size.

    Raises:
        DatasetError: there are none, or one is broken or too large.
    """
    from nnw_onnx.datasets._image_files import decoded_images, is_image
    from nnw_onnx.datasets._sources import open_source

    source = open_source(Path(path))
    return decoded_images(source, [name for name in source.names if is_image(name)], size)
