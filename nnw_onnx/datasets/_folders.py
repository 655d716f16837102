"""Which files of a source belong to a split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from nnw_onnx.errors import DatasetError

_WORDS = re.compile(r"[a-z]+")
TEST_FOLDER_HELP = "name of the folder of the test split, where several could be meant: val"
SPLIT_FOLDERS = {"train": ("train", "training"), "test": ("test", "val", "valid", "validation")}


def in_split(
    title: str,
    names: Sequence[str],
    split: str,
    only_split: str | None,
    test_folder: str = "",
) -> list[str]:
    """Names with a folder of the split anywhere in them; the first form that is there counts.

    Where no folder is named so, those count that have it as a word, as `DIV2K_valid_HR`.

    Args:
        title: of the source, for messages.
        names: of files.
        split: "train" or "test".
        only_split: the split of all files, where no folder names it; then those of the other one
            are none.
        test_folder: name of the folder of the test split, where several could be meant.

    Raises:
        DatasetError: there are none.
    """
    if only_split is not None:
        found = list(names) if only_split == split else []
    else:
        folders = {n: n.split("/")[:-1] for n in names}
        words = {n: _WORDS.findall(n.rpartition("/")[0].lower()) for n in names}
        forms = (
            [n for n in names if folder in told[n]]
            for told in (folders, words)
            for folder in (
                [test_folder] if test_folder and split == "test" else SPLIT_FOLDERS[split]
            )
        )
        found = next((form for form in forms if form), [])
    if not found:
        raise DatasetError(
            f"{title}: expected files in a folder {split!r}, got none among {len(names)} files; "
            "correct the path, or set the option only_split for files without such a folder"
        )
    return found


def inside(name: str, folder: str, ending: str = "") -> bool:
    """Whether the file lies in a folder of this name, at any depth.

    Args:
        name: of the file.
        folder: its name, or a pattern of names with "*".
        ending: what the name must end with before its suffix.
    """
    *parents, file = name.split("/")
    ends = file.rpartition(".")[0].endswith(ending)
    return ends and any(_is_named(part, folder) for part in parents)


def _is_named(part: str, folder: str) -> bool:
    return part == folder or fnmatchcase(part, folder)


def pair_key(name: str, folder: str, ending: str = "") -> str:
    """What two files of a pair have in common: the name without `folder`, `ending` and suffix."""
    *parents, file = name.split("/")
    places = [i for i, part in enumerate(parents) if _is_named(part, folder)]
    kept = parents[: places[-1]] + parents[places[-1] + 1 :] if places else parents
    return "/".join([*kept, file.rpartition(".")[0].removesuffix(ending)])
