"""The common checks find what they are there to find: each broken plug-in breaks its own check."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from nnw_onnx.errors import CarrierNotFoundError, DatasetError, PluginError
from nnw_onnx.kit import commitments
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.methods.block_spread import BlockSpread
from nnw_onnx.methods.fragile import Fragile
from nnw_onnx.methods.uchida import Uchida
from nnw_onnx.plugins import option
from nnw_onnx.testing import (
    Check,
    TaskCase,
    check_code,
    check_dataset,
    check_method,
    check_modification,
    check_plugin,
    small_network,
)
from nnw_onnx.vocabulary import (
    Code,
    Dataset,
    Decodes,
    Decoding,
    Detects,
    InputModification,
    MeanMeter,
    Measure,
    Modification,
    Modified,
    Parameter,
    Payload,
    Penalty,
    Quality,
    Recipe,
    Task,
    Trains,
    WeightModification,
)


def broken(checks: list[Check], clauses: set[str] | None = None) -> dict[str, str]:
    """Clause -> message of the checks (all, or of these clauses) that fail in any way."""
    found = {}
    for check in checks:
        clause = str(check).partition(": ")[2]
        try:
            if clauses is None or clause in clauses:
                check()
        except Exception as error:  # noqa: BLE001 - a broken plug-in may fail in any way
            found[clause] = str(error)
    return found


class Unpure(BlockSpread):
    def inject(self, network, payload, key, bench):
        marked = super().inject(network, payload, key, bench)
        noise = np.random.Generator(np.random.PCG64()).standard_normal((10, 40))
        return marked.with_weights({"head": marked.weights["head"] + noise})


class Greedy(BlockSpread):
    """Every bit is 1 whatever the key, so nothing depends on the secret."""

    def decode(self, suspect, key):
        return dataclasses.replace(super().decode(suspect, key), payload=Payload((1,) * key.size))


class Leaky(BlockSpread):
    """Uses the same positions and chips for every key: wrong keys see what the owner sees."""

    def inject(self, network, payload, key, bench):
        return super().inject(network, payload, dataclasses.replace(key, secret=bytes(32)), bench)

    def decode(self, suspect, key):
        return super().decode(suspect, dataclasses.replace(key, secret=bytes(32)))


class Remembering(BlockSpread):
    """Keeps what was injected and tells it again: it looks at the key and not at the network."""

    kept: ClassVar[dict] = {}

    def inject(self, network, payload, key, bench):
        self.kept[key.secret] = payload
        return super().inject(network, payload, key, bench)

    def decode(self, suspect, key):
        found = super().decode(suspect, key)
        return dataclasses.replace(found, payload=self.kept.get(key.secret, found.payload))


class Unbound(BlockSpread):
    """A commitment that does not depend on the secret."""

    def make_key(self, network, size, secret, bench):
        key = super().make_key(network, size, secret, bench)
        return dataclasses.replace(key, commitment=commitments.commit(bytes(32), self.name, []))


class Loose(BlockSpread):
    """A key that is drawn anew each time."""

    def make_key(self, network, size, secret, bench):
        key = super().make_key(network, size, secret, bench)
        drawn = np.random.Generator(np.random.PCG64()).standard_normal(3)
        return dataclasses.replace(key, arrays={"drawn": drawn})


class Rough(BlockSpread):
    """Changes the arrays of its key."""

    def make_key(self, network, size, secret, bench):
        key = super().make_key(network, size, secret, bench)
        return dataclasses.replace(key, arrays={"count": np.zeros(1)})

    def decode(self, suspect, key):
        key.arrays["count"][0] += 1
        return super().decode(suspect, key)


class Quiet(BlockSpread):
    def make_key(self, network, size, secret, bench):
        bench.layers = ()
        return dataclasses.replace(super().make_key(network, size, secret, bench), notes=())


class Careless(BlockSpread):
    def decode(self, suspect, key):
        if key.layers[0] not in suspect.weights:
            return Decoding(Payload((0,) * key.size), (0.0,) * key.size)
        return dataclasses.replace(super().decode(suspect, key), confidence=())


METHODS = {
    Unpure: {
        "gives the same network for the same secret": "expected the same network from the same sec",
        "changes only its carriers": "expected changes in {'conv'} only, got changes in",
    },
    Greedy: {"is found": "", "reads back 40 symbols from float32": ""},
    Leaky: {"guesses with a wrong key": "expected p <= 0.1 for about a tenth of 100 wrong keys"},
    Remembering: {
        "is not found where it is not": "got <Detection: ",
        "reads the network and remembers nothing": "remember nothing of an injection",
    },
    Unbound: {"commits to secret and network": "expected a commitment that depends on the secret"},
    Loose: {"makes the same key from the same secret": "got another; use only the secret"},
    Rough: {"leaves what it is given untouched": "expected untouched arrays of the key, got"},
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
    found = broken(check_method(method), set(METHODS[method]))
    for clause, words in METHODS[method].items():
        assert words in found[clause]


class Elsewhere(Fragile):
    """Tells that something was changed, but not where."""

    def detect(self, suspect, claim, key):
        found = super().detect(suspect, claim, key)
        worst = min(found.places, key=lambda place: place.statistic)
        every = (dataclasses.replace(p, statistic=worst.statistic) for p in found.places)
        return dataclasses.replace(found, places=tuple(every))


def test_an_integrity_method_without_places_is_found():
    assert "names the place of a change" not in broken(check_method(Fragile))
    found = broken(check_method(Elsewhere), {"names the place of a change"})
    assert "expected less evidence exactly where" in found["names the place of a change"]


@dataclass(frozen=True)
class TrainedOnly(Decodes, Trains):
    """Uchida's method as it was published: nothing but the term of the loss puts it in."""

    name = "trained-only"
    carrier = "mean"
    strength: float = option(0.01, help="lambda")

    make_key = Uchida.make_key
    decode = Uchida.decode

    def additions(self, network, payload, key):
        named = dataclasses.replace(key, method=Uchida(carrier="mean").spec())
        return Uchida(carrier="mean", strength=self.strength).additions(network, payload, named)


