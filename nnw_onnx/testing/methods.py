"""Clauses on what a method does, whatever its kind and however it is put in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cached_property

import numpy as np

from nnw_onnx import plugins
from nnw_onnx.errors import CarrierNotFoundError, InjectionError, NnwError, RestorationError
from nnw_onnx.kit import keystream
from nnw_onnx.kit.evidence import matched
from nnw_onnx.math import binomial
from nnw_onnx.testing import gradients
from nnw_onnx.testing.array_bench import ArrayBench
from nnw_onnx.testing.array_network import ArrayNetwork
from nnw_onnx.testing.array_suspect import ArraySuspect
from nnw_onnx.testing.array_training import (
    ArrayTrainer,
    run,
    secret,
    small_network,
    small_samples,
    widened,
)
from nnw_onnx.testing.checks import refused, require
from nnw_onnx.vocabulary import (
    Additions,
    Array,
    Decoding,
    Detection,
    Injects,
    Job,
    Key,
    Method,
    Modification,
    Network,
    Payload,
    Recipe,
    Restores,
    Step,
    Trains,
)

RECIPE = Recipe(epochs=60, batch_size=40, learning_rate=0.02, weight_decay=0.0, own_per_batch=16)
WRONG_KEYS = 100
LEVEL = 1e-6
_SIZE = 40


class Subject:
    """A method with what its checks look at, made when it is first asked for and then kept.

    Attributes:
        made: makes the method.
        recipe: of the training that puts it in.
    """

    def __init__(self, make: Callable[[], Method], recipe: Recipe) -> None:
        self._make, self.recipe = make, recipe

    def made(self) -> Method:
        """The method."""
        return self.method

    @cached_property
    def method(self) -> Method:
        """The method."""
        return self._make()

    @property
    def size(self) -> int:
        """Symbols of the payload that the checks use."""
        return _SIZE if self.method.alphabet else 0

    def payload(self, size: int | None = None, label: str = "payload") -> Payload:
        """A payload; of bits, one with more ones than zeros."""
        alphabet, count = self.method.alphabet, self.size if size is None else size
        if not alphabet:
            return Payload()
        drawn = keystream.integers(secret(label), label, count, 3 * alphabet)
        return Payload(
            tuple((np.maximum(drawn - alphabet, drawn % alphabet) % alphabet).tolist()), alphabet
        )

    def bench(self, *layers: str) -> ArrayBench:
        """Samples, a trainer and a runtime for the small network."""
        return ArrayBench(
            layers=layers,
            samples=small_samples(),
            recipe=self.recipe,
            trainer=ArrayTrainer(),
            run=run,
        )

    def key(self, label: str = "owner", network: Network | None = None, *layers: str) -> Key:
        """A key for the small network."""
        plain = small_network() if network is None else network
        return self.method.make_key(plain, self.size, secret(label), self.bench(*layers))

    def look(self, network: Network) -> ArraySuspect:
        """A network as Decoder and Detector of the method see it."""
        return ArraySuspect(self._wide(network), self.method.access, run)

    def _wide(self, network: Network) -> Network:
        """The network with the classes that the method wants: without them nothing can be read."""
        if not self._classes or not isinstance(network, ArrayNetwork):
            return network
        return widened(network, self._classes)

    @cached_property
    def _classes(self) -> int:
        wide = plugins.widens(self.method)
        return 0 if wide is None else wide.classes(self.key())

    def put_in(self, network: ArrayNetwork, payload: Payload, key: Key) -> tuple[Network, Key]:
        """The network after the injection, and the key with what a training has added to it."""
        static, trained = plugins.injects(self.method), plugins.trains(self.method)
        if static is not None:
            return static.inject(network, payload, key, self.bench()), key
        if trained is None:
            return network, key
        return self._trained(trained, network, payload, key)

    def _trained(
        self, method: Trains, network: ArrayNetwork, payload: Payload, key: Key
    ) -> tuple[Network, Key]:
        start = self._wide(network)
        additions = method.additions(start, payload, key)
        job = Job(small_samples(), self.recipe, "cross-entropy", 0, additions)
        done = ArrayTrainer().train(start, job)
        return done.network, Key(**{**vars(key), "arrays": {**key.arrays, **done.state}})

    @cached_property
    def owned(self) -> tuple[Network, Key]:
        """The watermarked network and its key; a training is carried out once for all checks."""
        return self.put_in(small_network(), self.payload(), self.key())

    @cached_property
    def twin(self) -> tuple[Network, Key]:
        """The network into which training alone puts the watermark, for a method that has both."""
        trained = plugins.trains(self.method)
        if trained is None or plugins.injects(self.method) is None:
            return self.owned
        return self._trained(trained, small_network(), self.payload(), self.key())

    def decode(self, network: Network, key: Key) -> Decoding:
        """What the Decoder reads."""
        reader = plugins.decodes(self.method)
        require(reader is not None, "a method that decodes", self.method.name, "subclass Decodes")
        assert reader is not None
        return reader.decode(self.look(network), key)

    def detect(self, network: Network, key: Key, payload: Payload | None = None) -> Detection:
        """The evidence, by the method's own Detector or by the exact test of its Symbols."""
        claimed = self.payload() if payload is None else payload
        detector = plugins.detects(self.method)
        if detector is not None:
            return detector.detect(self.look(network), claimed, key)
        return matched(self.decode(network, key).payload, claimed)


