"""Removal by training, on a bench without any framework: who learns what, and what stays."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.special import softmax

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, NotApplicableError
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.testing import (
    ArrayBench,
    ArrayNetwork,
    ArrayTrainer,
    run,
    small_network,
    small_samples,
)
from nnw_onnx.testing.array_training import forward
from nnw_onnx.vocabulary import Modification, Recipe, Scale, Spec

RECIPE = Recipe(epochs=1, batch_size=40, learning_rate=0.01)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def make(name: str, **options):
    return plugins.create(Modification, Spec(name, options))


def bench(**given) -> ArrayBench:
    usual = {
        "samples": small_samples(),
        "transfer": small_samples(60),
        "recipe": RECIPE,
        "trainer": ArrayTrainer(),
        "run": run,
    }
    return ArrayBench(**{**usual, **given})


def all_of(samples):
    return samples.read(np.arange(len(samples)))


@pytest.mark.parametrize(
    ("name", "options", "needed"),
    [
        ("model-soup", {"fine_tuned": 2}, ("trainer", "data")),
        ("label-smoothing", {"share": 0.3}, ("trainer", "data")),
        ("regularisation", {"decay": 0.1}, ("trainer", "data")),
        ("refit", {"rate": 0.1}, ("trainer", "data")),
        ("refit", {"rate": 0.1, "data": "transfer"}, ("trainer", "transfer")),
        ("fine-pruning", {"intensity": 50}, ("data", "trainer")),
        ("fine-pruning", {"intensity": 50, "epochs": 0}, ("data",)),
        ("knockoff", {"intensity": 1}, ("trainer", "transfer")),
        ("knockoff", {"intensity": 1, "questions": "noise"}, ("trainer", "scale")),
        ("merging", {"intensity": 1, "other": "a.onnx"}, ()),
        ("merging", {"intensity": 1, "other": "a.onnx", "base": "original"}, ("original",)),
        ("merging", {"intensity": 1, "other": "original"}, ("original",)),
    ],
)
def test_what_is_needed_follows_from_the_options(name, options, needed):
    assert make(name, **options).needed() == needed


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fine-tuning", {"intensity": 0.1}),
        ("distillation", {"intensity": 1}),
        ("model-soup", {"fine_tuned": 2}),
        ("knockoff", {"intensity": 1}),
    ],
)
def test_without_a_rate_there_are_three_settings_around_that_of_the_recipe(name, options):
    found = make(name, **options).settings(Recipe(learning_rate=0.05))
    assert [*found] == [{"learning_rate": rate} for rate in (0.005, 0.05, 0.5)]
    assert make(name, learning_rate=0.05, **options).settings(RECIPE) == ()
    # What a learning rate may be ends at 100.
    high = make(name, **options).settings(Recipe(learning_rate=50))
    assert [*high] == [{"learning_rate": rate} for rate in (5, 50)]


def test_a_soup_is_the_mean_of_copies_trained_in_orders_of_their_own():
    used, plain = bench(), small_network()
    made = make("model-soup", fine_tuned=3, epochs=2, learning_rate=0.005, samples=120)
    done = made.modify(plain, used, generator())
    assert len({job.seed for job in used.jobs}) == 3
    wanted = dataclasses.replace(RECIPE, epochs=2, learning_rate=0.005)
    assert [job.recipe for job in used.jobs] == [wanted] * 3
    trained = [ArrayTrainer().train(plain, job).network for job in used.jobs]
    for name in plain.weights:
        expected = np.mean([t.weights[name].astype(np.float64) for t in trained], axis=0)
        np.testing.assert_allclose(done.network.weights[name], expected, rtol=1e-6, atol=1e-8)
        assert not np.array_equal(trained[0].weights[name], trained[1].weights[name])
    assert (done.facts["copies"], done.facts["samples"]) == (3, 120)


def test_a_merge_lies_between_two_networks():
    plain, other = small_network(), small_network(label="another")
    used = ArrayBench(networks={"b.onnx": other})
    done = make("merging", intensity=0.3, other="b.onnx").modify(plain, used, generator())
    for name, own in plain.weights.items():
        expected = 0.7 * own.astype(np.float64) + 0.3 * other.weights[name]
        np.testing.assert_allclose(done.network.weights[name], expected, rtol=1e-5, atol=1e-7)
    assert done.facts == {"the attacker has": "b.onnx"}


@pytest.mark.parametrize("weight", [-0.5, 1.0])
def test_task_arithmetic_adds_what_the_other_has_learnt_of_a_common_base(rng, weight):
    base, own = small_network(), small_network(label="marked")
    learnt = {n: rng.normal(size=w.shape) for n, w in base.weights.items()}
    other = base.with_weights({n: w + learnt[n] for n, w in base.weights.items()})
    used = ArrayBench(original=base, networks={"folder/b.onnx": other})
    made = make("merging", intensity=weight, other="folder/b.onnx", base="original")
    assert made.opens() == ("folder/b.onnx",)
    done = made.modify(own, used, generator())
    for name, weights in own.weights.items():
        expected = weights + weight * learnt[name]
        np.testing.assert_allclose(done.network.weights[name], expected, rtol=1e-5, atol=1e-6)
    assert done.facts == {"the attacker has": "b.onnx and original"}


def test_task_arithmetic_leaves_what_no_training_changes():
    """A variance that is added to and subtracted from can become negative."""
    shared = {"w": np.ones((2, 3)), "variance": np.full(2, 0.1)}
    own, other, base = (
        ArrayNetwork.of(
            {n: v * k for n, v in shared.items()}, variance={"role": "other", "learns": False}
        )
        for k in (1, 1, 5)
    )
    used = ArrayBench(original=base, networks={"b": other})
    done = make("merging", intensity=1, other="b", base="original").modify(own, used, generator())
    np.testing.assert_array_equal(done.network.weights["variance"], shared["variance"])
    np.testing.assert_array_equal(done.network.weights["w"], shared["w"] - 4)


def test_networks_of_another_kind_cannot_be_merged():
    used = ArrayBench(networks={"b": ArrayNetwork.of({"head": np.ones((10, 41))})})
    with pytest.raises(ConfigurationError, match=r"^merging: expected copies of one network, got"):
        make("merging", intensity=0.5, other="b").modify(small_network(), used, generator())


def test_label_smoothing_is_in_the_recipe():
    used = bench()
    made = make("label-smoothing", share=0.3, epochs=2, learning_rate=0.003, samples=50)
    done = made.modify(small_network(), used, generator())
    (job,) = used.jobs
    assert job.recipe == dataclasses.replace(
        RECIPE, epochs=2, learning_rate=0.003, label_smoothing=0.3
    )
    assert (len(job.samples), done.facts["samples"]) == (50, 50)


def test_regularisation_raises_the_decay_and_then_goes_on_as_before():
    used, plain = bench(recipe=dataclasses.replace(RECIPE, weight_decay=1e-4)), small_network()
    made = make("regularisation", decay=0.1, epochs=2, epochs_after=3)
    done = made.modify(plain, used, generator())
    found = [(job.recipe.weight_decay, job.recipe.epochs) for job in used.jobs]
    assert found == [(0.1, 2), (1e-4, 3)]
    first = ArrayTrainer().train(plain, used.jobs[0]).network
    expected = ArrayTrainer().train(first, used.jobs[1]).network
    np.testing.assert_array_equal(done.network.weights["conv"], expected.weights["conv"])


def test_refit_begins_at_its_rate_which_falls():
    used = bench()
    done = make("refit", rate=0.02, epochs=2).modify(small_network(), used, generator())
    (job,) = used.jobs
    assert job.recipe == dataclasses.replace(
        RECIPE, epochs=2, learning_rate=0.02, schedule="linear"
    )
    assert job.samples is used.samples()
    assert done.facts["learning rate"] == 0.02


@pytest.mark.parametrize("data", ["task", "transfer"])
def test_refit_without_labels_takes_the_answers_of_the_network(data):
    used, plain = bench(), small_network()
    made = make("refit", rate=0.01, epochs=1, labels="own", data=data)
    made.modify(plain, used, generator())
    batch = all_of(used.jobs[0].samples)
    np.testing.assert_array_equal(batch.targets, run(plain, batch.feeds)["scores"].argmax(1))
    assert len(batch) == (60 if data == "transfer" else 200)


def test_labels_of_another_data_set_mean_something_else():
    made = make("refit", rate=0.01, data="transfer")
    with pytest.raises(
        ConfigurationError, match=r"^refit: expected labels = 'own' with data = 'tr"
    ):
        made.modify(small_network(), bench(), generator())


def test_fine_pruning_cuts_off_what_is_asleep():
    """The last hidden channels, by brute force on the network in numpy."""
    used, plain = bench(), small_network()
    done = make("fine-pruning", intensity=60, epochs=0).modify(plain, used, generator())
    done_at = forward(plain.weights, all_of(small_samples()).feeds["x"])
    awake = np.maximum(done_at.activations["middle"], 0).mean(axis=(0, 2, 3))
    asleep = set(np.argsort(awake)[:24].tolist())
    zero = np.flatnonzero((done.network.weights["head"] == 0).all(axis=0))
    assert set(zero.tolist()) == asleep
    np.testing.assert_array_equal(np.delete(done.network.weights["head"], zero, axis=1),
                                  np.delete(plain.weights["head"], zero, axis=1))  # fmt: skip
    for name in ("conv", "middle", "bias"):
        np.testing.assert_array_equal(done.network.weights[name], plain.weights[name])
    assert (done.facts, used.jobs) == ({"channels cut off": 24}, [])


def test_channels_stay_cut_off_while_training_goes_on():
    used, plain = bench(), small_network()
    made = make("fine-pruning", intensity=50, scope="all", epochs=2, learning_rate=0.005)
    done = made.modify(plain, used, generator()).network
    pruned = make("fine-pruning", intensity=50, scope="all", epochs=0)
    before = pruned.modify(plain, bench(), generator()).network
    for name, channels in (("middle", 48), ("head", 40)):
        flat = [n.weights[name].reshape(len(n.weights[name]), -1) for n in (before, done)]
        zeros = [np.flatnonzero((w == 0).all(axis=0)) for w in flat]
        assert len(zeros[0]) == channels // 2
        np.testing.assert_array_equal(*zeros)
        assert not np.array_equal(*flat)
    assert used.jobs[0].recipe.epochs == 2


def test_one_channel_at_least_stays():
    done = make("fine-pruning", intensity=99.9, epochs=0)
    head = done.modify(small_network(), bench(), generator()).network.weights["head"]
    assert np.count_nonzero((head != 0).any(axis=0)) == 1


def test_a_network_without_hidden_channels_has_none_to_cut_off():
    network = ArrayNetwork.of({"a": np.ones((4, 4))})
    with pytest.raises(NotApplicableError, match=r"^fine-pruning: expected channels that one lay"):
        make("fine-pruning", intensity=50).modify(network, bench(), generator())


def test_a_student_learns_answers_to_another_data_set():
    used, plain = bench(), small_network()
    made = make("knockoff", intensity=2, samples=40, temperature=2, learning_rate=0.02)
    done = made.modify(plain, used, generator())
    (job,) = used.jobs
    batch, other = all_of(job.samples), all_of(small_samples(60))
    assert len(batch) == 40
    assert all((other.feeds["x"] == x).all(axis=(1, 2, 3)).any() for x in batch.feeds["x"])
    scores = run(plain, batch.feeds)["scores"].astype(np.float64)
    np.testing.assert_allclose(batch.targets, softmax(scores / 2, axis=1), rtol=1e-5)
    assert (job.loss, job.temperature, job.recipe.epochs) == ("soft-cross-entropy", 2, 2)
    assert job.recipe.learning_rate == 0.02
    old, new = plain.weights["conv"].ravel(), done.network.weights["conv"].ravel()
    assert abs(np.corrcoef(old, new)[0, 1]) < 0.1


def test_a_student_can_learn_answers_to_noise():
    scale = Scale((0.25,), (0.25,), "chw")
    inputs = all_of(small_samples()).feeds["x"]
    data = ArraySamples({"x": inputs}, np.zeros(len(inputs), np.int64), scale=scale)
    used = bench(samples=data)
    made = make("knockoff", intensity=1, questions="noise", samples=300, labels="hard")
    made.modify(small_network(), used, generator())
    (job,) = used.jobs
    noise = all_of(job.samples).feeds["x"]
    assert (noise.shape, noise.dtype) == ((300, *inputs.shape[1:]), np.float32)
    # 86,400 uniform numbers in [0, 1], as -1 to 3: mean 1, deviation 4 / sqrt(12).
    assert (noise.min(), noise.max()) == (pytest.approx(-1, abs=1e-3), pytest.approx(3, abs=1e-3))
    assert noise.mean() == pytest.approx(1, abs=5 * 4 / np.sqrt(12 * noise.size))
    assert noise.std() == pytest.approx(4 / np.sqrt(12), rel=0.01)
    again = job.samples.read(np.array([7, 3])).feeds["x"]
    np.testing.assert_array_equal(again, noise[[7, 3]])
    assert len(np.unique(noise.reshape(300, -1), axis=0)) == 300


def test_noise_stands_for_images_or_signals_only():
    made = make("knockoff", intensity=1, questions="noise")
    with pytest.raises(NotApplicableError, match=r"^knockoff: expected images or signals whose"):
        made.modify(small_network(), bench(), generator())
