"""Mixtures of several recipients' copies, against numpy and against what a mark can be."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy import stats

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.vocabulary import Modification, Spec

SHAPES = {"conv": (12, 5, 3, 3), "second": (9, 12, 3, 3), "head": (10, 40)}


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@pytest.fixture(scope="module")
def copies():
    rng = generator(1)
    plain = {n: rng.standard_normal(s).astype(np.float32) for n, s in SHAPES.items()}
    return [
        ArrayNetwork.of(
            {n: (w + 0.1 * rng.standard_normal(w.shape)).astype(np.float32)
             for n, w in plain.items()}
        )
        for _ in range(4)
    ]  # fmt: skip


def mixed(copies, name: str, seed: int = 0, **options):
    made = plugins.create(Modification, Spec(name, options))
    assert made.needed() == ("copies",)
    return made.modify(copies[0], ArrayBench(copies=copies), generator(seed))


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("median", lambda w: np.median(w, axis=0)),
        ("middle", lambda w: (w.min(axis=0) + w.max(axis=0)) / 2),
        ("minimum", lambda w: w.min(axis=0)),
        ("maximum", lambda w: w.max(axis=0)),
    ],
)
def test_each_weight_is_what_the_rule_says(copies, rule, wanted):
    done = mixed(copies, "mixing-weights", rule=rule)
    assert done.facts == {"copies": 4}
    for name in SHAPES:
        stack = np.stack([c.weights[name].astype(np.float64) for c in copies])
        found = done.network.weights[name]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, wanted(stack).astype(np.float32))


def test_picking_takes_each_copy_equally_often(copies):
    found = mixed(copies, "mixing-weights", seed=3, rule="pick").network.weights
    stack = np.concatenate([np.stack([c.weights[n].ravel() for c in copies]).T for n in SHAPES])
    same = stack == np.concatenate([found[n].ravel() for n in SHAPES])[:, None]
    assert (same.sum(axis=1) == 1).all()
    assert stats.chisquare(same.sum(axis=0)).pvalue > 1e-3


def test_a_layer_is_that_of_one_copy_and_not_all_are_of_the_first(copies):
    seen: Counter[tuple[int, ...]] = Counter()
    for seed in range(300):
        done = mixed(copies, "mixing-layers", seed)
        of = []
        for name in SHAPES:
            (copy,) = [
                k for k, c in enumerate(copies)
                if np.array_equal(c.weights[name], done.network.weights[name])
            ]  # fmt: skip
            of.append(copy)
        seen[tuple(of)] += 1
        assert done.facts == {"copies": 4, "layers": 3, "used": len(set(of))}
    assert (0, 0, 0) not in seen
    assert len(seen) > 50
    drawn = [sum(n for of, n in seen.items() if of[0] == k) for k in range(4)]
    # 15 of the 63 mixtures that are left have the first layer of the first copy.
    assert stats.chisquare(drawn, 300 * np.array([15, 16, 16, 16]) / 63).pvalue > 1e-3


def test_layers_that_all_copies_share_draw_nothing(copies):
    shared = copies[0].weights["conv"]
    others = [c.with_weights({"conv": shared, "second": copies[0].weights["second"]})
              for c in copies]  # fmt: skip
    done = mixed(others, "mixing-layers")
    assert done.facts == {"copies": 4, "layers": 1, "used": 1}
    np.testing.assert_array_equal(done.network.weights["conv"], shared)
    assert not np.array_equal(done.network.weights["head"], copies[0].weights["head"])


@pytest.mark.parametrize("name", ["averaging", "mixing-weights", "mixing-layers"])
def test_equal_copies_stay_as_they_are(copies, name):
    done = mixed([copies[1]] * 3, name)
    for layer in SHAPES:
        np.testing.assert_array_equal(done.network.weights[layer], copies[1].weights[layer])


@pytest.mark.parametrize("name", ["averaging", "mixing-weights", "mixing-layers"])
def test_copies_of_different_networks_are_refused(copies, name):
    other = ArrayNetwork.of({"conv": np.ones((12, 5, 3, 1), np.float32)})
    message = (
        f"^{name}: expected copies of one network, got one without a layer 'conv' of shape "
        r"\(12, 5, 3, 3\); give copies of the same network$"
    )
    with pytest.raises(ConfigurationError, match=message):
        mixed([copies[0], other], name)


def test_a_rule_that_does_not_exist_is_refused():
    with pytest.raises(ConfigurationError, match="rule"):
        plugins.create(Modification, Spec("mixing-weights", {"rule": "mode"}))
