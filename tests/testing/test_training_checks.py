"""The checks of methods that training puts in find what they are there to find."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from nnw_onnx.errors import PluginError
from nnw_onnx.methods.adi import Adi
from nnw_onnx.methods.uchida import Uchida
from nnw_onnx.plugins import option
from nnw_onnx.testing import check_method, check_plugin, descent
from nnw_onnx.vocabulary import Payload, Penalty


def broken_checks(plugin, clauses=None) -> dict[str, str]:
    """Clause -> message of the checks (all, or of these clauses) that a plug-in breaks."""
    found = {}
    for check in check_plugin(plugin):
        clause = str(check).partition(": ")[2]
        try:
            if clauses is None or clause in clauses:
                check()
        except PluginError as error:
            found[clause] = str(error)
    return found


@dataclass(frozen=True)
class TrainedOnly:
    """Uchida's method as it was published: nothing but the term of the loss puts it in."""

    name: ClassVar[str] = "trained-only"
    summary: ClassVar[str] = "Uchida's term of the loss"
    strength: float = option(0.01, help="lambda")

    make_key = Uchida.make_key
    weight_penalty = Uchida.weight_penalty
    decode = Uchida.decode
    detect = Uchida.detect


def test_a_method_that_is_only_trained_passes():
    assert broken_checks(TrainedOnly) == {}
    names = {str(check).partition(": ")[2] for check in check_method(TrainedOnly)}
    assert {"detects its payload", "guesses with a wrong key"} <= names
    assert not {"reads back 64 symbols from float16"} & names


def test_each_way_in_has_its_checks():
    static, both, triggers = (
        {str(check).partition(": ")[2] for check in check_method(method)}
        for method in (TrainedOnly, Uchida, Adi)
    )
    assert static - {"has a name"} < both
    assert "has labels that are uniform over keys" in triggers - both
    assert "detects its payload" in both - triggers


class Changed(Uchida):
    """Uchida's method with another penalty."""

    def weight_penalty(self, weights, payload, key):
        return self.changed(weights, payload, key, super().weight_penalty(weights, payload, key))


def scaled(penalty, factor):
    return Penalty(penalty.value, {n: factor * g for n, g in penalty.gradient.items()})


class Uphill(Changed):
    def changed(self, weights, payload, key, penalty):
        return scaled(penalty, -1)


class Half(Changed):
    def changed(self, weights, payload, key, penalty):
        return scaled(penalty, 0.5)


class Single(Changed):
    def changed(self, weights, payload, key, penalty):
        return Penalty(
            penalty.value, {n: g.astype(np.float32) for n, g in penalty.gradient.items()}
        )


class Everywhere(Changed):
    def changed(self, weights, payload, key, penalty):
        return Penalty(penalty.value, {**penalty.gradient, "bias": np.ones(10)})


class Negative(Changed):
    def changed(self, weights, payload, key, penalty):
        return Penalty(penalty.value - 100, penalty.gradient)


class Unstable(Changed):
    def changed(self, weights, payload, key, penalty):
        values = weights[key.layers[0]]
        return penalty if np.abs(values).max() < 10 else Penalty(np.nan, penalty.gradient)


class Opposite(Changed):
    def changed(self, weights, payload, key, penalty):
        inverted = Payload(tuple(1 - s for s in payload.symbols))
        return Uchida.weight_penalty(self, weights, inverted, key)


class Clumsy(Changed):
    def changed(self, weights, payload, key, penalty):
        if weights[key.layers[0]].flags.writeable:
            weights[key.layers[0]][0] = 0
        return penalty


class Shared(Changed):
    kept: ClassVar[dict] = {}

    def changed(self, weights, payload, key, penalty):
        return self.kept.setdefault((key.secret, payload), penalty)


class Lax(Changed):
    def weight_penalty(self, weights, payload, key):
        return super().weight_penalty(weights, Payload((0,) * key.payload_size), key)

    def changed(self, weights, payload, key, penalty):
        return penalty


PENALTIES = {
    Uphill: {
        "has the gradient of its penalty": "expected the slope",
        "has a penalty that falls along the negative gradient": "see the sign of the gradient",
        "is put in by descent on its penalty": "expected no wrong symbol after 300 steps",
    },
    Half: {"has the gradient of its penalty": "from the gradient; derive the gradient again"},
    Single: {"has a gradient of its carriers only": "expected a float64 gradient of shape"},
    Everywhere: {"has a gradient of its carriers only": "and no other"},
    Negative: {"has a penalty that is a number": "expected a finite penalty >= 0, got -"},
    Unstable: {"has a penalty that is a number": "expected a finite penalty >= 0, got nan"},
    Opposite: {"is put in by descent on its penalty": "got 64 of 64; let the penalty fall"},
    Clumsy: {"only looks at weights that are trained": "expected untouched weights, got changed"},
    Shared: {"only looks at weights that are trained": "expected the same penalty for the same"},
    Lax: {"refuses to train a payload of another size": "expected NnwError for a payload of ano"},
}


