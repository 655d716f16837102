"""Clauses on data sets and tasks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

import numpy as np

from nnw_onnx.errors import DatasetError
from nnw_onnx.testing.checks import TaskCase, refused, require
from nnw_onnx.vocabulary import Array, Dataset, Quality, Samples, Targets, Values

_SPLITS = ("train", "test")


def _loads(dataset: Dataset) -> None:
    for split in _SPLITS:
        found = dataset.load(split)
        require(isinstance(found, Samples) and len(found) > 0, f"samples of {split!r}", found,
                "return Samples with at least one")  # fmt: skip
        require(len(found.digest) == 64, "a digest of 64 hexadecimal digits", found.digest,
                "use SHA-256 of the data")  # fmt: skip
        require(json.dumps(dict(found.facts)), "facts of JSON values", "none", "convert them")
    refused(DatasetError, "a split that does not exist", lambda: dataset.load("no such split"))


def _is_repeatable(dataset: Dataset) -> None:
    first, second = (dataset.load("test") for _ in range(2))
    require(first.digest == second.digest, "the same digest for the same data", "another",
            "hash the content and nothing else")  # fmt: skip
    require(first.digest != dataset.load("train").digest, "another digest for another split",
            "the same", "hash the content")  # fmt: skip


def _reads_any_order(dataset: Dataset) -> None:
    samples = dataset.load("test")
    order = np.array([len(samples) - 1, 0, len(samples) // 2, 0], np.int64)
    together = samples.read(order)
    require(len(together.targets) == len(order), f"{len(order)} targets", len(together.targets),
            "one for each index")  # fmt: skip
    for place, index in enumerate(order):
        alone = samples.read(np.array([index], np.int64))
        for name, values in together.feeds.items():
            same = np.array_equal(values[place], alone.feeds[name][0])
            require(same, f"sample {index} of {name!r} the same in any order", "another",
                    "read by index")  # fmt: skip


def _keeps_its_data(dataset: Dataset) -> None:
    samples, first = dataset.load("test"), np.arange(1, dtype=np.int64)
    given = samples.read(first)
    kept = {name: values.copy() for name, values in given.feeds.items()}
    for values in given.feeds.values():
        if values.flags.writeable:
            values[...] = 0
    again = samples.read(first)
    same = all(np.array_equal(again.feeds[name], values) for name, values in kept.items())
    require(same, "data that a caller cannot change", "changed ones", "return copies or lock them")


def _measures(case: TaskCase, answers: Values, size: int) -> Quality:
    meter = case.task.meter(case.samples)
    for start in range(0, len(case.samples), size):
        indices = np.arange(start, min(start + size, len(case.samples)))
        targets: Targets = case.samples.read(indices).targets
        meter.add({name: values[indices] for name, values in answers.items()}, targets)
    return meter.result()


def _has_every_measure(case: TaskCase) -> None:
    quality, task = _measures(case, case.answers, 7), case.task
    names = [measure.name for measure in task.measured()]
    require(list(quality.values) == names, f"the measures {names} in this order",
            list(quality.values), "fill each of Task.measures")  # fmt: skip
    require(task.guard is None or task.guard in names, f"a guard among {names}", task.guard,
            "name a measure, or none")  # fmt: skip
    for measure in task.measured():
        value = quality.values[measure.name]
        low = -np.inf if measure.low is None else measure.low
        high = np.inf if measure.high is None else measure.high
        require(np.isfinite(value) and low - 1e-9 <= value <= high + 1e-9,
                f"{measure.name} from {low} to {high}", value, "see its bounds")  # fmt: skip


def _does_not_see_batches(case: TaskCase) -> None:
    whole, parts = (_measures(case, case.answers, size) for size in (len(case.samples), 3))
    for name, value in whole.values.items():
        require(np.isclose(value, parts.values[name], rtol=1e-9, atol=1e-12),
                f"{name} = {value:.9g} however samples are batched", parts.values[name],
                "add up over samples, not over batches")  # fmt: skip


def _scores_fit(case: TaskCase) -> None:
    quality = _measures(case, case.answers, 7)
    if quality.scores is None:
        return
    require(quality.scores.shape == (len(case.samples),) and np.isfinite(quality.scores).all(),
            f"{len(case.samples)} finite scores", quality.scores.shape, "one a sample")  # fmt: skip
    weights = quality.weights
    require(weights is None or (weights.shape == quality.scores.shape and (weights >= 0).all()),
            "a weight >= 0 for each score", weights, "one a sample")  # fmt: skip


def _prefers_right_answers(case: TaskCase) -> None:
    measure = case.task.measured()[0]
    right = _measures(case, case.answers, 7).values[measure.name]
    shifted = {n: np.roll(values, 1, axis=0) for n, values in case.answers.items()}
    wrong = _measures(case, shifted, 7).values[measure.name]
    require(measure.loss(right, wrong) > 0, f"{measure.name} better for right answers than for "
            "those of the next sample", f"{right:.4g} and {wrong:.4g}",
            "see Measure.better, or give better answers")  # fmt: skip


def _only_looks(case: TaskCase) -> None:
    kept = {name: values.copy() for name, values in case.answers.items()}
    first, again = (_measures(case, case.answers, 5) for _ in range(2))
    same = _equal(kept.values(), case.answers.values())
    require(same, "untouched answers", "changed ones", "copy before changing")
    require(dict(first.values) == dict(again.values), "the same quality of the same answers",
            "another", "make a new meter each time")  # fmt: skip


def _equal(first: Iterable[Array], second: Iterable[Array]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


DATASET_CLAUSES: dict[str, Callable[[Dataset], None]] = {
    "loads both splits": _loads,
    "is repeatable": _is_repeatable,
    "reads samples in any order": _reads_any_order,
    "keeps its data": _keeps_its_data,
}
TASK_CLAUSES: dict[str, Callable[[TaskCase], None]] = {
    "gives every measure within its bounds": _has_every_measure,
    "does not see batches": _does_not_see_batches,
    "has scores that fit": _scores_fit,
    "prefers right answers": _prefers_right_answers,
    "only looks at answers": _only_looks,
}
