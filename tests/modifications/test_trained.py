"""The Modifications that train or mark again, on a bench without any framework."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
from scipy.special import softmax

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, TrainingError
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.testing import (
    ArrayBench,
    ArrayNetwork,
    ArrayTrainer,
    run,
    small_network,
    small_samples,
)
from nnw_onnx.vocabulary import (
    Claim,
    Epoch,
    Json,
    Key,
    Modification,
    Network,
    Payload,
    Recipe,
    Spec,
    Trained,
)

# oracles.json std.modifications: id, name, letter, smallest, largest
STANDARD = {
    "fine-tuning": (4, "E", 0, 0.5),
    "distillation": (5, "E", 1, 100),
    "overwriting": (6, "W", 2, 4),
}
RECIPE = Recipe(epochs=1, batch_size=40, learning_rate=0.01)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def make(name: str, intensity: float, **options):
    return plugins.create(Modification, Spec(name, {"intensity": intensity, **options}))


def bench(**given) -> ArrayBench:
    return ArrayBench(
        **{
            "samples": small_samples(),
            "transfer": small_samples(60),
            "recipe": RECIPE,
            "trainer": ArrayTrainer(),
            "run": run,
            "initial_epochs": 20.0,
            **given,
        }
    )


class Idle(ArrayTrainer):
    """A trainer that leaves every network as it is, whatever the loss."""

    def train(self, network, job, **rest):
        return Trained(network, (Epoch(1, 0.5),), 1)


def all_of(samples):
    return samples.read(np.arange(len(samples)))


@pytest.mark.parametrize("name", STANDARD)
def test_parameters_of_the_standard(name):
    plugin = plugins.load(Modification, name)
    parameter = plugin.parameter
    found = (plugin.number, parameter.letter, parameter.low, parameter.high)
    assert found == STANDARD[name]
    assert not plugin.aims


@pytest.mark.parametrize(
    ("name", "options", "needed", "opens"),
    [
        ("fine-tuning", {}, ("trainer", "initial_epochs", "data"), ()),
        ("fine-tuning", {"transfer": True}, ("trainer", "initial_epochs", "transfer"), ()),
        ("distillation", {}, ("trainer", "data"), ()),
        ("distillation", {"student": "nnw:x.onnx"}, ("trainer", "data"), ("nnw:x.onnx",)),
        ("overwriting", {}, ("method",), ()),
    ],
)
def test_what_is_needed_follows_from_the_options(name, options, needed, opens):
    made = make(name, 1, **options)
    assert made.needed() == needed
    assert made.opens() == opens


def test_fine_tuning_trains_for_a_ratio_of_the_initial_epochs():
    used = bench()
    plain = small_network()
    made = make("fine-tuning", 0.25, learning_rate=0.005, schedule="cosine")
    done = made.modify(plain, used, generator())
    (job,) = used.jobs
    assert job.recipe == dataclasses.replace(
        RECIPE, epochs=0.25 * 20, learning_rate=0.005, schedule="cosine"
    )
    assert (job.trainable, job.additions, job.loss) == (None, None, "cross-entropy")
    assert job.samples is used.samples()
    assert done.facts["epochs"] == 5
    assert done.facts["schedule"] == "cosine"
    assert done.samples_of is None
    assert all(not np.array_equal(done.network.weights[n], w) for n, w in plain.weights.items())


def test_fine_tuning_minimises_the_loss_of_the_task():
    used = bench(loss="mse", trainer=Idle())
    done = make("fine-tuning", 0.25).modify(small_network(), used, generator())
    assert used.jobs[0].loss == "mse"
    assert done.facts["last loss"] == 0.5


def test_fine_tuning_of_the_last_layer_leaves_the_others():
    plain = small_network()
    made = make("fine-tuning", 0.5, scope="last", reinitialise=True)
    done = made.modify(plain, bench(), generator())
    changed = {
        n for n, w in plain.weights.items() if not np.array_equal(done.network.weights[n], w)
    }
    assert "head" in changed
    assert changed <= {"head", "bias"}
    correlation = np.corrcoef(plain.weights["head"].ravel(), done.network.weights["head"].ravel())
    assert abs(correlation[0, 1]) < 0.2


def test_an_attacker_with_few_samples_draws_them_without_repetition():
    used = bench()
    made = make("fine-tuning", 0.5, samples=10)
    done = made.modify(small_network(), used, generator())
    drawn, whole = all_of(used.jobs[0].samples), all_of(used.samples())
    assert len(drawn) == 10 == done.facts["samples"]
    assert len(np.unique(drawn.feeds["x"], axis=0)) == 10
    places = [np.flatnonzero((whole.feeds["x"] == x).all(axis=(1, 2, 3))) for x in drawn.feeds["x"]]
    assert [whole.targets[p[0]] for p in places] == list(drawn.targets)


def test_transfer_learns_other_data_and_says_which():
    used = bench()
    made = make("fine-tuning", 0.5, transfer=True, reinitialise=True)
    done = made.modify(small_network(), used, generator())
    assert done.samples_of == "transfer"
    assert used.jobs[0].samples is used.samples("transfer")


def test_a_transfer_needs_a_fresh_last_layer():
    with pytest.raises(ConfigurationError, match=r"^fine-tuning: expected reinitialise = true wi"):
        make("fine-tuning", 0.5, transfer=True).modify(small_network(), bench(), generator())


def test_fine_tuning_refuses_a_network_without_kernels():
    bare = ArrayNetwork.of({"bias": np.ones(3)})
    with pytest.raises(TrainingError, match=r"^fine-tuning: expected a network with a kernel"):
        make("fine-tuning", 0.5).modify(bare, bench(), generator())


def test_a_student_learns_the_classes_that_the_teacher_answers():
    used = bench()
    plain = small_network()
    make("distillation", 3, samples=30).modify(plain, used, generator())
    (job,) = used.jobs
    batch = all_of(job.samples)
    assert len(batch) == 30
    assert job.loss == "cross-entropy"
    np.testing.assert_array_equal(batch.targets, run(plain, batch.feeds)["scores"].argmax(1))
    assert batch.targets.dtype == np.int64
    assert job.recipe == dataclasses.replace(RECIPE, epochs=3, batch_norm="update")
    assert job.temperature == 1


def test_a_student_learns_the_softened_scores():
    used = bench()
    plain = small_network()
    make("distillation", 3, labels="soft", temperature=4).modify(plain, used, generator())
    (job,) = used.jobs
    batch = all_of(job.samples)
    scores = run(plain, batch.feeds)["scores"].astype(np.float64)
    np.testing.assert_allclose(batch.targets, softmax(scores / 4, axis=1), rtol=1e-5)
    assert (job.loss, job.temperature) == ("soft-cross-entropy", 4)


def test_a_student_starts_from_fresh_weights():
    plain = small_network()
    done = make("distillation", 3).modify(plain, bench(), generator())
    old, new = plain.weights["conv"].ravel(), done.network.weights["conv"].ravel()
    assert abs(np.corrcoef(old, new)[0, 1]) < 0.1


def test_a_student_of_another_architecture_is_opened_by_name():
    other = small_network(dtype="float64", label="another one")
    made = make("distillation", 3, student="small")
    done = made.modify(small_network(), bench(networks={"small": other}), generator())
    assert done.network.weights["head"].dtype == np.float64


def test_a_regression_is_distilled_by_its_answers(rng):
    used = bench(loss="mse", trainer=Idle())
    make("distillation", 2).modify(small_network(), used, generator())
    batch = all_of(used.jobs[0].samples)
    np.testing.assert_array_equal(batch.targets, run(small_network(), batch.feeds)["scores"])
    assert used.jobs[0].loss == "mse"


def test_soft_labels_are_for_scores_of_classes():
    message = r"^labels: expected 'hard' with the loss 'mse'.*got 'soft'; change it"
    made = make("distillation", 2, labels="soft")
    with pytest.raises(ConfigurationError, match=message):
        made.modify(small_network(), bench(loss="mse"), generator())


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (np.ones(200, np.int64), r"expected finite floating-point answers .*got int64 \(200,\)"),
        (np.full((200, 3), np.nan, np.float32), "expected finite floating-point answers"),
        (np.ones(200, np.float32), r"expected scores \(n, classes, ...\) .* got shape \(200,\)"),
    ],
)
def test_distillation_refuses_answers_that_are_no_scores(answers, words):
    used = bench(run=lambda network, feeds, layers=(): {"y": answers[: len(feeds["x"])]})
    with pytest.raises(TrainingError, match=r"^answers: " + words):
        make("distillation", 3).modify(small_network(), used, generator())


class Marks:
    """A way to mark that counts, and keeps what it was told."""

    def __init__(self) -> None:
        self.asked: list[tuple[Spec | None, int, Mapping[str, Json] | None]] = []

    def mark(self, network: Network, method: Spec | None, index: int, changes=None):
        self.asked.append((method, index, changes))
        head = network.weights["head"] + np.float32(index + 1)
        key = Key(method or Spec("used"), bytes([index] * 32), 0)
        return network.with_weights({"head": head}), Claim(key, Payload.from_bits("01"))


def test_overwriting_puts_further_watermarks_one_on_the_other():
    marks, plain = Marks(), small_network()
    done = make("overwriting", 3).modify(plain, marks, generator())
    np.testing.assert_allclose(done.network.weights["head"], plain.weights["head"] + 6, rtol=1e-6)
    assert [claim.key.secret[0] for claim in done.marks] == [0, 1, 2]
    assert done.facts == {"method": "used"}
    assert [index for _, index, _ in marks.asked] == [0, 1, 2]
    assert {method for method, _, _ in marks.asked} == {None}


def test_overwriting_by_another_method_and_recipe_says_so():
    marks = Marks()
    made = make("overwriting", 1, method="adi", epochs=2.5)
    done = made.modify(small_network(), marks, generator())
    assert marks.asked == [(Spec("adi"), 0, {"epochs": 2.5})]
    assert done.facts == {"method": "adi"}


def test_averaging_is_the_mean_of_all_copies(rng):
    plain = small_network()
    copies = [
        plain.with_weights({n: w + rng.normal(size=w.shape) for n, w in plain.weights.items()})
        for _ in range(5)
    ]
    made = plugins.create(Modification, Spec("averaging"))
    done = made.modify(copies[0], ArrayBench(copies=copies), generator())
    for name in plain.weights:
        expected = np.mean([c.weights[name].astype(np.float64) for c in copies], axis=0)
        np.testing.assert_array_equal(done.network.weights[name], expected.astype(np.float32))
    assert done.facts == {"copies": 5}
    assert made.needed() == ("copies",)


def test_copies_of_different_networks_are_refused():
    other = ArrayNetwork.of({"head": np.ones((10, 41), np.float32)})
    made = plugins.create(Modification, Spec("averaging"))
    used = ArrayBench(copies=[small_network(), other])
    with pytest.raises(
        ConfigurationError, match=r"^averaging: expected copies of one network, got"
    ):
        made.modify(small_network(), used, generator())


def test_targets_of_other_kinds_of_data_stay_what_they_are():
    """Distillation replaces the targets only; feeds of several inputs pass as they are."""
    feeds = {"ids": np.arange(12).reshape(4, 3), "mask": np.ones((4, 3), np.int64)}
    data = ArraySamples(feeds, np.zeros(4, np.int64))
    scores = np.eye(4, dtype=np.float32)
    used = bench(samples=data, trainer=Idle(), run=lambda network, feeds, layers=(): {"y": scores})
    make("distillation", 1).modify(small_network(), used, generator())
    batch = all_of(used.jobs[0].samples)
    assert {n: v.tolist() for n, v in batch.feeds.items()} == {
        n: v.tolist() for n, v in feeds.items()
    }
    assert batch.targets.tolist() == [0, 1, 2, 3]
