"""The three Modifications that train, in a workshop without any framework."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.special import softmax

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, TrainingError
from nnw_onnx.modifications import _recipes
from nnw_onnx.testing import ArrayNetwork
from nnw_onnx.testing._method import network
from nnw_onnx.testing._trained_modification import workshop
from nnw_onnx.vocabulary import Recipe, Spec, TrainedModification

# oracles.json std.modifications: id, name, letter, smallest, largest
STANDARD = {
    "fine-tuning": (4, "E", 0, 0.5),
    "distillation": (5, "E", 1, 100),
    "overwriting": (6, "W", 2, 4),
}


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def make(name: str, intensity: float, **options):
    return plugins.create("modifications", Spec(name, {"intensity": intensity, **options}))


@pytest.mark.parametrize("name", STANDARD)
def test_parameters_of_the_standard(name):
    plugin = plugins.load("modifications", name)
    parameter = plugin.parameter
    found = (plugin.number, parameter.letter, parameter.low, parameter.high)
    assert found == STANDARD[name]
    assert isinstance(plugin(parameter.high), TrainedModification)


def test_fine_tuning_trains_for_a_ratio_of_the_initial_epochs():
    shop = workshop()
    plain = network()
    outcome = make("fine-tuning", 0.25, learning_rate=0.5, schedule="cosine").modify_by_training(
        plain, shop, generator()
    )
    (job,) = shop.jobs
    assert job.recipe == dataclasses.replace(
        shop.recipe, epochs=0.25 * 20, learning_rate=0.5, schedule="cosine"
    )
    assert job.trainable is None
    assert job.mark is None
    assert np.array_equal(job.data.labels, shop.data.labels)
    assert outcome.facts["epochs"] == 5
    assert all(not np.array_equal(outcome.network.weights[n], w) for n, w in plain.weights.items())


def test_fine_tuning_of_the_last_layer_leaves_the_others():
    shop = workshop()
    plain = network()
    made = make("fine-tuning", 0.5, scope="last", reinitialise=True)
    outcome = made.modify_by_training(plain, shop, generator())
    changed = {
        n for n, w in plain.weights.items() if not np.array_equal(outcome.network.weights[n], w)
    }
    assert "head" in changed
    assert changed <= {"head", "bias"}
    correlation = np.corrcoef(
        plain.weights["head"].ravel(), outcome.network.weights["head"].ravel()
    )
    assert abs(correlation[0, 1]) < 0.1


def test_an_attacker_with_few_samples_draws_them_without_repetition():
    shop = workshop()
    make("fine-tuning", 0.5, samples=10).modify_by_training(network(), shop, generator())
    inputs = shop.jobs[0].data.inputs
    assert len(inputs) == 10
    assert len(np.unique(inputs, axis=0)) == 10
    assert all(any(np.array_equal(x, y) for y in shop.data.inputs) for x in inputs)


def test_transfer_learns_other_data_and_says_which():
    shop = workshop()
    made = make("fine-tuning", 0.5, transfer=True, reinitialise=True)
    outcome = made.modify_by_training(network(), shop, generator())
    assert outcome.classes_of == "reversed"
    assert np.array_equal(shop.jobs[0].data.labels, shop.data.classes - 1 - shop.data.labels)


def test_fine_tuning_refuses_a_network_without_kernels():
    bare = ArrayNetwork.of({"bias": np.ones(3)})
    with pytest.raises(TrainingError, match=r"^fine-tuning: expected a network with a kernel"):
        make("fine-tuning", 0.5).modify_by_training(bare, workshop(), generator())


def test_a_student_learns_the_classes_that_the_teacher_answers():
    shop = workshop()
    plain = network()
    make("distillation", 3, samples=30).modify_by_training(plain, shop, generator())
    (job,) = shop.jobs
    assert len(job.data) == 30
    assert job.targets is None
    assert np.array_equal(job.data.labels, (job.data.inputs @ plain.weights["head"].T).argmax(1))
    assert job.recipe.epochs == 3
    assert job.recipe.batch_norm == "update"


def test_a_student_learns_the_softened_scores():
    shop = workshop()
    plain = network()
    made = make("distillation", 3, labels="soft", temperature=4)
    made.modify_by_training(plain, shop, generator())
    (job,) = shop.jobs
    expected = softmax(job.data.inputs.astype(np.float64) @ plain.weights["head"].T / 4, axis=1)
    np.testing.assert_allclose(job.targets, expected, rtol=1e-5)
    assert job.temperature == 4


def test_a_student_starts_from_fresh_weights():
    shop = workshop()
    plain = network()
    outcome = make("distillation", 3).modify_by_training(plain, shop, generator())
    old, new = plain.weights["conv"].ravel(), outcome.network.weights["conv"].ravel()
    assert abs(np.corrcoef(old, new)[0, 1]) < 0.1


def test_a_student_of_another_architecture_is_opened_by_name():
    shop = workshop()
    shop.others["small"] = ArrayNetwork.of({"only": np.ones((10, 600), np.float32)})
    outcome = make("distillation", 3, student="small").modify_by_training(
        network(), shop, generator()
    )
    assert list(outcome.network.weights) == ["only"]


def test_distillation_refuses_answers_that_are_no_scores():
    shop = workshop()
    shop.data = dataclasses.replace(shop.data, classes=7)
    with pytest.raises(TrainingError, match=r"^distillation: expected scores \(n, 7\)"):
        make("distillation", 3).modify_by_training(network(), shop, generator())


@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_probabilities_stand_for_their_logarithms(temperature, rng):
    scores = rng.normal(size=(20, 6))
    given = softmax(scores, axis=1).astype(np.float32)
    found = _recipes.probabilities(given, temperature)
    np.testing.assert_allclose(found, softmax(scores / temperature, axis=1), rtol=1e-4)


@pytest.mark.parametrize("by_training", [False, True])
def test_overwriting_puts_in_fresh_watermarks_and_reads_them(by_training):
    shop = workshop()
    shop.by_training = by_training
    outcome = make("overwriting", 3, learning_rate=0.3, epochs=2).modify_by_training(
        network(), shop, generator()
    )
    assert len(shop.jobs) == (3 if by_training else 0)
    if by_training:
        assert {j.recipe.learning_rate for j in shop.jobs} == {0.3}
        assert {j.recipe.epochs for j in shop.jobs} == {2}
        secrets = {j.mark.key.secret for j in shop.jobs}
        assert len(secrets) == 3
    assert [n for n, _ in outcome.new_marks] == [16, 16, 16]
    # The last one was put in after all others, so nothing can have disturbed it.
    assert outcome.new_marks[-1] == (16, 0)
    marks = [shop.new_mark(network(), i, None)[0] for i in range(3)]
    read = [m.method.decode(outcome.network, m.key).payload for m in marks]
    assert [e for _, e in outcome.new_marks] == [
        m.payload.errors(r) for m, r in zip(marks, read, strict=True)
    ]


def test_an_overwriting_by_another_method():
    shop = workshop()
    outcome = make("overwriting", 2, method="uchida").modify_by_training(
        network(), shop, generator()
    )
    assert outcome.facts["method"] == "uchida"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fine-tuning", {"intensity": 0}, "fine-tuning: option intensity: Input should be greater"),
        ("overwriting", {"intensity": 2.5}, "overwriting: option intensity: Input should be a va"),
        ("distillation", {"intensity": 1, "labels": "none"}, "distillation: option labels: Input"),
    ],
)
def test_options_are_checked(name, options, message):
    with pytest.raises(ConfigurationError) as caught:
        plugins.create("modifications", Spec(name, options))
    assert str(caught.value).startswith(message)


def test_what_is_not_given_is_as_in_the_recipe():
    base = Recipe(epochs=7, learning_rate=0.3)
    assert _recipes.changed(base, epochs=None, learning_rate=0.1) == dataclasses.replace(
        base, learning_rate=0.1
    )
