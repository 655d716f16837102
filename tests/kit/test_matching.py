"""Carriers of a model are found in a file of it by their values."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx.errors import CarrierNotFoundError
from nnw_onnx.kit import matching
from nnw_onnx.methods.block_spread import BlockSpread
from nnw_onnx.testing import ArrayNetwork
from nnw_onnx.vocabulary import Claim, Key

SHAPE = (16, 24)


@pytest.fixture
def model(rng):
    return ArrayNetwork.of({n: rng.standard_normal(SHAPE) for n in ("fc1", "fc2", "fc3")})


@pytest.fixture
def claim():
    key = Key(BlockSpread().spec(), bytes(32), 8, layers=("fc2",), shapes=(SHAPE,), notes=("why",))
    return Claim(key)


FORMS = {
    "renamed": lambda w: {"a": w["fc1"], "b": w["fc2"], "c": w["fc3"]},
    "turned": lambda w: {"a": w["fc1"].T, "b": w["fc2"].T, "c": w["fc3"].T},
    "half precision": lambda w: {"a": w["fc1"], "b": w["fc2"].astype(np.float16)},
    "four bits": lambda w: {"a": w["fc1"], "b": np.rint(w["fc2"] / 0.45) * 0.45},
    "folded": lambda w: {"a": w["fc1"], "b": w["fc2"] * np.linspace(-2, 3, 16)[:, None]},
}


@pytest.mark.parametrize("form", FORMS)
def test_values_tell_whatever_the_name(model, claim, form):
    file = ArrayNetwork.of({n: np.array(v) for n, v in FORMS[form](model.weights).items()})
    found = matching.rekeyed(claim, file, model).key
    named = "fc2" if form == "turned" else "b"
    assert (found.layers, found.shapes) == ((named,), (SHAPE,))
    words = "layer fc2 of the model is b" + (" (transposed)" if form == "turned" else "")
    assert found.notes[:2] == ("why", f"{words} in the file")
    assert (len(found.notes) == 3) == (form == "folded")
    if form == "folded":
        assert found.notes[2] == "the exporter multiplied its filters by -2 to 3"


def test_a_joined_carrier_keeps_its_name(model, claim):
    joined = np.concatenate([model.weights[n] for n in ("fc1", "fc2", "fc3")])
    found = matching.rekeyed(claim, ArrayNetwork.of({"qkv": joined}), model).key
    assert found.layers == ("fc2",)
    assert found.notes[-1] == "layer fc2 of the model is qkv (rows 16 to 31) in the file"


def test_without_the_model_a_name_or_a_shape_has_to_tell(model, claim, rng):
    other = rng.standard_normal((3, 3))
    for name in ("m.fc2", "x"):
        file = ArrayNetwork.of({name: np.array(model.weights["fc2"]), "o": other})
        assert matching.rekeyed(claim, file).key.layers == (name,)
    twins = ArrayNetwork.of({"a": np.array(model.weights["fc1"]), "b": other @ other,
                             "c": np.array(model.weights["fc2"])})  # fmt: skip
    with pytest.raises(CarrierNotFoundError, match="one layer of the file that fc2 can be, got 2;"):
        matching.rekeyed(claim, twins)


def test_other_values_are_not_taken(model, claim, rng):
    file = ArrayNetwork.of({n: rng.standard_normal(SHAPE) for n in "abcdef"})
    with pytest.raises(CarrierNotFoundError, match="a layer with the values of fc2 in the file, g"):
        matching.rekeyed(claim, file, model)
    with pytest.raises(
        CarrierNotFoundError, match="expected layer fc2 in the model, got none of t"
    ):
        matching.rekeyed(claim, file, file)


def test_filters_of_few_weights_are_compared_as_they_are(rng):
    values = rng.standard_normal((40, 2))
    file = ArrayNetwork.of({"a": rng.standard_normal((40, 2)), "b": 2 * values, "c": values})
    assert matching.match(values, file).place.layer.name == "c"
    assert matching.match(values, ArrayNetwork.of({"b": 2 * values})) is None
