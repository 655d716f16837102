"""Data set `speech-folder`: spoken sounds and what is said in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from nnw_onnx.datasets._folders import in_split
from nnw_onnx.datasets._samples import LIMIT_HELP, LINKS_HELP
from nnw_onnx.datasets._sounds import Sounds
from nnw_onnx.datasets._splits import check_split
from nnw_onnx.datasets._texts import columns_of, decoded, table_of
from nnw_onnx.errors import DatasetError
from nnw_onnx.kit.samples import evenly
from nnw_onnx.kit.sounds import is_sound
from nnw_onnx.kit.sources import Source, open_source
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Samples

_LISTED = ".trans.txt"

Said = Mapping[str, str]
"""Name of a sound -> what is said in it."""


@dataclass(frozen=True, kw_only=True)
class SpeechFolder(Sounds):
    """Sounds with their transcripts, in one of three forms; targets are characters.

    A table `test.tsv`, `test.csv` (or `dev`, `val`, `validation`, `train`) has a column of files,
    found by the end of their path, and one of texts, as Common Voice has them. Files `*.trans.txt`
    have the name of a sound, a space and the text in each line, as LibriSpeech. Otherwise there is
    a file `<sound>.txt` beside each sound in a folder `train` or `test`.
    """

    name: ClassVar[str] = "speech-folder"
    summary: ClassVar[str] = "sounds with transcripts: a table, .trans.txt or a .txt beside each"

    path: Path = option(help="folder, .tar, .tar.gz, .tgz or .zip file")
    sound: str = option("path", help="of a table: column of files, its number or its name")
    text: str = option("sentence", help="of a table: column of texts, likewise")
    only_split: Literal["train", "test"] | None = option(
        None, help="the split of sounds that lie in no train or test folder"
    )
    follow_links: bool = option(False, help=LINKS_HELP)
    limit: Annotated[int, Ge(1)] | None = option(None, help=LIMIT_HELP)

    def load(self, split: str) -> Samples:
        """Samples of "train" or "test", ordered by name; targets are code points of Unicode.

        Raises:
            DatasetError: files are missing, broken or hostile, a sound of a table or a transcript
                does not exist, or another split.
        """
        check_split(self.name, split)
        source = open_source(self.path, follow_links=self.follow_links)
        said = self._said(source, split)
        every = sorted(said)
        names = [every[i] for i in evenly(len(every), self.limit)]
        return self.heard(source, names, [points(said[name]) for name in names])

    def _said(self, source: Source, split: str) -> Said:
        sounds = [name for name in source.names if is_sound(name)]
        table = table_of(source.names, split) if self.only_split in (None, split) else ""
        if table:
            return self._of_table(source, table, sounds)
        found = in_split(str(source.place), sounds, split, self.only_split)
        listed = _listed(source)
        said = {name: text for name in found if (text := listed.get(_stem(name))) is not None}
        return said or _beside(source, found)

    def _of_table(self, source: Source, table: str, sounds: list[str]) -> Said:
        title = f"{source.title}: {table}"
        content = dict(source.read([table]))[table]
        # A row names the file alone or with its folders; so do the ends of paths.
        ends = {"/".join(n.split("/")[i:]): n for n in sounds for i in range(n.count("/") + 1)}
        said = {}
        for file, text in columns_of(title, content, {"sound": self.sound, "text": self.text}):
            if file not in ends:
                raise DatasetError(
                    f"{title}: expected a sound {file[:80]!r}, got none of this name among "
                    f"{len(sounds)} sounds; correct the option sound, or get the files again"
                )
            said[ends[file]] = text
        return said


def points(text: str) -> NDArray[np.int32]:
    """Code points of a text, which stands for it among targets."""
    return np.array([ord(char) for char in text], np.int32)


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]


def _listed(source: Source) -> dict[str, str]:
    """Name of a sound without suffix -> its text, of all lists."""
    said = {}
    for name, content in source.read([n for n in source.names if n.endswith(_LISTED)]):
        for line in decoded(f"{source.title}: {name}", content).splitlines():
            stem, _, text = line.strip().partition(" ")
            said[stem] = text
    return said


def _beside(source: Source, sounds: list[str]) -> Said:
    """The text beside each sound."""
    there = set(source.names)
    files = {name: f"{name.rpartition('.')[0]}.txt" for name in sounds}
    missing = [file for file in files.values() if file not in there]
    if missing:
        raise DatasetError(
            f"{source.title}: expected what is said in each sound, in a table, in files "
            f"*{_LISTED} or beside it, got no {missing[0]}; add it"
        )
    read = source.read(sorted(files.values()))
    texts = {name: decoded(f"{source.title}: {name}", content) for name, content in read}
    return {name: texts[file].strip() for name, file in files.items()}