def foreign_network() -> ArrayNetwork:
    """A network of the same architecture that somebody else has trained."""
    return small_network(label="other weights")


def clauses(method: type[Method]) -> dict[str, Callable[[Subject], None]]:
    """The clauses that concern a method of this class."""
    found = dict(_EVERY)
    if issubclass(method, Injects):
        found |= _STATIC
        if method.access == "weights":
            found |= _CARRIED
    if issubclass(method, Trains):
        found |= gradients.CLAUSES | _TRAINED
    if issubclass(method, Injects | Trains):
        found |= _PUT_IN
    if plugins.reads_symbols(method):
        found |= _READ
    if method.kind == "watermark":
        found |= _KEYED
    if method.kind == "integrity":
        found |= _PLACED
    if issubclass(method, Restores):
        found |= _RESTORED
    return found


def _key_is_complete(s: Subject) -> None:
    plain, key = small_network(), s.key()
    shapes = {layer.name: layer.shape for layer in plain.layers}
    require(
        key.method == s.method.spec(), f"{s.method.spec()} in the key", key.method, "use spec()"
    )
    require(key.size == s.size, f"size {s.size} in the key", key.size, "set it")
    require(key.secret == secret("owner"), "the given secret in the key", "another", "keep it")
    require(
        tuple(shapes.get(name) for name in key.layers) == key.shapes,
        "carrier layers with their shapes in the key",
        f"{key.layers} of {key.shapes}",
        "take them from network.layers",
    )
    require(json.dumps(dict(key.facts)), "facts of JSON values", "none", "convert them")
    require(key.notes, "a note on why the carrier was chosen", "none", "fill Key.notes")


def _key_is_repeatable(s: Subject) -> None:
    first, again = s.key(), s.key()
    same = again == first and _digest(again.arrays) == _digest(first.arrays)
    require(same, "the same key from the same secret", "another", "use only the secret")


def _is_committed(s: Subject) -> None:
    key, other = s.key(), s.key("other")
    require(len(key.commitment) == 64, "a commitment of 64 hexadecimal digits", key.commitment,
            "use kit.commitments.commit")  # fmt: skip
    require(key.commitment != other.commitment, "a commitment that depends on the secret",
            "the same for two secrets", "use kit.commitments.commit")  # fmt: skip
    if key.layers:
        elsewhere = s.key("owner", foreign_network())
        require(key.commitment != elsewhere.commitment, "a commitment to the unmarked weights",
                "the same for two networks", "use kit.carriers.key_for")  # fmt: skip


def _attacks_exist(s: Subject) -> None:
    for stack in s.method.adaptive:
        require(stack, "stacks of one Modification or more in `adaptive`", "an empty one",
                "leave it out")  # fmt: skip
        for step in stack:
            require(not _fault(step), "Modifications that exist, with valid options, in `adaptive`",
                    _fault(step), "correct them")  # fmt: skip


def _fault(step: Step) -> str:
    """What is wrong with a step, or nothing."""
    try:
        made = plugins.create(Modification, step.modification)
    except NnwError as error:
        return str(error)
    return f"layers for {made.name}, which does not aim" if step.layers and not made.aims else ""


def _is_repeatable(s: Subject) -> None:
    first, _ = s.owned
    again, _ = s.put_in(small_network(), s.payload(), s.key())
    same = _digest(first.weights) == _digest(again.weights)
    require(same, "the same network from the same secret", "another",
            "derive everything random from the secret")  # fmt: skip


