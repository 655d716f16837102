"""The three further tasks on real networks and real data."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import jaccard_score

from nnw_onnx import plugins
from nnw_onnx.graph import open_network
from nnw_onnx.inference import Session
from nnw_onnx.kit.meters import chance_check
from nnw_onnx.kit.samples import batches
from nnw_onnx.tasks.image_restoration import psnr
from nnw_onnx.vocabulary import Dataset, Quality, Samples, Spec, Task

from . import real_sets

pytestmark = pytest.mark.shared_data


def _quality(
    model: Path, dataset: Spec, task: str, batch: int = 16, **options: str
) -> tuple[Quality, Samples]:
    """Quality of a network on the test split, as a configuration names data set and task."""
    session = Session(open_network(model).runnable())
    samples = plugins.create(Dataset, dataset).load("test").fitted(session.inputs)
    meter = plugins.create(Task, Spec(task, options)).meter(samples)
    for part in batches(samples, batch):
        meter.add(session.predict(part.feeds, batch), part.targets)
    return meter.result(), samples


def _segmentation(folder: Path) -> Spec:
    options = {
        "path": str(folder),
        "classes": real_sets.VOC_CLASSES,
        "preprocessing": {"scale": 1 / 127.5, "mean": [1.0]},
    }
    return Spec("segmentation-folder", options)


def test_segmentation_of_photographs(tmp_path, shared_data):
    folder = real_sets.segmented_pictures(tmp_path, shared_data)
    model = shared_data / real_sets.DEEPLAB
    quality, _ = _quality(model, _segmentation(folder), "semantic-segmentation")
    assert quality.values == dict.fromkeys(quality.values, 1.0)
    masks = {p.stem: p for p in (folder / "test" / "masks").iterdir()}
    # What the network is known for: a portrait is mostly person.
    portrait = np.asarray(Image.open(masks["grace_hopper"]))
    assert 0.4 < np.mean(portrait == real_sets.PERSON) < 0.8
    rng = np.random.Generator(np.random.PCG64(0))
    told, true = [], []
    for path in sorted(masks.values()):
        answer = np.asarray(Image.open(path))
        changed = np.where(rng.random(answer.shape) < 0.1, 0, answer)
        changed[:5] = 255
        Image.fromarray(changed.astype(np.uint8)).save(path)
        told, true = [*told, answer[5:]], [*true, changed[5:]]
    told, true = np.concatenate(told).ravel(), np.concatenate(true).ravel()
    quality, _ = _quality(model, _segmentation(folder), "semantic-segmentation")
    expected = jaccard_score(true, told, labels=np.unique(true), average="macro")
    assert quality.values["mean IoU"] == pytest.approx(expected)
    assert quality.values["pixel accuracy"] == pytest.approx(np.mean(true == told))


def _detection(folder: Path, **changes: object) -> Spec:
    options = {
        "path": str(folder),
        "size": [416, 416],
        "fit": "corner",
        "preprocessing": {"scale": 1.0, "channels": "BGR"},
    }
    return Spec("coco", {**options, **changes})


def test_a_person_is_detected_before_anything_else(tmp_path, shared_data):
    folder = real_sets.annotated_pictures(tmp_path, shared_data)
    model = shared_data / real_sets.YOLOX
    quality, samples = _quality(model, _detection(folder), "object-detection", form="yolox")
    assert len(samples) == 3
    # Her tie ends where we see her shirt, which the network takes for a part of it.
    assert quality.values["AP50"] == pytest.approx(0.5)
    assert 0.35 < quality.values["mAP"] < 0.5
    # What the network was not made for costs most of it.
    scaled = _detection(folder, preprocessing={"channels": "BGR"})
    worse, _ = _quality(model, scaled, "object-detection", form="yolox")
    assert worse.values["mAP"] < 0.2


def test_super_resolution_is_better_than_bicubic(tmp_path, shared_data):
    folder = real_sets.clean_pictures(tmp_path, shared_data, triggers=1)
    options = {"path": str(folder), "size": [672, 672], "downscale": 3}
    model = shared_data / real_sets.SUPERRES
    dataset = Spec("restoration-folder", options)
    quality, samples = _quality(model, dataset, "image-restoration", 2)
    batch = samples.read(np.arange(len(samples)))
    bicubic = []
    for low, clean in zip(batch.feeds["input"][:, 0], batch.targets[:, 0], strict=True):
        large = Image.fromarray(low).resize((672, 672), Image.Resampling.BICUBIC)
        made = np.clip(np.asarray(large, np.float64), 0, 1)
        bicubic.append(psnr(made[..., np.newaxis], clean[..., np.newaxis].astype(np.float64)))
    assert (quality.scores > np.array(bicubic)).all()
    assert quality.values["PSNR"] == pytest.approx(quality.scores.mean())
    assert quality.values["SSIM"] > 0.85


def test_files_are_told_by_their_bytes(tmp_path, shared_data):
    folder = real_sets.typed_files(tmp_path)
    options = {
        "path": str(folder),
        "classes": list(real_sets.magika_classes()),
        "pad": 256,
        "keep": "ends",
    }
    dataset = Spec("text-tokens", options)
    quality, samples = _quality(shared_data / real_sets.MAGIKA, dataset, "text-classification")
    assert samples.read(np.arange(1)).feeds["bytes"].dtype == np.int32
    assert quality.values["top-1 accuracy"] > 0.85
    assert quality.values["recall"] > 0.8
    measure = plugins.load(Task, "text-classification").measures[0]
    assert chance_check(quality, measure) is None


def _bag_of_words(vocabulary: list[str], weights: np.ndarray, bias: np.ndarray) -> onnx.ModelProto:
    """Scores (n, 2): the sum of the weights of the tokens that the mask counts."""
    nodes = [
        helper.make_node("Gather", ["weights", "input_ids"], ["each"], axis=0),
        helper.make_node("Cast", ["attention_mask"], ["counted"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["counted", "last"], ["mask"]),
        helper.make_node("Mul", ["each", "mask"], ["own"]),
        helper.make_node("ReduceSum", ["own", "middle"], ["sum"], keepdims=0),
        helper.make_node("Add", ["sum", "bias"], ["scores"]),
    ]
    arrays = {
        "weights": weights.astype(np.float32),
        "bias": bias.astype(np.float32),
        "last": np.array([2]),
        "middle": np.array([1]),
    }
    ports = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"])
        for name in ("input_ids", "attention_mask")
    ]
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2])
    initializers = [numpy_helper.from_array(a, name) for name, a in arrays.items()]
    graph = helper.make_graph(nodes, "bag", ports, [scores], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_opinions_of_films_are_told_by_word_pieces(tmp_path, shared_data):
    """A logistic regression on words, as a network of token ids; SST-2 knows 50 % by chance."""
    folder = shared_data / "text" / "sst2"
    with (folder / "train.tsv").open(encoding="utf-8", newline="") as file:
        texts, labels = zip(*csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), strict=True)
    counter = CountVectorizer(min_df=2, token_pattern=r"[^\s]+")
    model = LogisticRegression(C=0.2, max_iter=300).fit(counter.fit_transform(texts), labels)
    words = list(counter.get_feature_names_out())
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]
    weights = np.zeros((len(vocabulary), 2))
    weights[4:, 1] = model.coef_[0]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    bias = np.array([0, model.intercept_[0]])
    onnx.save(_bag_of_words(vocabulary, weights, bias), tmp_path / "bag.onnx")
    options = {
        "path": str(folder),
        "tokenizer": "wordpiece",
        "vocabulary": str(tmp_path / "vocab.txt"),
        "length": 64,
    }
    dataset = Spec("text-tokens", options)
    quality, samples = _quality(tmp_path / "bag.onnx", dataset, "text-classification", 256)
    assert len(samples) == 1820 + 1
    assert quality.values["top-1 accuracy"] > 0.75
    with (folder / "test.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    direct = model.score(counter.transform([r[0] for r in rows]), [r[1] for r in rows])
    # Words with apostrophes are cut otherwise, which changes few answers.
    assert quality.values["top-1 accuracy"] == pytest.approx(direct, abs=0.02)