@dataclass(frozen=True)
class Named(TrainedOnly):
    """The same, for decoding by a key of its own name."""

    name = "uchida"


def test_a_method_that_is_only_trained_passes():
    assert broken(check_method(Named)) == {}
    names = {str(check).partition(": ")[2] for check in check_method(Named)}
    assert {"is put in by a training", "guesses with a wrong key"} <= names
    assert "reads back 40 symbols from float16" not in names


class Changed(Uchida):
    """Uchida's method with another penalty."""

    def additions(self, network, payload, key):
        added = super().additions(network, payload, key)

        def penalty(now):
            return self.changed(now, key, added.penalty(now))

        return dataclasses.replace(added, penalty=penalty)


def scaled(penalty, factor):
    return Penalty(penalty.value, {n: factor * g for n, g in penalty.weights.items()})


class Uphill(Changed):
    def changed(self, now, key, penalty):
        return scaled(penalty, -1)


class Half(Changed):
    def changed(self, now, key, penalty):
        return scaled(penalty, 0.5)


class Everywhere(Changed):
    def changed(self, now, key, penalty):
        return Penalty(penalty.value, {**penalty.weights, "bias": np.ones(10)})


class Unstable(Changed):
    def changed(self, now, key, penalty):
        values = now.weights[key.layers[0]]
        return penalty if np.abs(values).max() < 10 else Penalty(np.nan, penalty.weights)


class Clumsy(Changed):
    def changed(self, now, key, penalty):
        now.weights[key.layers[0]][0] = 0
        return penalty


class Undeclared(Changed):
    def changed(self, now, key, penalty):
        return dataclasses.replace(penalty, state={"more": np.zeros(2)})


