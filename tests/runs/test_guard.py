"""Whatever a plug-in does wrong is one line that names it, its package and its version."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import nnw_onnx
from nnw_onnx import plugins
from nnw_onnx.errors import CarrierNotFoundError, InjectionError, ModelFileError, PluginError
from nnw_onnx.graph import open_network
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.modifications.gaussian_noise import GaussianNoise
from nnw_onnx.runs import calls, guard
from nnw_onnx.testing import ArrayNetwork
from nnw_onnx.vocabulary import (
    Additions,
    Batch,
    Dataset,
    Decoding,
    Detection,
    Key,
    Measure,
    Modified,
    Moment,
    Null,
    Payload,
    Penalty,
    Place,
    Quality,
    Samples,
    Task,
)

from .faulty import SECRET, Plain, detecting_by, key_of

MODEL = Path(__file__).resolve().parents[2] / "models" / "digits" / "cnn-0.onnx"
PLUGIN = Plain()


def failing(error: Exception):
    def call():
        raise error

    return call


def refusal(call) -> str:
    with pytest.raises(PluginError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith("; mend or remove the plug-in")
    return message


@pytest.mark.parametrize(
    "error",
    [
        ValueError("two\nlines"), KeyError("conv"), AssertionError(), RuntimeError("x"),
        NotImplementedError(), ZeroDivisionError("division"), MemoryError(), StopIteration(),
    ],
)  # fmt: skip
def test_any_exception_is_one_line_that_names_the_plugin(error):
    message = refusal(lambda: guard.guarded(PLUGIN, "decode", failing(error)))
    assert message.startswith("plain (tests): decode: expected an answer, got ")
    assert f"got {type(error).__name__}:" in message


def test_package_and_version_are_named():
    message = refusal(lambda: guard.guarded(GaussianNoise(0.1), "modify", failing(ValueError("x"))))
    version = nnw_onnx.__version__
    assert message.startswith(f"gaussian-noise (nnw-onnx {version}): modify: expected an answer")


def test_the_author_sees_where_it_came_from():
    with pytest.raises(PluginError) as caught:
        guard.guarded(PLUGIN, "decode", failing(ValueError("here")))
    assert str(caught.value.__cause__) == "here"


@pytest.mark.parametrize("error", [CarrierNotFoundError("gone"), InjectionError("too long")])
def test_what_is_raised_on_purpose_stays_as_it_is(error):
    with pytest.raises(type(error)) as caught:
        guard.guarded(PLUGIN, "decode", failing(error))
    assert caught.value is error


def test_weights_that_no_network_can_have_name_the_plugin():
    message = refusal(lambda: guard.guarded(PLUGIN, "inject", failing(ModelFileError("NaN"))))
    assert message.startswith("plain (tests): inject: expected an answer that fits the network")


def test_an_interruption_is_no_fault():
    with pytest.raises(KeyboardInterrupt):
        guard.guarded(PLUGIN, "decode", failing(KeyboardInterrupt()))  # type: ignore[arg-type]


def test_writing_into_what_is_given_is_told():
    network = open_network(MODEL)
    given = {"triggers": np.zeros(3)}

    def into_weights():
        network.weights["conv3.weight"][0] = 1

    def into_key():
        given["triggers"][:] = 1

    for call in (into_weights, into_key):
        with guard.unchanged(given):
            message = refusal(lambda: guard.guarded(PLUGIN, "decode", call))  # noqa: B023
        assert "expected what it is given to stay as it is, got a change of an array" in message
    given["triggers"][:] = 2  # its owner may still write


def checked_key(key: object, size: int = 4) -> Key:
    network = ArrayNetwork.of({"a": np.ones((2, 2))})
    return guard.checked_key(PLUGIN, key, network, size, SECRET)  # type: ignore[arg-type]


def test_keys_fit_what_was_asked_for():
    good = key_of(layers=("a",), shapes=((2, 2),))
    assert checked_key(good) is good
    for wrong, words in (
        (None, "make_key: expected a Key, got NoneType"),
        (key_of(5), "expected a key of 4 symbols, got one of 5"),
        (key_of(secret=bytes(32)), "expected the key to keep the secret that it is given"),
        (key_of(layers=("b",), shapes=((2,),)), "carriers among the network's layers, got 'b'"),
        (key_of(layers=("a",)), "expected a shape for each carrier, got 0 for 1"),
        (key_of(arrays={"t": np.array([np.nan])}), "expected finite numbers in 't', got NaN or"),
    ):
        assert words in refusal(lambda: checked_key(wrong))  # noqa: B023


def checked_decoding(decoding: object) -> Decoding:
    return guard.checked_decoding(PLUGIN, decoding, 3)  # type: ignore[arg-type]


def test_decodings_have_the_size_of_the_key():
    good = Decoding(Payload((0, 5, 1), 10), (0.0, 1.0, 2.0))
    assert checked_decoding(good) is good
    for wrong, words in (
        (Payload((0, 1, 1)), "decode: expected a Decoding, got Payload"),
        (Decoding("011", (1.0,) * 3), "expected a Payload, got str"),  # type: ignore[arg-type]
        (Decoding(Payload((0, 1)), (1.0, 1.0)), "expected 3 symbols, got 2"),
        (Decoding(Payload((0, 0, 0), 1), (1.0,) * 3), "an alphabet of at least 2, got 1"),
        (Decoding(Payload((0, 1, 1)), (1.0,)), "a finite confidence >= 0 for each of 3 symbols"),
        (Decoding(Payload((0, 1, 1)), (1.0, math.nan, 1.0)), "a finite confidence >= 0 for each"),
        (Decoding(Payload((0, 1, 1)), (1.0, -1.0, 1.0)), "a finite confidence >= 0 for each"),
        (Decoding(Payload((0, 1, 1)), (1.0,) * 3, ties=4), "expected 0 to 3 ties, got 4"),
    ):
        assert words in refusal(lambda: checked_decoding(wrong))  # noqa: B023


def test_detections_are_finite_and_not_decided():
    method = detecting_by(lambda claim: None)()
    null = Null("coins")
    good = Detection(1.0, -3.0, null)
    assert guard.checked_detection(method, good) is good
    assert guard.checked_detection(method, Detection(1.0, None, null)).log10_p is None
    assert guard.checked_detection(method, Detection(1.0, -math.inf, null)).log10_p == -math.inf
    place = Place("a", 0, 1, math.nan)
    for wrong, words in (
        (True, "detect: expected a Detection, got bool"),
        (Detection(math.nan, -3.0, null), "expected finite statistics, got one that is not"),
        (Detection(1.0, math.nan, null), "expected log10_p as a logarithm of at most 0, got nan"),
        (Detection(1.0, 0.05, null), "log10_p as a logarithm of at most 0, got 0.05"),
        (Detection(1.0, -3.0, null, log10_tie=2.0), "log10_tie as a logarithm of at most 0"),
        (Detection(1.0, -3.0, null, places=(place,)), "expected finite statistics"),
        (Detection(1.0, -3.0, null).decided(0.1), "expected evidence without a decision"),
    ):
        assert words in refusal(
            lambda: guard.checked_detection(method, wrong)  # type: ignore[arg-type]  # noqa: B023
        )


def test_networks_keep_their_layers_and_finite_weights():
    before = open_network(MODEL)
    after = before.with_weights({"head.weight": 0 * before.weights["head.weight"]})
    assert guard.checked_network(PLUGIN, "inject", after, before) is after
    message = refusal(lambda: guard.checked_network(PLUGIN, "inject", ArrayNetwork.of({}), before))
    assert "inject: expected a network, got ArrayNetwork" in message


def test_who_aims_changes_no_other_layer():
    before = open_network(MODEL)
    noise = GaussianNoise(0.1)
    zeros = {n: 0 * before.weights[n] for n in ("head.weight", "conv3.weight")}
    after = Modified(before.with_weights(zeros))
    aimed = ("conv3.weight", "head.weight")
    assert guard.checked_modified(noise, after, before, aimed) is after
    message = refusal(lambda: guard.checked_modified(noise, after, before, aimed[:1]))
    assert "expected only the layers aimed at to change, got 'head.weight' changed" in message
    # writing the same values is no change
    same = Modified(before.with_weights({"head.weight": before.weights["head.weight"]}))
    assert guard.checked_modified(noise, same, before, aimed[:1]) is same


def test_modified_networks_are_what_the_contract_says():
    before = open_network(MODEL)
    noise = GaussianNoise(0.1)
    for wrong, words in (
        (before, "modify: expected a Modified, got OnnxNetwork"),
        (Modified(before, facts={"loss": math.nan}), "expected a finite fact 'loss', got nan"),
        (Modified(before, marks=(PLUGIN,)), "expected claims as marks"),  # type: ignore[arg-type]
        (Modified(before, around=(3,)), "expected functions around"),  # type: ignore[arg-type]
    ):
        assert words in refusal(
            lambda: guard.checked_modified(noise, wrong, before, ())  # type: ignore[arg-type]  # noqa: B023
        )


def test_additions_name_layers_of_the_network():
    network = ArrayNetwork.of({"a": np.ones((2, 3))})
    good = Additions(carriers=("a",), start={"a": np.zeros((2, 3))})
    assert guard.checked_additions(PLUGIN, good, network) is good
    for wrong, words in (
        (None, "additions: expected an Additions, got NoneType"),
        (Additions(carriers=("b",)), "expected layers of the network, got 'b'"),
        (Additions(activations=("b",)), "expected layers of the network, got 'b'"),
        (Additions(start={"a": np.zeros(2)}), r"an array of shape \(2, 3\) for 'a', got \(2,\)"),
        (Additions(state={"s": np.array([np.inf])}), "finite numbers in 's', got NaN or infinity"),
    ):
        with pytest.raises(PluginError, match=words):
            guard.checked_additions(PLUGIN, wrong, network)  # type: ignore[arg-type]


def test_gradients_have_the_shapes_of_what_they_are_of():
    moment = Moment(
        {"a": np.ones((2, 3))}, {"a": np.ones((5, 2))}, None, np.zeros(5, bool), {}, 0,
        lambda weights: weights,
    )  # fmt: skip
    good = Penalty(1.0, {"a": np.ones((2, 3))}, {"a": np.ones((5, 2))})
    assert guard.checked_penalty(PLUGIN, good, moment) is good
    for wrong, words in (
        (1.0, "penalty: expected a Penalty, got float"),
        (Penalty(1.0, {"b": np.ones(1)}), "gradients of layers that it asked for, got 'b'"),
        (Penalty(1.0, {"a": np.ones(6)}), "a gradient of shape (2, 3) for 'a', got (6,)"),
        (Penalty(1.0, {}, {"a": np.ones((4, 2))}), "of shape (5, 2) for 'a', got (4, 2)"),
    ):
        assert words in refusal(
            lambda: guard.checked_penalty(PLUGIN, wrong, moment)  # type: ignore[arg-type]  # noqa: B023
        )


@dataclass(frozen=True)
class Half(Task):
    """A task of one measure."""

    name = "half"
    measures = (Measure("share"),)

    def meter(self, samples):
        raise NotImplementedError


def test_quality_is_every_measure_and_finite():
    good = Quality({"share": 0.5}, np.ones(3))
    assert guard.checked_quality(Half(), good, 3) is good
    for wrong, words in (
        (0.5, "result: expected a Quality, got float"),
        (Quality({}), "expected the measures share, got "),
        (Quality({"share": math.nan}), "expected a finite share, got nan"),
        (Quality({"share": 0.5}, np.ones(2)), "expected 3 finite scores, got shape (2,)"),
        (Quality({"share": 0.5}, None, np.full(3, np.inf)), "expected 3 finite weights"),
    ):
        assert words in refusal(
            lambda: guard.checked_quality(Half(), wrong, 3)  # type: ignore[arg-type]  # noqa: B023
        )


@dataclass(frozen=True)
class Torn(Dataset):
    """A data set of whatever is given."""

    name = "torn"

    def load(self, split: str) -> Samples:
        raise NotImplementedError


def test_samples_name_their_data_set():
    whole = ArraySamples({"x": np.ones((4, 2), np.float32)}, np.arange(4))

    class Short(ArraySamples):
        def read(self, indices) -> Batch:
            batch = super().read(indices)
            return dataclasses.replace(batch, targets=batch.targets[:-1])

    class Broken(ArraySamples):
        def read(self, indices) -> Batch:
            raise OSError("disk")

    guarded = guard.GuardedSamples(Torn(), whole)
    assert (len(guarded), guarded.digest, guarded.scale) == (4, whole.digest, None)
    assert np.array_equal(guarded.read(np.array([2, 1])).targets, [2, 1])
    for kind, words in ((Short, "read: expected 2 samples"), (Broken, "got OSError: disk")):
        samples = guard.GuardedSamples(Torn(), kind({"x": np.ones((4, 2))}, np.arange(4)))
        message = refusal(lambda: samples.read(np.array([0, 1])))  # noqa: B023
        assert message.startswith("torn (tests): ")
        assert words in message
    assert "load: expected a Samples, got int" in refusal(
        lambda: guard.GuardedSamples(Torn(), 3)  # type: ignore[arg-type]
    )


def test_origin_is_told_of_this_package_and_of_none():
    assert plugins.origin(GaussianNoise(0.1)).package == "nnw-onnx"
    assert guard.named(PLUGIN) == "plain (tests)"


class Exit(BaseException):
    """An exception of a plug-in's own that is none of Python's usual ones."""


@pytest.mark.parametrize("error", [SystemExit(0), GeneratorExit(), Exit("x"), RecursionError()])
def test_no_way_of_ending_gets_out_of_a_plugin(error):
    message = refusal(lambda: guard.guarded(PLUGIN, "decode", failing(error)))
    assert f"got {type(error).__name__}:" in message


def test_answers_of_the_right_class_with_anything_in_them_name_the_plugin():
    before = open_network(MODEL)
    symbols, null = Payload((0, 1, 1)), Null("coins")
    method = detecting_by(lambda claim: None)()
    samples = ArraySamples({"x": np.ones((4, 2), np.float32)}, np.arange(4))

    class Odd(ArraySamples):
        def read(self, indices) -> Batch:
            return Batch(3, np.arange(2))  # type: ignore[arg-type]  # on purpose

    class Words(ArraySamples):
        facts = {"classes": {1, 2}}  # type: ignore[assignment]  # noqa: RUF012 - on purpose
        digest = None  # type: ignore[assignment]  # on purpose

    odd = guard.GuardedSamples(Torn(), Odd({"x": np.ones((4, 2))}, np.arange(4)))
    words = guard.GuardedSamples(Torn(), Words({"x": np.ones((4, 2))}, np.arange(4)))
    assert dict(guard.GuardedSamples(Torn(), samples).facts) == dict(samples.facts)
    for wrong in (
        lambda: guard.checked_decoding(PLUGIN, Decoding(symbols, "abc"), 3),
        lambda: guard.checked_decoding(PLUGIN, Decoding(symbols, (1.0,) * 3, ties=None), 3),
        lambda: guard.checked_decoding(PLUGIN, Decoding(symbols, (1.0,) * 3, notes="abc"), 3),
        lambda: guard.checked_detection(method, Detection("much", -3.0, null)),
        lambda: guard.checked_detection(method, Detection(1e300, -3.0, null)),
        lambda: guard.checked_detection(method, Detection(1.0, -3.0, None)),
        lambda: guard.checked_detection(method, Detection(1.0, -3.0, null, notes=3)),
        lambda: guard.checked_modified(
            GaussianNoise(0.1), Modified(before, facts={"a": {1}}), before, ()
        ),
        lambda: guard.checked_modified(
            GaussianNoise(0.1), Modified(before, facts=None), before, ()
        ),
        lambda: guard.checked_modified(
            GaussianNoise(0.1), Modified(before, samples_of="x"), before, ()
        ),
        lambda: guard.checked_modified(GaussianNoise(0.1), Modified(before, marks=""), before, ()),
        lambda: guard.checked_quality(Half(), Quality({"share": "half"}), 3),
        lambda: guard.checked_quality(Half(), Quality({"share": 1e300}), 3),
        lambda: guard.checked_quality(Half(), Quality({"share": 0.5}, chance=math.nan), 3),
        lambda: guard.checked_additions(PLUGIN, Additions(carriers=None), ArrayNetwork.of({})),
        lambda: checked_key(key_of(facts={"classes": {1}})),
        lambda: checked_key(key_of(notes=None)),
        lambda: checked_key(key_of(commitment=b"")),
        lambda: odd.read(np.array([0, 1])),
        lambda: words.facts,
        lambda: words.digest,
    ):
        refusal(wrong)


def test_what_a_plugin_needs_and_opens_is_guarded():
    @dataclass(frozen=True)
    class Silent(Plain):
        name = "silent"

        def needed(self):
            raise SystemExit(0)

        def opens(self):
            return None

    assert "needed: expected an answer, got SystemExit: 0" in refusal(lambda: calls.needs(Silent()))
    assert "opens: expected texts as names" in refusal(lambda: calls.opened(Silent()))
    assert (calls.needs(PLUGIN), calls.opened(PLUGIN)) == ((), ())