def _keeps_what_it_is_given(s: Subject) -> None:
    plain = small_network()
    key = s.key("owner", plain)
    kept = _digest(key.arrays)
    s.put_in(plain, s.payload(), key)
    s.detect(plain, key)
    untouched = _digest(plain.weights) == _digest(small_network().weights)
    require(untouched, "an untouched network", "a changed one", "copy before changing")
    require(_digest(key.arrays) == kept, "untouched arrays of the key", "changed ones",
            "copy before changing")  # fmt: skip


def _is_found(s: Subject) -> None:
    network, key = s.owned
    found = s.detect(network, key)
    require_evidence(found)
    if found.log10_p is None:
        return
    reached = found.null.reaches(LEVEL)
    require(bool(found.decided(LEVEL)) or not reached, f"it found at level {LEVEL:g}", found,
            "see the Detector")  # fmt: skip


def require_evidence(found: Detection) -> None:
    """Require numbers that are finite and fit together."""
    numbers = (found.statistic, found.log10_p, found.log10_tie, found.log10_inverted)
    finite = all(x is None or np.isfinite(x) for x in (*numbers, found.null.log10_least))
    require(finite, "finite numbers or None", found, "use logarithms that cannot underflow")
    require(found.level is None and found.detected is None, "no level and no decision",
            (found.level, found.detected), "leave them to the runner")  # fmt: skip
    least, p_value = found.null.log10_least, found.log10_p
    require(p_value is None or p_value <= 1e-9, "log10_p of at most 0", p_value, "see the tail")
    require(p_value is None or least is None or p_value >= least - 1e-9,
            f"a p-value of at least 10^{least}, the least of its null", p_value,
            "see Null.log10_least")  # fmt: skip


def _is_not_found_where_it_is_not(s: Subject) -> None:
    _, key = s.owned  # after the injection: nothing may be remembered of it
    suspects = {"a network made by somebody else": foreign_network()}
    if s.method.kind == "watermark":
        suspects["the network before the injection"] = small_network()
    for where, network in suspects.items():
        found = s.detect(network, key)
        require_evidence(found)
        quiet = found.log10_p is None or not found.decided(LEVEL)
        require(quiet, f"nothing found in {where}", found, "read the network, not the key")


def _takes_the_named_layer(s: Subject) -> None:
    if not s.key().layers or s.method.access != "weights":
        return
    small = 8 if s.method.alphabet else 0
    key = s.method.make_key(small_network(), small, secret("owner"), s.bench("middle"))
    # What follows are layers that have to change with it, as the consumers of its channels do.
    require(key.layers[:1] == ("middle",), "the layer 'middle' as asked", key.layers,
            "use bench.layers")  # fmt: skip


def _refuses_unknown_layer(s: Subject) -> None:
    refused(InjectionError, "a layer that does not exist",
            lambda: s.key("owner", None, "no such layer"))  # fmt: skip


def _misses_the_carrier(s: Subject) -> None:
    _, key = s.owned
    foreign = ArrayNetwork.of({"other": np.ones((5, 7, 1, 1), np.float32)})
    refused(CarrierNotFoundError, "a network without the carrier", lambda: s.detect(foreign, key))


def _reads_back(size: int, dtype: str) -> Callable[[Subject], None]:
    def clause(s: Subject) -> None:
        plain, symbols = small_network(dtype), s.payload(size)
        count = size if s.method.alphabet else 0
        key = s.method.make_key(plain, count, secret("owner"), s.bench())
        network, key = s.put_in(plain, symbols, key)
        if plugins.decodes(s.method) is None:
            found = s.detect(network, key, symbols)
            require(found.log10_p is None or found.decided(0.05) or not found.null.reaches(0.05),
                    f"it found in {dtype}", found, "see how weights are stored")  # fmt: skip
            return
        wrong = s.decode(network, key).payload.errors(symbols)
        require(wrong == 0, f"{size} symbols read back from {dtype}", f"{wrong} wrong ones",
                "raise InjectionError in inject where the payload cannot be read back")  # fmt: skip

    return clause


def _changes_only_carriers(s: Subject) -> None:
    plain, (network, key) = small_network(), s.owned
    changed = {n for n, w in network.weights.items() if not np.array_equal(w, plain.weights[n])}
    require(changed and changed <= set(key.layers), f"changes in {set(key.layers)} only",
            f"changes in {changed or 'no layer'}", "list every carrier in Key.layers")  # fmt: skip


