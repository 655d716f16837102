"""Which files of a source belong to a split."""

from __future__ import annotations

from collections.abc import Sequence

from nnw_onnx.errors import DatasetError

SPLIT_FOLDERS = {"train": ("train", "training"), "test": ("test", "val", "valid", "validation")}


def in_split(title: str, names: Sequence[str], split: str, only_split: str | None) -> list[str]:
    """Names with a folder of the split anywhere in them; the first form that is there counts.

    Args:
        title: of the source, for messages.
        names: of files.
        split: "train" or "test".
        only_split: the split of all files, where no folder names it; then those of the other one
            are none.

    Raises:
        DatasetError: there are none.
    """
    if only_split is not None:
        found = list(names) if only_split == split else []
    else:
        forms = ([n for n in names if f in n.split("/")[:-1]] for f in SPLIT_FOLDERS[split])
        found = next((form for form in forms if form), [])
    if not found:
        raise DatasetError(
            f"{title}: expected files in a folder {split!r}, got none among {len(names)} files; "
            "correct the path, or set the option only_split for files without such a folder"
        )
    return found


def inside(name: str, folder: str) -> bool:
    """Whether the file lies in a folder of this name, at any depth."""
    return folder in name.split("/")[:-1]


def pair_key(name: str, folder: str) -> str:
    """What two files of a pair have in common: the name without `folder` and suffix."""
    *parents, file = name.split("/")
    places = [i for i, part in enumerate(parents) if part == folder]
    kept = parents[: places[-1]] + parents[places[-1] + 1 :] if places else parents
    return "/".join([*kept, file.rpartition(".")[0]])
