"""Small real data sets, made of what comes with the dependencies and of the shared data.

Nothing here is a benchmark: the pictures are a handful, and the masks are the unmarked network's
own answers, so that its mean IoU is 1 and every loss is a change of its answers.
"""

from __future__ import annotations

import json
import shutil
import sysconfig
from pathlib import Path

import numpy as np
from PIL import Image

from nnw_onnx.graph import open_network
from nnw_onnx.inference import Session
from nnw_onnx.kit.images import Form, decoded
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.kit.samples import ImageSamples, only_feed

VOC_CLASSES = 21
PERSON = 15
DEEPLAB = "models/segmentation/deeplab_v3_1_default_1.onnx"
SUPERRES = "models/superres/pytorch_super_resolution.onnx"
LIFE = "models/regression/vnn22_NN_rul_small_window_20.onnx"
YOLOX = "models/detection/yolox_nano.onnx"
MAGIKA = "models/text-bytes/magika_standard_v2_1.onnx"
FROM_MINUS_ONE = Preprocessing(scale=1 / 127.5, mean=(1.0,))

KINDS = {"c": 17, "csv": 32, "html": 71, "javascript": 83, "python": 143, "rst": 151, "svg": 170}
"""Some of the content types of Magika's model standard_v2_1 -> their places in its output."""

MAGIKA_CLASSES = 213

COCO_CLASSES = 80
SEEN = {"grace_hopper": {0: (15, 22, 512, 600), 27: (216, 408, 300, 450)}}
"""Picture -> place of the class among COCO's 80 -> left, top, right, bottom: a person and her tie,
as we see them."""


def pictures(shared_data: Path, triggers: int = 3) -> dict[str, Path]:
    """Photographs of scikit-learn and matplotlib, and some of the shared trigger images."""
    import matplotlib
    import sklearn.datasets

    photographs = Path(sklearn.datasets.__file__).parent / "images"
    samples = Path(matplotlib.get_data_path()) / "sample_data"
    found = [photographs / "china.jpg", photographs / "flower.jpg", samples / "grace_hopper.jpg"]
    folder = shared_data / "triggers-adi" / "data" / "trigger_set" / "pics"
    found += [folder / f"{i + 1}.jpg" for i in range(triggers)]
    return {path.stem: path for path in found}


def clean_pictures(folder: Path, shared_data: Path, triggers: int = 3) -> Path:
    """`test/<name>.jpg` of `pictures`, for the data set restoration-folder."""
    (folder / "test").mkdir(parents=True)
    for name, path in pictures(shared_data, triggers).items():
        shutil.copy(path, folder / "test" / f"{name}.jpg")
    return folder


def segmented_pictures(folder: Path, shared_data: Path, triggers: int = 3) -> Path:
    """`test/images` with `test/masks` that DeepLab itself answers, for segmentation-folder."""
    session = Session(open_network(shared_data / DEEPLAB).runnable())
    for kind in ("images", "masks"):
        (folder / "test" / kind).mkdir(parents=True)
    for name, path in pictures(shared_data, triggers).items():
        image = decoded(name, path.read_bytes(), Form((257, 257)))
        one = ImageSamples(image[np.newaxis], np.zeros(1), FROM_MINUS_ONE).fitted(session.inputs)
        scores = only_feed(session.predict(one.read(np.arange(1)).feeds))
        mask = scores[0].argmax(axis=-1).astype(np.uint8)
        # Without loss, so that the network sees the very pixels that it answered.
        Image.fromarray(image).save(folder / "test" / "images" / f"{name}.png")
        Image.fromarray(mask).save(folder / "test" / "masks" / f"{name}.png")
    return folder


def annotated_pictures(folder: Path, shared_data: Path) -> Path:
    """Photographs with `annotations.json` of what we see in them, for the data set coco."""
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number, (name, path) in enumerate(pictures(shared_data, triggers=0).items()):
        shutil.copy(path, folder / path.name)
        width, height = Image.open(path).size
        size = {"width": width, "height": height}
        images.append({"id": number, "file_name": path.name, **size})
        for place, (left, top, right, bottom) in SEEN.get(name, {}).items():
            box = [left, top, right - left, bottom - top]
            annotations.append({"image_id": number, "category_id": place, "bbox": box})
    categories = [{"id": place, "name": str(place)} for place in range(COCO_CLASSES)]
    told = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(told), encoding="utf-8")
    return folder


def typed_files(folder: Path, each: int = 12) -> Path:
    """`test/<kind>/<file>` of content types that Magika knows, for text-tokens by bytes."""
    import matplotlib
    import sklearn.datasets

    site, standard = Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("stdlib"))
    learn = Path(sklearn.datasets.__file__).parent
    plots = Path(matplotlib.get_data_path())
    sources = {
        "c": sorted((site / "numpy").rglob("*.c")),
        "csv": sorted((learn / "data").glob("*.csv")),
        "html": sorted((plots.parent / "backends").rglob("*.html")),
        "javascript": sorted((plots.parent / "backends").rglob("*.js")),
        "python": sorted(standard.glob("[b-z]*.py")),
        "rst": sorted((learn / "descr").glob("*.rst")),
        "svg": sorted((plots / "images").glob("*.svg")),
    }
    for kind, paths in sources.items():
        large = [p for p in paths if p.stat().st_size > 300]
        for path in large[:each]:
            target = folder / "test" / kind
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target / path.name)
    return folder


def magika_classes() -> tuple[str, ...]:
    """A name for each place of Magika's output; those that `KINDS` knows have their own."""
    names = {place: kind for kind, place in KINDS.items()}
    return tuple(names.get(i, f"type {i}") for i in range(MAGIKA_CLASSES))