TRAINED = {
    Uphill: {
        "has the gradient of its penalty": "from the gradient; derive the gradient again",
        "is put in by a training": "wrong symbols after a training, got",
    },
    Half: {"has the gradient of its penalty": "derive the gradient again"},
    Everywhere: {"has gradients of what it declares only": "expected gradients of Additions.carri"},
    Unstable: {"has a penalty that is a number": "expected a finite penalty, got nan"},
    Clumsy: {"only looks at what is trained": "expected untouched weights, activations and state"},
    Undeclared: {"has gradients of what it declares only": "declare each array in Additions.state"},
}


@pytest.mark.parametrize("method", TRAINED, ids=lambda m: m.__name__)
def test_a_broken_penalty_is_found(method):
    found = broken(check_method(method), set(TRAINED[method]))
    for clause, words in TRAINED[method].items():
        assert words in found[clause]


def test_a_training_is_carried_out_once():
    steps = []

    class Stepping(Changed):
        def changed(self, now, key, penalty):
            steps.append(now.step)
            return penalty

    recipe = Recipe(epochs=2, batch_size=100, learning_rate=0.02)
    broken(check_method(Stepping, recipe))
    assert steps.count(3) == 1  # 2 epochs of 2 batches: the last step is taken once


UNSEEDED = np.random.Generator(np.random.PCG64())
PARAMETER = Parameter("X", "nothing", "ratio", 1, 2)


def modification(function, **changes):
    """A Modification whose work is `function(weights, rng, intensity)`."""

    @dataclass(frozen=True)
    class Made(WeightModification):
        name = changes.get("name", "made")
        summary = changes.get("summary", "made for a test")
        number = changes.get("number")
        parameter = changes.get("parameter", PARAMETER)
        intensity: float = option(1.0, help=changes.get("help", "X"))

        def modify_weights(self, weights, rng):
            return function(weights, rng, self.intensity)

    return Made


def grown(weights, rng, intensity):
    return {n: w * (1 + 0.1 * intensity) for n, w in weights.items()}


def in_place(weights, rng, intensity):
    for w in weights.values():
        if w.flags.writeable:
            w[...] = 2 * w
    return {n: w * intensity for n, w in weights.items()}


def test_a_sound_modification_passes():
    assert broken(check_plugin(modification(grown))) == {}


BROKEN = {
    "returns the given layers": (
        lambda w, r, i: dict(sorted(grown(w, r, i).items())),
        "in this order",
    ),
    "gives the same network for the same generator": (
        lambda w, r, i: {n: v + i * UNSEEDED.normal() for n, v in w.items()},
        "expected the same weights for the same generator",
    ),
    "leaves the given arrays untouched": (in_place, "expected untouched weights, got changed one"),
    "accepts an empty list of layers": (
        lambda w, r, i: grown(w, r, i) or {"extra": np.ones(1)},
        "expected no layers for no layers",
    ),
    "accepts constant layers": (
        lambda w, r, i: {n: v + np.float64(i) / v.max() for n, v in w.items()},
        "expected finite weights from constant layers, got NaN; guard",
    ),
    "changes what it is aimed at": (
        lambda w, r, i: {n: v.copy() for n, v in w.items()},
        "expected a change, got none; apply it",
    ),
    "changes more at a stronger intensity": (
        lambda w, r, i: {n: v * (1 + 0.1 / i) for n, v in w.items()},
        "expected more change towards up of X",
    ),
}


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("clause", BROKEN)
def test_a_broken_modification_is_found(clause):
    function, words = BROKEN[clause]
    assert words in broken(check_modification(modification(function)))[clause]


def test_a_view_of_the_input_is_found():
    found = broken(check_modification(modification(lambda w, r, i: dict(w))))
    assert "expected a copy of second, got a view" in found["leaves the given arrays untouched"]


@dataclass(frozen=True)
class Boastful(Modification):
    """Promises to preserve answers and does not; aims, and changes other layers."""

    name = "boastful"
    aims = True
    preserves = 1e-6

    def modify(self, network, bench, rng):
        return Modified(network.with_weights({"middle": 2 * network.weights["middle"]}))


