"""Steps, rates, order and augmentation of batches, against closed forms and brute force."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Job, Recipe, TrainingData

from .small_networks import normal

torch = pytest.importorskip("torch")

from nnw_onnx_torch._batches import (  # noqa: E402 - needs torch
    Feed,
    augmented,
    batches_per_epoch,
    generator,
)
from nnw_onnx_torch._schedules import learning_rate, total_steps  # noqa: E402 - needs torch


@pytest.mark.parametrize(
    ("samples", "size", "drop", "batches"),
    [(10, 5, True, 2), (11, 5, True, 2), (11, 5, False, 3), (12, 5, True, 3), (3, 5, True, 1),
     (1, 5, True, 1), (1, 1, True, 1)],
)  # fmt: skip
def test_a_last_batch_is_kept_unless_it_is_single(
    samples: int, size: int, drop: bool, batches: int
) -> None:
    assert batches_per_epoch(samples, size, drop_single=drop) == batches


@pytest.mark.parametrize(
    ("epochs", "batches", "steps"), [(1, 7, 7), (2.5, 10, 25), (0.01, 10, 1), (0.26, 10, 3)]
)
def test_epochs_are_rounded_to_steps(epochs: float, batches: int, steps: int) -> None:
    assert total_steps(epochs, batches) == steps


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1.0] * 10),
        ("linear", [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        ("cosine", [(1 + np.cos(np.pi * k / 10)) / 2 for k in range(10)]),
        ("triangular", [0.5, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
    ],
)
def test_learning_rate_of_ten_steps(schedule: str, expected: list[float]) -> None:
    recipe = Recipe(learning_rate=0.3, schedule=schedule)  # type: ignore[arg-type]
    found = [learning_rate(recipe, step, 10) for step in range(10)]
    assert found == pytest.approx(np.multiply(expected, 0.3).tolist(), rel=1e-12)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "triangular"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_trainings_learn_too(schedule: str, steps: int) -> None:
    recipe = Recipe(learning_rate=0.3, schedule=schedule)  # type: ignore[arg-type]
    rates = [learning_rate(recipe, step, steps) for step in range(steps)]
    assert all(0 < rate <= 0.3 for rate in rates)
    assert rates[0] == pytest.approx(0.3)


def crops(image: np.ndarray, padding: int) -> dict[bytes, tuple[int, int, int]]:
    """Every crop of an image (c, h, w) padded by numpy, and its mirror image."""
    around = ((0, 0), (padding, padding), (padding, padding))
    padded = np.pad(image, around, mode="reflect")
    height, width = image.shape[1:]
    return {
        np.ascontiguousarray(cut[..., ::flip]).tobytes(): (down, right, flip)
        for down, right in itertools.product(range(2 * padding + 1), repeat=2)
        for cut in [padded[:, down : down + height, right : right + width]]
        for flip in (1, -1)
    }


@pytest.mark.parametrize(("kind", "kinds"), [("crop", 25), ("crop-flip", 50)])
def test_augmented_images_are_crops_of_the_padded_ones(kind: str, kinds: int) -> None:
    image = normal(3, 8, 9)
    recipe = Recipe(augmentation=kind, padding=2)  # type: ignore[arg-type]
    copies = torch.from_numpy(np.repeat(image[None], 900, axis=0))
    found = augmented(copies, recipe, generator(0))
    assert found.is_contiguous(memory_format=torch.channels_last)
    known = crops(image, 2)
    seen = [known[np.ascontiguousarray(sample).tobytes()] for sample in found.numpy()]
    assert len(set(seen)) == kinds


def job(inputs: np.ndarray, **changes: object) -> Job:
    """A job on these samples, labelled 0, 1, ..."""
    data = TrainingData(inputs, np.arange(len(inputs), dtype=np.int64), len(inputs))
    return Job(data, dataclasses.replace(Recipe(batch_size=4), **changes), seed=3)  # type: ignore[arg-type]


def feed(wanted: Job, triggers: object = None) -> Feed:
    return Feed(
        wanted,
        triggers,  # type: ignore[arg-type]
        device=torch.device("cpu"),
        dtype=torch.float32,
        memory_format=torch.channels_last,
        batch_statistics=True,
    )


def test_an_epoch_holds_every_sample_once_and_its_order_is_its_own() -> None:
    inputs = np.arange(10, dtype=np.float32)[:, None]
    made = feed(job(inputs))
    orders = [torch.cat([b.labels for b in made.epoch(e, 0)]).tolist() for e in (1, 2, 1)]
    assert sorted(orders[0]) == list(range(10))
    assert orders[0] == orders[2] != orders[1]
    for batch in made.epoch(1, 0):
        assert batch.inputs[:, 0].tolist() == batch.labels.tolist()


def test_triggers_are_appended_in_turn_and_never_augmented() -> None:
    inputs = normal(8, 3, 6, 6)
    asked = normal(5, 3, 6, 6, seed=9), np.array([50, 51, 52, 53, 54])
    wanted = job(inputs, triggers_per_batch=2, augmentation="crop-flip")
    seen = []
    for number in (1, 2, 3, 4, 5):
        for batch in feed(wanted, asked).epoch(number, 2 * (number - 1)):
            assert len(batch.inputs) == 6
            for image, label in zip(batch.inputs[4:], batch.trigger_labels, strict=True):
                assert np.array_equal(image.numpy(), asked[0][int(label) - 50])
                seen.append(int(label))
    assert len(seen) == 20
    assert all(sorted(seen[k : k + 5]) == [50, 51, 52, 53, 54] for k in (0, 5, 10, 15))


@pytest.mark.parametrize(
    ("shape", "padding", "message"),
    [
        ((4, 7), 2, "expected images (n, c, h, w), got samples of shape (7,); set augmentation"),
        ((4, 8, 8, 3), 2, "expected images (n, c, h, w), got samples of shape (8, 8, 3); set"),
        ((4, 3, 8, 4), 4, "padding: expected less than the 4 pixels of an image, got 4; choose a"),
    ],
)
def test_what_cannot_be_augmented(shape: tuple[int, ...], padding: int, message: str) -> None:
    with pytest.raises(TrainingError) as caught:
        feed(job(normal(*shape), augmentation="crop", padding=padding))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
