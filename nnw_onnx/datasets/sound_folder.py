"""Data set `sound-folder`: one folder of sounds for each class, or an archive of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge

from nnw_onnx.datasets._class_folders import class_files
from nnw_onnx.datasets._samples import LIMIT_HELP, LINKS_HELP
from nnw_onnx.datasets._sounds import Sounds
from nnw_onnx.datasets._splits import check_split
from nnw_onnx.kit.samples import evenly
from nnw_onnx.kit.sounds import is_sound
from nnw_onnx.kit.sources import open_source
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Samples


@dataclass(frozen=True, kw_only=True)
class SoundFolder(Sounds):
    """Sounds as `train/<class>/<sound>` and `test/<class>/<sound>`, .wav or what soundfile reads.

    Classes are the names of their folders, sorted as texts. Several channels become their mean.
    """

    name: ClassVar[str] = "sound-folder"
    summary: ClassVar[str] = "train/<class>/<sound> and test/<class>/<sound>: a folder, tar or zip"

    path: Path = option(help="folder, .tar, .tar.gz, .tgz or .zip file")
    only_split: Literal["train", "test"] | None = option(
        None, help="the split of class folders that lie in no train or test folder"
    )
    classes: tuple[str, ...] | dict[str, Annotated[int, Ge(0)]] = option(
        (), help="class folders in the order of the network, or a table folder = number of a class"
    )
    follow_links: bool = option(False, help=LINKS_HELP)
    limit: Annotated[int, Ge(1)] | None = option(None, help=LIMIT_HELP)

    def load(self, split: str) -> Samples:
        """Samples of "train" or "test", ordered by class and file name.

        Raises:
            DatasetError: files are missing, broken or hostile, or another split.
        """
        check_split(self.name, split)
        source = open_source(self.path, follow_links=self.follow_links)
        sounds = [name for name in source.names if is_sound(name)]
        found = class_files(source, split, sounds, "sound", self.only_split, self.classes)
        some = evenly(len(found.names), self.limit)
        names = [found.names[i] for i in some]
        facts = {"classes": found.classes, **found.facts}
        return self.heard(source, names, found.labels[some], facts)
