"""Every Modification against the common contract; those of weights against the standard."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import stats

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.testing import check_modification
from nnw_onnx.vocabulary import Modification, Spec, WeightModification

OPTIONS = {
    "gaussian-noise": {"intensity": 0.2},
    "l1-pruning": {"intensity": 50},
    "random-pruning": {"intensity": 10},
    "quantizing": {"intensity": 4},
    "fine-tuning": {"intensity": 0.5},
    "distillation": {"intensity": 2},
    "overwriting": {"intensity": 2},
    "averaging": {},
    "mixing-layers": {},
    "mixing-weights": {"rule": "pick"},
    "bn-folding": {},
    "float16": {},
    "int8": {},
    "bfloat16": {},
    "int4": {},
    "graph-optimization": {},
    "simplification": {},
    "constant-folding": {},
    "opset-conversion": {},
    "initializers-to-constants": {},
    "constants-to-initializers": {},
    "external-data": {},
    "dropped-names": {},
    "re-export": {},
    "jpeg": {"quality": 50},
    "input-noise": {"intensity": 0.1},
    "input-smoothing": {"deviation": 0.7},
    "input-filter": {"size": 3},
    "input-flip": {},
    "input-squeezing": {"levels": 16},
    "weight-shifting": {"intensity": 1.5},
    "low-rank": {"intensity": 50},
    "clipping": {"intensity": 2},
    "merging": {"intensity": 0.5, "other": "other.onnx"},
    "model-soup": {"fine_tuned": 2},
    "fine-pruning": {"intensity": 50, "epochs": 1},
    "regularisation": {"decay": 0.1, "epochs": 1, "epochs_after": 1},
    "label-smoothing": {"share": 0.3, "epochs": 1},
    "refit": {"rate": 0.02, "epochs": 1},
    "knockoff": {"intensity": 2},
    "filter-mean": {},
    "leading-components": {},
    "outliers": {},
    "redrawn-repeats": {},
    "residual-signs": {},
    "low-bits": {},
    "grid-noise": {},
    "class-removal": {},
    "random-resizing": {},
    "patterned-tuning": {"samples": 60, "variants": 1, "epochs": 1},
    "unlearning": {"samples": 60, "inverted": 20, "steps": 2, "epochs": 1},
    "rejection": {},
    "permutation": {},
    "scaling": {},
    "sign-flips": {},
    "mixed-bases": {},
    "dummy-neurons": {},
    "structured-pruning": {"intensity": 50},
}
# What has no normalisation cannot be folded, what has no class too many cannot lose one, and random
# weights do not repeat; their own tests do that.
ELSEWHERE = {"bn-folding", "class-removal", "redrawn-repeats"}
# What the shipped network gives nothing to do: no constants to compute with, no Constant nodes, no
# MatMul, and nothing to make simpler; see test_conversions.
ELSEWHERE |= {"simplification", "constant-folding", "constants-to-initializers", "int4"}
# Nor does a Relu pass on signs or bases; see test_preserving.
ELSEWHERE |= {"sign-flips", "mixed-bases"}
CHECKED = [name for name in plugins.names("modifications") if name not in ELSEWHERE]
CHECKS = [
    check
    for name in CHECKED
    for check in check_modification(plugins.create(Modification, Spec(name, OPTIONS[name])))
]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def make(name: str, intensity: float, **options):
    return plugins.create(Modification, Spec(name, {"intensity": intensity, **options}))


@pytest.fixture
def weights(rng):
    return {
        "b": (0.05 * rng.standard_normal((16, 8, 3, 3)) + 0.02).astype(np.float32),
        "a": (3.0 * rng.standard_normal((10, 50))).astype(np.float32),
    }


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_common_check(check):
    check()


# oracles.json std.modifications: id, name, letter, smallest, largest, largest for a single layer
STANDARD = {
    "gaussian-noise": (0, "S", 0.1, 0.3, None),
    "l1-pruning": (1, "P", 1, 90, 99.99),
    "random-pruning": (2, "R", 1, 10, None),
    "quantizing": (3, "B", 2, 32, None),
}


@pytest.mark.parametrize("name", STANDARD)
def test_parameters_of_the_standard(name):
    plugin = plugins.load(Modification, name)
    parameter = plugin.parameter
    found = (plugin.number, parameter.letter, parameter.low, parameter.high,
             parameter.high_single_layer)  # fmt: skip
    assert found == STANDARD[name]
    assert plugin.family == "standard"
    assert plugin.aims
    assert parameter.stronger == ("down" if name == "quantizing" else "up")
    assert isinstance(plugin(parameter.low), WeightModification)


def test_ranges_are_inclusive_and_wider_for_a_single_layer():
    parameter = plugins.load(Modification, "l1-pruning").parameter
    outside = parameter.outside_standard_range
    assert not outside(90, single_layer=False)
    assert outside(90.01, single_layer=False)
    assert not outside(99.99, single_layer=True)
    assert outside(0.5, single_layer=True)


@pytest.mark.parametrize("ratio", [0.1, 0.3, 2.0])
def test_gaussian_noise_has_the_ratio_of_each_layer(weights, ratio):
    found = make("gaussian-noise", ratio).modify_weights(weights, generator())
    for name, given in weights.items():
        noise = (found[name].astype(np.float64) - given) / (ratio * given.std(dtype=np.float64))
        assert found[name].dtype == given.dtype
        assert stats.kstest(noise.reshape(-1), "norm").pvalue > 1e-3
        assert noise.std() == pytest.approx(1, abs=4 / np.sqrt(2 * noise.size))


def test_gaussian_noise_draws_anew_for_each_layer(rng):
    twins = {"a": rng.standard_normal((4, 5)), "b": np.zeros((4, 5))}
    twins["b"] = twins["a"].copy()
    found = make("gaussian-noise", 0.1).modify_weights(twins, generator())
    assert not np.array_equal(found["a"], found["b"])
    again = make("gaussian-noise", 0.1).modify_weights(twins, generator(1))
    assert not np.array_equal(found["a"], again["a"])


def test_l1_pruning_is_per_layer(weights):
    found = make("l1-pruning", 30).modify_weights(weights, generator())
    for name, given in weights.items():
        kept = found[name] != 0
        assert np.count_nonzero(~kept) == round(0.3 * given.size)
        assert np.array_equal(found[name][kept], given[kept])
        assert np.abs(given[~kept]).max() <= np.abs(given[kept]).min()


def test_random_pruning_is_one_draw_over_all_layers(weights):
    total = sum(given.size for given in weights.values())
    counts = []
    for seed in range(300):
        found = make("random-pruning", 10).modify_weights(weights, generator(seed))
        zeros = {name: int(np.count_nonzero(w == 0)) for name, w in found.items()}
        assert sum(zeros.values()) == round(total / 10)
        counts.append(zeros["a"])
    law = stats.hypergeom(total, weights["a"].size, round(total / 10))
    assert np.mean(counts) == pytest.approx(law.mean(), abs=4.5 * law.std() / np.sqrt(300))
    assert np.std(counts) == pytest.approx(law.std(), rel=0.2)


def test_random_pruning_in_each_layer_is_the_preset_of_the_testbed(weights):
    found = make("random-pruning", 10, scope="layer").modify_weights(weights, generator())
    for name, given in weights.items():
        assert np.count_nonzero(found[name] == 0) == round(given.size / 10)


def test_random_pruning_of_everything_leaves_nothing(weights):
    for scope in ("all", "layer"):
        found = make("random-pruning", 100, scope=scope).modify_weights(weights, generator())
        assert not any(w.any() for w in found.values())


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_quantizing_leaves_equal_steps_between_the_extremes(weights, bits):
    found = make("quantizing", bits).modify_weights(weights, generator())
    for name, given in weights.items():
        levels = np.linspace(float(given.min()), float(given.max()), 2**bits)
        nearest = np.abs(given.astype(np.float64)[..., None] - levels).min(axis=-1)
        np.testing.assert_allclose(
            np.abs(found[name].astype(np.float64) - given), nearest, atol=1e-6
        )
        assert len(np.unique(found[name])) <= 2**bits


def test_quantizing_to_32_bits_hardly_changes_double_precision(rng):
    given = {"a": rng.standard_normal((30, 30))}
    found = make("quantizing", 32).modify_weights(given, generator())
    error = np.abs(found["a"] - given["a"]).max()
    assert 0 < error <= np.ptp(given["a"]) / (2**32 - 1) / 2 * (1 + 1e-5)


def test_an_overflow_of_half_precision_is_left_to_the_network(recwarn):
    large = np.array([[65504.0, -65504.0]], np.float16)
    found = make("gaussian-noise", 50).modify_weights({"a": large}, generator())
    assert np.isinf(found["a"]).any()
    assert not recwarn.list


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("gaussian-noise", {"intensity": -0.1}, "a number of at least 0"),
        ("l1-pruning", {"intensity": 100.5}, "a number from 0 to 100"),
        ("random-pruning", {"intensity": 101}, "a number from 0 to 100"),
        ("quantizing", {"intensity": 2.5}, "a whole number from 1 to 32"),
        ("quantizing", {"intensity": 0}, "a whole number from 1 to 32"),
        ("quantizing", {"intensity": 33}, "a whole number from 1 to 32"),
        ("random-pruning", {"intensity": 1, "scope": "global"}, "all or layer"),
    ],
)
def test_impossible_options_are_refused(name, options, words):
    message = rf"{name}: option .* expected .*{re.escape(words)}.*; got .*; see 'nnw list"
    with pytest.raises(ConfigurationError, match=message):
        plugins.create(Modification, Spec(name, options))


def test_intensities_outside_the_standard_are_carried_out(weights):
    found = make("gaussian-noise", 5).modify_weights(weights, generator())
    assert found["a"].std() > 4 * weights["a"].std()


FAMILIES = {
    "preserving": {"permutation", "scaling", "sign-flips", "mixed-bases", "dummy-neurons"},
    "standard": {
        "gaussian-noise", "l1-pruning", "random-pruning", "quantizing", "fine-tuning",
        "distillation", "overwriting",
    },
    "deployment": {
        "bn-folding", "float16", "int8", "bfloat16", "int4", "graph-optimization",
        "simplification", "constant-folding", "opset-conversion", "initializers-to-constants",
        "constants-to-initializers", "external-data", "dropped-names", "re-export",
    },
    "adaptive": {
        "filter-mean", "averaging", "mixing-layers", "mixing-weights", "leading-components",
        "outliers", "redrawn-repeats", "residual-signs", "low-bits", "grid-noise", "class-removal",
        "random-resizing", "patterned-tuning", "unlearning", "rejection",
    },
    "removal": {
        "jpeg", "input-noise", "input-smoothing", "input-filter", "input-flip", "input-squeezing",
        "weight-shifting", "low-rank", "clipping", "merging", "model-soup", "fine-pruning",
        "regularisation", "label-smoothing", "refit", "knockoff", "structured-pruning",
    },
}  # fmt: skip


def test_every_modification_is_in_a_family():
    assert {name for names in FAMILIES.values() for name in names} == set(OPTIONS)
    assert set(plugins.names("modifications")) >= set(OPTIONS)
    for family, names in FAMILIES.items():
        assert {plugins.load(Modification, name).family for name in names} == {family}
