"""Data set `coco`: images with boxes around things, annotated in the form of COCO."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from nnw_onnx.datasets._coco_annotations import Annotation, Annotations, Picture, read_annotations
from nnw_onnx.datasets._samples import (
    LIMIT_HELP,
    LINKS_HELP,
    ORIENTATION_HELP,
    PREPROCESSING_HELP,
    check_classes,
)
from nnw_onnx.datasets._splits import check_split
from nnw_onnx.errors import DatasetError
from nnw_onnx.kit.images import Fit, Form, images_of
from nnw_onnx.kit.preprocessing import MAX_SIDE, Preprocessing
from nnw_onnx.kit.samples import ImageSamples, evenly
from nnw_onnx.kit.sources import Source, open_source
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Dataset, Json, Samples

Side = Annotated[int, Ge(1), Le(MAX_SIDE)]


@dataclass(frozen=True)
class Coco(Dataset):
    """Images and a file of annotations that names them, in one folder or archive.

    Targets are boxes (k, 6) for each image: left, top, right and bottom in pixels of the input that
    the image becomes, the place of its class, and 1 for a crowd. Overlaps are the same there as in
    the image itself, since an image is only stretched along its axes and moved.
    """

    name: ClassVar[str] = "coco"
    summary: ClassVar[str] = "images with boxes in the form of COCO: a folder, tar or zip"

    path: Path = option(help="folder, .tar, .tar.gz, .tgz or .zip file")
    size: tuple[Side, Side] = option(help="(height, width) of the network's input")
    annotations: str = option(
        "annotations.json", help="file of annotations in it, of the images for testing"
    )
    train_annotations: str = option("", help="likewise of those for training, where there are some")
    images: str = option(
        "", help="folder that file names are seen from; without it, images are found by their name"
    )
    classes: tuple[str, ...] = option(
        (), help="categories in the order of the network; without it, in that of their ids"
    )
    fit: Fit = option(
        "stretch",
        help="of images of other proportions: stretch, or keep them in a corner or the middle",
    )
    fill: Annotated[int, Ge(0), Le(255)] = option(114, help="value of the pixels around them")
    orientation: Literal["stored", "exif"] = option("stored", help=ORIENTATION_HELP)
    follow_links: bool = option(False, help=LINKS_HELP)
    limit: Annotated[int, Ge(1)] | None = option(None, help=LIMIT_HELP)
    preprocessing: Preprocessing = option(Preprocessing(), help=PREPROCESSING_HELP)

    def load(self, split: str) -> Samples:
        """Samples of "train" or "test", in the order of the images' ids.

        Raises:
            DatasetError: files are missing, broken or hostile, a category is not among the
                classes, there is no box at all, or another split.
        """
        check_split(self.name, split)
        if self.preprocessing.resize is not None:
            raise DatasetError(
                f"{self.name}: expected the size of inputs as the option size, which boxes follow, "
                "got preprocessing.resize; move it there"
            )
        source = open_source(self.path, follow_links=self.follow_links)
        found = self._annotations(source, split)
        classes, places = self._classes(source.title, found)
        pictures = [found.images[i] for i in evenly(len(found.images), self.limit)]
        form = Form(self.size, None, self.orientation == "exif", self.fit, self.fill)
        targets = _targets(source.title, pictures, found.annotations, places, form)
        images = images_of(source, self._files(source, pictures), form)
        ids: dict[int, Json] = {place: identity for identity, place in places.items()}
        facts: dict[str, Json] = {
            "classes": classes,
            "ids": [ids.get(place) for place in range(len(classes))],
            "size": list(self.size),
        }
        return ImageSamples(images, targets, self.preprocessing, facts)

    def _annotations(self, source: Source, split: str) -> Annotations:
        name = self.annotations if split == "test" else self.train_annotations
        if name not in source.names:
            which = "annotations" if split == "test" else "train_annotations"
            raise DatasetError(
                f"{source.place}: expected a file {name!r} of annotations for the split {split!r}, "
                f"got none; set the option {which}"
            )
        return read_annotations(f"{source.title}: {name}", dict(source.read([name]))[name])

    def _classes(self, title: str, found: Annotations) -> tuple[list[str], dict[int, int]]:
        """Names in the order of the network, and the place of each id among them."""
        names = list(self.classes) or [category.name for category in found.categories]
        check_classes(title, len(names))
        index = {name: place for place, name in enumerate(names)}
        lacking = [c.name for c in found.categories if c.name not in index]
        if lacking or len(index) < len(names):
            raise DatasetError(
                f"{title}: expected each category once among {', '.join(names)[:200]}, got "
                f"{repr(lacking[0][:80]) if lacking else 'one twice'}; correct the option classes"
            )
        return names, {c.id: index[c.name] for c in found.categories}

    def _files(self, source: Source, pictures: Sequence[Picture]) -> list[str]:
        """Names in the source, each of which is one that was listed there."""
        known = defaultdict(list)
        for name in source.names:
            known[name.rpartition("/")[2]].append(name)
        found = [self._file(source, known, picture.file_name) for picture in pictures]
        if len(set(found)) < len(found):
            raise DatasetError(
                f"{source.place}: expected a file for each image, got one file for two; mend the "
                "annotations"
            )
        return found

    def _file(self, source: Source, known: dict[str, list[str]], name: str) -> str:
        wanted = f"{self.images}/{name}" if self.images else name
        alike = known[name.rpartition("/")[2]]
        found = [n for n in alike if n == wanted or (not self.images and n.endswith(f"/{name}"))]
        if len(found) != 1:
            raise DatasetError(
                f"{source.place}: expected one image {wanted[:200]!r}, got {len(found)}; correct "
                "the options path and images"
            )
        return found[0]


def _targets(
    title: str,
    pictures: Sequence[Picture],
    annotations: Sequence[Annotation],
    places: dict[int, int],
    form: Form,
) -> list[NDArray[np.float64]]:
    """Boxes (k, 6) of each picture as it is fed."""
    boxes: dict[int, list[list[float]]] = {picture.id: [] for picture in pictures}
    for one in annotations:
        if one.category_id not in places:
            raise DatasetError(
                f"{title}: expected annotations of categories that the file names, got the id "
                f"{one.category_id}; mend the file"
            )
        if one.image_id in boxes:
            left, top, width, height = one.bbox
            row = [left, top, left + width, top + height, places[one.category_id], one.iscrowd]
            boxes[one.image_id].append(row)
    if not any(boxes.values()):
        raise DatasetError(f"{title}: expected at least one box, got none; add annotations")
    return [_moved(np.array(boxes[p.id]).reshape(-1, 6), p, form) for p in pictures]


def _moved(boxes: NDArray[np.float64], picture: Picture, form: Form) -> NDArray[np.float64]:
    place = form.placed(picture.height, picture.width)
    scale = np.tile([place.width / picture.width, place.height / picture.height], 2)
    start = np.tile([place.left, place.top], 2)
    return np.concatenate([boxes[:, :4] * scale + start, boxes[:, 4:]], axis=1)