@dataclass(frozen=True)
class Batched(InputModification):
    """Looks at the generator of the Modification instead of that of the sample."""

    name = "batched"

    def modify(self, network, bench, rng):
        def around(feeds, ask):
            return ask({n: v + rng.normal(size=v.shape).astype(v.dtype) for n, v in feeds.items()})

        return Modified(network, (around,))

    def transform(self, sample, scale, rng):
        return sample


def test_a_broken_promise_and_dependence_on_batches_are_found():
    found = broken(check_modification(Boastful))
    assert "expected answers kept to 1e-06, got" in found["keeps its promise"]
    assert (
        "changes in ['conv', 'head'] only, got ['middle']" in found["changes what it is aimed at"]
    )
    found = broken(check_modification(Batched))
    assert "however they are batched, got others" in found["transforms samples one by one"]


@pytest.mark.parametrize(
    ("changes", "clause", "words"),
    [
        ({"name": "Not Good"}, "has a name and a summary of one line", "got 'Not Good'; rename"),
        ({"summary": "a\nb"}, "has a name and a summary of one line", "got 2 lines; rewrite"),
        ({"help": ""}, "explains every option", "got none for ['intensity']; use plugins.option"),
        ({"number": -1}, "declares its parameter", "expected the number of the Modification"),
        ({"parameter": 3}, "declares its parameter", "a Parameter with low <= high, got 3"),
        (
            {"parameter": dataclasses.replace(PARAMETER, option="other")},
            "declares its parameter",
            "expected a Parameter whose option is one of ['intensity'], got 'other'",
        ),
    ],
)
def test_a_broken_form_is_found(changes, clause, words):
    plugin = modification(grown, **changes)(1.0)
    assert words in broken(check_modification(plugin)[:5])[clause]


def test_a_class_that_can_be_changed_is_found():
    @dataclass
    class Loose(WeightModification):
        name = "loose"
        intensity: float = option(1.0, help="X")

        def modify_weights(self, weights, rng):
            return grown(weights, rng, 1)

    found = broken(check_modification(Loose()))
    assert found["is a frozen dataclass"].startswith("expected a frozen dataclass, got Loose; dec")


def test_options_that_json_loses_are_found():
    @dataclass(frozen=True)
    class Tuple(BlockSpread):
        pair: tuple[int, int] = option((1, 2), help="two numbers")

        def __eq__(self, other):
            return isinstance(other, Tuple) and self.pair is other.pair

        __hash__ = None

    found = broken(check_method(Tuple), {"is made again from its recorded options"})
    assert "use options that JSON can hold" in found["is made again from its recorded options"]


@dataclass(frozen=True)
class Copies(Code):
    """Sends each bit three times; believes the first."""

    name = "copies"

    def length(self, size):
        return 3 * size

    def encode(self, payload):
        return Payload(tuple(np.repeat(payload.symbols, 3).tolist()))

    def decode(self, read, confidence, size):
        return Payload(read.symbols[::3])


def test_a_code_that_corrects_nothing_is_found():
    found = broken(check_code(Copies))
    assert set(found) == {"corrects one wrong bit"}
    assert "expected one wrong bit of 3 corrected" in found["corrects one wrong bit"]


@dataclass(frozen=True)
class Ramp(Dataset):
    """Numbers in order."""

    name = "ramp"

    def load(self, split):
        if split not in ("train", "test"):
            raise DatasetError(f"ramp: expected train or test, got {split}; correct it")
        values = np.arange(6.0).reshape(-1, 1) + 10 * (split == "test")
        return self.samples(values)

    def samples(self, values):
        return ArraySamples({"x": values}, values[:, 0])


class Sorted(Ramp):
    def samples(self, values):
        class Samples(ArraySamples):
            def read(self, indices):
                return super().read(np.sort(indices))

        return Samples({"x": values}, values[:, 0])


