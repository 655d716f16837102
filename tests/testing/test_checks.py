"""The common checks find what they are there to find: each broken plug-in breaks its own check."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from nnw_onnx.errors import PluginError
from nnw_onnx.methods.block_spread import BlockSpread
from nnw_onnx.plugins import option
from nnw_onnx.testing import Check, check_method, check_modification, check_plugin
from nnw_onnx.vocabulary import Decoding, Parameter, Payload


def broken_checks(plugin: Any) -> dict[str, str]:
    """Clause -> message of the checks that a plug-in breaks."""
    found = {}
    for check in check_plugin(plugin):
        try:
            check()
        except PluginError as error:
            found[str(check).partition(": ")[2]] = str(error)
    return found


class Unpure(BlockSpread):
    def inject(self, network, payload, key):
        marked = super().inject(network, payload, key)
        noise = np.random.Generator(np.random.PCG64()).standard_normal((10, 600))
        return marked.with_weights({"head": marked.weights["head"] + noise})


class Greedy(BlockSpread):
    """Every bit is 1 whatever the key, so nothing depends on the secret."""

    def decode(self, network, key):
        decoding = super().decode(network, key)
        return dataclasses.replace(decoding, payload=Payload((1,) * key.payload_size))


class Leaky(BlockSpread):
    """Uses the same positions and chips for every key: wrong keys see what the owner sees."""

    def inject(self, network, payload, key):
        return super().inject(network, payload, dataclasses.replace(key, secret=bytes(32)))

    def decode(self, network, key):
        return super().decode(network, dataclasses.replace(key, secret=bytes(32)))


class Quiet(BlockSpread):
    def make_key(self, network, payload_size, secret, layer=None):
        key = super().make_key(network, payload_size, secret)
        return dataclasses.replace(key, notes=())


class Careless(BlockSpread):
    def decode(self, network, key):
        if key.layers[0] not in network.weights:
            return Decoding(Payload((0,) * key.payload_size), (0.0,) * key.payload_size)
        return dataclasses.replace(super().decode(network, key), confidence=())


METHODS = {
    Unpure: {
        "gives the same network for the same secret": "expected the same network from the same sec",
        "changes only its carriers": "expected changes in {'conv'} only, got changes in",
    },
    Greedy: {"detects its payload": "", "reads back 64 symbols from float32": ""},
    Leaky: {"guesses with a wrong key": "expected p <= 0.1 for about a tenth of 200 wrong keys"},
    Quiet: {
        "makes a complete key": "expected a note on why the carrier was chosen, got none;",
        "takes the layer it is given": "expected the layer 'middle' as asked, got ('conv',)",
        "refuses an unknown layer": "expected InjectionError for a layer that does not exist",
    },
    Careless: {
        "tells its confidence": "expected a finite confidence >= 0 for each symbol",
        "says where the carrier is missing": "expected CarrierNotFoundError for a network without",
    },
}


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)
def test_a_broken_method_is_found(method):
    found = {}
    for check in check_method(method):
        try:
            check()
        except Exception as error:  # noqa: BLE001 - a broken plug-in may fail in any way
            found[str(check).partition(": ")[2]] = str(error)
    for clause, words in METHODS[method].items():
        assert words in found[clause]


UNSEEDED = np.random.Generator(np.random.PCG64())
PARAMETER = Parameter("X", "nothing", "ratio", 1, 2)


def modification(function, **changes):
    """A Modification whose work is `function(weights, rng, intensity)`."""

    @dataclass(frozen=True)
    class Made:
        name: ClassVar[str] = changes.get("name", "made")
        summary: ClassVar[str] = changes.get("summary", "made for a test")
        number: ClassVar[int | None] = changes.get("number")
        parameter: ClassVar[Parameter] = changes.get("parameter", PARAMETER)
        intensity: float = option(1.0, help=changes.get("help", "X"))

        def modify_weights(self, weights, rng):
            return function(weights, rng, self.intensity)

    return Made


def scaled(weights, rng, intensity):
    return {n: w * (1 + 0.1 * intensity) for n, w in weights.items()}


def in_place(weights, rng, intensity):
    for w in weights.values():
        if w.flags.writeable:
            w[...] = 2 * w
    return {n: w * intensity for n, w in weights.items()}


def test_a_sound_modification_passes():
    assert broken_checks(modification(scaled)) == {}


BROKEN = {
    "returns the given layers": (
        lambda w, r, i: dict(sorted(scaled(w, r, i).items())),
        "in this order",
    ),
    "gives the same weights for the same generator": (
        lambda w, r, i: {n: v + i * UNSEEDED.normal() for n, v in w.items()},
        "expected the same weights for the same generator",
    ),
    "leaves its input untouched": (in_place, "expected untouched weights, got changed ones; copy"),
    "accepts an empty list of layers": (
        lambda w, r, i: scaled(w, r, i) or {"extra": np.ones(1)},
        "expected no layers for no layers",
    ),
    "accepts constant layers": (
        lambda w, r, i: {n: v + np.float64(i) / v.max() for n, v in w.items()},
        "expected finite weights from constant layers, got NaN; guard",
    ),
    "changes weights": (
        lambda w, r, i: {n: v.copy() for n, v in w.items()},
        "expected a change at this intensity, got none",
    ),
    "changes more at a stronger intensity": (
        lambda w, r, i: {n: v * (1 + 0.1 / i) for n, v in w.items()},
        "expected more change towards up of X",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("clause", BROKEN)
def test_a_broken_modification_is_found(clause):
    function, words = BROKEN[clause]
    assert words in broken_checks(modification(function))[clause]


def test_a_view_of_the_input_is_found():
    found = broken_checks(modification(lambda w, r, i: dict(w)))
    assert "expected a copy of second, got a view" in found["leaves its input untouched"]


@pytest.mark.parametrize(
    ("changes", "clause", "words"),
    [
        ({"name": "Not Good"}, "has a name and a summary of one line", "got 'Not Good'; rename"),
        ({"summary": "a\nb"}, "has a name and a summary of one line", "got 2 lines; rewrite"),
        ({"help": ""}, "explains every option", "got none for ['intensity']; use plugins.option"),
        ({"number": -1}, "declares its parameter", "expected the number of the Modification"),
        ({"parameter": 3}, "declares its parameter", "expected a Parameter with low <= high"),
    ],
)
def test_a_broken_form_is_found(changes, clause, words):
    plugin = modification(scaled, **changes)(1.0)
    found = {}
    for check in check_modification(plugin)[:6]:
        try:
            check()
        except PluginError as error:
            found[str(check).partition(": ")[2]] = str(error)
    assert words in found[clause]


def test_a_plain_class_is_found():
    class Plain:
        name, summary, parameter, number = "plain", "a plain class", PARAMETER, None

        def modify_weights(self, weights, rng):
            return scaled(weights, rng, 1)

    message = {str(c): c for c in check_modification(Plain())}["plain: is a frozen dataclass"]
    with pytest.raises(PluginError, match="expected a frozen dataclass, got Plain; decorate it"):
        message()
    message = {str(c): c for c in check_modification(Plain())}
    with pytest.raises(PluginError, match=r"expected the members of WeightModification, got none"):
        message["plain: has every member of its protocol"]()


def test_options_that_json_loses_are_found():
    @dataclass(frozen=True)
    class Tuple(BlockSpread):
        pair: tuple[int, int] = option((1, 2), help="two numbers")

        def __eq__(self, other):
            return isinstance(other, Tuple) and self.pair is other.pair

        __hash__ = None

    found = broken_checks(Tuple)
    assert "use options that JSON can hold" in found["is made again from its recorded options"]


def test_something_else_is_refused():
    with pytest.raises(PluginError, match="modify_weights, inject or what a training adds, got 3"):
        check_plugin(3)


def test_a_class_that_needs_more_options_is_told():
    @dataclass(frozen=True, kw_only=True)
    class Needy(BlockSpread):
        needed: int = option(help="no default")

    with pytest.raises(PluginError, match="Needy: expected it to be made from its defaults, got"):
        check_method(Needy)[0]()


def test_checks_have_names_and_can_be_called():
    check = Check("plug-in: clause", lambda: None)
    assert str(check) == "plug-in: clause"
    check()
    names = [str(c) for c in check_method(BlockSpread)]
    assert len(set(names)) == len(names) > 20