@pytest.mark.parametrize("method", PENALTIES, ids=lambda m: m.__name__)
def test_a_broken_penalty_is_found(method):
    found = broken_checks(method, PENALTIES[method])
    for clause, words in PENALTIES[method].items():
        assert words in found[clause]


class Unmasked(Adi):
    def triggers(self, payload, key):
        inputs, _ = super().triggers(payload, key)
        return inputs, payload.array()


class Shorter(Adi):
    def triggers(self, payload, key):
        inputs, labels = super().triggers(payload, key)
        return inputs[1:].astype(np.float64), labels


class Beyond(Adi):
    def triggers(self, payload, key):
        inputs, labels = super().triggers(payload, key)
        return inputs, labels + 1


class Unseeded(Adi):
    def triggers(self, payload, key):
        inputs, labels = super().triggers(payload, key)
        noise = np.random.Generator(np.random.PCG64()).standard_normal(inputs.shape)
        return inputs + noise.astype(np.float32), labels


class SameForAll(Adi):
    """Every key has the same triggers and labels, so that a wrong key sees what the owner sees."""

    def make_key(self, network, payload_size, secret, layer=None):
        return super().make_key(network, payload_size, bytes(32), layer)


class Eager(Adi):
    def detect(self, network, payload, key, false_positive_rate=1e-6):
        found = super().detect(network, payload, key, false_positive_rate)
        return dataclasses.replace(found, detected=True)


class Anything(Adi):
    def decode(self, network, key):
        wide = [scores[:, :10] for scores in network.infer(key.arrays["triggers"])]

        class Cut:
            def infer(self, inputs):
                return wide

        return super().decode(Cut(), key)


TRIGGERS = {
    Unmasked: {
        "has labels that are uniform over keys": "expected labels uniform over the classes",
        "detects right answers": "expected every symbol from right answers",
    },
    Shorter: {"has a label for each trigger": "expected float32 triggers of shape (3, 8, 8), one"},
    Beyond: {"has a label for each trigger": "expected labels 0 to 9"},
    Unseeded: {"has the same triggers for the same secret": "expected the same triggers from the"},
    SameForAll: {
        "has the same triggers for the same secret": "expected other triggers from another secret",
        "guesses with wrong triggers": "expected p <= 0.1 for about a tenth of 100 wrong keys on",
    },
    Eager: {
        "guesses with wrong triggers": "expected nothing detected before the training",
        "distrusts answers that are no numbers": "expected nothing detected in scores that are no",
    },
    Anything: {"says where the classes are others": "expected CarrierNotFoundError for a network"},
}


@pytest.mark.parametrize("method", TRIGGERS, ids=lambda m: m.__name__)
def test_a_broken_set_of_triggers_is_found(method):
    found = broken_checks(method, TRIGGERS[method])
    for clause, words in TRIGGERS[method].items():
        assert words in found[clause]


def test_descent_finds_the_bottom_of_a_bowl():
    """(x - 3)^2 + 100 (y + 1)^2, whose curvatures differ a hundredfold."""

    def bowl(at):
        x, y = at["x"] - 3, at["y"] + 1
        value = float(np.sum(x**2) + 100 * np.sum(y**2))
        return Penalty(value, {"x": 2 * x, "y": 200 * y})

    found = descent.minimise(bowl, {"x": np.zeros(4), "y": np.zeros((2, 3))}, 2000)
    np.testing.assert_allclose(found["x"], 3, atol=1e-6)
    np.testing.assert_allclose(found["y"], -1, atol=1e-6)
    told, measured = descent.slopes(bowl, {"x": np.zeros(4), "y": np.zeros(2)}, "x", np.ones(4))
    assert told == -24
    assert measured == pytest.approx(-24, rel=1e-9)


def test_directions_look_at_single_elements_and_at_everything():
    found = descent.directions((3, 4))
    assert all(direction.shape == (3, 4) for direction in found)
    assert sum(np.count_nonzero(direction) == 1 for direction in found) == 4
    assert sum(np.count_nonzero(direction) == 12 for direction in found) == 3