class Lent(Ramp):
    def samples(self, values):
        class Samples(ArraySamples):
            def read(self, indices):
                one = len(indices) == 1
                return (
                    dataclasses.replace(super().read(indices), feeds={"x": values[: len(indices)]})
                    if one and indices[0] == 0
                    else super().read(indices)
                )

        return Samples({"x": values}, values[:, 0])


class Same(Ramp):
    def samples(self, values):
        return ArraySamples({"x": values}, values[:, 0], digest="0" * 64)


def test_broken_data_sets_are_found():
    assert broken(check_dataset(Ramp)) == {}
    assert "the same in any order" in broken(check_dataset(Sorted))["reads samples in any order"]
    assert "that a caller cannot change" in broken(check_dataset(Lent))["keeps its data"]
    assert "another digest for another split" in broken(check_dataset(Same))["is repeatable"]


class Distance(MeanMeter):
    def add(self, outputs, targets):
        self.scores += np.abs(outputs["y"][:, 0] - targets).tolist()


class ByBatch(Distance):
    def add(self, outputs, targets):
        self.scores.append(float(np.abs(outputs["y"][:, 0] - targets).mean()))


class Other(Distance):
    def result(self):
        return Quality({"other": 1.0})


@dataclass(frozen=True)
class Far(Task):
    """Mean error."""

    name = "error"
    measures = (Measure("error", better="lower", low=0),)
    meters: ClassVar[type[MeanMeter]] = Distance

    def meter(self, samples):
        return self.meters("error")


class Upside(Far):
    measures = (Measure("error", better="higher", low=0),)


class InBatches(Far):
    meters = ByBatch


class Misnamed(Far):
    meters = Other


def case(task):
    samples = Ramp().load("test")
    wanted = samples.read(np.arange(6)).targets
    return TaskCase(task, samples, {"y": (wanted + 0.1)[:, np.newaxis]})


def test_broken_tasks_are_found():
    assert broken(check_plugin(case(Far()))) == {}
    found = broken(check_plugin(case(Upside())))["prefers right answers"]
    assert "expected error better for right answers than for those of the next sample" in found
    assert (
        "expected 6 finite scores" in broken(check_plugin(case(InBatches())))["has scores that fit"]
    )
    found = broken(check_plugin(case(Misnamed())))["gives every measure within its bounds"]
    assert "expected the measures ['error'] in this order, got ['other']" in found


def test_something_else_is_refused():
    with pytest.raises(PluginError, match="expected a Method, Modification, Code or Dataset"):
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


def test_a_detector_with_a_level_of_its_own_is_found():
    @dataclass(frozen=True)
    class Decided(BlockSpread, Detects):
        """Decides by itself."""

        name = "block-spread"

        def detect(self, suspect, claim, key):
            from nnw_onnx.kit.evidence import matched

            return matched(self.decode(suspect, key).payload, claim).decided(0.5)

    found = broken(check_method(Decided), {"is found"})
    assert "expected no level and no decision, got (0.5, True); leave them" in found["is found"]


def test_the_small_network_is_what_it_says():
    from nnw_onnx.testing import run, small_samples

    feeds = small_samples(8).read(np.arange(8)).feeds
    plain = small_network()
    found = run(plain, feeds, ("middle",))
    x = feeds["x"].reshape(8, -1)
    w = {
        n: plain.weights[n].astype(np.float64).reshape(len(plain.weights[n]), -1)
        for n in plain.weights
    }
    middle = np.maximum(x @ w["conv"].T, 0) @ w["middle"].T
    np.testing.assert_allclose(found["middle"].reshape(8, -1), middle, rtol=1e-5, atol=1e-5)
    scores = np.maximum(middle, 0) @ w["head"].T + plain.weights["bias"]
    np.testing.assert_allclose(found["scores"], scores, rtol=1e-4, atol=1e-5)
    with pytest.raises(CarrierNotFoundError, match="expected one of conv, middle, head"):
        run(plain, feeds, ("bias",))
