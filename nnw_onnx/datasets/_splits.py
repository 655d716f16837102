"""The two splits of a data set."""

from nnw_onnx.errors import DatasetError

SPLITS = ("train", "test")


def check_split(source: str, split: str) -> None:
    """Refuse a split that is neither "train" nor "test"."""
    if split not in SPLITS:
        raise DatasetError(
            f"{source}: expected the split 'train' or 'test', got {split!r}; correct it"
        )