def _refuses_too_long_payload(s: Subject) -> None:
    if not s.method.alphabet:
        return

    def act() -> None:
        plain = small_network()
        size = sum(w.size for w in plain.weights.values()) + 1
        key = s.method.make_key(plain, size, secret("owner"), s.bench())
        s.put_in(plain, s.payload(size), key)

    refused(InjectionError, "more symbols than weights", act)


def _refuses_payload_of_another_size(s: Subject) -> None:
    if s.method.alphabet:
        key, other = s.key(), s.payload(s.size - 1)
        refused(NnwError, "a payload of another size than the key's",
                lambda: s.put_in(small_network(), other, key))  # fmt: skip


def _reads_the_network(s: Subject) -> None:
    if not s.method.alphabet:
        return
    network, key = s.owned
    other = s.payload(label="another payload")
    beside, theirs = s.put_in(small_network(), other, s.key())
    # A Decoder that is fitted to its payload knows no null, and reads what it was fitted to only.
    fitted = s.detect(network, key).log10_p is None
    if fitted:
        wrong = s.decode(small_network(), key).payload.errors(s.payload())
        require(wrong > 0, "no payload read from the network before the injection", "all of it",
                "read the network, not the key")  # fmt: skip
    for where, used, payload in (
        (network, key, s.payload()),
        (beside, theirs if fitted else key, other),
    ):
        wrong = s.decode(where, used).payload.errors(payload)
        require(wrong == 0, "each network's own payload read with one key", f"{wrong} wrong "
                "symbols", "read the network, and remember nothing of an injection")  # fmt: skip


def _tells_its_confidence(s: Subject) -> None:
    network, key = s.owned
    decoding = s.decode(network, key)
    values = np.array(decoding.confidence)
    whole = len(values) == len(decoding.payload) == key.size
    require(whole and np.isfinite(values).all() and (values >= 0).all(),
            "a finite confidence >= 0 for each symbol", decoding.confidence[:4],
            "see vocabulary.Decoding")  # fmt: skip


def _wrong_keys_guess(s: Subject) -> None:
    """P-values of wrong keys are at most uniform: a failure by chance has probability 1e-9."""
    network, owner = s.owned
    if set(owner.arrays) - set(s.key().arrays):
        return  # an extractor that was fitted in the training: wrong keys are no control
    for where, suspect in (("watermarked", network), ("unwatermarked", small_network())):
        values = []
        for index in range(WRONG_KEYS):
            found = s.detect(suspect, s.key(f"wrong {index}"))
            if found.p_value is None:
                return
            values.append(found.p_value)
        require_guesses(values, f"on the {where} network")


def require_guesses(p_values: list[float], where: str) -> None:
    """Require p-values of wrong keys that are at most uniform, but for a chance of 1e-9."""
    small, size = sum(p <= 0.1 for p in p_values), len(p_values)
    limit = binomial.threshold(size, 1e-9, Fraction(1, 10)) or 0
    require(small < limit, f"p <= 0.1 for about a tenth of {size} wrong keys {where}", f"{small}",
            "draw every random object from the secret, symmetric about zero, and mask the "
            "payload")  # fmt: skip


def _is_trained_in(s: Subject) -> None:
    network, key = s.twin
    if plugins.decodes(s.method) is not None:
        wrong = s.decode(network, key).payload.errors(s.payload())
        require(wrong <= s.size // 20, f"at most {s.size // 20} wrong symbols after a training",
                wrong, "let the penalty fall where the Decoder reads more")  # fmt: skip
    found = s.detect(network, key)
    require(found.log10_p is None or found.decided(LEVEL), "it found after a training", found,
            "train longer (recipe), or see the gradient")  # fmt: skip


def _additions_fit(s: Subject) -> None:
    trained = plugins.trains(s.method)
    assert trained is not None
    plain, key = small_network(), s.key()
    added: Additions = trained.additions(plain, s.payload(), key)
    known = {layer.name: layer.shape for layer in plain.layers}
    for what, given in (("start", added.start), ("fixed", added.fixed)):
        for name, values in given.items():
            require(known.get(name) == values.shape, f"{what} of a layer's own shape",
                    f"{name} {values.shape}", "use the canonical layout")  # fmt: skip
    names = (*added.carriers, *added.activations)
    require(set(names) <= set(known), f"layers among {sorted(known)}", names, "name real layers")
    empty = added.penalty is None and added.samples is None and not added.start
    require(not empty, "a penalty, samples or start values", "none", "add something to training")


