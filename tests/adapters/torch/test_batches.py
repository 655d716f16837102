"""Steps, rates, order and augmentation of batches, against closed forms and brute force."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from nnw_onnx.errors import TrainingError
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.vocabulary import Additions, Job, Recipe, TensorInfo

from .small_networks import normal

torch = pytest.importorskip("torch")

from nnw_onnx_torch.training.batches import (  # noqa: E402 - needs torch
    Feed,
    Place,
    augmented,
    batches_per_epoch,
    generator,
)
from nnw_onnx_torch.training.schedules import learning_rate, total_steps  # noqa: E402 - needs torch


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
    (found,), targets = augmented([copies], torch.arange(900), recipe, generator(0))
    assert targets.tolist() == list(range(900))
    assert found.is_contiguous(memory_format=torch.channels_last)
    known = crops(image, 2)
    seen = [known[np.ascontiguousarray(sample).tobytes()] for sample in found.numpy()]
    assert len(set(seen)) == kinds


@pytest.mark.parametrize("shape", [(8, 9), (2, 8, 9)])
@pytest.mark.parametrize("kind", [torch.int64, torch.float32])
def test_targets_of_places_move_with_the_image(shape: tuple[int, ...], kind: torch.dtype) -> None:
    """Of an image whose pixels are their numbers the target stays the same numbers."""
    numbers = torch.arange(72).reshape(1, 1, 8, 9).repeat(50, 1, 1, 1)
    wanted = numbers.reshape(50, *[1] * (len(shape) - 2), 8, 9).expand(50, *shape).to(kind)
    recipe = Recipe(augmentation="crop-flip", padding=2)
    (found,), targets = augmented([numbers.float()], wanted, recipe, generator(0))
    assert targets.dtype == kind
    assert tuple(targets.shape) == (50, *shape)
    assert torch.equal(targets.float(), found.expand(50, shape[0], 8, 9).reshape(50, *shape)
                       if len(shape) > 2 else found[:, 0])  # fmt: skip
    assert not torch.equal(targets, wanted)


def job(inputs: np.ndarray, own: ArraySamples | None = None, **changes: object) -> Job:
    """A job on these samples, labelled 0, 1, ..."""
    samples = ArraySamples({"x": inputs}, np.arange(len(inputs), dtype=np.int64))
    recipe = dataclasses.replace(Recipe(batch_size=4), **changes)  # type: ignore[arg-type]
    additions = None if own is None else Additions(samples=own)
    return Job(samples, recipe, "cross-entropy", seed=3, additions=additions)


def feed(wanted: Job, dtype: str = "float32") -> Feed:
    place = Place(torch.device("cpu"), torch.channels_last)
    return Feed(wanted, [TensorInfo("x", (), dtype)], place, batch_statistics=True)


def test_an_epoch_holds_every_sample_once_and_its_order_is_its_own() -> None:
    inputs = np.arange(10, dtype=np.float32)[:, None]
    made = feed(job(inputs))
    orders = [torch.cat([b.targets for b in made.epoch(e, 0)]).tolist() for e in (1, 2, 1)]
    assert sorted(orders[0]) == list(range(10))
    assert orders[0] == orders[2] != orders[1]
    for batch in made.epoch(1, 0):
        assert batch.inputs[0][:, 0].tolist() == batch.targets.tolist()
        assert batch.span == (batch.targets.min(), batch.targets.max())
        assert batch.own_targets is None


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16", "int64"])
def test_inputs_have_the_type_of_the_network(dtype: str) -> None:
    (batch,) = feed(job(np.ones((4, 2), np.float32)), dtype).epoch(1, 0)
    assert batch.inputs[0].dtype == getattr(torch, dtype)


def test_own_samples_are_appended_in_turn_and_never_augmented() -> None:
    images = normal(5, 3, 6, 6, seed=9)
    own = ArraySamples({"whatever": images}, np.array([50, 51, 52, 53, 54]))
    wanted = job(normal(8, 3, 6, 6), own, own_per_batch=2, augmentation="crop-flip")
    seen = []
    for number in (1, 2, 3, 4, 5):
        for batch in feed(wanted).epoch(number, 2 * (number - 1)):
            assert len(batch.inputs[0]) == 6
            assert (len(batch), batch.own) == (4, 2)
            assert batch.own_targets is not None
            for image, label in zip(batch.inputs[0][4:], batch.own_targets, strict=True):
                assert np.array_equal(image.numpy(), images[int(label) - 50])
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
    made = feed(job(normal(*shape), augmentation="crop", padding=padding))
    with pytest.raises(TrainingError) as caught:
        next(made.epoch(1, 0))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_targets_of_another_size_cannot_be_augmented() -> None:
    recipe = Recipe(augmentation="crop")
    with pytest.raises(
        TrainingError, match=r"targets of the size of the images \(8, 8\), got \(4, 4"
    ):
        augmented([torch.zeros(2, 3, 8, 8)], torch.zeros(2, 4, 4), recipe, generator(0))


class Short(ArraySamples):
    """Samples that do not answer what they are asked for."""

    def read(self, indices: np.ndarray) -> object:  # type: ignore[override]
        return super().read(indices[1:])


def test_samples_that_answer_too_few() -> None:
    wanted = dataclasses.replace(
        job(normal(8, 3)), samples=Short({"x": normal(8, 3)}, np.zeros(8, np.int64))
    )
    with pytest.raises(
        TrainingError, match=r"expected 4 inputs and targets, got an array \(3, 3\)"
    ):
        next(feed(wanted).epoch(1, 0))