def _names_the_place(s: Subject) -> None:
    network, key = s.owned
    whole = s.detect(network, key)
    require(whole.places and {p.layer for p in whole.places} <= set(network.weights),
            "evidence by place, each in a layer of the network", whole.places[:2],
            "fill Detection.places")  # fmt: skip
    place = whole.places[len(whole.places) // 2]
    hurt = np.array(network.weights[place.layer])
    middle = (place.start + place.stop) // 2
    hurt.reshape(-1)[middle] *= 1.01
    after = s.detect(network.with_weights({place.layer: hurt}), key)
    weaker = [
        (b.layer, b.start, b.stop)
        for a, b in zip(whole.places, after.places, strict=True)
        if b.statistic < a.statistic
    ]
    hit = weaker and all(n == place.layer and i <= middle < j for n, i, j in weaker)
    require(hit, f"less evidence exactly where {place.layer}[{middle}] was changed", weaker,
            "tell the layer and the block")  # fmt: skip


def _gives_back(s: Subject) -> None:
    network, key = s.owned
    method = plugins.restores(s.method)
    assert method is not None
    given = network.with_weights(method.restore(s.look(network), key))
    known = {"the network before the mark": small_network(), "the network with it": network}
    same = [
        what for what, other in known.items() if _digest(given.weights) == _digest(other.weights)
    ]
    require(same, "the network before the mark or with it, bit by bit, where nobody has changed it",
            "another one", "restore what was put in")  # fmt: skip
    hurt = np.array(network.weights[key.layers[0]])
    hurt.reshape(-1)[0] *= 1.01
    changed = network.with_weights({key.layers[0]: hurt})
    try:
        healed = changed.with_weights(method.restore(s.look(changed), key))
    except RestorationError:
        return
    require(_digest(healed.weights) == _digest(given.weights),
            "the same network from a changed one, or a refusal", "another one",
            "raise RestorationError where that cannot be known")  # fmt: skip


def _digest(arrays: Mapping[str, Array]) -> str:
    state = hashlib.sha256()
    for name, values in arrays.items():
        state.update(f"{name}{values.dtype}{values.shape}".encode() + values.tobytes())
    return state.hexdigest()


_EVERY: dict[str, Callable[[Subject], None]] = {
    "makes a complete key": _key_is_complete,
    "makes the same key from the same secret": _key_is_repeatable,
    "commits to secret and network": _is_committed,
    "leaves what it is given untouched": _keeps_what_it_is_given,
    "names attacks that exist": _attacks_exist,
    "is found": _is_found,
    "is not found where it is not": _is_not_found_where_it_is_not,
    "takes the layer it is given": _takes_the_named_layer,
    "refuses an unknown layer": _refuses_unknown_layer,
    "says where the carrier is missing": _misses_the_carrier,
}
_PUT_IN: dict[str, Callable[[Subject], None]] = {
    "gives the same network for the same secret": _is_repeatable,
    "refuses a payload of another size": _refuses_payload_of_another_size,
}
_STATIC: dict[str, Callable[[Subject], None]] = {
    f"reads back {size} symbols from {dtype}": _reads_back(size, dtype)
    for size, dtype in ((8, "float64"), (40, "float32"), (40, "float16"))
}
_CARRIED: dict[str, Callable[[Subject], None]] = {
    "changes only its carriers": _changes_only_carriers,
    "refuses a payload that is too long": _refuses_too_long_payload,
}
_READ: dict[str, Callable[[Subject], None]] = {
    "reads the network and remembers nothing": _reads_the_network,
    "tells its confidence": _tells_its_confidence,
}
_KEYED: dict[str, Callable[[Subject], None]] = {"guesses with a wrong key": _wrong_keys_guess}
_TRAINED: dict[str, Callable[[Subject], None]] = {
    "adds to a training what fits the network": _additions_fit,
    "is put in by a training": _is_trained_in,
}
_PLACED: dict[str, Callable[[Subject], None]] = {"names the place of a change": _names_the_place}
_RESTORED: dict[str, Callable[[Subject], None]] = {"gives back what it says": _gives_back}
